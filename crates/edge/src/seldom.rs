//! Complaints that come seldom, however often their cause does.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long after a complaint the next one comes.
const SILENCE: Duration = Duration::from_secs(30);

/// Says when a complaint of one kind is due again.
#[derive(Debug, Default)]
pub(crate) struct Seldom(Mutex<Option<Instant>>);

impl Seldom {
    /// Whether it is time to complain; who asks, complains.
    pub(crate) fn is_due(&self) -> bool {
        let now = Instant::now();
        let mut last = self.0.lock();
        let due = last.is_none_or(|last| now.duration_since(last) >= SILENCE);
        if due {
            *last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_complaint_waits() {
        let seldom = Seldom::default();
        assert!(seldom.is_due());
        assert!(!seldom.is_due());
    }
}
