UPDATE sessions SET last_visit = max(last_visit, ?2) WHERE seq = ?1
