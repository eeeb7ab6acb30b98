//! Who is calling: logins, sessions, and the dialects they are spoken in.
//!
//! A phone brings a code, WeChat says whose it is, and from then on a random skey stands
//! for that user. Everybody else in the house asks this room who a request comes from.
//!
//! # Map
//!
//! - [`config`]: the `[session]` section and the mini programs.
//! - [`sessions`]: [`Sessions`], the head of the room.
//! - `login`: a code becomes an skey; `flight` sees that a code is exchanged once.
//! - `check`: an skey becomes an [`Identity`], mostly from the `cache`; `visits` are
//!   written behind.
//! - `limits`: how often one may log in; `revoke`: ending sessions by command.
//! - `data`: what a user's phone brings later; `vault`: session keys at rest.
//! - `store`: where users and sessions are kept; the SQL stands in `schema/`.
//! - `dialect`: Wafer 1, Wafer 2, the session server's RPC, and our own, as bytes.
//! - [`http`]: the routers and the layer that demands a session.
//! - [`identity`], [`error`]: who it is, why it is nobody, and what can go wrong.
//!
//! # Invariants
//!
//! Only this room opens the database of users and sessions. No skey is kept: the store and
//! the cache know its SHA-256, the log nothing (a database of the old servers keeps it in
//! clear, because they read it). A login that was answered is on the disk. A
//! session that was ended is found nowhere from the moment its ending is answered; on other
//! nodes that share the database, within `recheck_secs`. Which
//! mini program a request belongs to is the site's choice, never a header's.

mod apps;
mod cache;
mod check;
pub mod config;
mod data;
mod dialect;
pub mod error;
mod flight;
pub mod http;
pub mod identity;
mod limits;
mod login;
mod revoke;
mod session;
pub mod sessions;
mod skey;
mod store;
mod tap;
mod vault;
mod visits;

pub use config::{Config, MiniApp};
pub use error::Error;
pub use identity::{Denied, Identity};
pub use revoke::SessionView;
pub use sessions::{Sessions, SessionsParts};
