//! The one integration binary.

#![expect(clippy::expect_used, reason = "a test says what it lacks and ends")]

// A private MariaDB, for stores and for servers that bring their own tables.
mod mariadb;
// The unchanged Wafer SDKs on both sides of the wire.
#[expect(
    dead_code,
    unused_imports,
    reason = "the stories are told once World stands"
)]
mod old_software;
// Child processes, read line by line.
mod process;
