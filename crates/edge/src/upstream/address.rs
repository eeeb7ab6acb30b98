//! Where a business server is.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The address of a business server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum UpstreamAddr {
    Addr(SocketAddr),
    /// `host:port`, looked up for each new connection.
    Name(Arc<str>),
}

impl fmt::Display for UpstreamAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}
