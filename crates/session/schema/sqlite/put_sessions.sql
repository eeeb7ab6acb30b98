-- ?1: JSON array of [skey_hash in hex, user, now, device, address]. A login repeated with the same
-- skey leaves its session as it is.
INSERT INTO sessions (skey_hash, user, created, last_visit, device, address)
SELECT unhex(value ->> 0), value ->> 1, value ->> 2, value ->> 2, value ->> 3,
    value ->> 4
FROM json_each(?1)
WHERE true
ORDER BY key
ON CONFLICT (skey_hash) DO NOTHING
