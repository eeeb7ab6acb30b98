SELECT user, unionid, id, user_info, phone, session_keys, sessions
FROM users
WHERE appid = ?1 AND openid = ?2
