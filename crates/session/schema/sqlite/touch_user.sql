UPDATE users SET last_login = ?2 WHERE user = ?1
