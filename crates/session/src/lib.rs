//! Who is calling: logins, sessions, and the dialects they are spoken in.
//!
//! A phone brings a code, WeChat says whose it is, and from then on a random skey stands
//! for that user. The rest of weappd asks this room who a request comes from.
//!
//! # Map
//!
//! - [`config`]: the `[session]` section and the mini programs.
//! - [`sessions`]: [`SessionService`], what the rest of weappd calls.
//! - `login`: a code becomes an skey; `login_app` says in which mini program, `flight` sees
//!   that a code is exchanged once, for the one client that `client_fingerprint` knows.
//! - `check`: an skey becomes a [`UserIdentity`], mostly from the `cache`; `breaker` spares
//!   requests a shared store that does not answer; `visits` are written behind.
//! - [`SessionService::prepare`] (`reload`): other settings and mini programs while it runs;
//!   `settings` are those, and `app_terms` what a mini program's sessions share.
//! - `limits`: how often one may log in; `revoke`: ending sessions by command; `withdraw`:
//!   forgetting what a user takes back.
//! - `decryption`: opens what WeChat encrypted, and is no oracle.
//! - `data`: what a user's phone brings later, of each `data_kind`; `phone`: the number a user
//!   shows; `key`: whether WeChat still takes a session key; `sign`: texts signed with one;
//!   `vault`: secrets at rest.
//! - `device`: which phone it is.
//! - [`shared_values`]: what the nodes on one database share besides.
//! - `picture`: the one a user chose, kept by somebody else.
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
//! mini program a request belongs to is its session's word, and a login chooses among those of
//! its site only, where the code is the proof; a header alone never decides.

mod app_terms;
mod breaker;
mod cache;
mod check;
mod client_fingerprint;
pub mod config;
mod data;
mod data_kind;
mod decryption;
mod device;
mod dialect;
pub mod error;
mod flight;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/session.rs"]
pub mod fuzzing;
pub mod http;
pub mod identity;
mod key;
mod key_owner;
mod limits;
mod login;
mod login_app;
mod metrics;
mod mini_apps;
mod open_data_error;
mod phone;
mod picture;
mod picture_store;
mod picture_url;
mod profile;
mod profile_locks;
mod reload;
mod revoke;
mod session;
mod session_lifetime;
pub mod sessions;
mod settings;
pub mod shared_values;
mod sign;
mod skey;
mod store;
mod tap;
mod vault;
mod visits;
mod withdraw;

pub use config::{Config, MiniApp};
pub use error::Error;
pub use identity::{AuthError, UserIdentity};
pub use picture_store::{PictureError, PictureStore};
pub use reload::{SessionReload, StagedSessions};
pub use revoke::{SessionView, UserView};
pub use sessions::{SessionParts, SessionService};
pub use shared_values::{LeaseResult, SharedValue, SharedValues};
pub use weappd_durable::WriteCounts;
