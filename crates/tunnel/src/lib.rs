//! Live sockets between phones and business servers.

mod bell;
mod business;
mod callback;
mod config;
mod error;
mod farewell;
mod frame;
mod handshake;
pub mod http;
mod hub;
mod id;
mod keeper;
mod outbox;
mod packet;
mod push;
mod signature;
mod socket;
mod tunnel;
mod tunnels;

#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod world;

pub use config::{Business, Config, Problem};
pub use error::Error;
pub use tunnels::{Issued, Stats, TunnelView, Tunnels, TunnelsParts, WS_PATH};
