-- ?1: JSON array of seq.
DELETE FROM sessions WHERE seq IN (SELECT value FROM json_each(?1))
