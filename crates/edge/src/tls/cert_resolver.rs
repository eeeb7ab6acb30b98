//! Which certificate answers a handshake.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::certs::CertTable;
use crate::tls::stream::note_sni;

/// Answers the TLS library's question for a certificate.
#[derive(Debug, Default)]
pub(crate) struct CertResolver(pub(crate) ArcSwap<CertTable>);

impl ResolvesServerCert for CertResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        note_sni(hello.server_name());
        self.0.load().find(hello.server_name()).map(Arc::clone)
    }
}
