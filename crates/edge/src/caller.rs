//! Who is calling, from where, and which peers' headers about that are trusted.

pub(crate) mod client_share;
pub(crate) mod client_trust;
pub(crate) mod forwarded;
pub(crate) mod header_claims;
pub(crate) mod headers;
pub(crate) mod identity;
pub(crate) mod ip_networks;
pub(crate) mod peer_role;
pub(crate) mod wechat_gateway;
