SELECT user, unionid, id, created, last_login, phone, user_info
FROM users
WHERE appid = ?1 AND openid = ?2
