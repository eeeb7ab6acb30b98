//! Which business servers of a list rest because they failed.
//!
//! A server that is gone, or silent, would cost every request that is sent to it a connect
//! time-out before the next server of its list is asked. So it rests after a failure, and
//! when the rest is over one request tries it. What is known is shared by all edge threads
//! and keyed by the server's address, so that a reload forgets nothing.
//!
//! Resting servers are asked last, not never: if all of a list rest, all are tried.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::upstream::address::UpstreamAddr;

/// Answers that did not come, one after the other, before their server rests. One alone may
/// be the fault of its request.
const LOST_ANSWERS_MAX: u32 = 3;
/// A rest that ends in a failure is followed by one twice as long, up to so many times the
/// first one.
const REST_FACTOR_MAX: u32 = 8;

/// How a server failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamFailure {
    /// No connection came about.
    Unreached,
    /// A request was sent, and no proper answer came.
    NoAnswer,
}

/// The servers that failed of late.
#[derive(Debug)]
pub(crate) struct UpstreamHealth {
    /// Milliseconds that a first rest lasts.
    first: AtomicU64,
    /// How many there are: mostly none, and then there is nothing to look up.
    count: AtomicUsize,
    failed: Mutex<HashMap<UpstreamAddr, FailureState>>,
}

#[derive(Debug)]
enum FailureState {
    /// Answers that did not come since the last one that did.
    Doubtful(u32),
    Resting {
        until: Instant,
        length: Duration,
        /// A request is trying it.
        tried: bool,
    },
}

impl UpstreamHealth {
    /// `first`: the length of a first rest.
    pub(crate) fn new(first: Duration) -> Self {
        Self {
            first: AtomicU64::new(millis(first)),
            count: AtomicUsize::new(0),
            failed: Mutex::default(),
        }
    }

    /// Rests that begin from now on are first so long.
    pub(crate) fn set_first_rest(&self, first: Duration) {
        self.first.store(millis(first), Ordering::Relaxed);
    }

    pub(crate) fn first_rest(&self) -> Duration {
        Duration::from_millis(self.first.load(Ordering::Relaxed))
    }

    /// In which order the servers of a list are asked by a request whose turn is `start`.
    /// One whose rest is over comes first, and no other request tries it for as long again.
    /// Those that rest come last. `None`: none failed, all take their turns.
    pub(crate) fn order(
        &self,
        list: &[UpstreamAddr],
        start: usize,
        now: impl FnOnce() -> Instant,
    ) -> Option<Vec<usize>> {
        if self.count.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let now = now();
        let turns = 0..list.len();
        let mut order: Vec<usize> = turns
            .map(|turn| start.wrapping_add(turn) % list.len())
            .collect();
        let mut failed = self.failed.lock();
        let mut is_free = true;
        let mut rank = |at: &usize| {
            let state = list.get(*at).and_then(|to| failed.get_mut(to));
            let Some(FailureState::Resting {
                until,
                length,
                tried,
            }) = state
            else {
                return 1;
            };
            // No request tries two.
            if now < *until || !std::mem::take(&mut is_free) {
                return 2;
            }
            *until = now + *length;
            *tried = true;
            0
        };
        order.sort_by_cached_key(|at| rank(at));
        Some(order)
    }

