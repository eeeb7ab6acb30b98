-- A login repeated with the same skey leaves its session as it is.
INSERT INTO sessions (skey_hash, user, created, last_visit, device, address)
VALUES (?1, ?2, ?3, ?3, ?4, ?5)
ON CONFLICT (skey_hash) DO NOTHING
