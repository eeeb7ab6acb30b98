DELETE FROM session_keys WHERE user = ?1 AND place = ?2
