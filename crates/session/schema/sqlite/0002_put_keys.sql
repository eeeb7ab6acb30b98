-- ?1: JSON array of [user, fingerprint in hex, sealed key in hex, now]. The same key
-- given again is the newest again.
INSERT INTO session_keys (user, fingerprint, sealed, given)
SELECT value ->> 0, unhex(value ->> 1), unhex(value ->> 2), value ->> 3
FROM json_each(?1)
WHERE true
ORDER BY key
ON CONFLICT (user, fingerprint) DO UPDATE SET given = excluded.given
