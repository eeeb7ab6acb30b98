//! Whether a shared store answers, as far as the checks have seen.
//!
//! While it does not, memory answers at once, and one task at a time tries the store again:
//! no request waits to find out what is known. Silence believed for longer than
//! [`BELIEVED_MILLIS`] without a new trial is no news: the next check asks again.

use std::sync::atomic::{AtomicI64, Ordering};

/// How often a store that fails is tried again.
const TRIAL_MILLIS: i64 = 1000;
/// For how long after a failure the store is taken for failing: a trial and its patience,
/// and some more.
const BELIEVED_MILLIS: i64 = 3000;

/// What a check is to do about a session that was not confirmed lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Ask the store.
    Store,
    /// Take memory's word.
    Memory,
    /// Take memory's word, and try the store beside.
    MemoryAndTry,
}

/// When the store last failed to confirm a session and when it was last tried since, in
/// milliseconds.
pub(crate) struct Pulse {
    failed: AtomicI64,
    tried: AtomicI64,
}

impl Default for Pulse {
    fn default() -> Self {
        Self {
            failed: AtomicI64::new(i64::MIN),
            tried: AtomicI64::new(i64::MIN),
        }
    }
}

impl Pulse {
    /// What to do now. Of many who ask at once, one is told to try.
    pub(crate) fn ask(&self, now: i64) -> Ask {
        if !self.is_failing(now) {
            return Ask::Store;
        }
        let tried = self.tried.load(Ordering::Acquire);
        // A clock set back brings no pause without end.
        if (0..TRIAL_MILLIS).contains(&now.saturating_sub(tried)) {
            return Ask::Memory;
        }
        let mine = self
            .tried
            .compare_exchange(tried, now, Ordering::AcqRel, Ordering::Acquire);
        if mine.is_ok() {
            Ask::MemoryAndTry
        } else {
            Ask::Memory
        }
    }

    /// The store failed; says whether that is news.
    pub(crate) fn fails(&self, now: i64) -> bool {
        let is_news = !self.is_failing(now);
        self.failed.store(now, Ordering::Release);
        if is_news {
            self.tried.store(now, Ordering::Release);
        }
        is_news
    }

    /// The store answered; says whether that is news.
    pub(crate) fn answers(&self) -> bool {
        // Read first: this is on the way of every check that asks the store.
        self.failed.load(Ordering::Acquire) != i64::MIN
            && self.failed.swap(i64::MIN, Ordering::AcqRel) != i64::MIN
    }

    fn is_failing(&self, now: i64) -> bool {
        let failed = self.failed.load(Ordering::Acquire);
        (0..BELIEVED_MILLIS).contains(&now.saturating_sub(failed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tries_while_the_others_remember() {
        let pulse = Pulse::default();
        assert_eq!(pulse.ask(0), Ask::Store);
        assert!(pulse.fails(0));
        assert!(!pulse.fails(0), "no news");
        assert_eq!(pulse.ask(999), Ask::Memory);
        assert_eq!(pulse.ask(1000), Ask::MemoryAndTry);
        assert_eq!(pulse.ask(1000), Ask::Memory, "somebody tries");
        assert!(!pulse.fails(1900));
        assert_eq!(pulse.ask(1999), Ask::Memory);
        assert_eq!(pulse.ask(2000), Ask::MemoryAndTry);
        assert!(pulse.answers());
        assert!(!pulse.answers());
        assert_eq!(pulse.ask(2000), Ask::Store);
    }

    #[test]
    fn an_old_failure_is_not_believed_and_a_clock_set_back_breaks_nothing() {
        let pulse = Pulse::default();
        pulse.fails(10_000);
        assert_eq!(pulse.ask(12_999), Ask::MemoryAndTry);
        assert_eq!(pulse.ask(13_000), Ask::Store, "nobody has tried since");
        assert_eq!(pulse.ask(9_000), Ask::Store);
        pulse.fails(9_000);
        assert_eq!(pulse.ask(9_999), Ask::Memory);
        assert_eq!(pulse.ask(10_000), Ask::MemoryAndTry);
    }
}
