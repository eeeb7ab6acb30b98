-- ?1: a JSON array of their numbers.
SELECT seq, created, last_visit, device, address
FROM sessions
WHERE seq IN (SELECT value FROM json_each(?1))
ORDER BY seq DESC
