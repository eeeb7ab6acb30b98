//! The body of a business server's answer, and how long it may pause.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;
use weappd_base::tasks::Stop;

use crate::body_error::EdgeBodyError;
use crate::conn::pace::LazyTimer;
use crate::log::throttled_log::ThrottledLog;
use crate::upstream::address::UpstreamAddr;
use crate::upstream::pool::PooledConn;

/// How often a silent answer is looked after, and how long it may be silent at a stop.
const SILENCE_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// The body of a business server's answer; its connection goes back to the pool at the end.
#[derive(Debug)]
pub(crate) struct AnswerBody<B> {
    incoming: Incoming,
    pooled: Option<PooledConn<B>>,
    silence_limit: Option<SilenceLimit>,
}

/// How long a business server may be silent in the middle of its answer.
#[derive(Debug)]
pub(crate) struct SilenceLimit {
    limit: Duration,
    stop: Stop,
    of: UpstreamAddr,
    notices: Arc<ThrottledLog>,
    since: Option<Instant>,
    timer: LazyTimer,
}

impl SilenceLimit {
    pub(crate) fn new(
        limit: Duration,
        stop: Stop,
        of: UpstreamAddr,
        notices: Arc<ThrottledLog>,
    ) -> Self {
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
                self.notices.log_silent(&self.of, self.limit);
                let error = io::Error::new(io::ErrorKind::TimedOut, "the answer fell silent");
                return Poll::Ready(error);
            }
            if silent >= SILENCE_CHECK_INTERVAL && self.stop.is_asked() {
                let error = io::Error::other("the answer was silent when weappd had to stop");
                return Poll::Ready(error);
            }
            let next = (silent + SILENCE_CHECK_INTERVAL).min(self.limit);
            if self.timer.poll(cx, since + next).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<B> AnswerBody<B>
where
    B: Body<Data = Bytes, Error = EdgeBodyError> + Default + Send + 'static,
{
    pub(crate) fn new(incoming: Incoming, pooled: Option<PooledConn<B>>) -> Self {
        Self {
            incoming,
            pooled,
            silence_limit: None,
        }
    }

    pub(crate) fn set_silence_limit(&mut self, silence_limit: SilenceLimit) {
        self.silence_limit = Some(silence_limit);
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
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeBodyError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(cx) else {
            let Some(silence_limit) = &mut self.silence_limit else {
                return Poll::Pending;
            };
            return silence_limit.poll(cx).map(|error| {
                // Its connection cannot be used again.
                self.pooled = None;
                Some(Err(error.into()))
            });
        };
        if let Some(silence_limit) = &mut self.silence_limit {
            silence_limit.since = None;
        }
        let done = match &frame {
            None => true,
            Some(Ok(_)) => self.is_end_stream(),
            Some(Err(_)) => false,
        };
        if let Some(pooled) = self.pooled.take_if(|_| done) {
            pooled.give_back();
        }
        Poll::Ready(frame.map(|frame| frame.map_err(EdgeBodyError::from)))
    }
}
