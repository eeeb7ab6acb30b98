-- A user's session keys stand in the user's own row, which every login writes anyway: one place
-- in the file instead of two. The newest comes first: its fingerprint (16 bytes), when it was given
-- (8 bytes), how long it is sealed (2 bytes), and that.
ALTER TABLE users ADD COLUMN session_keys BLOB;

UPDATE users SET session_keys = (
    SELECT unhex(group_concat(
        hex(fingerprint) || printf('%016X', given) || printf('%04X', length(sealed)) || hex(sealed),
        '' ORDER BY place DESC
    ))
    FROM session_keys AS k
    WHERE k.user = users.user AND length(fingerprint) = 16 AND length(sealed) < 65536
);

DROP TABLE session_keys;
