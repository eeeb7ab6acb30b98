-- Which sessions a user has stands in the user's own row, which every login writes anyway, in place
-- of an index by user. The newest comes first: its number (8 bytes) and the hash of its skey (32).
-- What ended by age or with everybody's may still stand there, at the end.
ALTER TABLE users ADD COLUMN sessions BLOB;

UPDATE users SET sessions = (
    SELECT unhex(group_concat(printf('%016X', seq) || hex(skey_hash), '' ORDER BY seq DESC))
    FROM sessions AS s
    WHERE s.user = users.user AND length(skey_hash) = 32
);

DROP INDEX sessions_of_user;
