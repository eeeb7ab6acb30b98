UPDATE users SET last_login = ?2, session_keys = ?3, sessions = ?4 WHERE user = ?1
