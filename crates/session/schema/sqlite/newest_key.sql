SELECT k.sealed, u.appid, u.openid FROM users AS u
JOIN session_keys AS k ON k.user = u.user
ORDER BY u.user DESC, k.place DESC LIMIT 1
