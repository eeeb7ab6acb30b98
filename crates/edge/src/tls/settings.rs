//! How TLS is spoken: versions, protocols, tickets. The stream is in `stream`.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoServerSessionStorage, ProducesTickets};

use crate::error::Error;

/// Tickets carry the session, sealed with a key that rotates; the server keeps nothing. Kept
/// over reloads, so that clients go on resuming.
pub(crate) fn ticketer() -> Result<Arc<dyn ProducesTickets>, Error> {
    aws_lc_rs::Ticketer::new().map_err(Error::Tls)
}

/// TLS 1.2 and 1.3, certificates from `certs`, tickets that any thread can resume.
pub(crate) fn settings(
    certs: Arc<crate::tls::cert_resolver::CertResolver>,
    ticketer: Arc<dyn ProducesTickets>,
    http2: bool,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(Error::Tls)?
        .with_no_client_auth()
        .with_cert_resolver(certs);
    config.alpn_protocols = if http2 {
        vec![b"h2".to_vec(), b"http/1.1".to_vec()]
    } else {
        vec![b"http/1.1".to_vec()]
    };
    config.ticketer = ticketer;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 2;
    // Replayable by design (RFC 8446, 8): never.
    config.max_early_data_size = 0;
    Ok(Arc::new(config))
}
