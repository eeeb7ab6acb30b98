//! What weappd believes of the peer of a connection.

/// What weappd believes of the peer of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerRole {
    /// Its clients' addresses, scheme and host: a proxy of the operator's.
    pub(crate) proxy: bool,
    /// Its clients' identities: a gateway of WeChat's.
    pub(crate) wechat_gateway: bool,
    /// Nothing, but it may be a proxy that is missing in `trusted_proxies`.
    pub(crate) near: bool,
    /// Which table of networks this comes from.
    pub(crate) table: u64,
}
