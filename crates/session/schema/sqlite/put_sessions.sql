UPDATE users SET sessions = ?2 WHERE user = ?1
