//! The body of a business server's answer, which must not fall silent.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;
use weappd_base::tasks::Stop;

use crate::body::BodyError;
use crate::notices::Notices;
use crate::pace::LazyTimer;
use crate::pool::{Lent, Upstream};

/// How often a silent answer is looked after, and how long it may be silent at a stop.
const LOOK: Duration = Duration::from_secs(5);

/// The body of a business server's answer; its connection goes back to the pool at the end.
#[derive(Debug)]
pub(crate) struct Download {
    incoming: Incoming,
    lent: Option<Lent>,
    patience: Option<Patience>,
}

/// How long a business server may be silent in the middle of its answer.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    stop: Stop,
    of: Upstream,
    notices: Arc<Notices>,
    since: Option<Instant>,
    timer: LazyTimer,
}

impl Patience {
    pub(crate) fn new(limit: Duration, stop: Stop, of: Upstream, notices: Arc<Notices>) -> Self {
        Self {
            limit,
            stop,
            of,
            notices,
            since: None,
            timer: LazyTimer::default(),
        }
    }

    /// The business server is silent; ready when it was so for too long.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let since = *self.since.get_or_insert_with(Instant::now);
        loop {
            let silent = since.elapsed();
            if silent >= self.limit {
                self.notices.fell_silent(&self.of, self.limit);
                let error = io::Error::new(io::ErrorKind::TimedOut, "the answer fell silent");
                return Poll::Ready(error);
            }
            if silent >= LOOK && self.stop.is_asked() {
                let error = io::Error::other("the answer was silent when weappd had to stop");
                return Poll::Ready(error);
            }
            let next = (silent + LOOK).min(self.limit);
            if self.timer.poll(cx, since + next).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl Download {
    pub(crate) fn new(incoming: Incoming, lent: Option<Lent>) -> Self {
        Self {
            incoming,
            lent,
            patience: None,
        }
    }

    pub(crate) fn set_patience(&mut self, patience: Patience) {
        self.patience = Some(patience);
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        http_body::Body::is_end_stream(&self.incoming)
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        http_body::Body::size_hint(&self.incoming)
    }

    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let Some(patience) = &mut self.patience else {
                return Poll::Pending;
            };
            return patience.poll(cx).map(|error| {
                // Its connection is of no use to anybody.
                self.lent = None;
                Some(Err(error.into()))
            });
        };
        if let Some(patience) = &mut self.patience {
            patience.since = None;
        }
        let done = match &frame {
            None => true,
            Some(Ok(_)) => self.is_end_stream(),
            Some(Err(_)) => false,
        };
        if let Some(lent) = self.lent.take_if(|_| done) {
            lent.give_back();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(BodyError::from)))
    }
}
