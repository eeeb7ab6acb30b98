//! Live sockets between phones and business servers.

mod bell;
mod business;
mod callback;
mod config;
mod error;
mod farewell;
mod frame;
mod handshake;
mod hub;
mod id;
mod keeper;
mod outbox;
mod packet;
mod signature;
mod socket;
mod tunnel;
mod tunnels;

pub use config::{Business, Config, Problem};
pub use error::Error;
pub use tunnels::{Issued, Stats, TunnelView, Tunnels, TunnelsParts, WS_PATH};
