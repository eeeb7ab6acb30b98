INSERT INTO weappd_mini_apps (appid, secret, sealed, given) VALUES (?, '', ?, ?)
ON DUPLICATE KEY UPDATE secret = '', sealed = VALUES(sealed), given = VALUES(given)
