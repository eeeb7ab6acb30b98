//! Log lines that anybody can cause: told once in a while, never a flood.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

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
}
