//! Which listeners begin and end at a reload.

use std::net::SocketAddr;

use crate::site::{BoundListener, ListenerKind};

/// Which listeners begin and end. A listener that is not named stays, with its socket.
#[derive(Debug, Default)]
pub struct ListenerChanges {
    /// Sockets to accept on.
    pub open: Vec<BoundListener>,
    /// Local addresses whose listeners stop accepting. Connections that came there stay open.
    pub close: Vec<SocketAddr>,
    /// Local addresses at which new connections speak something else.
    pub change: Vec<(SocketAddr, ListenerKind)>,
}
