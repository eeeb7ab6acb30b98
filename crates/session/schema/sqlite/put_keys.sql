UPDATE users SET session_keys = ?2 WHERE user = ?1
