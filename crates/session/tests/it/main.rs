//! The room from outside: phones log in over HTTP, WeChat is a small fake, the database
//! is a file.

#![expect(clippy::expect_used, reason = "what fails in a helper fails its test")]

mod avatar;
mod backend;
mod bodies;
mod check;
mod data;
mod golden;
mod instant;
mod key;
mod login;
mod odd_names;
mod oracle;
mod phone;
mod platform;
mod reload;
mod require;
mod revoke;
mod rpc;
mod several;
mod show;
mod sign;
mod store;
mod tap;
mod wechat;
mod withdraw;
mod world;
