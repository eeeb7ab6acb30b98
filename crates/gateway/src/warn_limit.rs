//! Keeps one trouble from filling the log: it is told at once, then once in a while with a
//! count.

use std::collections::HashMap;
use std::hash::Hash;

use parking_lot::Mutex;

/// More troubles than this are not told apart.
const MOST: usize = 1024;

/// What was told lately.
pub(crate) struct WarnLimit<K> {
    pause_millis: i64,
    told: Mutex<HashMap<K, (i64, u64)>>,
}

impl<K: Hash + Eq> WarnLimit<K> {
    pub(crate) fn every(pause_millis: i64) -> Self {
        Self {
            pause_millis,
            told: Mutex::default(),
        }
    }

    /// Whether to tell it now; then, how many were kept back since the last time.
    pub(crate) fn may_tell(&self, what: K, now: i64) -> Option<u64> {
        let mut told = self.told.lock();
        if told.len() >= MOST {
            told.retain(|_, (at, _)| (now - *at).abs() < self.pause_millis);
        }
        if told.len() >= MOST && !told.contains_key(&what) {
            return None;
        }
        let (at, kept) = told.entry(what).or_insert((now, u64::MAX));
        // Never told, long ago, or the clock was set back.
        if *kept == u64::MAX || !(0..self.pause_millis).contains(&(now - *at)) {
            let since = if *kept == u64::MAX { 0 } else { *kept };
            (*at, *kept) = (now, 0);
            return Some(since);
        }
        *kept += 1;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_trouble_is_told_once_in_a_while_with_a_count() {
        let limit = WarnLimit::every(1000);
        assert_eq!(limit.may_tell("a", 0), Some(0));
        assert_eq!(limit.may_tell("a", 999), None);
        assert_eq!(limit.may_tell("b", 999), Some(0));
        assert_eq!(limit.may_tell("a", 1000), Some(1));
        assert_eq!(limit.may_tell("a", 5), Some(0), "the clock was set back");
    }
}
