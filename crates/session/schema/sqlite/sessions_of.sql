SELECT sessions FROM users WHERE user = ?1
