//! What time it is, as a value that tests can move.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::unix_time::{UnixMillis, UnixSecs};

/// The wall clock, or a hand-moved one in tests. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clock(Option<Arc<AtomicI64>>);

/// Moves a [`Clock`] made by [`Clock::manual`].
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl Clock {
    /// The machine's wall clock.
    pub fn system() -> Self {
        Self(None)
    }

    /// A clock that stands still at `unix_secs` until its [`ManualClock`] moves it.
    pub fn manual(unix_secs: i64) -> (Self, ManualClock) {
        let now = Arc::new(AtomicI64::new(unix_secs.saturating_mul(1000)));
        (Self(Some(Arc::clone(&now))), ManualClock(now))
    }

    /// What time it is, in milliseconds.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that asks the system"
    )]
    pub fn unix_millis(&self) -> UnixMillis {
        match &self.0 {
            Some(now) => UnixMillis::new(now.load(Ordering::Relaxed)),
            None => UnixMillis::new(
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX)),
            ),
        }
    }

    /// What time it is, in seconds.
    pub fn unix_secs(&self) -> UnixSecs {
        self.unix_millis().to_secs()
    }
}

impl ManualClock {
    /// Moves the clock by `secs` (negative: back).
    pub fn advance(&self, secs: i64) {
        self.0
            .fetch_add(secs.saturating_mul(1000), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_by_hand() {
        let (clock, hand) = Clock::manual(100);
        assert_eq!(clock.unix_secs(), UnixSecs::new(100));
        hand.advance(-30);
        assert_eq!(clock.unix_millis(), UnixMillis::new(70_000));
    }

    #[test]
    fn the_system_clock_is_past_2025() {
        assert!(Clock::system().unix_secs() > UnixSecs::new(1_735_689_600));
    }
}
