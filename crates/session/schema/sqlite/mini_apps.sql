-- The one registered last comes last.
SELECT appid, sealed FROM mini_apps ORDER BY given, rowid
