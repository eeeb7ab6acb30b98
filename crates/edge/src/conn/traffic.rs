//! What is under way on one connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::caller::client_share::ClientShare;
use crate::thread_counters::ThreadCounters;

/// These are a connection's first requests.
const FIRST_REQUESTS: u64 = 4;

/// The connection's requests, counted by `gate` and read by `client_wire`.
#[derive(Debug)]
pub(crate) struct ConnTraffic {
    /// Of the connection's thread.
    pub(crate) counters: Arc<ThreadCounters>,
    /// Requests whose answers are not wholly sent.
    in_flight: AtomicUsize,
    /// Requests so far.
    requests: AtomicU64,
    begun: Instant,
    /// Milliseconds from `begun` to the end of the last answer.
    last_end: AtomicU64,
    /// The connection became a tunnel: its bytes are no longer HTTP.
    tunnel: AtomicBool,
    /// The client's share that a tunnel to a business server takes.
    share: Mutex<Option<ClientShare>>,
}

impl ConnTraffic {
    pub(crate) fn new(counters: Arc<ThreadCounters>) -> Self {
        Self {
            counters,
            in_flight: AtomicUsize::new(0),
            requests: AtomicU64::new(0),
            begun: Instant::now(),
            last_end: AtomicU64::new(0),
            tunnel: AtomicBool::new(false),
            share: Mutex::default(),
        }
    }

    pub(crate) fn request_begins(&self) {
        self.counters.requests_begun.inc();
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether these are the connection's first requests.
    pub(crate) fn is_young(&self) -> bool {
        self.requests.load(Ordering::Relaxed) <= FIRST_REQUESTS
    }

    /// How many requests there were, if the answers to all of them were handed out.
    pub(crate) fn answered(&self) -> Option<u64> {
        let requests = || self.requests.load(Ordering::Relaxed);
        (self.in_flight.load(Ordering::Relaxed) == 0).then(requests)
    }

    pub(crate) fn request_ends(&self, now: Instant) {
        let open = now.saturating_duration_since(self.begun);
        let now = u64::try_from(open.as_millis()).unwrap_or(u64::MAX);
        self.last_end.store(now, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// From here on the bytes are no longer HTTP.
    pub(crate) fn becomes_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Relaxed)
    }

    /// Keeps the share taken until the connection ends.
    pub(crate) fn keep(&self, share: ClientShare) {
        *self.share.lock() = Some(share);
    }

    /// How long there has been nothing to do.
    pub(crate) fn quiet(&self) -> Duration {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last_end = Duration::from_millis(self.last_end.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(last_end)
    }
}
