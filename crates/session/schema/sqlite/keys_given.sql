SELECT given FROM session_keys WHERE user = ?1 ORDER BY place DESC
