//! One line a request, noted on the road and written off it.
//!
//! An edge thread only copies the few texts of a line into its [`Ledger`]; a thread of its
//! own (`access_lines`) masks secrets and writes many lines at once.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri, header};
use parking_lot::Mutex;
use weappd_base::clock::Clock;

use crate::connection::Visit;
use crate::head_answer::HeadAnswer;
use crate::traffic::Traffic;

/// Lines that wait at most before they are handed over.
const BATCH: usize = 256;
const AGENT_LEN: usize = 80;

/// Lines of one edge thread on their way to the writer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) text: String,
    pub(crate) lines: Vec<Line>,
}

/// One request; the ranges are of the batch's text.
#[derive(Debug)]
pub(crate) struct Line {
    /// When it was answered: milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) method: Method,
    pub(crate) target: Range<usize>,
    pub(crate) host: Range<usize>,
    pub(crate) agent: Range<usize>,
    pub(crate) peer: SocketAddr,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) ms: u64,
}

/// Where an edge thread notes its requests.
#[derive(Debug)]
pub(crate) struct Ledger {
    batch: Mutex<Batch>,
    writer: SyncSender<Batch>,
    clock: Clock,
}

impl Ledger {
    pub(crate) fn new(writer: SyncSender<Batch>, clock: Clock) -> Self {
        Self {
            batch: Mutex::default(),
            writer,
            clock,
        }
    }

    /// Hands the noted lines over; a writer that cannot keep up loses them, never the
    /// request. Says whether there were any.
    pub(crate) fn flush(&self) -> bool {
        let Some(batch) = self.take() else {
            return false;
        };
        let count = batch.lines.len();
        if self.writer.try_send(batch).is_err() {
            tracing::warn!(count, "access log lines were lost: the writer is too slow");
        }
        true
    }

    /// A head that could not be read, and was answered.
    pub(crate) fn refused_head(&self, peer: Option<SocketAddr>, answer: &HeadAnswer) {
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = peer.unwrap_or(nobody);
        let mut batch = self.batch.lock();
        let Batch { text, lines } = &mut *batch;
        let nothing = add(text, "", 0);
        lines.push(Line {
            at: self.clock.unix_millis(),
            method: Method::from_bytes(b"-").unwrap_or_default(),
            target: add(text, "-", 1),
            host: nothing.clone(),
            agent: nothing,
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            status: answer.status,
            bytes: u64::try_from(answer.body_len).unwrap_or_default(),
            ms: 0,
        });
    }

    fn take(&self) -> Option<Batch> {
        let batch = std::mem::take(&mut *self.batch.lock());
        (!batch.lines.is_empty()).then_some(batch)
    }

    fn note(&self, note: Note, bytes: u64, traffic: &Noted) {
        let mut batch = self.batch.lock();
        let Batch { text, lines } = &mut *batch;
        let target = add(
            text,
            note.uri.path_and_query().map_or("/", |p| p.as_str()),
            2048,
        );
        // HTTP/2 has no `Host`, but `:authority`.
        let named = note.uri.authority().map(Authority::as_str);
        let host = named.unwrap_or_else(|| printable(note.host.as_ref()));
        // Nor is a password written down that stands before it.
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = add(text, host, 255);
        let agent = add(text, printable(note.agent.as_ref()), AGENT_LEN);
        lines.push(Line {
            at: self.clock.unix_millis(),
            method: note.method,
            target,
            host,
            agent,
            peer: note.peer,
            status: note.status,
            bytes,
            ms: u64::try_from(traffic.start.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        let full = lines.len() >= BATCH;
        drop(batch);
        if full {
            self.flush();
        }
    }
}

/// Requests that were cut off by the end of their thread are the last to be noted.
impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(batch) = self.take()
            && self.writer.send(batch).is_err()
        {
            tracing::warn!("access log lines were lost: the writer is gone");
        }
    }
}

fn printable(value: Option<&HeaderValue>) -> &str {
    value.and_then(|v| v.to_str().ok()).unwrap_or("")
}

fn add(text: &mut String, part: &str, limit: usize) -> Range<usize> {
    let mut end = part.len().min(limit);
    while !part.is_char_boundary(end) {
        end -= 1;
    }
    let at = text.len();
    text.push_str(part.get(..end).unwrap_or_default());
    at..text.len()
}

/// One request from its arrival until its answer is sent or given up.
#[derive(Debug)]
pub(crate) struct Tally {
    traffic: Arc<Traffic>,
    bytes: u64,
    noted: Option<Box<Noted>>,
}

#[derive(Debug)]
struct Noted {
    note: Option<Note>,
    start: Instant,
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
struct Note {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    peer: SocketAddr,
    status: u16,
}

impl Tally {
    /// Begins to count; notes the request if a ledger is kept.
    pub(crate) fn start<B>(
        visit: &Visit,
        request: &Request<B>,
        ledger: Option<&Arc<Ledger>>,
    ) -> Self {
        let traffic = Arc::clone(&visit.traffic);
        traffic.request_begins();
        let noted = ledger.map(|ledger| {
            let headers = request.headers();
            Box::new(Noted {
                note: Some(Note {
                    method: request.method().clone(),
                    uri: request.uri().clone(),
                    host: headers.get(header::HOST).cloned(),
                    agent: headers.get(header::USER_AGENT).cloned(),
                    peer: visit.peer,
                    // What stands here if the client leaves before its answer.
                    status: 499,
                }),
                start: Instant::now(),
                ledger: Arc::clone(ledger),
            })
        });
        Self {
            traffic,
            bytes: 0,
            noted,
        }
    }

    /// The answer's status is known.
    pub(crate) fn answered(&mut self, status: u16) {
        if let Some(note) = self.noted.as_mut().and_then(|noted| noted.note.as_mut()) {
            note.status = status;
        }
    }

    /// Bytes of the answer's body were handed out.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += u64::try_from(bytes).unwrap_or_default();
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.traffic.request_ends();
        if let Some(mut noted) = self.noted.take()
            && let Some(note) = noted.note.take()
        {
            noted.ledger.note(note, self.bytes, &noted);
        }
    }
}
