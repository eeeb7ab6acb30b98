-- ?1: JSON array of objects, one per login.
INSERT INTO users (appid, openid, unionid, id, user_info, created, last_login)
SELECT
    value ->> 'appid', value ->> 'openid', value ->> 'unionid', value ->> 'id',
    value ->> 'user_info', value ->> 'now', value ->> 'now'
FROM json_each(?1)
WHERE true
ORDER BY key
ON CONFLICT (appid, openid) DO UPDATE SET
    unionid = coalesce(excluded.unionid, unionid),
    user_info = coalesce(excluded.user_info, user_info),
    last_login = excluded.last_login
RETURNING user, appid, openid, unionid, id, user_info, phone
