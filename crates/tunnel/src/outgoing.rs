//! The HTTP client of callbacks: pooled connections, with or without TLS.

use std::time::Duration;

use weappd_outbound::{ClientSettings, OutboundClient, OutboundTrust};

use crate::config::Config;
use crate::error::Error;

/// How long connections wait for the next callback: less than the five seconds after which
/// Node hangs up, so that no callback runs into a closing connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// The client of callbacks as configured.
pub(crate) fn callback_client(config: &Config) -> Result<OutboundClient, Error> {
    let settings = |trust| ClientSettings {
        connect_timeout: Some(Duration::from_millis(config.callback_timeout_ms)),
        idle_timeout: IDLE_TIMEOUT,
        max_idle_per_host: config.callback_concurrency,
        http2: true,
        ..ClientSettings::new(trust)
    };
    match OutboundClient::new(&settings(OutboundTrust::MachineOrPlain)) {
        Err(problem) if config.allow_http_receive => {
            tracing::warn!(%problem, "no trusted certificates: callbacks go over http only");
            OutboundClient::new(&settings(OutboundTrust::PlainOnly))
        }
        client => client,
    }
    .map_err(Error::LoadTrust)
}
