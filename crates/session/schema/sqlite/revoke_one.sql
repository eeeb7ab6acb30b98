DELETE FROM sessions WHERE seq = ?1 RETURNING skey_hash, user
