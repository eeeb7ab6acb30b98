-- A user's session keys stand together, so that a login touches one page for them.
CREATE TABLE keys_by_user (
    user        INTEGER NOT NULL REFERENCES users (user) ON DELETE CASCADE,
    -- The highest is the newest.
    place       INTEGER NOT NULL,
    -- Names the key without telling it, so that the same key is kept once.
    fingerprint BLOB    NOT NULL,
    -- Encrypted with the key file's key.
    sealed      BLOB    NOT NULL,
    given       INTEGER NOT NULL,
    PRIMARY KEY (user, place)
) STRICT, WITHOUT ROWID;

INSERT INTO keys_by_user (user, place, fingerprint, sealed, given)
SELECT user, row_number() OVER (PARTITION BY user ORDER BY given, seq), fingerprint, sealed, given
FROM session_keys;

DROP TABLE session_keys;

ALTER TABLE keys_by_user RENAME TO session_keys;

-- A user's sessions are known from the index alone.
DROP INDEX sessions_of_user;

CREATE INDEX sessions_of_user ON sessions (user, skey_hash);
