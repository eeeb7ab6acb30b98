INSERT INTO mini_apps (appid, sealed, given) VALUES (?1, ?2, ?3)
ON CONFLICT (appid) DO UPDATE SET sealed = excluded.sealed, given = excluded.given
