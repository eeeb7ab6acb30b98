//! Why a certificate cannot be used.

use std::io;
use std::path::PathBuf;
use weappd_base::language::pick;
use weappd_base::words;

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A certificate or key file could not be read.
    #[error("{}", words!("cannot read {}", "无法读取 {}", .path.display()))]
    ReadFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A certificate or key file is not what it should be.
    #[error("{}: {what}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        hint: String,
    },
}

impl Error {
    /// The file that is meant.
    pub fn path(&self) -> &std::path::Path {
        match self {
            Self::ReadFile { path, .. } | Self::Certificate { path, .. } => path,
        }
    }

    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Certificate { hint, .. } => Some(hint),
            Self::ReadFile { .. } => Some(pick(
                "give the path as seen from weappd.toml, and let weappd's user read it",
                "请写相对于 weappd.toml 的路径，并让运行 weappd 的用户有权读取",
            )),
        }
    }
}
