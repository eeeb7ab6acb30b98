INSERT INTO mini_apps (appid, secret, given) VALUES (?1, ?2, ?3)
ON CONFLICT (appid) DO UPDATE SET secret = excluded.secret, given = excluded.given
