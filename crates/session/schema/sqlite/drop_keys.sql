-- ?1: JSON array of seq.
DELETE FROM session_keys WHERE seq IN (SELECT value FROM json_each(?1))
