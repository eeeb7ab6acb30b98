UPDATE users
SET unionid = ?2, user_info = ?3, last_login = ?4, session_keys = ?5, sessions = ?6
WHERE user = ?1
