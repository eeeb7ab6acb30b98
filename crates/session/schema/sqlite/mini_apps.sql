-- The one registered last comes last.
SELECT appid, secret FROM mini_apps ORDER BY given, rowid
