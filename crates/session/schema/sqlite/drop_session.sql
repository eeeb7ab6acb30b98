DELETE FROM sessions WHERE seq = ?1
