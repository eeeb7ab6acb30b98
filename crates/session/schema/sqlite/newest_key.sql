SELECT session_keys, appid, openid FROM users
WHERE session_keys IS NOT NULL
ORDER BY user DESC LIMIT 1
