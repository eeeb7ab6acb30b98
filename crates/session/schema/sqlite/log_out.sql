DELETE FROM sessions WHERE skey_hash = ?1 RETURNING seq, user
