SELECT seq, created, last_visit FROM sessions WHERE skey_hash = ?1
