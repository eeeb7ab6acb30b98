//! How often each call was made today, and how often the counts may be cleared.

use std::collections::HashMap;
use std::time::Duration;

use weappd_base::unix_time::UnixSecs;

/// A day of China, where WeChat's counts begin anew.
const BEIJING_OFFSET: Duration = Duration::from_hours(8);
/// `clear_quota` and `clear_quota/v2` a month.
const CLEAR_ALL_A_MONTH: u32 = 10;
/// `openapi/quota/clear` a month.
const CLEAR_ONE_A_MONTH: u32 = 50;
/// The most paths counted.
const MAX_COUNTS: usize = 10_000;

/// Calls of today by appid and path, and clearings of this month by appid.
#[derive(Debug, Default)]
pub(crate) struct CallQuota {
    day: i64,
    used: HashMap<(String, String), u64>,
    cleared: HashMap<(String, bool), (i64, u32)>,
}

impl CallQuota {
    /// Counts a call. Not if it would be one more than `limit`.
    pub(crate) fn take(&mut self, appid: &str, path: &str, limit: u64, now: UnixSecs) -> bool {
        self.turn(now);
        let key = (appid.to_owned(), path.to_owned());
        if !self.used.contains_key(&key) && self.used.len() >= MAX_COUNTS {
            return true;
        }
        let used = self.used.entry(key).or_default();
        if *used >= limit {
            return false;
        }
        *used += 1;
        true
    }

    /// How often a call was made today.
    pub(crate) fn used(&mut self, appid: &str, path: &str, now: UnixSecs) -> u64 {
        self.turn(now);
        let key = (appid.to_owned(), path.to_owned());
        self.used.get(&key).copied().unwrap_or(0)
    }

    /// Clears the counts of one path or of all; not more often than WeChat allows in a
    /// month, taken as 30 days.
    pub(crate) fn clear(&mut self, appid: &str, path: Option<&str>, now: UnixSecs) -> bool {
        let month = now.get().div_euclid(30 * 86_400);
        let most = if path.is_some() {
            CLEAR_ONE_A_MONTH
        } else {
            CLEAR_ALL_A_MONTH
        };
        let count = self.cleared.entry((appid.to_owned(), path.is_some()));
        let count = count.or_insert((month, 0));
        if count.0 != month {
            *count = (month, 0);
        }
        if count.1 >= most {
            return false;
        }
        count.1 += 1;
        let keeps =
            |(of, at): &(String, String)| of != appid || path.is_some_and(|path| path != at);
        self.used.retain(|key, _| keeps(key));
        true
    }

    fn turn(&mut self, now: UnixSecs) {
        let day = (now + BEIJING_OFFSET).get().div_euclid(86_400);
        if day != self.day {
            self.day = day;
            self.used.clear();
        }
    }
}
