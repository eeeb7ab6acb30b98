//! One line a request, written off the road.
//!
//! An edge thread only copies the few texts of a line into its [`Ledger`]; a thread of its
//! own masks secrets and hands the lines to `tracing` (target `access`).

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::Instant;

use http::{HeaderValue, Method, Request, Uri, header};
use parking_lot::Mutex;
use weappd_base::secret::{is_secret_name, mask};

use crate::connection::Visit;
use crate::stream::Traffic;

/// Lines that wait at most before they are handed over.
const BATCH: usize = 256;
/// A path segment this long without a dot is a token (a tunnel's address), not a name.
const TOKEN_LEN: usize = 40;
const AGENT_LEN: usize = 80;

/// Lines of one edge thread on their way to the writer.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    text: String,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    method: Method,
    target: Range<usize>,
    host: Range<usize>,
    agent: Range<usize>,
    peer: SocketAddr,
    status: u16,
    bytes: u64,
    ms: u64,
}

/// Where an edge thread notes its requests.
#[derive(Debug)]
pub(crate) struct Ledger {
    batch: Mutex<Batch>,
    writer: SyncSender<Batch>,
}

impl Ledger {
    pub(crate) fn new(writer: SyncSender<Batch>) -> Self {
        Self {
            batch: Mutex::default(),
            writer,
        }
    }

    /// Hands the noted lines over; a writer that cannot keep up loses them, never the
    /// request. Says whether there were any.
    pub(crate) fn flush(&self) -> bool {
        let batch = std::mem::take(&mut *self.batch.lock());
        if batch.lines.is_empty() {
            return false;
        }
        let count = batch.lines.len();
        if self.writer.try_send(batch).is_err() {
            tracing::warn!(count, "access log lines were lost: the writer is too slow");
        }
        true
    }

    fn note(&self, note: Note, bytes: u64, traffic: &Noted) {
        let mut batch = self.batch.lock();
        let Batch { text, lines } = &mut *batch;
        let target = add(
            text,
            note.uri.path_and_query().map_or("/", |p| p.as_str()),
            2048,
        );
        let host = add(text, printable(note.host.as_ref()), 255);
        let agent = add(text, printable(note.agent.as_ref()), AGENT_LEN);
        lines.push(Line {
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

/// Writes batches until all edge threads are gone. Runs on a thread of its own.
pub(crate) fn write(batches: &Receiver<Batch>) {
    while let Ok(batch) = batches.recv() {
        for line in &batch.lines {
            let text = |range: &Range<usize>| batch.text.get(range.clone()).unwrap_or_default();
            tracing::info!(
                target: "access",
                peer = %line.peer,
                host = text(&line.host),
                method = line.method.as_str(),
                path = clean(text(&line.target)),
                status = line.status,
                bytes = line.bytes,
                took_ms = line.ms,
                agent = text(&line.agent),
            );
        }
    }
}

/// A request target without what must not be written down: values of secret names in the
/// query, and path segments that are tokens.
pub(crate) fn clean(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut whole = String::with_capacity(target.len());
    for (index, segment) in path.split('/').enumerate() {
        if index > 0 {
            whole.push('/');
        }
        if segment.len() >= TOKEN_LEN && !segment.contains('.') {
            whole.push_str(&mask(segment));
        } else {
            whole.push_str(segment);
        }
    }
    let Some(query) = query else { return whole };
    for (index, pair) in query.split('&').enumerate() {
        whole.push(if index == 0 { '?' } else { '&' });
        match pair.split_once('=') {
            Some((name, value)) if is_secret(name) => {
                whole.push_str(name);
                whole.push('=');
                whole.push_str(&mask(value));
            }
            _ => whole.push_str(pair),
        }
    }
    whole
}

fn is_secret(name: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    is_secret_name(&decoded) || decoded.eq_ignore_ascii_case("token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_in_query_and_path() {
        assert_eq!(clean("/a/b?x=1&y"), "/a/b?x=1&y");
        assert_eq!(
            clean("/l?code=0123456789abc&skey=0123456789&n=1"),
            "/l?code=0123…(13)&skey=0123…(10)&n=1"
        );
        assert_eq!(clean("/l?c%6fde=0123456789abc"), "/l?c%6fde=0123…(13)");
        let token = "a".repeat(43);
        assert_eq!(clean(&format!("/weapp/ws/{token}")), "/weapp/ws/aaaa…(43)");
        let file = format!("/weapp/files/{token}.png");
        assert_eq!(clean(&file), file);
    }
}
