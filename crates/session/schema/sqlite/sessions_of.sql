SELECT seq, skey_hash FROM sessions WHERE user = ?1