    /// The server answered. Says whether it had a rest.
    pub(crate) fn answered(&self, to: &UpstreamAddr) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let mut failed = self.failed.lock();
        let state = failed.remove(to);
        self.count.store(failed.len(), Ordering::Relaxed);
        matches!(state, Some(FailureState::Resting { .. }))
    }

    /// The server failed. Says for how long it rests, if it begins to.
    pub(crate) fn failed(
        &self,
        to: &UpstreamAddr,
        how: UpstreamFailure,
        now: Instant,
    ) -> Option<Duration> {
        let first = self.first_rest();
        let mut failed = self.failed.lock();
        let state = failed
            .entry(to.clone())
            .or_insert(FailureState::Doubtful(0));
        let begins = match state {
            FailureState::Doubtful(lost) => {
                *lost += 1;
                let rests = how == UpstreamFailure::Unreached || *lost >= LOST_ANSWERS_MAX;
                if rests {
                    *state = FailureState::Resting {
                        until: now + first,
                        length: first,
                        tried: false,
                    };
                }
                rests.then_some(first)
            }
            FailureState::Resting {
                until,
                length,
                tried,
            } => {
                // A request that was under way when the rest began does not make it longer.
                if std::mem::take(tried) {
                    *length = length
                        .saturating_mul(2)
                        .min(first.saturating_mul(REST_FACTOR_MAX));
                    *until = now + *length;
                }
                None
            }
        };
        // Those of lists that a reload took away are not asked any more.
        let gone = first.saturating_mul(REST_FACTOR_MAX * 8);
        failed.retain(|_, state| match state {
            FailureState::Doubtful(_) => true,
            FailureState::Resting { until, .. } => now.saturating_duration_since(*until) < gone,
        });
        self.count.store(failed.len(), Ordering::Relaxed);
        begins
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: Duration = Duration::from_secs(10);

    fn list() -> Vec<UpstreamAddr> {
        ["a:1", "b:1", "c:1"]
            .map(|name| UpstreamAddr::Name(name.into()))
            .to_vec()
    }

    /// The order when some failed.
    fn order(
        health: &UpstreamHealth,
        list: &[UpstreamAddr],
        start: usize,
        now: Instant,
    ) -> Vec<usize> {
        let order = health.order(list, start, || now);
        order.expect("some failed")
    }

    #[test]
    fn who_cannot_be_reached_rests_and_is_tried_by_one() {
        let (health, list, now) = (UpstreamHealth::new(REST), list(), Instant::now());
        assert_eq!(
            health.failed(&list[0], UpstreamFailure::Unreached, now),
            Some(REST)
        );
        for start in 0..3 {
            assert_eq!(order(&health, &list, start, now)[2], 0);
        }
        // Another request that was on its way.
        assert_eq!(
            health.failed(&list[0], UpstreamFailure::Unreached, now),
            None
        );
        let over = now + REST;
        assert_eq!(order(&health, &list, 1, over), [0, 1, 2]);
        assert_eq!(order(&health, &list, 0, over), [1, 2, 0]);
        assert!(health.answered(&list[0]));
        assert_eq!(
            health.order(&list, 0, || over),
            None,
            "all take their turns"
        );
    }

    #[test]
    fn a_failed_try_makes_the_rest_longer_within_a_bound() {
        let (health, list, mut now) = (UpstreamHealth::new(REST), list(), Instant::now());
        health.failed(&list[0], UpstreamFailure::Unreached, now);
        let mut length = REST;
        for twice in [2, 4, 8, 8, 8] {
            now += length;
            assert_eq!(order(&health, &list, 1, now)[0], 0, "it is over");
            assert_eq!(
                health.failed(&list[0], UpstreamFailure::Unreached, now),
                None
            );
            length = REST * twice;
            let before = now + length.mul_f64(0.9);
            assert_eq!(order(&health, &list, 0, before)[2], 0, "it is not over");
        }
    }

    #[test]
    fn no_request_tries_two() {
        let (health, list, now) = (UpstreamHealth::new(REST), list(), Instant::now());
        health.failed(&list[0], UpstreamFailure::Unreached, now);
        health.failed(&list[1], UpstreamFailure::Unreached, now);
        assert_eq!(order(&health, &list, 0, now + REST), [0, 2, 1]);
        assert_eq!(order(&health, &list, 0, now + REST), [1, 2, 0]);
        assert_eq!(order(&health, &list, 0, now + REST), [2, 0, 1]);
    }

    #[test]
    fn a_try_that_nobody_heard_of_again_is_made_again() {
        let (health, list, now) = (UpstreamHealth::new(REST), list(), Instant::now());
        health.failed(&list[0], UpstreamFailure::Unreached, now);
        for rests in 1..4 {
            assert_eq!(order(&health, &list, 1, now + REST * rests)[0], 0);
            assert_eq!(order(&health, &list, 0, now + REST * rests)[0], 1);
        }
    }

    #[test]
    fn one_lost_answer_is_no_failure_and_three_in_turn_are() {
        let (health, list, now) = (UpstreamHealth::new(REST), list(), Instant::now());
        let fails = || health.failed(&list[1], UpstreamFailure::NoAnswer, now);
        assert_eq!((fails(), fails()), (None, None));
        assert!(!health.answered(&list[1]));
        assert_eq!((fails(), fails(), fails()), (None, None, Some(REST)));
    }

    #[test]
    fn when_all_rest_all_are_tried() {
        let (health, list, now) = (UpstreamHealth::new(REST), list(), Instant::now());
        for to in &list {
            health.failed(to, UpstreamFailure::Unreached, now);
        }
        assert_eq!(order(&health, &list, 1, now), [1, 2, 0]);
    }

    #[test]
    fn what_is_in_no_list_any_more_is_forgotten() {
        let (health, list, now) = (UpstreamHealth::new(REST), list(), Instant::now());
        health.failed(&list[0], UpstreamFailure::Unreached, now);
        health.failed(&list[1], UpstreamFailure::Unreached, now + REST * 1000);
        assert_eq!(health.failed.lock().len(), 1);
    }
}
