//! What a database file is refused for, and what it keeps.
