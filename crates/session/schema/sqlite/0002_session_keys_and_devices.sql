-- WeChat's session keys leave the users' rows for a table of their own, sealed: the last
-- ones of each user are kept.

CREATE TABLE session_keys (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    user        INTEGER NOT NULL REFERENCES users (user) ON DELETE CASCADE,
    -- Names the key without telling it, so that the same key is kept once.
    fingerprint BLOB    NOT NULL,
    -- Encrypted with the key file's key.
    sealed      BLOB    NOT NULL,
    given       INTEGER NOT NULL,
    UNIQUE (user, fingerprint)
) STRICT;

-- What the phone that logged in said it is.
ALTER TABLE sessions ADD COLUMN device TEXT;
