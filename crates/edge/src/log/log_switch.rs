//! What a reload changes of the access log: whether it is written, and where to.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::log::access_sink::AccessLog;

/// What edge threads and log thread look at.
#[derive(Debug, Default)]
pub(crate) struct LogSwitch {
    is_on: AtomicBool,
    /// Where the log goes from the next lines on, if elsewhere than before.
    next: Mutex<Option<AccessLog>>,
}

impl LogSwitch {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on: AtomicBool::new(is_on),
            next: Mutex::default(),
        }
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    pub(crate) fn commit(&self, is_on: bool, next: Option<AccessLog>) {
        self.is_on.store(is_on, Ordering::Relaxed);
        if next.is_some() {
            *self.next.lock() = next;
        }
    }

    /// For the log thread.
    pub(crate) fn take_next(&self) -> Option<AccessLog> {
        self.next.lock().take()
    }
}
