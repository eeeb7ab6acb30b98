//! One body type for all that flows through the door, in either direction.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::access_log::Tally;
use crate::pool::Lent;
use crate::static_files::FileBody;

/// Why a body could not be read to its end.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or an answer's body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    kind: Kind,
    tally: Option<Box<Tally>>,
}

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// From the client.
    Upload(Upload),
    /// From a business server; the connection goes back to its pool at the end.
    Upstream(Incoming, Option<Lent>),
    Room(axum::body::Body),
    File(FileBody),
}

/// A client's body: counted, and what went wrong is remembered for the answer.
#[derive(Debug)]
pub(crate) struct Upload {
    incoming: Incoming,
    left: u64,
    fate: Fate,
}

/// What became of a client's body, for the one who must answer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fate(Option<Arc<AtomicU8>>);

const FLOWING: u8 = 3;
const BROKEN: u8 = 1;
const TOO_LARGE: u8 = 2;

impl Fate {
    fn set(&self, what: u8) {
        if let Some(fate) = &self.0 {
            fate.store(what, Ordering::Relaxed);
        }
    }

    fn is(&self, what: u8) -> bool {
        self.0
            .as_ref()
            .is_some_and(|fate| fate.load(Ordering::Relaxed) == what)
    }

    /// Whether bytes came since this was asked last.
    pub(crate) fn moved(&self) -> bool {
        let Some(fate) = &self.0 else { return false };
        fate.compare_exchange(FLOWING, 0, Ordering::Relaxed, Ordering::Relaxed)
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
}

impl Body {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::of(Kind::Full(bytes.into()))
    }

    pub(crate) fn file(file: FileBody) -> Self {
        Self::of(Kind::File(file))
    }

    pub(crate) fn room(body: axum::body::Body) -> Self {
        Self::of(Kind::Room(body))
    }

    /// A client's body of at most `limit` bytes.
    pub(crate) fn upload(incoming: Incoming, limit: u64) -> (Self, Fate) {
        if http_body::Body::is_end_stream(&incoming) {
            return (Self::default(), Fate::default());
        }
        let fate = Fate(Some(Arc::default()));
        let upload = Upload {
            incoming,
            left: limit,
            fate: fate.clone(),
        };
        (Self::of(Kind::Upload(upload)), fate)
    }

    /// An answer's body from the connection `lent`.
    pub(crate) fn upstream(incoming: Incoming, lent: Option<Lent>) -> Self {
        if http_body::Body::is_end_stream(&incoming) {
            if let Some(lent) = lent {
                lent.give_back();
            }
            return Self::default();
        }
        Self::of(Kind::Upstream(incoming, lent))
    }

    fn of(kind: Kind) -> Self {
        Self { kind, tally: None }
    }

    /// Counts this answer until it is sent or given up.
    pub(crate) fn tallied(mut self, tally: Tally) -> Self {
        self.tally = Some(Box::new(tally));
        self
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let frame = match &mut this.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                this.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Upload(upload) => upload.poll(cx),
            Kind::Upstream(incoming, lent) => {
                let frame = Pin::new(&mut *incoming)
                    .poll_frame(cx)
                    .map_err(BodyError::from);
                let done = match &frame {
                    Poll::Ready(None) => true,
                    Poll::Ready(Some(Ok(_))) => http_body::Body::is_end_stream(incoming),
                    _ => false,
                };
                if let Some(lent) = lent.take_if(|_| done) {
                    lent.give_back();
                }
                frame
            }
            Kind::Room(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Kind::File(file) => file.poll(cx).map_err(BodyError::from),
        };
        if let (Some(tally), Poll::Ready(Some(Ok(frame)))) = (&mut this.tally, &frame) {
            tally.add(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Upload(upload) => http_body::Body::is_end_stream(&upload.incoming),
            Kind::Upstream(incoming, _) => http_body::Body::is_end_stream(incoming),
            Kind::Room(body) => http_body::Body::is_end_stream(body),
            Kind::File(file) => file.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            Kind::Upload(upload) => http_body::Body::size_hint(&upload.incoming),
            Kind::Upstream(incoming, _) => http_body::Body::size_hint(incoming),
            Kind::Room(body) => http_body::Body::size_hint(body),
            Kind::File(file) => SizeHint::with_exact(file.left()),
        }
    }
}

impl Upload {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match Pin::new(&mut self.incoming).poll_frame(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => {
                self.fate.set(BROKEN);
                Poll::Ready(Some(Err(error.into())))
            }
            // Headers that come late were not looked at: no app sees them.
            Poll::Ready(Some(Ok(frame))) if frame.is_trailers() => Poll::Ready(None),
            Poll::Ready(Some(Ok(frame))) => {
                let len = frame.data_ref().map_or(0, Bytes::len);
                let len = u64::try_from(len).unwrap_or(u64::MAX);
                let Some(left) = self.left.checked_sub(len) else {
                    self.fate.set(TOO_LARGE);
                    let error = io::Error::other("the request's body is too large");
                    return Poll::Ready(Some(Err(error.into())));
                };
                self.left = left;
                self.fate.set(FLOWING);
                Poll::Ready(Some(Ok(frame)))
            }
        }
    }
}
