//! Certificates: their files read, what is in them judged, and which of them answers a name.
//!
//! # Map
//!
//! - `loader`: a certificate file and its key, read and judged; `cert_files`, `cert_warning`.
//! - `pem` (the blocks of a file), `file_content` (what a file is that is none), `cert_chain`
//!   (from the site's certificate to a root that phones know).
//! - `cert_table`: which certificate answers a name.
//!
//! # Invariants
//!
//! - What a file holds is never passed over in silence: it is served, noted or refused.
//! - No error and no warning shows a key.

mod cert_chain;
mod cert_files;
mod cert_table;
mod cert_warning;
mod error;
mod file_content;
mod loader;
mod pem;

pub use cert_files::CertFiles;
pub use cert_table::CertTable;
pub use cert_warning::{CertSeverity, CertWarning};
pub use error::Error;
pub use loader::{LoadedCert, check_certificate, load};
