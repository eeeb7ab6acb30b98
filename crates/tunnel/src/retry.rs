//! When callbacks that failed go again: for one business server together, so that a server in
//! trouble is asked seldom, however many tunnels wait for it, and at once when it is back.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use weappd_base::random::RandomSource;
use weappd_outbound::{JitterRange, RetryBackoff};

/// So many failures in a row are nothing yet.
const TOLERATED_FAILURES: u32 = 3;
/// The pauses of a server in trouble: those of many servers shall differ, not vanish.
const RETRY_BACKOFF: RetryBackoff = RetryBackoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(30),
    jitter: JitterRange::UpperHalf,
};
/// How often a server that stays in trouble is told of.
const TROUBLE_LOG_INTERVAL: Duration = Duration::from_mins(10);
/// How often callbacks that are given up are told of.
const LOSS_LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Lets failed callbacks of one kind go again.
pub(crate) struct RetryGate {
    state: Mutex<RetryState>,
    changed: Notify,
}

#[derive(Debug)]
struct RetryState {
    /// Failures since the last success.
    failures: u32,
    /// When one callback may try whether the server is back.
    next: Instant,
    /// Whether one does.
    is_probing: bool,
    /// When the trouble was last told of.
    told: Option<Instant>,
    last_error: String,
}

/// What there is to say about a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryNotice {
    Nothing,
    /// It is in trouble, still or again.
    Trouble,
    /// It takes callbacks again.
    Better,
}

