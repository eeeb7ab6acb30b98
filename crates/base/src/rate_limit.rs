//! How often something may happen, by a key.
//!
//! - [`RateBuckets`]: so many in a span of time for each key, for deeds that are refused beyond it.
//!   Keys that anybody can make up leave the table when it is full, those longest unused first.
//! - [`LogLimit`]: once in a span of time for each subject, for log lines that anybody can cause.
//!   A subject never leaves before its time: who makes up many of them causes no flood.

use std::collections::HashMap;
use std::convert::Infallible;
use std::hash::Hash;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::sync::Cache;

use crate::unix_time::UnixMillis;

/// Buckets that hold as much as a time span allows. Each is one number: when it would be
/// full again (the generic cell rate algorithm). Time is told by the caller.
pub struct RateBuckets<K> {
    span_micros: i64,
    /// What one costs; 0 for no limit.
    cost_micros: AtomicI64,
    /// Microseconds since 1970.
    full_at: Cache<K, Arc<AtomicI64>>,
}

impl<K: Eq + Hash + Clone> RateBuckets<K> {
    /// Allows `count` in `span` for each of at most `most` keys; 0: however many.
    pub fn new(count: u32, span: Duration, most: usize) -> Self {
        let buckets = Self {
            span_micros: i64::try_from(span.as_micros()).unwrap_or(i64::MAX),
            cost_micros: AtomicI64::new(0),
            full_at: Cache::new(most),
        };
        buckets.allow(count);
        buckets
    }

    /// Allows so many in the span from now on; 0: however many. What was counted still counts.
    pub fn allow(&self, count: u32) {
        let cost = self.span_micros.checked_div(count.into()).unwrap_or(0);
        self.cost_micros.store(cost, Ordering::Relaxed);
    }

    /// Takes one, or says after how many seconds there is one.
    pub fn take(&self, key: &K, now: UnixMillis) -> Result<(), u64> {
        let cost = self.cost_micros.load(Ordering::Relaxed);
        if cost == 0 {
            return Ok(());
        }
        let now = now.get().saturating_mul(1000);
        let fresh = || Ok::<_, Infallible>(Arc::new(AtomicI64::new(now)));
        let Ok(full_at) = self.full_at.get_or_insert_with(key, fresh);
        let mut short = 0;
        let taken = full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| {
            let debt = full_at.saturating_sub(now).clamp(0, self.span_micros);
            short = debt.saturating_add(cost).saturating_sub(self.span_micros);
            (short <= 0).then_some(now.saturating_add(debt).saturating_add(cost))
        });
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(u64::try_from(short).unwrap_or(0).div_ceil(1_000_000).max(1)),
        }
    }

    /// Gives one back that was taken just now.
    pub fn give_back(&self, key: &K) {
        if let Some(full_at) = self.full_at.get(key) {
            full_at.fetch_sub(self.cost_micros.load(Ordering::Relaxed), Ordering::AcqRel);
        }
    }

    /// Lets every key begin anew.
    pub fn forget(&self) {
        self.full_at.clear();
    }
}

impl<K> std::fmt::Debug for RateBuckets<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "RateBuckets({} us each)",
            self.cost_micros.load(Ordering::Relaxed)
        )
    }
}

/// Says whether it is time to log something again. Each subject has its own time; there are
/// at most so many of them, and what is beyond waits until one is free.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    most: usize,
    state: Mutex<LimitState>,
}

#[derive(Debug, Default)]
struct LimitState {
    told: HashMap<String, Instant>,
    untold: u64,
}

impl LogLimit {
    /// One line of each subject in `interval`, and of at most `most` subjects.
    pub fn new(interval: Duration, most: usize) -> Self {
        Self {
            interval,
            most,
            state: Mutex::default(),
        }
    }

    /// Whether to log a line of `subject` now; then with the number of lines, of any
    /// subject, that were left out since the one before.
    pub fn permit(&self, subject: &str) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let interval = self.interval;
        let is_recent = |told: &Instant| now.duration_since(*told) < interval;
        let is_full = |state: &LimitState| state.told.len() >= self.most;
        if is_full(&state) {
            state.told.retain(|_, told| is_recent(told));
        }
        if state.told.get(subject).is_some_and(is_recent) || is_full(&state) {
            state.untold = state.untold.saturating_add(1);
            return None;
        }
        state.told.insert(subject.to_owned(), now);
        Some(std::mem::take(&mut state.untold))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LONG: Duration = Duration::from_hours(1);

    #[test]
    fn each_subject_is_told_once_and_what_was_left_out_is_counted() {
        let limit = LogLimit::new(LONG, 2);
        assert_eq!(limit.permit("a"), Some(0));
        assert_eq!(limit.permit("a"), None);
        assert_eq!(limit.permit("a"), None);
        assert_eq!(limit.permit("b"), Some(2));
        assert_eq!(limit.permit("c"), None, "no room for a third");
    }

    #[test]
    fn when_the_time_is_over_there_is_room_again() {
        let limit = LogLimit::new(Duration::ZERO, 1);
        assert_eq!(limit.permit("a"), Some(0));
        assert_eq!(limit.permit("a"), Some(0));
        assert_eq!(limit.permit("b"), Some(0));
    }

    #[test]
    fn a_bucket_fills_evenly_and_what_is_given_back_is_there_at_once() {
        let buckets = RateBuckets::new(3, Duration::from_mins(1), 16);
        let take = |key, millis| buckets.take(&key, UnixMillis::new(millis));
        for _ in 0..3 {
            assert_eq!(take("a", 0), Ok(()));
        }
        assert_eq!(take("a", 0), Err(20));
        assert_eq!(take("b", 0), Ok(()), "another key");
        buckets.give_back(&"a");
        assert_eq!(take("a", 0), Ok(()));
        assert_eq!(take("a", 19_999), Err(1));
        assert_eq!(take("a", 20_000), Ok(()));
        buckets.allow(0);
        assert_eq!(take("a", 20_000), Ok(()), "no limit");
        buckets.allow(3);
        buckets.forget();
        assert_eq!(take("a", 20_000), Ok(()));
    }

    #[test]
    fn the_table_is_bounded() {
        let buckets = RateBuckets::new(1, Duration::from_mins(1), 100);
        for key in 0..10_000 {
            assert_eq!(buckets.take(&key, UnixMillis::new(0)), Ok(()));
        }
        assert!(buckets.full_at.len() <= 100);
    }

    proptest! {
        /// Whenever it is asked, no span holds more than it allows twice: a full bucket and
        /// what comes in while it empties.
        #[test]
        fn no_span_holds_more_than_twice_its_count(
            count in 1_u32..20,
            mut times in prop::collection::vec(0_i64..300_000, 1..200),
        ) {
            times.sort_unstable();
            let buckets = RateBuckets::new(count, Duration::from_mins(1), 4);
            let taken: Vec<i64> = (times.into_iter())
                .filter(|now| buckets.take(&(), UnixMillis::new(*now)).is_ok())
                .collect();
            for (at, first) in taken.iter().enumerate() {
                let inside = taken[at..].iter().take_while(|now| **now < first + 60_000);
                prop_assert!(inside.count() <= 2 * count as usize);
            }
        }
    }
}
