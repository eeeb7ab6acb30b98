UPDATE users SET phone = ?2 WHERE user = ?1
