//! How the room begins: its head, and the keeper that goes with it.

use crate::error::Error;
use crate::keeper;
use crate::tunnels::{TunnelServer, TunnelServerParts};

impl TunnelServer {
    /// Builds the room and starts its keeper on the work runtime.
    pub fn build(parts: TunnelServerParts) -> Result<Self, Error> {
        let tunnels = Self::new(parts)?;
        let keeper = keeper::keep(tunnels.clone());
        tunnels.tasks().spawn_on(tunnels.work(), keeper);
        Ok(tunnels)
    }
}
