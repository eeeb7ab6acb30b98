//! Why there is no answer, in words that hold no address and no secret.

use hyper_util::client::legacy;

/// A request that could not be sent, or whose answer never began.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SendError(legacy::Error);

impl SendError {
    pub(crate) fn new(error: legacy::Error) -> Self {
        Self(error)
    }

    /// Whether there was no connection at all: the server surely has nothing of the request.
    pub fn is_connect(&self) -> bool {
        self.0.is_connect()
    }
}

/// An exchange that did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// No connection, or it was closed before the answer began.
    #[error("the server could not be reached")]
    Unreachable(#[source] SendError),
    /// The answer broke off in the middle.
    #[error("the answer broke off")]
    CutShort(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is longer than the caller reads.
    #[error("the answer is longer than {limit} bytes")]
    TooLong {
        /// The most that is read.
        limit: usize,
    },
    /// The exchange took too long.
    #[error("no answer within {after_ms} ms")]
    Timeout {
        /// The caller's deadline.
        after_ms: u64,
    },
}
