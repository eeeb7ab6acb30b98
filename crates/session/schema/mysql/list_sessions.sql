SELECT s.seq, s.created, s.last_visit, s.device, s.address
FROM weappd_sessions AS s
JOIN weappd_users AS u ON u.user = s.user
WHERE u.appid = ? AND u.openid = ?
ORDER BY s.seq DESC
