//! What the owner of a certificate should know.

use std::path::PathBuf;

/// Something about a certificate that its owner should know, though it can be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertWarning {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub what: String,
    /// What to do; empty if nothing need be done.
    pub hint: String,
    /// How bad it is.
    pub severity: CertSeverity,
}

/// How bad something about a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertSeverity {
    /// Clients will stumble over it.
    Warning,
    /// weappd made the best of it.
    Note,
}
