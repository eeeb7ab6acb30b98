//! How a connection is opened: over TCP, or over TLS on top of it.

use std::time::Duration;

use http_body::Body;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::client_settings::ClientSettings;
use crate::trust::TrustRootsError;

/// Opens connections.
#[derive(Clone, Debug)]
pub(crate) enum OutboundConnector {
    Plain(HttpConnector),
    Tls(HttpsConnector<HttpConnector>),
}

/// Connections that were opened and may be used again.
#[derive(Debug)]
pub(crate) enum ConnectionPool<B> {
    Plain(legacy::Client<HttpConnector, B>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, B>),
}

/// How long idle connections are kept, and how many to one host.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IdleLimits {
    pub(crate) idle_timeout: Duration,
    pub(crate) max_idle_per_host: usize,
}

impl OutboundConnector {
    /// For addresses of http alone.
    pub(crate) fn plain(connect_timeout: Option<Duration>) -> HttpConnector {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(connect_timeout);
        http.set_nodelay(true);
        http
    }

    pub(crate) fn new(settings: &ClientSettings<'_>) -> Result<Self, TrustRootsError> {
        let mut http = Self::plain(settings.connect_timeout);
        let Some(tls) = settings.trust.tls()? else {
            return Ok(Self::Plain(http));
        };
        // The TLS connector says which addresses may be plain.
        http.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_tls_config(tls);
        let builder = if settings.trust.allows_plain() {
            builder.https_or_http()
        } else {
            builder.https_only()
        };
        Ok(Self::Tls(if settings.http2 {
            builder.enable_all_versions().wrap_connector(http)
        } else {
            builder.enable_http1().wrap_connector(http)
        }))
    }

    pub(crate) fn pool<B>(&self, limits: IdleLimits) -> ConnectionPool<B>
    where
        B: Body + Send,
        B::Data: Send,
    {
        let mut builder = legacy::Client::builder(TokioExecutor::new());
        builder
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(limits.idle_timeout)
            .pool_max_idle_per_host(limits.max_idle_per_host);
        match self {
            Self::Plain(connector) => ConnectionPool::Plain(builder.build(connector.clone())),
            Self::Tls(connector) => ConnectionPool::Tls(builder.build(connector.clone())),
        }
    }
}

// By hand: a body need not be cloned for its pool to be.
impl<B> Clone for ConnectionPool<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Plain(client) => Self::Plain(client.clone()),
            Self::Tls(client) => Self::Tls(client.clone()),
        }
    }
}
