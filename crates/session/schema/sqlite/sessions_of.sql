-- ?1: JSON array of users. One row, as each costs a change of threads: a JSON array of [seq,
-- skey_hash in hex, user, created, last visit], newest sessions first.
SELECT json_group_array(
    json_array(seq, hex(skey_hash), user, created, last_visit) ORDER BY user, seq DESC
)
FROM sessions
WHERE user IN (SELECT value FROM json_each(?1))
