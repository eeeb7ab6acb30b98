-- ?1: JSON array of [appid, openid]. One row, as each costs a change of threads: a JSON array
-- of [user, appid, openid, unionid, id, user object, sealed phone number in hex].
SELECT json_group_array(json_array(
    users.user, users.appid, users.openid, users.unionid, users.id, users.user_info,
    hex(users.phone)
))
FROM json_each(?1) AS login
CROSS JOIN users ON users.appid = login.value ->> 0 AND users.openid = login.value ->> 1
