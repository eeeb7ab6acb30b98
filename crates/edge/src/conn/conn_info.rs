//! What all requests of a connection share.

use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use crate::caller::client_share::ClientLoad;
use crate::caller::peer_role::PeerRole;
use crate::conn::traffic::ConnTraffic;
use crate::thread_counters::ThreadCounters;

/// What is spoken on a connection.
#[derive(Debug)]
pub(crate) struct ConnProtocol {
    /// The connection is TLS.
    pub(crate) secure: bool,
    pub(crate) http1: bool,
    /// The host the client asked for in the TLS handshake.
    pub(crate) sni: Option<Box<str>>,
}

/// What all requests of a connection share.
#[derive(Debug)]
pub(crate) struct ConnInfo {
    pub(crate) peer: SocketAddr,
    /// The client's address, as it stands in headers.
    pub(crate) peer_text: HeaderValue,
    /// The connection is TLS.
    pub(crate) secure: bool,
    /// How the client came: `https` or `http`. A proxy may have taken its TLS off.
    pub(crate) proto: &'static str,
    pub(crate) http1: bool,
    /// The host the client asked for in the TLS handshake.
    pub(crate) sni: Option<Box<str>>,
    pub(crate) traffic: Arc<ConnTraffic>,
    /// What was believed of the peer when it connected.
    pub(crate) role: PeerRole,
    /// The requests under way of this client, on all its connections.
    pub(crate) load: Arc<ClientLoad>,
}

impl ConnInfo {
    pub(crate) fn new(
        peer: SocketAddr,
        protocol: ConnProtocol,
        role: PeerRole,
        (load, counters): (Arc<ClientLoad>, Arc<ThreadCounters>),
    ) -> Self {
        Self {
            peer,
            peer_text: text_of(peer),
            role,
            load,
            secure: protocol.secure,
            proto: if protocol.secure { "https" } else { "http" },
            http1: protocol.http1,
            sni: protocol.sni,
            traffic: Arc::new(ConnTraffic::new(counters)),
        }
    }

    /// The same connection for the client behind a proxy, with that client's scheme if known.
    pub(crate) fn as_client(
        &self,
        (peer, load): (SocketAddr, Arc<ClientLoad>),
        is_https: Option<bool>,
    ) -> Self {
        let proto = match is_https {
            Some(true) => "https",
            Some(false) => "http",
            None => self.proto,
        };
        Self {
            peer,
            peer_text: text_of(peer),
            secure: self.secure,
            proto,
            http1: self.http1,
            sni: self.sni.clone(),
            traffic: Arc::clone(&self.traffic),
            role: self.role,
            load,
        }
    }
}

fn text_of(peer: SocketAddr) -> HeaderValue {
    HeaderValue::try_from(peer.ip().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}
