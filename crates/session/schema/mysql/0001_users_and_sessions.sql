-- Who has ever logged in, the sessions they hold and the session keys WeChat gave. Times
-- are seconds since 1970. The tables may be there already: a change of the schema is not
-- undone when its connection breaks.

CREATE TABLE IF NOT EXISTS weappd_users (
    user        BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    appid       VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    openid      VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    unionid     TEXT         NULL,
    -- The Wafer 1 id: random, given at the first login, kept over all others.
    id          VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    -- The decrypted user object as JSON text; NULL while only codes were brought.
    user_info   MEDIUMTEXT   NULL,
    created     BIGINT       NOT NULL,
    last_login  BIGINT       NOT NULL,
    UNIQUE KEY of_app (appid, openid)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS weappd_sessions (
    -- Rises with every login.
    seq         BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    -- SHA-256 of the skey. The skey itself is kept nowhere.
    skey_hash   BINARY(32)   NOT NULL,
    user        BIGINT       NOT NULL,
    created     BIGINT       NOT NULL,
    last_visit  BIGINT       NOT NULL,
    -- What the phone that logged in said it is.
    device      VARCHAR(200) NULL,
    UNIQUE KEY by_skey (skey_hash),
    KEY of_user (user),
    KEY by_age (created)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS weappd_session_keys (
    seq         BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    user        BIGINT       NOT NULL,
    -- Names the key without telling it, so that the same key is kept once.
    fingerprint BINARY(16)   NOT NULL,
    -- Encrypted with the key file's key.
    sealed      BLOB         NOT NULL,
    given       BIGINT       NOT NULL,
    UNIQUE KEY of_user (user, fingerprint)
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

-- Mini programs registered over qcloud.cam.initdata, where that is allowed.
CREATE TABLE IF NOT EXISTS weappd_mini_apps (
    appid       VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
    secret      TEXT         NOT NULL,
    given       BIGINT       NOT NULL
) ENGINE = InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
