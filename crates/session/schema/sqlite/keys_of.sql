SELECT place, fingerprint FROM session_keys WHERE user = ?1 ORDER BY place DESC
