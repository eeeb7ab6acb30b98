//! The listening sockets of a start.

use std::net::{SocketAddr, TcpListener};

use weappd_edge::BoundListener;

use crate::stand_in::StandIn;

/// Every listening socket, bound before anything runs.
#[derive(Debug)]
pub(crate) struct BoundSockets {
    /// The front door's.
    pub(crate) public: Vec<BoundListener>,
    /// The internal API's.
    pub(crate) internal: TcpListener,
    /// The internal API's address, as apps are told.
    pub(crate) internal_addr: SocketAddr,
    /// The stand-in's for `https://api.weixin.qq.com`.
    pub(crate) stand_in: Option<StandIn>,
    /// The simulated WeChat's.
    pub(crate) wechat: Option<TcpListener>,
}
