//! What a client is to be: whom it trusts, and how it keeps its connections.

use std::time::Duration;

use crate::trust::OutboundTrust;

/// What a client is to be.
#[derive(Clone, Copy, Debug)]
pub struct ClientSettings<'a> {
    /// Whom it believes, and which addresses it calls.
    pub trust: OutboundTrust<'a>,
    /// How long a connection may take to open; none leaves it to the caller's deadline.
    pub connect_timeout: Option<Duration>,
    /// How long a connection waits for the next request. It should be less than the server's
    /// patience, so that few requests meet a closing connection.
    pub idle_timeout: Duration,
    /// How many connections wait at most, for each host.
    pub max_idle_per_host: usize,
    /// Whether HTTP/2 is spoken to servers that offer it over TLS.
    pub http2: bool,
    /// Whether each thread that calls has connections of its own, which its own event loop serves:
    /// an answer wakes nobody else. Else all threads share them.
    pub per_thread: bool,
}

impl ClientSettings<'_> {
    /// HTTP/1.1 over connections that all threads share and that wait for 15 seconds.
    pub fn new(trust: OutboundTrust<'_>) -> ClientSettings<'_> {
        ClientSettings {
            trust,
            connect_timeout: None,
            idle_timeout: Duration::from_secs(15),
            max_idle_per_host: usize::MAX,
            http2: false,
            per_thread: false,
        }
    }
}
