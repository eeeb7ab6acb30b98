//! Feeds a body to the multipart parser one chunk at a time, so that neither a fast phone nor a part
//! without end fills the memory.
//!
//! The parser swallows whatever its source has ready before it looks at any of it. A
//! [`ChunkGate`] therefore gives one chunk, then says "wait" once; after progress, it says
//! "wait" before giving more, so that the parser empties its own buffer first; and it
//! refuses when too much went in without a part or a piece of one coming out.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;

/// The most that may go into the parser with nothing coming out: a part's headers, or the
/// words before the first part.
const MAX_BYTES_WITHOUT_PART: usize = 64 * 1024;

/// Where the parser's owner reports that something came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct FormProgress(Arc<AtomicBool>);

impl FormProgress {
    /// A part, or a piece of one, came out of the parser.
    pub(crate) fn made(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The body ended up in the parser without a part coming out.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_BYTES_WITHOUT_PART} bytes without a part")]
pub(crate) struct NoPartError;

/// A body given to the parser one chunk at a time.
#[derive(Debug)]
pub(crate) struct ChunkGate<S> {
    body: S,
    progress: FormProgress,
    fed: bool,
    bytes_without_part: usize,
}

impl<S> ChunkGate<S> {
    pub(crate) fn new(body: S, progress: FormProgress) -> Self {
        Self {
            body,
            progress,
            fed: false,
            bytes_without_part: 0,
        }
    }
}

type FormReadError = Box<dyn std::error::Error + Send + Sync>;

impl<S, E> Stream for ChunkGate<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<FormReadError>,
{
    type Item = Result<Bytes, FormReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let moved = self.progress.0.swap(false, Ordering::Relaxed);
        if moved {
            self.bytes_without_part = 0;
        }
        if moved || self.fed {
            self.fed = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.bytes_without_part > MAX_BYTES_WITHOUT_PART {
            return Poll::Ready(Some(Err(NoPartError.into())));
        }
        match std::task::ready!(Pin::new(&mut self.body).poll_next(cx)) {
            Some(Ok(chunk)) => {
                self.fed = true;
                self.bytes_without_part += chunk.len();
                Poll::Ready(Some(Ok(chunk)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => Poll::Ready(None),
        }
    }
}
