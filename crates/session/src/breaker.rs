//! A circuit breaker: whether a shared store answers, as far as the checks have seen.
//!
//! While it does not, the cache answers at once, and one task at a time tries the store again:
//! no request waits to find out what is known. Silence believed for longer than
//! [`FAILURE_MEMORY_MILLIS`] without a new trial is no news: the next check asks again.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use weappd_base::unix_time::UnixMillis;

/// How often a store that fails is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// For how long after a failure the store is taken for failing: a trial and its patience,
/// and some more.
const FAILURE_MEMORY: Duration = Duration::from_secs(3);

/// What a check is to do about a session that was not confirmed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CheckSource {
    /// Ask the store.
    Store,
    /// Take the cache's word.
    Cache,
    /// Take the cache's word, and try the store beside.
    CacheAndProbe,
}

/// When the store last failed to confirm a session and when it was last tried since, in
/// milliseconds since 1970.
pub(crate) struct StoreBreaker {
    failed: AtomicI64,
    tried: AtomicI64,
}

impl Default for StoreBreaker {
    fn default() -> Self {
        Self {
            failed: AtomicI64::new(i64::MIN),
            tried: AtomicI64::new(i64::MIN),
        }
    }
}

impl StoreBreaker {
    /// What to do now. Of many who ask at once, one is told to try.
    pub(crate) fn source(&self, now: UnixMillis) -> CheckSource {
        if !self.is_failing(now) {
            return CheckSource::Store;
        }
        let tried = self.tried.load(Ordering::Acquire);
        // A clock set back brings no pause without end.
        if is_within(RETRY, UnixMillis::new(tried), now) {
            return CheckSource::Cache;
        }
        let mine =
            self.tried
                .compare_exchange(tried, now.get(), Ordering::AcqRel, Ordering::Acquire);
        if mine.is_ok() {
            CheckSource::CacheAndProbe
        } else {
            CheckSource::Cache
        }
    }

    /// The store failed; says whether that is news.
    pub(crate) fn record_failure(&self, now: UnixMillis) -> bool {
        let is_news = !self.is_failing(now);
        self.failed.store(now.get(), Ordering::Release);
        if is_news {
            self.tried.store(now.get(), Ordering::Release);
        }
        is_news
    }

    /// The store answered; says whether that is news.
    pub(crate) fn record_success(&self) -> bool {
        // Read first: this is on the way of every check that asks the store.
        self.failed.load(Ordering::Acquire) != i64::MIN
            && self.failed.swap(i64::MIN, Ordering::AcqRel) != i64::MIN
    }

    fn is_failing(&self, now: UnixMillis) -> bool {
        let failed = self.failed.load(Ordering::Acquire);
        is_within(FAILURE_MEMORY, UnixMillis::new(failed), now)
    }
}

/// Whether what happened `at` that time is no longer ago than `span`.
fn is_within(span: Duration, at: UnixMillis, now: UnixMillis) -> bool {
    at <= now && now.since(at) < span
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> UnixMillis {
        UnixMillis::new(millis)
    }

    #[test]
    fn one_tries_while_the_others_remember() {
        let breaker = StoreBreaker::default();
        assert_eq!(breaker.source(at(0)), CheckSource::Store);
        assert!(breaker.record_failure(at(0)));
        assert!(!breaker.record_failure(at(0)), "no news");
        assert_eq!(breaker.source(at(999)), CheckSource::Cache);
        assert_eq!(breaker.source(at(1000)), CheckSource::CacheAndProbe);
        assert_eq!(
            breaker.source(at(1000)),
            CheckSource::Cache,
            "somebody tries"
        );
        assert!(!breaker.record_failure(at(1900)));
        assert_eq!(breaker.source(at(1999)), CheckSource::Cache);
        assert_eq!(breaker.source(at(2000)), CheckSource::CacheAndProbe);
        assert!(breaker.record_success());
        assert!(!breaker.record_success());
        assert_eq!(breaker.source(at(2000)), CheckSource::Store);
    }

    #[test]
    fn an_old_failure_is_not_believed_and_a_clock_set_back_breaks_nothing() {
        let breaker = StoreBreaker::default();
        breaker.record_failure(at(10_000));
        assert_eq!(breaker.source(at(12_999)), CheckSource::CacheAndProbe);
        assert_eq!(
            breaker.source(at(13_000)),
            CheckSource::Store,
            "nobody has tried since"
        );
        assert_eq!(breaker.source(at(9_000)), CheckSource::Store);
        breaker.record_failure(at(9_000));
        assert_eq!(breaker.source(at(9_999)), CheckSource::Cache);
        assert_eq!(breaker.source(at(10_000)), CheckSource::CacheAndProbe);
    }
}
