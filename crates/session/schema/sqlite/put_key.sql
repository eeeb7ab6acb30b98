INSERT INTO session_keys (user, place, fingerprint, sealed, given) VALUES (?1, ?2, ?3, ?4, ?5)
