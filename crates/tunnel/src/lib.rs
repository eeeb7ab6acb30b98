//! Live sockets between phones and business servers.
//!
//! A mini program may hold a WebSocket, but the business servers of the old SDKs speak only
//! HTTP. This room stands between: a business server asks for a tunnel and gets an id and a
//! URL; the phone opens the URL; what the phone says becomes a signed callback, what the
//! business server pushes becomes a packet on the socket. It takes the place of Tencent's
//! closed tunnel service, on the same wire, written down in `docs/wire/tunnel.md`.
//!
//! # Map
//!
//! On the wire:
//! - `packet`: what is said on a tunnel; `frame`: how WebSocket carries it; `handshake`: how
//!   a WebSocket begins.
//! - `signature`: how both sides believe each other; `id`: tunnelIds and connect tokens;
//!   `callback_request`: a callback as it is sent; `lenient_list` and `body`: what PHP and libraries
//!   make of a list and a text.
//!
//! Who there is:
//! - `business`: who may use tunnels, and what became of its callbacks; `business_settings`: its
//!   key, and where its callbacks may go.
//! - `tunnel`: one tunnel's state, under one short lock; `outbox`: what waits for its phone.
//! - `hub`: all tunnels, found by what their id says.
//! - [`TunnelServer`]: the room's head; `start`: how it begins; `stats`: what it tells of itself;
//!   `metrics` and `counters`: what of it is counted.
//!
//! What happens:
//! - [`http`]: requests come in. `push`: a packet goes to many. `waker`: many sockets of one
//!   thread are woken at once.
//! - `socket`: one phone's connection; `close_handshake`: how it ends.
//! - `callback`: a business server is told, in order, as often as is safe; `retry`: when what
//!   failed goes again; `outgoing`: the client it goes by.
//! - `reload`: settings change; `table`: what changes as one.
//! - `keeper`: time passes: the silent, the stuck and the never opened are let go.
//!
//! # Invariants
//!
//! - A business server hears, for each tunnel a phone opened, `connect` once and first,
//!   `close` once and last, and one thing at a time.
//! - A tunnelId is called invalid only when its tunnel is certainly dead.
//! - A phone with a genuine URL is never refused at the upgrade, and never told `close`
//!   unless its business server asked for it.
//! - `timeout` is sent once; only JSON objects are sent as messages.
//! - An idle tunnel holds no buffer, no timer and no task but its socket's.
//! - Whatever waits is bounded: for a phone, for a business server, for being opened.
//! - A business server is known by its host: a reload that names the host leaves its tunnels open.
//! - The room waits for no business server while it holds a lock or an edge thread.

mod body;
mod business;
mod business_settings;
mod callback;
mod callback_request;
mod close_handshake;
mod config;
mod counters;
mod error;
mod frame;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/tunnel.rs"]
pub mod fuzzing;
mod handshake;
pub mod http;
mod hub;
mod id;
mod keeper;
mod lenient_list;
mod metrics;
mod outbox;
mod outgoing;
mod packet;
mod push;
mod reload;
mod retry;
mod signature;
mod socket;
mod start;
mod stats;
mod table;
mod tunnel;
mod tunnels;
mod waker;

#[cfg(test)]
mod delivery_tests;
#[cfg(test)]
mod drain_tests;
#[cfg(test)]
mod live_tests;
#[cfg(test)]
mod push_tests;
#[cfg(test)]
mod reload_tests;
#[cfg(test)]
mod rfc6455_tests;
#[cfg(test)]
mod watch_tests;
#[cfg(test)]
mod world;

pub use config::{BusinessConfig, Config, OwnSites};
pub use error::Error;
pub use reload::StagedTunnels;
pub use stats::{BusinessStats, IssuedTunnel, TunnelStats, TunnelView};
pub use tunnels::{TunnelServer, TunnelServerParts, WS_PATH};
