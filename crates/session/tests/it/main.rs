//! The room from outside: phones log in over HTTP, WeChat is a small fake, the database
//! is a file.

#![expect(clippy::expect_used, reason = "what fails in a helper fails its test")]

mod check;
mod login;
mod require;
mod rpc;
mod store;
mod wechat;
mod wiretap;
mod world;
