INSERT INTO users (appid, openid, unionid, id, user_info, created, last_login)
VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)
