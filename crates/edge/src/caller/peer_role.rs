//! What the peer of a connection is believed in.

/// What the peer of a connection is believed in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerRole {
    /// Where its clients are, how they came and whom they asked.
    pub(crate) proxy: bool,
    /// Who its clients are.
    pub(crate) wechat_gateway: bool,
    /// In nothing, but it may be a proxy that nobody named.
    pub(crate) near: bool,
    /// Which table of networks says so.
    pub(crate) table: u64,
}
