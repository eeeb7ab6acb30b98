SELECT user, unionid, id, user_info, phone
FROM users
WHERE appid = ?1 AND openid = ?2
