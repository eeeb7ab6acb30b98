INSERT INTO weappd_mini_apps (appid, secret, given) VALUES (?, ?, ?)
ON DUPLICATE KEY UPDATE secret = VALUES(secret), given = VALUES(given)
