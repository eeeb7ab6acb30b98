DELETE FROM sessions
WHERE user = (SELECT user FROM users WHERE appid = ?1 AND openid = ?2)
RETURNING skey_hash
