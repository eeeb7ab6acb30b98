//! What can go wrong with logins and with the store.

use std::path::PathBuf;
use std::sync::Arc;

use weappd_base::tasks::WorkLost;

/// A login or a store operation failed.
///
/// Cheap to clone: a failed exchange or transaction is told to everyone who waited for it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The store is none that weappd can open.
    #[error("{0:?} is no store; write sqlite:FILE")]
    StoreKind(String),

    /// The database file could not be made.
    #[error(
        "failed to create the session database {path}: give weappd the right to write there, or set [session] store"
    )]
    CreateStore {
        /// The database file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },

    /// The database file could not be opened.
    #[error("failed to open the session database {path}: {hint}")]
    OpenStore {
        /// The database file.
        path: PathBuf,
        /// What to do about it.
        hint: &'static str,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },

    /// The file belongs to some other program.
    #[error(
        "{path} is a database of another program: move it away, or set [session] store to another file"
    )]
    ForeignStore {
        /// The database file.
        path: PathBuf,
    },

    /// The file was written by a newer weappd.
    #[error(
        "the session database {path} has schema {found}, this weappd knows schema {known}: run the newer weappd, or restore a backup made before the upgrade"
    )]
    NewerStore {
        /// The database file.
        path: PathBuf,
        /// The file's schema version.
        found: i64,
        /// The newest version this weappd knows.
        known: i64,
    },

    /// The database refused a read.
    #[error("failed to read the session database {path}: {hint}")]
    ReadStore {
        /// The database file.
        path: PathBuf,
        /// What to do about it.
        hint: &'static str,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },

    /// The database refused a write; nothing of it was kept.
    #[error("failed to write the session database {path}: {hint}")]
    WriteStore {
        /// The database file.
        path: PathBuf,
        /// What to do about it.
        hint: &'static str,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },

    /// The store is closed: the house is shutting down.
    #[error("the session store is closed: weappd is shutting down")]
    Closed,

    /// The work for this request was cut short.
    #[error("the login was cut short")]
    CutShort(#[source] Arc<WorkLost>),

    /// No mini program of that AppID is configured.
    #[error("no mini program {appid:?} is configured")]
    UnknownApp {
        /// The AppID the site or the call named; empty when there was none to take.
        appid: String,
    },

    /// WeChat did not exchange the code.
    #[error("failed to exchange the login code with WeChat")]
    Exchange(#[source] Arc<weappd_wechat::Error>),

    /// The encrypted user data does not open with the user's session key.
    #[error("failed to decrypt the user data")]
    OpenData(#[source] Arc<weappd_wechat::Error>),

    /// The encrypted user data is of somebody else or of another mini program.
    #[error("the user data is not of this user: {0}")]
    NotTheirs(&'static str),

    /// An input is missing or beyond its limit.
    #[error("{0}")]
    Input(&'static str),
}

impl From<WorkLost> for Error {
    fn from(lost: WorkLost) -> Self {
        Self::CutShort(Arc::new(lost))
    }
}

/// An error with its causes, on one line.
pub(crate) fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(err) = cause {
        text.push_str(": ");
        text.push_str(&err.to_string());
        cause = err.source();
    }
    text
}
