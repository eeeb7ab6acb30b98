//! How long to wait before the next try: twice as long each time, up to a bound, and by chance, so
//! that many that failed together do not come back together.

use std::time::Duration;

use weappd_base::random::RandomSource;

/// How often the first pause may double: beyond it no clock counts.
const MAX_DOUBLINGS: u32 = 20;

/// Pauses that double.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBackoff {
    /// The most that the first pause may be.
    pub first: Duration,
    /// The most that any pause may be.
    pub longest: Duration,
    /// Which part of the most is drawn from.
    pub jitter: JitterRange,
}

/// From which part of the longest possible pause the pause is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JitterRange {
    /// All of it, from zero: for callers that never meet.
    Whole,
    /// Its longer half: the pauses shall differ, not vanish.
    UpperHalf,
}

impl RetryBackoff {
    /// The pause after `failures` earlier pauses.
    pub fn pause(&self, failures: u32, random: &RandomSource) -> Duration {
        let most = self
            .first
            .saturating_mul(1 << failures.min(MAX_DOUBLINGS))
            .min(self.longest);
        let chance = chance(random);
        most.mul_f64(match self.jitter {
            JitterRange::Whole => chance,
            JitterRange::UpperHalf => 0.5 + chance / 2.0,
        })
    }
}

/// A random part of one.
fn chance(random: &RandomSource) -> f64 {
    f64::from(u32::from_be_bytes(random.bytes())) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_differ() {
        let random = RandomSource::seeded(7);
        for (jitter, least) in [(JitterRange::Whole, 0), (JitterRange::UpperHalf, 50)] {
            let backoff = RetryBackoff {
                first: Duration::from_millis(100),
                longest: Duration::from_secs(10),
                jitter,
            };
            for (failures, most) in [
                (0, 100),
                (1, 200),
                (6, 6400),
                (7, 10_000),
                (u32::MAX, 10_000),
            ] {
                let pauses = [(); 20].map(|()| backoff.pause(failures, &random).as_millis());
                let bounds = most * least / 100..=most;
                assert!(
                    pauses.iter().all(|pause| bounds.contains(pause)),
                    "{pauses:?}"
                );
                assert!(pauses.iter().any(|pause| *pause != pauses[0]), "{pauses:?}");
            }
        }
    }

    #[test]
    fn no_pause_is_none_too() {
        let backoff = RetryBackoff {
            first: Duration::ZERO,
            longest: Duration::MAX,
            jitter: JitterRange::UpperHalf,
        };
        let random = RandomSource::seeded(7);
        assert_eq!(backoff.pause(3, &random), Duration::ZERO);
    }
}
