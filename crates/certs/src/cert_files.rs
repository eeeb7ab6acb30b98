//! The files of a certificate.

use std::path::PathBuf;

/// A certificate chain and its key, as a vendor or an ACME client left them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertFiles {
    /// PEM: the site's certificate, then the intermediate ones.
    pub cert: PathBuf,
    /// PEM: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}
