SELECT users.appid, users.openid
FROM sessions
JOIN users ON users.user = sessions.user
WHERE sessions.seq = ?1
