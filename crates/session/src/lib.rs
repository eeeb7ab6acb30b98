//! Who is calling: logins, sessions, and the dialects they are spoken in.
//!
//! A phone brings a code, WeChat says whose it is, and from then on a random skey stands
//! for that user. Everybody else in the house asks this room who a request comes from.
//!
//! # Map
//!
//! - [`config`]: the `[session]` section and the mini programs.
//! - [`error`]: what can go wrong.
//! - [`identity`]: the answer to "who is calling?", and the ways to be nobody.

pub mod config;
pub mod error;
pub mod identity;

pub use config::{Config, MiniApp};
pub use error::Error;
pub use identity::{Denied, Identity};
