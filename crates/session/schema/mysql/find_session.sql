SELECT
    s.seq, s.created, s.last_visit,
    u.user, u.appid, u.openid, u.unionid, u.id, u.user_info, u.phone
FROM weappd_sessions AS s
JOIN weappd_users AS u ON u.user = s.user
WHERE s.skey_hash = ?
