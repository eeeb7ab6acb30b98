//! One access log line for each request: taken down by the edge thread, written by another.
//!
//! An edge thread only copies the few texts of a line into its [`LogBuffer`]; a thread of its
//! own (`access_lines`) masks secrets and writes many lines at once.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use http::uri::Authority;
use http::{HeaderValue, Method, Request, Uri, header};
use parking_lot::Mutex;
use tokio::time::Instant;
use weappd_base::clock::Clock;
use weappd_base::request_id::RequestId;
use weappd_base::unix_time::UnixMillis;

use crate::conn::conn_info::ConnInfo;
use crate::conn::head_answer::HeadAnswer;
use crate::conn::traffic::ConnTraffic;
use crate::log::log_switch::LogSwitch;

/// Lines that wait at most before they are handed over.
const BATCH_LINES: usize = 256;
const AGENT_MAX_BYTES: usize = 80;
/// What a request has if its client leaves before its answer.
const LEFT_STATUS: u16 = 499;

/// Log lines of one edge thread on their way to the log thread.
#[derive(Debug, Default)]
pub(crate) struct LogBatch {
    pub(crate) text: String,
    pub(crate) lines: Vec<LogLine>,
}

/// One request; the ranges are of the batch's text.
#[derive(Debug)]
pub(crate) struct LogLine {
    /// When it was answered.
    pub(crate) at: UnixMillis,
    pub(crate) method: Method,
    pub(crate) target: Range<usize>,
    pub(crate) host: Range<usize>,
    pub(crate) agent: Range<usize>,
    pub(crate) peer: SocketAddr,
    pub(crate) status: u16,
    pub(crate) bytes: u64,
    pub(crate) ms: u64,
    pub(crate) request_id: RequestId,
}

/// The log lines of one edge thread that are not handed over yet.
#[derive(Debug)]
pub(crate) struct LogBuffer {
    batch: Mutex<LogBatch>,
    writer: SyncSender<LogBatch>,
    switch: Arc<LogSwitch>,
    clock: Clock,
}

impl LogBuffer {
    pub(crate) fn new(writer: SyncSender<LogBatch>, switch: Arc<LogSwitch>, clock: Clock) -> Self {
        Self {
            batch: Mutex::default(),
            writer,
            switch,
            clock,
        }
    }

    /// Hands the lines over; a writer that cannot keep up loses them, never the
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
        if !self.switch.is_on() {
            return;
        }
        let nobody = SocketAddr::from(([0, 0, 0, 0], 0));
        let peer = peer.unwrap_or(nobody);
        let mut batch = self.batch.lock();
        let LogBatch { text, lines } = &mut *batch;
        let nothing = add(text, "", 0);
        lines.push(LogLine {
            at: self.clock.unix_millis(),
            method: Method::from_bytes(b"-").unwrap_or_default(),
            target: add(text, "-", 1),
            host: nothing.clone(),
            agent: nothing,
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            status: answer.status,
            bytes: u64::try_from(answer.body_len).unwrap_or_default(),
            ms: 0,
            request_id: answer.request_id.clone(),
        });
    }

    fn take(&self) -> Option<LogBatch> {
        let batch = std::mem::take(&mut *self.batch.lock());
        (!batch.lines.is_empty()).then_some(batch)
    }

    fn add_request(&self, facts: &RequestFacts, (status, bytes): (u16, u64), took: Duration) {
        let mut batch = self.batch.lock();
        let LogBatch { text, lines } = &mut *batch;
        let target = add(
            text,
            facts.uri.path_and_query().map_or("/", |p| p.as_str()),
            2048,
        );
        // HTTP/2 has no `Host`, but `:authority`.
        let named = facts.uri.authority().map(Authority::as_str);
        let host = named.unwrap_or_else(|| printable(facts.host.as_ref()));
        // Nor is a password written down that stands before it.
        let host = host.rsplit('@').next().unwrap_or_default();
        let host = add(text, host, 255);
        let agent = add(text, printable(facts.agent.as_ref()), AGENT_MAX_BYTES);
        lines.push(LogLine {
            at: self.clock.unix_millis(),
            method: facts.method.clone(),
            target,
            host,
            agent,
            peer: facts.peer,
            status,
            bytes,
            ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            request_id: facts.request_id.clone(),
        });
        let full = lines.len() >= BATCH_LINES;
        drop(batch);
        if full {
            self.flush();
        }
    }
}

/// Requests that the end of their thread cut off leave the last lines.
impl Drop for LogBuffer {
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
pub(crate) struct RequestRecord {
    traffic: Arc<ConnTraffic>,
    start: Instant,
    bytes: u64,
    status: u16,
    pending: Option<PendingRecord>,
}

#[derive(Debug)]
struct PendingRecord {
    facts: RequestFacts,
    log_buffer: Arc<LogBuffer>,
}

#[derive(Debug)]
struct RequestFacts {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    agent: Option<HeaderValue>,
    peer: SocketAddr,
    request_id: RequestId,
}

impl RequestRecord {
    /// Begins to count; takes down the request's facts if there is an access log.
    pub(crate) fn start<B>(
        conn: &ConnInfo,
        (request, id): (&Request<B>, &RequestId),
        log_buffer: Option<&Arc<LogBuffer>>,
    ) -> Box<Self> {
        let traffic = Arc::clone(&conn.traffic);
        traffic.request_begins();
        let pending = log_buffer.map(|log_buffer| {
            let headers = request.headers();
            PendingRecord {
                facts: RequestFacts {
                    method: request.method().clone(),
                    uri: request.uri().clone(),
                    host: headers.get(header::HOST).cloned(),
                    agent: headers.get(header::USER_AGENT).cloned(),
                    peer: conn.peer,
                    request_id: id.clone(),
                },
                log_buffer: Arc::clone(log_buffer),
            }
        });
        Box::new(Self {
            traffic,
            start: Instant::now(),
            bytes: 0,
            status: LEFT_STATUS,
            pending,
        })
    }

    /// The answer's status is known.
    pub(crate) fn answered(&mut self, status: u16) {
        self.status = status;
    }

    /// Bytes of the answer's body were handed out.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += u64::try_from(bytes).unwrap_or_default();
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let now = Instant::now();
        self.traffic.request_ends(now);
        let took = now.saturating_duration_since(self.start);
        let ended = (self.status, self.bytes);
        self.traffic.counters.request_ended(ended, took);
        if let Some(pending) = &self.pending {
            pending.log_buffer.add_request(&pending.facts, ended, took);
        }
    }
}
