//! The HTTP client of callbacks: pooled connections, with or without TLS.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::Config;
use crate::error::Error;

/// How long connections wait for the next callback: less than the five seconds after which
/// Node hangs up, so that no callback runs into a closing connection.
const IDLE: Duration = Duration::from_secs(4);
/// Pooled connections, with or without TLS.
pub(crate) enum CallbackClient {
    Plain(legacy::Client<HttpConnector, Full<Bytes>>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl CallbackClient {
    /// For callbacks as configured.
    pub(crate) fn build(config: &Config) -> Result<Self, Error> {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(Duration::from_millis(config.callback_timeout_ms)));
        http.set_nodelay(true);
        http.enforce_http(false);
        let mut client = legacy::Client::builder(TokioExecutor::new());
        client
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(config.callback_concurrency);
        let trusted = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(rustls::crypto::aws_lc_rs::default_provider());
        match trusted {
            Ok(builder) => {
                let https = builder
                    .https_or_http()
                    .enable_all_versions()
                    .wrap_connector(http);
                Ok(Self::Tls(client.build(https)))
            }
            Err(problem) if config.allow_http_receive => {
                tracing::warn!(%problem, "no trusted certificates: callbacks go over http only");
                http.enforce_http(true);
                Ok(Self::Plain(client.build(http)))
            }
            Err(problem) => Err(Error::LoadTrust(problem)),
        }
    }

    /// Sends one.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        match self {
            Self::Plain(client) => client.request(request).await,
            Self::Tls(client) => client.request(request).await,
        }
    }
}
