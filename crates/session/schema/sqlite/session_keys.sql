SELECT session_keys FROM users WHERE user = ?1
