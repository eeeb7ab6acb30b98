//! A timer for tests: how long something took, less what a busy machine made it wait.

use std::fs;
use std::time::{Duration, Instant};

/// Where Linux counts the time in which somebody waited for a processor or a disk (PSI).
const PRESSURES: [&str; 2] = ["/proc/pressure/cpu", "/proc/pressure/io"];

/// Measures an upper bound that holds also while a compiler runs beside the test.
///
/// A wait that is too long by itself (a deadline that does not work, a retry too many) is
/// spent asleep and counts; time in which something was ready to run and found no processor
/// does not. Where the system does not count that time, all of it counts.
#[derive(Clone, Copy, Debug)]
pub struct FairTimer {
    begun: Instant,
    starved: Duration,
}

impl FairTimer {
    /// Starts now.
    pub fn start() -> Self {
        Self {
            begun: Instant::now(),
            starved: starved(),
        }
    }

    /// All the time since the start: for lower bounds.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The same without the time in which the machine had more to do than it could: for
    /// upper bounds.
    pub fn fair(&self) -> Duration {
        let waited = starved().saturating_sub(self.starved);
        self.begun.elapsed().saturating_sub(waited)
    }
}

/// Time since the machine's start in which somebody who could have run had to wait.
fn starved() -> Duration {
    let total = |path| {
        let text = fs::read_to_string(path).ok()?;
        let some = text.lines().find(|line| line.starts_with("some "))?;
        let micros = some.rsplit_once("total=")?.1.trim().parse().ok()?;
        Some(Duration::from_micros(micros))
    };
    PRESSURES.into_iter().filter_map(total).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fair_time_is_never_more_than_all_of_it() {
        let timer = FairTimer::start();
        std::thread::sleep(Duration::from_millis(30));
        let fair = timer.fair();
        assert!(fair <= timer.elapsed());
        assert!(timer.elapsed() >= Duration::from_millis(30));
    }
}
