//! A client's body: counted, under the client's deadlines, and taken to its end.
//!
//! An early answer drops the body while the client still sends it. A client that writes before
//! it reads would then find a closed connection, or a reset stream, in place of the answer. So a
//! dropped body is read on and thrown away here, in both protocols, within bounds.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::timeout;
use weappd_base::tasks::{Stop, Tasks};

use crate::body_error::EdgeBodyError;
use crate::conn::linger::{LINGER_MAX, LINGER_MAX_BYTES, LINGER_SILENCE_MAX};
use crate::conn::pace::{LeastRate, RateTimer};

/// How long a dropped body is read at a stop.
const LINGER_AT_STOP_MAX: Duration = Duration::from_secs(1);

/// What a client's body is read under.
#[derive(Clone, Debug)]
pub(crate) struct UploadTerms {
    /// Bytes it may have.
    pub(crate) limit: u64,
    /// What is asked of the client, where its connection does not ask it already.
    pub(crate) rate: Option<LeastRate>,
    /// The client sends nothing until it is told to go on.
    pub(crate) awaits_continue: bool,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
}

/// A client's body.
#[derive(Debug)]
pub(crate) struct UploadBody {
    /// `None` once it is at its end, or broken.
    incoming: Option<Incoming>,
    left: u64,
    upload_progress: UploadProgress,
    timer: Option<RateTimer>,
    awaits_continue: bool,
    tasks: Tasks,
    stop: Stop,
}

/// How far a client's body came, for the code that must answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct UploadProgress(Option<Arc<AtomicU8>>);

const BROKEN: u8 = 1;
const TOO_LARGE: u8 = 2;
const FLOWING: u8 = 3;
const TOO_SLOW: u8 = 4;

impl UploadProgress {
    pub(crate) fn open() -> Self {
        Self(Some(Arc::default()))
    }

    fn set(&self, what: u8) {
        if let Some(upload_progress) = &self.0 {
            upload_progress.store(what, Ordering::Relaxed);
        }
    }

    fn is(&self, what: u8) -> bool {
        self.0
            .as_ref()
            .is_some_and(|upload_progress| upload_progress.load(Ordering::Relaxed) == what)
    }

    /// Whether bytes came since this was asked last.
    pub(crate) fn took_bytes(&self) -> bool {
        let Some(upload_progress) = &self.0 else {
            return false;
        };
        upload_progress
            .compare_exchange(FLOWING, 0, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }

    /// The client's framing was broken, or the client went away.
    pub(crate) fn is_broken(&self) -> bool {
        self.is(BROKEN)
    }

    /// The body was longer than allowed.
    pub(crate) fn is_too_large(&self) -> bool {
        self.is(TOO_LARGE)
    }

    /// The body came too slowly.
    pub(crate) fn is_too_slow(&self) -> bool {
        self.is(TOO_SLOW)
    }
}

impl UploadBody {
    pub(crate) fn new(
        incoming: Incoming,
        terms: UploadTerms,
        upload_progress: UploadProgress,
    ) -> Self {
        Self {
            incoming: Some(incoming),
            left: terms.limit,
            upload_progress,
            timer: terms.rate.map(RateTimer::new),
            awaits_continue: terms.awaits_continue,
            tasks: terms.tasks,
            stop: terms.stop,
        }
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.incoming
            .as_ref()
            .is_none_or(http_body::Body::is_end_stream)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        let hint = self.incoming.as_ref().map(http_body::Body::size_hint);
        hint.unwrap_or_else(|| SizeHint::with_exact(0))
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeBodyError>>> {
        self.awaits_continue = false;
        let Some(incoming) = &mut self.incoming else {
            return Poll::Ready(None);
        };
        match Pin::new(incoming).poll_frame(cx) {
            Poll::Pending => match self.timer.as_mut().map(|timer| timer.poll_wait(cx)) {
                Some(Poll::Ready(_)) => Poll::Ready(Some(Err(self.give_up()))),
                _ => Poll::Pending,
            },
            Poll::Ready(None) => {
                self.incoming = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Err(error))) => {
                self.incoming = None;
                self.upload_progress.set(BROKEN);
                Poll::Ready(Some(Err(error.into())))
            }
            // Headers that come late were not looked at: no app sees them.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => {
                self.incoming = None;
                Poll::Ready(None)
            }
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(Some(self.take(frame))),
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, EdgeBodyError> {
        let len = frame.data_ref().map_or(0, Bytes::len);
        if self
            .timer
            .as_mut()
            .is_some_and(|timer| timer.moved(len).is_err())
        {
            return Err(self.give_up());
        }
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let Some(left) = self.left.checked_sub(len) else {
            self.upload_progress.set(TOO_LARGE);
            return Err(io::Error::other("the request's body is too large").into());
        };
        self.left = left;
        self.upload_progress.set(FLOWING);
        Ok(frame)
    }

    /// Nothing more is waited for, not even to be forgotten.
    fn give_up(&mut self) -> EdgeBodyError {
        self.incoming = None;
        self.upload_progress.set(TOO_SLOW);
        let error = io::Error::new(
            io::ErrorKind::TimedOut,
            "the request's body came too slowly",
        );
        error.into()
    }
}

impl Drop for UploadBody {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else {
            return;
        };
        // A client that waits for `100 Continue` gets the answer alone.
        if self.awaits_continue || http_body::Body::is_end_stream(&incoming) {
            return;
        }
        // Without a runtime the thread is ending, and the connection with it.
        if tokio::runtime::Handle::try_current().is_ok() {
            self.tasks.spawn(linger(incoming, self.stop.clone()));
        }
    }
}

/// Reads what the client still sends, and throws it away.
async fn linger(mut incoming: Incoming, stop: Stop) {
    let rest = async {
        let mut seen = 0;
        while let Ok(Some(Ok(frame))) = timeout(LINGER_SILENCE_MAX, incoming.frame()).await {
            seen += frame.data_ref().map_or(0, Bytes::len) as u64;
            if seen > LINGER_MAX_BYTES {
                break;
            }
        }
    };
    let closing = async {
        stop.asked().await;
        tokio::time::sleep(LINGER_AT_STOP_MAX).await;
    };
    // Done or out of patience: either way the connection may go now.
    tokio::select! {
        () = rest => {}
        () = tokio::time::sleep(LINGER_MAX) => {}
        () = closing => {}
    }
}
