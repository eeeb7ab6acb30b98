-- ?1: JSON array of [appid, openid, unionid, id, user object, now], one per login.
INSERT INTO users (appid, openid, unionid, id, user_info, created, last_login)
SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 5
FROM json_each(?1)
WHERE true
ORDER BY key
ON CONFLICT (appid, openid) DO UPDATE SET
    unionid = coalesce(excluded.unionid, unionid),
    user_info = coalesce(excluded.user_info, user_info),
    last_login = excluded.last_login