impl RetryGate {
    /// Of a server that nothing is known about.
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(RetryState {
                failures: 0,
                next: Instant::now(),
                is_probing: false,
                told: None,
                last_error: String::new(),
            }),
            changed: Notify::new(),
        }
    }

    /// Waits until a callback may go again.
    pub(crate) async fn turn(&self) {
        loop {
            let changed = self.changed.notified();
            let wait = {
                let mut state = self.state.lock();
                let now = Instant::now();
                if state.failures < TOLERATED_FAILURES {
                    return;
                }
                if !state.is_probing && now >= state.next {
                    state.is_probing = true;
                    return;
                }
                if state.is_probing {
                    None
                } else {
                    Some(state.next.saturating_duration_since(now))
                }
            };
            match wait {
                None => changed.await,
                Some(wait) => {
                    tokio::select! {
                        () = changed => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
    }

    /// The server took a callback.
    pub(crate) fn succeeded(&self) -> RetryNotice {
        let mut state = self.state.lock();
        state.is_probing = false;
        if std::mem::take(&mut state.failures) >= TOLERATED_FAILURES {
            self.changed.notify_waiters();
        }
        match state.told.take() {
            Some(_) => RetryNotice::Better,
            None => RetryNotice::Nothing,
        }
    }

    /// The server did not take a callback.
    pub(crate) fn failed(&self, why: &str, random: &RandomSource) -> RetryNotice {
        let mut state = self.state.lock();
        let now = Instant::now();
        if state.failures >= TOLERATED_FAILURES && !state.is_probing && now < state.next {
            // It was under way before the pause began, or is asked for the first time: many
            // that fail at once are one failure.
            why.clone_into(&mut state.last_error);
            return RetryNotice::Nothing;
        }
        state.failures = state.failures.saturating_add(1);
        state.is_probing = false;
        let earlier = state.failures.saturating_sub(TOLERATED_FAILURES);
        state.next = now + RETRY_BACKOFF.pause(earlier, random);
        why.clone_into(&mut state.last_error);
        self.changed.notify_waiters();
        let is_due = |told: Instant| now.duration_since(told) >= TROUBLE_LOG_INTERVAL;
        if state.failures >= TOLERATED_FAILURES && state.told.is_none_or(is_due) {
            state.told = Some(now);
            return RetryNotice::Trouble;
        }
        RetryNotice::Nothing
    }

    /// What went wrong last, while the server is in trouble.
    pub(crate) fn trouble(&self) -> Option<String> {
        let state = self.state.lock();
        (state.failures >= TOLERATED_FAILURES).then(|| state.last_error.clone())
    }
}

impl fmt::Debug for RetryGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RetryGate({:?})", self.state.lock())
    }
}

/// Callbacks that were given up, told of seldom enough to be read.
#[derive(Debug, Default)]
pub(crate) struct LossLog(Mutex<LossCount>);

#[derive(Debug, Default)]
struct LossCount {
    told: Option<Instant>,
    untold: u64,
}

impl LossLog {
    /// One more; how many there are to tell of now, if any.
    pub(crate) fn add(&self) -> Option<u64> {
        let mut state = self.0.lock();
        let now = Instant::now();
        state.untold += 1;
        let is_due = |told: Instant| now.duration_since(told) >= LOSS_LOG_INTERVAL;
        if !state.told.is_none_or(is_due) {
            return None;
        }
        state.told = Some(now);
        Some(std::mem::take(&mut state.untold))
    }

    /// How many were not told of yet.
    pub(crate) fn rest(&self) -> u64 {
        std::mem::take(&mut self.0.lock().untold)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use weappd_base::tasks::Tasks;

    use super::*;

    /// A hundred callbacks that all fail, for an hour of the test's own time.
    #[tokio::test(start_paused = true)]
    async fn a_server_in_trouble_is_asked_seldom_however_many_wait() {
        let gate = Arc::new(RetryGate::new());
        let tries = Arc::new(AtomicUsize::new(0));
        let told = Arc::new(AtomicUsize::new(0));
        let tasks = Tasks::new();
        for _ in 0..100 {
            let (gate, tries, told) = (gate.clone(), tries.clone(), told.clone());
            tasks.spawn(async move {
                loop {
                    gate.turn().await;
                    tries.fetch_add(1, Ordering::Relaxed);
                    if gate.failed("status 500", &RandomSource::system()) == RetryNotice::Trouble {
                        told.fetch_add(1, Ordering::Relaxed);
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        tokio::time::sleep(Duration::from_hours(1)).await;
        let tries = tries.load(Ordering::Relaxed);
        assert!((100..300).contains(&tries), "{tries}");
        let told = told.load(Ordering::Relaxed);
        assert!((5..8).contains(&told), "{told}");
        assert_eq!(gate.trouble().as_deref(), Some("status 500"));
    }

    #[tokio::test(start_paused = true)]
    async fn many_that_fail_at_once_are_one_failure() {
        for (at_once, longest) in [(3, 200), (30, 200), (3000, 200)] {
            let gate = RetryGate::new();
            for _ in 0..at_once {
                gate.failed("status 500", &RandomSource::system());
            }
            let begun = Instant::now();
            gate.turn().await;
            let waited = begun.elapsed().as_millis();
            assert!((100..=longest).contains(&waited), "{at_once}: {waited} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn all_go_at_once_when_the_server_is_back() {
        let gate = Arc::new(RetryGate::new());
        for _ in 0..20 {
            gate.failed("refused", &RandomSource::system());
        }
        let gone = Arc::new(AtomicUsize::new(0));
        let tasks = Tasks::new();
        for _ in 0..100 {
            let (gate, gone) = (gate.clone(), gone.clone());
            tasks.spawn(async move {
                gate.turn().await;
                gone.fetch_add(1, Ordering::Relaxed);
            });
        }
        // One tries, the others wait for what comes of it.
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(gone.load(Ordering::Relaxed), 1);
        assert_eq!(gate.succeeded(), RetryNotice::Better);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(gone.load(Ordering::Relaxed), 100);
        assert_eq!(gate.trouble(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn losses_are_told_once_a_minute_with_their_number() {
        let losses = LossLog::default();
        assert_eq!(losses.add(), Some(1));
        for _ in 0..50 {
            assert_eq!(losses.add(), None);
        }
        tokio::time::sleep(LOSS_LOG_INTERVAL).await;
        assert_eq!(losses.add(), Some(51));
        assert_eq!(losses.add(), None);
        assert_eq!(losses.rest(), 1);
    }
}
