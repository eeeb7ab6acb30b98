-- Logins stand in the order of seq, so the oldest thousand are the ones to look at.
DELETE FROM sessions
WHERE seq IN (
    SELECT seq
    FROM (SELECT seq, created FROM sessions ORDER BY seq LIMIT 1000)
    WHERE created < ?1
)
