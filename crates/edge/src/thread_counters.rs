//! What one edge thread counts, for `metrics`.
//!
//! Each thread has counters of its own on cache lines of its own, so that to count is a few
//! relaxed atomics that no other thread writes to. They are summed when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weappd_base::metrics::{DurationHistogram, QUICK_BOUNDS};

use crate::conn::conn_count::ConnCount;
use crate::refusal::{EdgeRefusal, RefusedLimit};

/// Statuses by their first digit.
pub(crate) const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct ThreadCount(AtomicU64);

impl ThreadCount {
    pub(crate) fn inc(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What one edge thread counts. Aligned, so that it shares no cache line with another's.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct ThreadCounters {
    pub(crate) requests_begun: ThreadCount,
    /// Requests whose answers were sent or given up, by [`STATUS_CLASSES`].
    requests_ended: [ThreadCount; STATUS_CLASSES.len()],
    /// From a request's head to the end of its answer.
    pub(crate) request_time: DurationHistogram,
    pub(crate) answer_bytes: ThreadCount,
    pub(crate) accepted: ThreadCount,
    pub(crate) handshake_failures: ThreadCount,
    /// Heads that hyper could not read.
    pub(crate) refused_heads: ThreadCount,
    refused: [ThreadCount; RefusedLimit::CODES.len()],
    /// Tries at business servers that could not be reached, or went away.
    pub(crate) upstream_unreached: ThreadCount,
    /// Those that gave no proper answer.
    pub(crate) upstream_no_answer: ThreadCount,
    pub(crate) upstream_rests: ThreadCount,
    /// Connections alive on the thread, tunnels too.
    pub(crate) conn_count: Arc<ConnCount>,
}

impl Default for ThreadCounters {
    fn default() -> Self {
        Self {
            requests_begun: ThreadCount::default(),
            requests_ended: Default::default(),
            request_time: DurationHistogram::new(QUICK_BOUNDS),
            answer_bytes: ThreadCount::default(),
            accepted: ThreadCount::default(),
            handshake_failures: ThreadCount::default(),
            refused_heads: ThreadCount::default(),
            refused: Default::default(),
            upstream_unreached: ThreadCount::default(),
            upstream_no_answer: ThreadCount::default(),
            upstream_rests: ThreadCount::default(),
            conn_count: Arc::default(),
        }
    }
}

impl ThreadCounters {
    /// An answer was sent or given up.
    pub(crate) fn request_ended(&self, (status, bytes): (u16, u64), took: Duration) {
        self.request_time.observe(took);
        let class = usize::from(status / 100).wrapping_sub(1);
        if let Some(count) = self.requests_ended.get(class) {
            count.inc();
        }
        if bytes > 0 {
            self.answer_bytes.add(bytes);
        }
    }

    /// Requests that ended with a status of this class.
    pub(crate) fn requests_ended(&self, class: usize) -> u64 {
        self.requests_ended.get(class).map_or(0, ThreadCount::get)
    }

    /// Requests whose answers are not wholly sent.
    pub(crate) fn requests_under_way(&self) -> u64 {
        // Ended ones first: one that begins meanwhile is not missed.
        let ended: u64 = self.requests_ended.iter().map(ThreadCount::get).sum();
        self.requests_begun.get().saturating_sub(ended)
    }

    /// A request goes no further.
    pub(crate) fn refused(&self, refusal: &EdgeRefusal) {
        let count = refusal
            .limit()
            .map(|limit| self.refused.get(limit as usize));
        if let Some(count) = count.flatten() {
            count.inc();
        }
    }

    /// Requests refused for the limit at this place of [`RefusedLimit::CODES`].
    pub(crate) fn refused_for(&self, limit: usize) -> u64 {
        self.refused.get(limit).map_or(0, ThreadCount::get)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_class_and_while_under_way() {
        let counters = ThreadCounters::default();
        for status in [101, 200, 204, 404, 499, 503] {
            counters.requests_begun.inc();
            assert_eq!(counters.requests_under_way(), 1);
            counters.request_ended((status, 3), Duration::from_millis(1));
        }
        assert_eq!(counters.requests_under_way(), 0);
        assert_eq!(counters.answer_bytes.get(), 18);
        let classes = [0, 1, 2, 3, 4].map(|class| counters.requests_ended(class));
        assert_eq!(classes, [1, 2, 0, 2, 1]);
    }

    #[test]
    fn refusals_are_counted_by_the_limit_they_are_for() {
        let counters = ThreadCounters::default();
        let limits = [
            EdgeRefusal::ClientBusy,
            EdgeRefusal::BodyTooLarge,
            EdgeRefusal::BodyTooSlow,
            EdgeRefusal::UriTooLong,
            EdgeRefusal::TooManyHeaders,
            EdgeRefusal::HeadTooLarge,
        ];
        for (at, refusal) in limits.iter().enumerate() {
            counters.refused(refusal);
            assert_eq!(counters.refused_for(at), 1);
            assert_eq!(RefusedLimit::CODES[at], refusal.code().1);
        }
        counters.refused(&EdgeRefusal::NotFound);
        let sum: u64 = (0..RefusedLimit::CODES.len())
            .map(|limit| counters.refused_for(limit))
            .sum();
        assert_eq!(sum, 6);
    }
}
