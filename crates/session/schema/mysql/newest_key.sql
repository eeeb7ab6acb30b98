SELECT k.sealed, u.appid, u.openid FROM weappd_session_keys AS k
JOIN weappd_users AS u ON u.user = k.user
ORDER BY k.seq DESC LIMIT 1
