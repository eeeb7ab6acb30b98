//! The front door over real loopback sockets.

#![expect(clippy::expect_used, reason = "a test that cannot go on says why")]

mod access;
mod claims;
mod cloud;
mod endings;
mod files;
mod frames;
mod heads;
mod http2_rules;
mod life;
mod no_host;
mod protected;
mod proxy;
mod reload;
mod reserved;
mod rest;
mod reuse;
mod rooms;
mod shared;
mod smuggling;
mod streams;
mod tls;
mod trust;
mod websocket;
mod world;
