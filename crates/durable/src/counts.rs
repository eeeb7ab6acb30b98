//! What a writer has done, in numbers that only grow.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use weappd_base::metrics::{MetricUnit, ScrapeWriter};

/// What a writer has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteCounts {
    /// Transactions that were committed.
    pub transactions: u64,
    /// Jobs in them.
    pub written: u64,
    /// Jobs that were refused.
    pub refused: u64,
    /// Batches that were cut in two because of one job in them.
    pub splits: u64,
    /// Jobs that wait for a transaction now.
    pub waiting: u64,
    /// Whether the last transaction failed, and not for what was in it.
    pub is_failing: bool,
}

impl WriteCounts {
    /// Tells them to whoever collects metrics.
    pub fn scrape(&self, scrape: &mut ScrapeWriter<'_>) {
        let outcomes = [("written", self.written), ("refused", self.refused)];
        scrape.counters(
            "writes",
            "Writes to the database, by what became of them",
            MetricUnit::None,
            outcomes.map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], count)),
        );
        for (name, help, count) in [
            (
                "write_transactions",
                "Transactions that were committed",
                self.transactions,
            ),
            (
                "write_splits",
                "Batches cut in two because of one write in them",
                self.splits,
            ),
        ] {
            scrape.counter(name, help, MetricUnit::None, count);
        }
        for (name, help, value) in [
            (
                "writes_waiting",
                "Writes that wait for a transaction",
                self.waiting,
            ),
            (
                "writer_failing",
                "Whether the last transaction failed (1)",
                u64::from(self.is_failing),
            ),
        ] {
            scrape.gauge(name, help, MetricUnit::None, value);
        }
    }
}

/// The same, as it is counted.
#[derive(Debug, Default)]
pub(crate) struct LiveCounts {
    transactions: AtomicU64,
    written: AtomicU64,
    refused: AtomicU64,
    splits: AtomicU64,
    is_failing: AtomicBool,
}

impl LiveCounts {
    pub(crate) fn committed(&self, jobs: usize) {
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.written.fetch_add(jobs as u64, Ordering::Relaxed);
        self.is_failing.store(false, Ordering::Relaxed);
    }

    pub(crate) fn split(&self) {
        self.splits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn refused(&self, jobs: usize, is_failing: bool) {
        self.refused.fetch_add(jobs as u64, Ordering::Relaxed);
        self.is_failing.store(is_failing, Ordering::Relaxed);
    }

    pub(crate) fn read(&self, waiting: usize) -> WriteCounts {
        WriteCounts {
            transactions: self.transactions.load(Ordering::Relaxed),
            written: self.written.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            splits: self.splits.load(Ordering::Relaxed),
            waiting: waiting as u64,
            is_failing: self.is_failing.load(Ordering::Relaxed),
        }
    }
}
