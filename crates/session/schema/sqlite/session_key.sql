SELECT session_key FROM users WHERE user = ?1
