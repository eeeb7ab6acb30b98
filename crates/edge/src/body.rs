//! One body type for requests and answers, whatever their source.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;

use crate::body_error::EdgeBodyError;
use crate::caller::client_share::ClientShare;
use crate::conn::stream_tasks::AnswerWatch;
use crate::conn::upload::{UploadBody, UploadProgress, UploadTerms};
use crate::files::file_body::FileBody;
use crate::log::access_log::RequestRecord;
use crate::upstream::answer_body::{AnswerBody, SilenceLimit};
use crate::upstream::pool::PooledConn;

/// A request's or an answer's body.
#[derive(Debug, Default)]
pub(crate) struct EdgeBody {
    kind: BodyKind,
    record: Option<Box<RequestRecord>>,
    /// The request is under way until its answer is sent.
    share: Option<ClientShare>,
    /// Of an answer over HTTP/2.
    paced: Option<Box<PacedAnswer>>,
}

/// An answer over HTTP/2 goes out in small pieces, each of which its client takes in time.
#[derive(Debug)]
struct PacedAnswer {
    watch: Arc<AnswerWatch>,
    /// What is still to be handed out of the last piece.
    rest: Bytes,
}

/// The most that is handed to an HTTP/2 stream at a time.
const PIECE_BYTES: usize = 16 * 1024;

#[derive(Debug, Default)]
enum BodyKind {
    #[default]
    Empty,
    Full(Bytes),
    // The large ones are boxed: requests and answers are moved often, each with its body.
    /// From the client.
    Upload(Box<UploadBody>),
    /// From a business server.
    Download(Box<AnswerBody<EdgeBody>>),
    Router(axum::body::Body),
    File(Box<FileBody>),
}

impl EdgeBody {
    pub(crate) fn full(bytes: impl Into<Bytes>) -> Self {
        Self::of(BodyKind::Full(bytes.into()))
    }

    pub(crate) fn file(file: FileBody) -> Self {
        Self::of(BodyKind::File(Box::new(file)))
    }

    pub(crate) fn from_router(body: axum::body::Body) -> Self {
        Self::of(BodyKind::Router(body))
    }

    /// A client's body.
    pub(crate) fn upload(
        incoming: Incoming,
        terms: impl FnOnce() -> UploadTerms,
    ) -> (Self, UploadProgress) {
        if http_body::Body::is_end_stream(&incoming) {
            return (Self::default(), UploadProgress::default());
        }
        let upload_progress = UploadProgress::open();
        let upload = UploadBody::new(incoming, terms(), upload_progress.clone());
        (
            Self::of(BodyKind::Upload(Box::new(upload))),
            upload_progress,
        )
    }

    /// An answer's body from the connection `lent`.
    pub(crate) fn upstream(incoming: Incoming, pooled: Option<PooledConn<Self>>) -> Self {
        if http_body::Body::is_end_stream(&incoming) {
            if let Some(pooled) = pooled {
                pooled.give_back();
            }
            return Self::default();
        }
        let answer = AnswerBody::new(incoming, pooled);
        Self::of(BodyKind::Download(Box::new(answer)))
    }

    fn of(kind: BodyKind) -> Self {
        Self {
            kind,
            ..Self::default()
        }
    }

    /// How long a business server may pause in this answer.
    pub(crate) fn limit_silence(mut self, limit: impl FnOnce() -> SilenceLimit) -> Self {
        if let BodyKind::Download(download) = &mut self.kind {
            download.set_silence_limit(limit());
        }
        self
    }

    /// Counts this answer until it is sent or given up.
    pub(crate) fn recorded(mut self, record: Box<RequestRecord>) -> Self {
        self.record = Some(record);
        self
    }

    /// Keeps its client's share taken until it is sent or given up.
    pub(crate) fn sharing(mut self, share: ClientShare) -> Self {
        self.share = Some(share);
        self
    }

    /// Goes out on an HTTP/2 stream, at the pace that its client keeps.
    pub(crate) fn watched(mut self, watch: Arc<AnswerWatch>) -> Self {
        let rest = Bytes::new();
        self.paced = Some(Box::new(PacedAnswer { watch, rest }));
        self
    }

    fn poll_kind(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeBodyError>>> {
        match &mut self.kind {
            BodyKind::Empty => Poll::Ready(None),
            BodyKind::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                self.kind = BodyKind::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            BodyKind::Upload(upload) => upload.poll(cx),
            BodyKind::Download(download) => download.poll(cx),
            BodyKind::Router(body) => Pin::new(body).poll_frame(cx).map_err(EdgeBodyError::from),
            BodyKind::File(file) => file.poll(cx).map_err(EdgeBodyError::from),
        }
    }

    /// One piece of what there is, for a client that took the one before.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        mut paced: Box<PacedAnswer>,
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeBodyError>>> {
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
            let piece = paced.rest.split_to(paced.rest.len().min(PIECE_BYTES));
            paced.watch.handed(piece.len());
            frame = Some(Ok(Frame::data(piece)));
        }
        self.paced = Some(paced);
        Poll::Ready(frame)
    }
}

impl http_body::Body for EdgeBody {
    type Data = Bytes;
    type Error = EdgeBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, EdgeBodyError>>> {
        let this = &mut *self;
        let frame = match this.paced.take() {
            None => this.poll_kind(cx),
            Some(paced) => this.poll_piece(cx, paced),
        };
        if let (Some(record), Poll::Ready(Some(Ok(frame)))) = (&mut this.record, &frame) {
            record.add(frame.data_ref().map_or(0, Bytes::len));
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
            BodyKind::Empty => true,
            BodyKind::Full(bytes) => bytes.is_empty(),
            BodyKind::Upload(upload) => upload.is_end_stream(),
            BodyKind::Download(download) => download.is_end_stream(),
            BodyKind::Router(body) => http_body::Body::is_end_stream(body),
            BodyKind::File(file) => file.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.kind {
            BodyKind::Empty => SizeHint::with_exact(0),
            BodyKind::Full(bytes) => {
                SizeHint::with_exact(u64::try_from(bytes.len()).unwrap_or(u64::MAX))
            }
            BodyKind::Upload(upload) => upload.size_hint(),
            BodyKind::Download(download) => download.size_hint(),
            BodyKind::Router(body) => http_body::Body::size_hint(body),
            BodyKind::File(file) => SizeHint::with_exact(file.left()),
        }
    }
}
