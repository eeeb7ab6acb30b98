-- Who has ever logged in, and the sessions they hold. Times are seconds since 1970.

CREATE TABLE users (
    user        INTEGER PRIMARY KEY,
    appid       TEXT    NOT NULL,
    openid      TEXT    NOT NULL,
    unionid     TEXT,
    -- The Wafer 1 id: random, given at the first login, kept over all others.
    id          TEXT    NOT NULL,
    -- The decrypted user object as JSON text; NULL while only codes were brought.
    user_info   TEXT,
    session_key TEXT    NOT NULL,
    created     INTEGER NOT NULL,
    last_login  INTEGER NOT NULL,
    UNIQUE (appid, openid)
) STRICT;

CREATE TABLE sessions (
    -- Rises with every login, and is never given twice: a late write about a session
    -- that is gone must not meet another one.
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    -- SHA-256 of the skey. The skey itself is kept nowhere.
    skey_hash   BLOB    NOT NULL UNIQUE,
    user        INTEGER NOT NULL REFERENCES users (user) ON DELETE CASCADE,
    created     INTEGER NOT NULL,
    last_visit  INTEGER NOT NULL
) STRICT;

CREATE INDEX sessions_of_user ON sessions (user);

-- Mini programs registered over qcloud.cam.initdata, where that is allowed.
CREATE TABLE mini_apps (
    appid       TEXT    PRIMARY KEY,
    secret      TEXT    NOT NULL,
    given       INTEGER NOT NULL
) STRICT;
