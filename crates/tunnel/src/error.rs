//! What can go wrong in the tunnel room, as the rest of weappd sees it.

/// A failure of the tunnel room.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting cannot work; `weappd check` shows all of them.
    #[error("the tunnel setting `{field}` cannot work: {message}")]
    Setting {
        /// Where it stands within `[tunnel]`.
        field: String,
        /// What is wrong with it.
        message: String,
    },
    /// The certificates that business servers are checked against could not be read.
    #[error("load the trusted certificates for callbacks")]
    LoadTrust(#[source] weappd_outbound::TrustRootsError),
    /// No business of that host is configured.
    #[error("no business server `{0}` is configured for tunnels")]
    UnknownBusiness(String),
    /// The address callbacks should go to is not one this business may use.
    #[error("callbacks may not go to `{0}`")]
    ReceiveNotAllowed(String),
    /// weappd is going down, or as many tunnels as allowed exist.
    #[error("no further tunnel can be issued now")]
    Full,
}
