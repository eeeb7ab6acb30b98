//! How long bytes may take: a deadline for the next ones, and a least rate for all of them.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// What is asked of a client while weappd waits for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeastRate {
    /// The longest wait for the next byte, and the time over which the rate is looked at.
    pub(crate) within: Duration,
    /// Bytes a second.
    pub(crate) per_second: u64,
}

/// The bytes did not come, or were not taken, in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

/// The time spent waiting for a client, and what moved meanwhile.
#[derive(Debug)]
pub(crate) struct RateMeter {
    rate: LeastRate,
    since: Option<Instant>,
    waited: Duration,
    moved: u64,
}

impl RateMeter {
    pub(crate) fn new(rate: LeastRate) -> Self {
        Self {
            rate,
            since: None,
            waited: Duration::ZERO,
            moved: 0,
        }
    }

    /// It is the client's turn; returns until when.
    pub(crate) fn wait(&mut self) -> Instant {
        *self.since.get_or_insert_with(Instant::now) + self.rate.within
    }

    /// Until when the client has time, if it is its turn.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.rate.within)
    }

    /// The client did its part. What moves without a wait proves nothing: buffers took it.
    pub(crate) fn moved(&mut self, bytes: usize) -> Result<(), TooSlow> {
        let waited = self.since.take().map(|since| since.elapsed());
        self.count(bytes, waited)
    }

    fn count(&mut self, bytes: usize, waited: Option<Duration>) -> Result<(), TooSlow> {
        self.waited += waited.unwrap_or_default();
        if self.waited.is_zero() {
            return Ok(());
        }
        self.moved += u64::try_from(bytes).unwrap_or_default();
        if self.waited < self.rate.within {
            return Ok(());
        }
        let millis = u64::try_from(self.waited.as_millis()).unwrap_or(u64::MAX);
        let enough = millis.saturating_mul(self.rate.per_second) / 1000;
        let slow = self.moved < enough;
        self.waited = Duration::ZERO;
        self.moved = 0;
        if slow { Err(TooSlow) } else { Ok(()) }
    }
}

/// A timer that is put off when it rings, not each time its deadline moves.
#[derive(Debug, Default)]
pub(crate) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// Ready once `at` has come.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if sleep.deadline() > at {
            sleep.as_mut().reset(at);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= at {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(at);
        }
    }
}

/// A [`RateMeter`] that rings.
#[derive(Debug)]
pub(crate) struct RateTimer {
    meter: RateMeter,
    timer: LazyTimer,
}

impl RateTimer {
    pub(crate) fn new(rate: LeastRate) -> Self {
        Self {
            meter: RateMeter::new(rate),
            timer: LazyTimer::default(),
        }
    }

    /// It is the client's turn; ready when its time is up.
    pub(crate) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<TooSlow> {
        let at = self.meter.wait();
        self.timer.poll(cx, at).map(|()| TooSlow)
    }

    /// The client did its part.
    pub(crate) fn moved(&mut self, bytes: usize) -> Result<(), TooSlow> {
        self.meter.moved(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: LeastRate = LeastRate {
        within: Duration::from_secs(10),
        per_second: 100,
    };

    /// Whether a client passes that moves `bytes` after each wait.
    fn passes(steps: &[(u64, usize)]) -> bool {
        let mut meter = RateMeter::new(RATE);
        steps.iter().all(|(secs, bytes)| {
            meter
                .count(*bytes, Some(Duration::from_secs(*secs)))
                .is_ok()
        })
    }

    #[test]
    fn a_client_is_judged_by_what_it_moved_in_the_time_it_took() {
        assert!(passes(&[(9, 0)]), "its time is not up");
        assert!(passes(&[(5, 500), (5, 500), (10, 1000)]));
        assert!(passes(&[(1, 1000), (9, 0)]));
        assert!(!passes(&[(5, 500), (5, 499)]));
        assert!(!passes(&[(10, 1000), (10, 999)]), "each time anew");
        assert!(!passes(&[(2, 32), (2, 32), (2, 32), (2, 32), (2, 32)]));
    }

    #[test]
    fn what_moves_without_a_wait_proves_nothing() {
        let mut meter = RateMeter::new(RATE);
        assert!(meter.moved(1_000_000).is_ok());
        assert!(meter.count(1, Some(Duration::from_secs(10))).is_err());
    }

    #[tokio::test]
    async fn a_timer_rings_at_the_last_deadline_it_was_given() {
        let mut timer = LazyTimer::default();
        let start = Instant::now();
        let (near, far) = (Duration::from_millis(10), Duration::from_millis(40));
        std::future::poll_fn(|cx| {
            let rang = timer.poll(cx, start + near);
            assert!(rang.is_pending() || start.elapsed() >= near);
            timer.poll(cx, start + far)
        })
        .await;
        assert!(start.elapsed() >= far);
        std::future::poll_fn(|cx| timer.poll(cx, start)).await;
    }
}
