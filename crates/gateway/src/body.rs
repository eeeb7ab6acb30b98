//! Bodies on their way: counted, bounded in size and time, their start perhaps read already.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, Sleep};

use crate::api_client::OutBodyError;

/// Why a body ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyCut {
    #[error("the body is longer than allowed")]
    TooLong,
    #[error("the time for the whole call is over")]
    TooSlow,
    #[error("the body broke off")]
    Broken,
}

/// A body whose start was read already, and which may not be longer than it may.
pub(crate) struct MeteredBody<B> {
    start: Option<Bytes>,
    rest: Option<B>,
    left: u64,
    length: Option<u64>,
    too_long: Arc<AtomicBool>,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> MeteredBody<B> {
    /// `start`, then `rest`, at most `limit` bytes together; `length` of both, if known.
    pub(crate) fn new(start: Bytes, rest: Option<B>, limit: u64, length: Option<u64>) -> Self {
        Self {
            left: limit.saturating_sub(start.len() as u64),
            start: Some(start).filter(|start| !start.is_empty()),
            rest,
            length,
            too_long: Arc::default(),
            deadline: None,
        }
    }

    /// Also ends at `deadline`.
    pub(crate) fn until(mut self, deadline: Instant) -> Self {
        self.deadline = Some(Box::pin(tokio::time::sleep_until(deadline)));
        self
    }

    /// Tells later whether the body was cut for its length.
    pub(crate) fn alarm(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.too_long)
    }
}

impl<B> Body for MeteredBody<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<OutBodyError>,
{
    type Data = Bytes;
    type Error = OutBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, OutBodyError>>> {
        if let Some(start) = self.start.take() {
            return Poll::Ready(Some(Ok(Frame::data(start))));
        }
        if let Some(deadline) = &mut self.deadline
            && deadline.as_mut().poll(cx).is_ready()
        {
            self.rest = None;
            return Poll::Ready(Some(Err(BodyCut::TooSlow.into())));
        }
        let Some(rest) = &mut self.rest else {
            return Poll::Ready(None);
        };
        match ready!(Pin::new(rest).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else {
                    // Trailers have no place in WeChat's contract.
                    self.rest = None;
                    return Poll::Ready(None);
                };
                let Some(left) = self.left.checked_sub(data.len() as u64) else {
                    self.rest = None;
                    self.too_long.store(true, Ordering::Relaxed);
                    return Poll::Ready(Some(Err(BodyCut::TooLong.into())));
                };
                self.left = left;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(problem)) => Poll::Ready(Some(Err(problem.into()))),
            None => {
                self.rest = None;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.start.is_none() && self.rest.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length),
            None => SizeHint::new(),
        }
    }
}

/// The start of a body, and what is left of it.
pub(crate) struct BodyStart<B> {
    /// All of it, if nothing is left.
    pub(crate) read: Bytes,
    /// What is still on its way.
    pub(crate) rest: Option<B>,
}

/// Reads a body until it ends, `most` bytes are there, or `enough` of it is.
pub(crate) async fn read_start<B>(
    mut body: B,
    most: usize,
    enough: impl Fn(&[u8]) -> bool,
) -> Result<BodyStart<B>, BodyCut>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut read = BytesMut::new();
    loop {
        if read.len() > most || enough(&read) {
            return Ok(BodyStart {
                read: read.freeze(),
                rest: Some(body),
            });
        }
        match body.frame().await {
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    read.extend_from_slice(&data);
                }
            }
            Some(Err(_)) => return Err(BodyCut::Broken),
            None => {
                return Ok(BodyStart {
                    read: read.freeze(),
                    rest: None,
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as AxumBody;
    use futures_util::stream;

    use super::*;

    fn chunks(sizes: &[usize]) -> AxumBody {
        let chunks: Vec<_> = sizes
            .iter()
            .map(|size| Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; *size])))
            .collect();
        AxumBody::from_stream(stream::iter(chunks))
    }

    #[tokio::test]
    async fn a_body_is_put_together_again() {
        let start = read_start(chunks(&[3, 3, 3]), 4, |_| false)
            .await
            .expect("a start");
        assert_eq!(start.read.len(), 6);
        let whole = MeteredBody::new(start.read, start.rest, 9, None);
        let bytes = whole.collect().await.expect("fits").to_bytes();
        assert_eq!(bytes.len(), 9);

        let start = read_start(chunks(&[3, 3]), 6, |_| false)
            .await
            .expect("all");
        assert!(start.rest.is_none() && start.read.len() == 6);
        let early = read_start(chunks(&[3, 3]), 100, |read| !read.is_empty())
            .await
            .expect("a start");
        assert!(early.rest.is_some() && early.read.len() == 3);
    }

    #[tokio::test]
    async fn a_body_too_long_sounds_the_alarm() {
        let body = MeteredBody::new(Bytes::new(), Some(chunks(&[3, 3])), 5, None);
        let alarm = body.alarm();
        assert!(body.collect().await.is_err());
        assert!(alarm.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn a_body_ends_in_time() {
        let endless = AxumBody::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        let body = MeteredBody::new(Bytes::new(), Some(endless), 5, None).until(Instant::now());
        let cut = body.collect().await.expect_err("it ends");
        assert_eq!(cut.downcast_ref::<BodyCut>(), Some(&BodyCut::TooSlow));
    }
}
