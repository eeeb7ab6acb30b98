//! The one integration binary.

#![expect(clippy::expect_used, reason = "a test says what it lacks and ends")]

// Certificates as vendors issue them.
mod cert;
// A small HTTP client whose answers a test can take apart.
mod http;
// A private MariaDB, for stores and for servers that bring their own tables.
mod mariadb;
// The unchanged Wafer SDKs on both sides of the wire.
mod old_software;
// Child processes, read line by line.
mod process;
// Bytes on a socket, for what no HTTP client would send.
mod raw;
// A new user's way from init to serve; configurations that cannot be served.
mod serve;
// Business servers inside the test's own process.
mod upstream;
// A real weappd, a simulated WeChat, phones with users.
mod world;
