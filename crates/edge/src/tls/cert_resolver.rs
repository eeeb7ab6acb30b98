//! Which certificate answers a handshake.

use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::tls::stream::note_sni;
use weappd_certs::CertTable;

/// Answers the TLS library's question for a certificate.
#[derive(Debug)]
pub(crate) struct CertResolver(Arc<CertTable>);

impl CertResolver {
    pub(crate) fn new(certs: Arc<CertTable>) -> Self {
        Self(certs)
    }
}

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        note_sni(hello.server_name());
        self.0.find(hello.server_name()).map(Arc::clone)
    }
}
