UPDATE users SET user_info = ?2 WHERE user = ?1
