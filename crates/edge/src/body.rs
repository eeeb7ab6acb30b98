//! One body type for all that flows through the door, in either direction.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::access_log::Tally;
use crate::client_share::ClientShare;
use crate::download::{Download, Patience};
use crate::pool::Lent;
use crate::static_files::FileBody;
use crate::stream_tasks::AnswerWatch;
use crate::upload::{Fate, Upload, UploadTerms};

/// Why a body could not be read to its end.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A request's or an answer's body.
#[derive(Debug, Default)]
pub(crate) struct Body {
    kind: Kind,
    tally: Option<Box<Tally>>,
    /// The request is under way until its answer is sent.
    share: Option<ClientShare>,
    /// Of an answer over HTTP/2.
    paced: Option<Box<Paced>>,
}

/// An answer over HTTP/2 goes out in small pieces, each of which its client takes in time.
#[derive(Debug)]
struct Paced {
    watch: Arc<AnswerWatch>,
    /// What is still to be handed out of the last piece.
    rest: Bytes,
}

/// The most that is handed to an HTTP/2 stream at a time.
const PIECE: usize = 16 * 1024;

#[derive(Debug, Default)]
enum Kind {
    #[default]
    Empty,
    Full(Bytes),
    /// From the client.
    Upload(Upload),
    /// From a business server.
    Download(Download),
    Room(axum::body::Body),
    File(FileBody),
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

    /// A client's body.
    pub(crate) fn upload(incoming: Incoming, terms: impl FnOnce() -> UploadTerms) -> (Self, Fate) {
        if http_body::Body::is_end_stream(&incoming) {
            return (Self::default(), Fate::default());
        }
        let fate = Fate::open();
        let upload = Upload::new(incoming, terms(), fate.clone());
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
        Self::of(Kind::Download(Download::new(incoming, lent)))
    }

    fn of(kind: Kind) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// A business server that falls silent in this answer is waited for so long.
    pub(crate) fn patient(mut self, patience: impl FnOnce() -> Patience) -> Self {
        if let Kind::Download(download) = &mut self.kind {
            download.set_patience(patience());
        }
        self
    }

    /// Counts this answer until it is sent or given up.
    pub(crate) fn tallied(mut self, tally: Tally) -> Self {
        self.tally = Some(Box::new(tally));
        self
    }

    /// Keeps its client's share taken until it is sent or given up.
    pub(crate) fn sharing(mut self, share: ClientShare) -> Self {
        self.share = Some(share);
        self
    }

    /// Goes out on an HTTP/2 stream whose client is watched.
    pub(crate) fn watched(mut self, watch: Arc<AnswerWatch>) -> Self {
        let rest = Bytes::new();
        self.paced = Some(Box::new(Paced { watch, rest }));
        self
    }

    fn poll_kind(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.kind {
            Kind::Empty => Poll::Ready(None),
            Kind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = Kind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Kind::Upload(upload) => upload.poll(cx),
            Kind::Download(download) => download.poll(cx),
            Kind::Room(body) => Pin::new(body).poll_frame(cx).map_err(BodyError::from),
            Kind::File(file) => file.poll(cx).map_err(BodyError::from),
        }
    }

    /// One piece of what there is, for a client that took the one before.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        mut paced: Box<Paced>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Err(slow) = paced.watch.taken() {
            return Poll::Ready(Some(Err(slow.into())));
        }
        let mut frame = None;
        if paced.rest.is_empty() {
            match self.poll_kind(cx) {
                Poll::Ready(Some(Ok(next))) => match next.into_data() {
                    Ok(data) => paced.rest = data,
                    Err(trailers) => frame = Some(Ok(trailers)),
                },
                other => {
                    self.paced = Some(paced);
                    return other;
                }
            }
        }
        if frame.is_none() {
            let piece = paced.rest.split_to(paced.rest.len().min(PIECE));
            paced.watch.handed(piece.len());
            frame = Some(Ok(Frame::data(piece)));
        }
        self.paced = Some(paced);
        Poll::Ready(frame)
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
        let frame = match this.paced.take() {
            None => this.poll_kind(cx),
            Some(paced) => this.poll_piece(cx, paced),
        };
        if let (Some(tally), Poll::Ready(Some(Ok(frame)))) = (&mut this.tally, &frame) {
            tally.add(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        if self
            .paced
            .as_ref()
            .is_some_and(|paced| !paced.rest.is_empty())
        {
            return false;
        }
        match &self.kind {
            Kind::Empty => true,
            Kind::Full(bytes) => bytes.is_empty(),
            Kind::Upload(upload) => upload.is_end_stream(),
            Kind::Download(download) => download.is_end_stream(),
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
            Kind::Upload(upload) => upload.size_hint(),
            Kind::Download(download) => download.size_hint(),
            Kind::Room(body) => http_body::Body::size_hint(body),
            Kind::File(file) => SizeHint::with_exact(file.left()),
        }
    }
}
