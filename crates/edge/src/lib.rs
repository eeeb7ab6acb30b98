//! The front door: the only listener the public sees.

mod config;
mod error;
mod identity;
mod server;
mod site;

pub use config::Config;
pub use error::Error;
pub use identity::{Caller, Identify};
pub use server::{Edge, EdgeParts, Upstreams};
pub use site::{Bound, CertFiles, Kind, Route, SessionRule, Site, Target};
