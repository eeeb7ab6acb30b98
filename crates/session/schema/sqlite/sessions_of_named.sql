SELECT sessions FROM users WHERE appid = ?1 AND openid = ?2
