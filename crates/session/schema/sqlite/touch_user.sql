UPDATE users SET last_login = ?2, session_keys = ?3 WHERE user = ?1
