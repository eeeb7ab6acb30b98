-- ?1: JSON array of users. Newest keys first.
SELECT seq, user
FROM session_keys
WHERE user IN (SELECT value FROM json_each(?1))
ORDER BY user, given DESC, seq DESC
