-- ?1: JSON array of [seq, last visit].
UPDATE sessions
SET last_visit = max(last_visit, visit.at)
FROM (SELECT value ->> 0 AS seq, value ->> 1 AS at FROM json_each(?1)) AS visit
WHERE sessions.seq = visit.seq
