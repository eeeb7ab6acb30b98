//! Whom an outgoing HTTPS connection believes: this machine's certificates, or those named.

use std::sync::Arc;

use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Who is believed.
#[derive(Clone, Copy, Debug)]
pub enum OutboundTrust<'a> {
    /// Nobody: only addresses of http are called, and no certificates are asked of the machine, so
    /// that this works where none are installed.
    PlainOnly,
    /// Whom this machine trusts; addresses of https only.
    Machine,
    /// Whom this machine trusts; addresses of http are called as well.
    MachineOrPlain,
    /// These certificates, or those who signed them, PEM: a development certificate is one.
    /// Addresses of http are called as well.
    PinnedOrPlain(&'a str),
}

/// Why nobody can be believed.
#[derive(Debug, thiserror::Error)]
pub enum TrustRootsError {
    /// The machine's trusted certificates could not be read.
    #[error("the machine's trusted certificates could not be read")]
    MachineRoots(#[source] std::io::Error),
    /// What should be trusted is no certificate.
    #[error("the certificate to trust is none in PEM")]
    PinnedCertificate,
}

impl OutboundTrust<'_> {
    /// Whether addresses of http are called.
    pub(crate) fn allows_plain(self) -> bool {
        !matches!(self, Self::Machine)
    }

    /// How TLS is spoken; none where it is not.
    pub(crate) fn tls(self) -> Result<Option<ClientConfig>, TrustRootsError> {
        match self {
            Self::PlainOnly => Ok(None),
            Self::Machine | Self::MachineOrPlain => machine().map(Some),
            Self::PinnedOrPlain(pem) => pinned(pem).map(Some),
        }
    }
}

fn machine() -> Result<ClientConfig, TrustRootsError> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(ConfigBuilderExt::try_with_platform_verifier)
        .map_err(|problem| TrustRootsError::MachineRoots(std::io::Error::other(problem)))?;
    Ok(config.with_no_client_auth())
}

fn pinned(pem: &str) -> Result<ClientConfig, TrustRootsError> {
    let refused = || TrustRootsError::PinnedCertificate;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|_| refused())?;
        roots.add(certificate).map_err(|_| refused())?;
    }
    if roots.is_empty() {
        return Err(refused());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|_| refused())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_certificates_are_believed() {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        let pem = made.cert.pem();
        let both = format!("{pem}{pem}");
        assert!(matches!(
            OutboundTrust::PinnedOrPlain(&both).tls(),
            Ok(Some(_))
        ));
        assert!(matches!(OutboundTrust::PlainOnly.tls(), Ok(None)));
        let cut = &pem[..pem.len() / 2];
        for bad in ["", "nothing", cut, &pem.replace("MII", "AAA")] {
            let refused = OutboundTrust::PinnedOrPlain(bad).tls();
            assert!(
                matches!(refused, Err(TrustRootsError::PinnedCertificate)),
                "{bad}"
            );
        }
    }
}
