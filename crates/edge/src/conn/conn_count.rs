//! How many connections there are.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Counts connections, and wakes tasks that wait for fewer.
#[derive(Debug, Default)]
pub(crate) struct ConnCount {
    count: AtomicUsize,
    left: Notify,
}

impl ConnCount {
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until fewer than `limit` are counted.
    pub(crate) async fn below(&self, limit: usize) {
        loop {
            let left = self.left.notified();
            if self.count() < limit {
                return;
            }
            left.await;
        }
    }
}

/// Counts one connection until dropped.
#[derive(Debug)]
pub(crate) struct ConnGuard(Arc<ConnCount>);

impl ConnGuard {
    pub(crate) fn take(conn_count: &Arc<ConnCount>) -> Self {
        conn_count.count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(conn_count))
    }
}

impl Drop for ConnGuard {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_waiters();
    }
}
