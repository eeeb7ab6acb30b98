-- ?1: JSON array of users; ?2: how many keys of each are kept, the newest.
DELETE FROM session_keys
WHERE seq IN (
    SELECT seq
    FROM (
        SELECT seq, row_number() OVER (PARTITION BY user ORDER BY given DESC, seq DESC) AS place
        FROM session_keys
        WHERE user IN (SELECT value FROM json_each(?1))
    )
    WHERE place > ?2
)
