//! What can keep the gateway from being built or from keeping its queue.

use std::path::PathBuf;
use std::sync::Arc;

/// A failure of the gateway itself. What goes wrong in a call of an app is a
/// `ProxyError`.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The configured WeChat endpoint cannot be called.
    #[error("the WeChat endpoint {0:?} cannot be called")]
    Endpoint(String),
    /// The machine's trusted certificates could not be read.
    #[error("the machine's trusted certificates could not be read")]
    TrustRoots(#[source] Arc<dyn std::error::Error + Send + Sync>),
    /// A mini program's `EncodingAESKey` is not one.
    #[error("the EncodingAESKey of {appid} cannot be used")]
    EncodingAesKey {
        /// The mini program.
        appid: String,
        /// Why.
        #[source]
        source: Arc<weappd_wechat::Error>,
    },
    /// A mini program's keys of WeChat's API security cannot be used.
    #[error("the api_security keys of {appid} cannot be used")]
    ApiSecurity {
        /// The mini program.
        appid: String,
        /// Why.
        #[source]
        source: Arc<weappd_wechat::Error>,
    },
    /// The queue's file could not be made.
    #[error("failed to make the message queue {path}")]
    CreateQueue {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The queue's file could not be opened.
    #[error("failed to open the message queue {path}")]
    OpenQueue {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// The file is not a message queue of weappd's, or of a newer one.
    #[error("{path} is not a message queue that this weappd can read")]
    ForeignQueue {
        /// The file.
        path: PathBuf,
    },
    /// The queue could not be read or written.
    #[error("failed to use the message queue {path}")]
    UseQueue {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Arc<sqlx::Error>,
    },
    /// More messages wait than may.
    #[error("too many messages wait for the app")]
    QueueFull,
    /// No mini program takes messages.
    #[error("no messages are taken: no mini program here has a message_token")]
    NoInbox,
    /// The gateway takes no messages any more.
    #[error("the message queue is closed")]
    Closed,
}

impl Error {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Endpoint(_) => "set wechat.endpoint to https://api.weixin.qq.com",
            Self::TrustRoots(_) => "install the system's CA certificates (ca-certificates)",
            Self::EncodingAesKey { .. } => "copy its 43 characters from WeChat's console again",
            Self::ApiSecurity { .. } => {
                "take them from WeChat's console (API 安全); only AES256_GCM with RSAwithSHA256"
            }
            Self::CreateQueue { .. } => "make the data directory writable",
            Self::OpenQueue { .. } | Self::UseQueue { .. } => {
                "look at the disk: full, read-only, held by another weappd, or was the data \
                 directory deleted while weappd ran? Then stop weappd, put it back from a backup, \
                 and start it"
            }
            Self::ForeignQueue { .. } => "move the file away, or start the weappd that wrote it",
            Self::QueueFull => "see why the app takes no messages: `weappd app logs`",
            Self::NoInbox => {
                "to take what WeChat pushes, set message_token in [miniapp] to the Token of \
                 WeChat's console; without one there is nothing to show"
            }
            Self::Closed => "weappd is closing; what waits is delivered after the next start",
        }
    }
}
