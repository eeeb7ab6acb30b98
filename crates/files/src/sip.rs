//! Feeds a body to the multipart parser in sips, so that neither a fast phone nor a part
//! without end fills the memory.
//!
//! The parser swallows whatever its source has ready before it looks at any of it. A
//! [`Sips`] therefore gives one chunk, then says "wait" once; after progress, it says
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
const MAX_SWALLOWED: usize = 64 * 1024;

/// Where the parser's owner reports that something came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress(Arc<AtomicBool>);

impl Progress {
    /// A part, or a piece of one, came out of the parser.
    pub(crate) fn made(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The body ended up in the parser without a part coming out.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_SWALLOWED} bytes without a part")]
pub(crate) struct Swallowed;

/// A body given to the parser one chunk at a time.
#[derive(Debug)]
pub(crate) struct Sips<S> {
    body: S,
    progress: Progress,
    fed: bool,
    swallowed: usize,
}

impl<S> Sips<S> {
    pub(crate) fn new(body: S, progress: Progress) -> Self {
        Self {
            body,
            progress,
            fed: false,
            swallowed: 0,
        }
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl<S, E> Stream for Sips<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
    E: Into<BoxError>,
{
    type Item = Result<Bytes, BoxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let moved = self.progress.0.swap(false, Ordering::Relaxed);
        if moved {
            self.swallowed = 0;
        }
        if moved || self.fed {
            self.fed = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.swallowed > MAX_SWALLOWED {
            return Poll::Ready(Some(Err(Swallowed.into())));
        }
        match std::task::ready!(Pin::new(&mut self.body).poll_next(cx)) {
            Some(Ok(chunk)) => {
                self.fed = true;
                self.swallowed += chunk.len();
                Poll::Ready(Some(Ok(chunk)))
            }
            Some(Err(error)) => Poll::Ready(Some(Err(error.into()))),
            None => Poll::Ready(None),
        }
    }
}
