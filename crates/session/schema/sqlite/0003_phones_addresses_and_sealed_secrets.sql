-- The phone number WeChat told for a user, as JSON, sealed.
ALTER TABLE users ADD COLUMN phone BLOB;

-- Where the phone that logged in called from.
ALTER TABLE sessions ADD COLUMN address TEXT;

-- The AppSecrets that came over qcloud.cam.initdata are sealed, and the table in clear is
-- dropped after that.
ALTER TABLE mini_apps RENAME TO mini_apps_in_clear;

CREATE TABLE mini_apps (
    appid       TEXT    PRIMARY KEY,
    -- Encrypted with the key file's key.
    sealed      BLOB    NOT NULL,
    given       INTEGER NOT NULL
) STRICT;
