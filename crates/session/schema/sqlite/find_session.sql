SELECT
    sessions.seq, sessions.created, sessions.last_visit,
    users.user, users.appid, users.openid, users.unionid, users.id, users.user_info, users.phone
FROM sessions
JOIN users ON users.user = sessions.user
WHERE sessions.skey_hash = ?1
