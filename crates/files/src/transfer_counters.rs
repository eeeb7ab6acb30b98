//! What the room counts.

use weappd_base::metrics::{LabelCounters, MetricCounter, MetricLabel};

use crate::error::Error;

/// How an upload or a download ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TransferEnd {
    /// The upload was kept; the download's head was given.
    Done,
    /// The phone asked for something that it does not get.
    Refused,
    /// weappd or its disk failed.
    Failed,
}

impl MetricLabel for TransferEnd {
    const NAME: &'static str = "end";
    const VALUES: &'static [&'static str] = &["done", "refused", "failed"];

    fn index(self) -> usize {
        self as usize
    }
}

impl TransferEnd {
    pub(crate) fn of<T>(outcome: &Result<T, Error>) -> Self {
        match outcome {
            Ok(_) => Self::Done,
            Err(error) if error.status().is_server_error() => Self::Failed,
            Err(_) => Self::Refused,
        }
    }
}

/// What the room counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct TransferCounters {
    pub(crate) uploads: LabelCounters<TransferEnd>,
    pub(crate) kept_bytes: MetricCounter,
    pub(crate) downloads: LabelCounters<TransferEnd>,
}
