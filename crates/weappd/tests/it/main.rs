//! The one integration binary.

// A private MariaDB, for stores and for servers that bring their own tables.
#[expect(dead_code, reason = "the stories below are told once World stands")]
mod mariadb;
// The unchanged Wafer SDKs on both sides of the wire.
#[expect(dead_code, reason = "the stories below are told once World stands")]
mod old_software;
// Child processes, read line by line.
#[expect(dead_code, reason = "the stories below are told once World stands")]
mod process;
