//! Calls counted by the minute, for 45011.

use std::collections::HashMap;

use weappd_base::unix_time::UnixSecs;

/// Counts within the running minute.
#[derive(Debug, Default)]
pub(crate) struct MinuteMeter {
    minute: i64,
    counts: HashMap<String, u32>,
}

impl MinuteMeter {
    /// Counts a call under `key`; says whether it is still within `limit` this minute.
    pub(crate) fn take(&mut self, key: String, limit: u32, now: UnixSecs) -> bool {
        let minute = now.get().div_euclid(60);
        if minute != self.minute {
            self.minute = minute;
            self.counts.clear();
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
        *count <= limit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_its_limit_and_the_next_begins_anew() {
        let mut meter = MinuteMeter::default();
        let mut take = |key: &str, now| meter.take(key.to_owned(), 2, UnixSecs::new(now));
        assert!(take("a", 0) && take("a", 59));
        assert!(!take("a", 59));
        assert!(take("b", 59));
        assert!(take("a", 60));
    }
}
