//! Whom an outgoing HTTPS connection believes: this machine's certificates, or those named.

use std::sync::Arc;

use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::error::Error;

/// Connects over http and https.
pub type Connector = HttpsConnector<HttpConnector>;

/// Who is believed.
#[derive(Clone, Copy, Debug)]
pub enum Trust<'a> {
    /// Nobody: for addresses of http.
    Nobody,
    /// Whom this machine trusts.
    Machine,
    /// Certificates, or those who signed them, PEM: a development certificate is one.
    Only(&'a str),
}

impl Trust<'_> {
    /// A connector that believes them and nobody else.
    pub fn connector(self) -> Result<Connector, Error> {
        let mut roots = RootCertStore::empty();
        match self {
            Self::Nobody => {}
            Self::Machine => {
                let machine = HttpsConnectorBuilder::new()
                    .with_provider_and_platform_verifier(aws_lc_rs::default_provider())
                    .map_err(Error::TrustRoots)?;
                return Ok(machine.https_or_http().enable_http1().build());
            }
            Self::Only(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|_| Error::TrustCertificate)?;
                    roots
                        .add(certificate)
                        .map_err(|_| Error::TrustCertificate)?;
                }
                if roots.is_empty() {
                    return Err(Error::TrustCertificate);
                }
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|_| Error::TrustCertificate)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let builder = HttpsConnectorBuilder::new().with_tls_config(config);
        Ok(builder.https_or_http().enable_http1().build())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_believed() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let pem = made.cert.pem();
        assert!(Trust::Only(&format!("{pem}{pem}")).connector().is_ok());
        assert!(Trust::Nobody.connector().is_ok());
        let cut = &pem[..pem.len() / 2];
        for bad in ["", "nothing", cut, &pem.replace("MII", "AAA")] {
            let refused = Trust::Only(bad).connector();
            assert!(matches!(refused, Err(Error::TrustCertificate)), "{bad}");
        }
    }
}
