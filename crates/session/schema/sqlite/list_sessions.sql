SELECT sessions.seq, sessions.created, sessions.last_visit, sessions.device, sessions.address
FROM sessions
JOIN users ON users.user = sessions.user
WHERE users.appid = ?1 AND users.openid = ?2
ORDER BY sessions.seq DESC
