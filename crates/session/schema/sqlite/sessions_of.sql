-- ?1: JSON array of users. Newest sessions first.
SELECT seq, skey_hash, user, created, last_visit
FROM sessions
WHERE user IN (SELECT value FROM json_each(?1))
ORDER BY user, seq DESC
