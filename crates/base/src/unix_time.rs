//! Moments of the wall clock, each with its unit: seconds never pass for milliseconds.
//!
//! A [`Clock`](crate::clock::Clock) makes them; a [`Duration`] moves them and is what lies between
//! two of them. All arithmetic stops at the ends of the range instead of overflowing: a time may
//! come from a database or from the wire. `new` and `get` are for those two.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Seconds since 1970-01-01 UTC. Of a [`Duration`] its whole seconds count.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixSecs(i64);

/// Milliseconds since 1970-01-01 UTC. Of a [`Duration`] its whole milliseconds count.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct UnixMillis(i64);

impl UnixSecs {
    /// The moment so many seconds after 1970 began.
    pub const fn new(secs: i64) -> Self {
        Self(secs)
    }

    /// As a number, for a column or the wire.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The millisecond this second begins with.
    pub const fn to_millis(self) -> UnixMillis {
        UnixMillis(self.0.saturating_mul(1000))
    }

    /// What passed since `earlier`; nothing if that is later, as when the clock went back.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(passed(earlier.0, self.0))
    }

    /// What lies between the two, whichever is the earlier.
    pub const fn distance(self, other: Self) -> Duration {
        Duration::from_secs(self.0.abs_diff(other.0))
    }
}

impl UnixMillis {
    /// The moment so many milliseconds after 1970 began.
    pub const fn new(millis: i64) -> Self {
        Self(millis)
    }

    /// As a number, for a column or the wire.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The second this millisecond is in.
    pub const fn to_secs(self) -> UnixSecs {
        UnixSecs(self.0.div_euclid(1000))
    }

    /// What passed since `earlier`; nothing if that is later, as when the clock went back.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(passed(earlier.0, self.0))
    }

    /// What lies between the two, whichever is the earlier.
    pub const fn distance(self, other: Self) -> Duration {
        Duration::from_millis(self.0.abs_diff(other.0))
    }
}

impl fmt::Display for UnixSecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Add<Duration> for UnixSecs {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(span.as_secs()))
    }
}

impl Sub<Duration> for UnixSecs {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(span.as_secs()))
    }
}

impl Add<Duration> for UnixMillis {
    type Output = Self;

    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add_unsigned(whole_millis(span)))
    }
}

impl Sub<Duration> for UnixMillis {
    type Output = Self;

    fn sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub_unsigned(whole_millis(span)))
    }
}

fn whole_millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

const fn passed(earlier: i64, later: i64) -> u64 {
    if later > earlier {
        later.abs_diff(earlier)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_second_begins_with_its_first_millisecond_before_1970_too() {
        assert_eq!(UnixMillis::new(1999).to_secs(), UnixSecs::new(1));
        assert_eq!(UnixMillis::new(-1).to_secs(), UnixSecs::new(-1));
        assert_eq!(UnixSecs::new(-1).to_millis(), UnixMillis::new(-1000));
    }

    #[test]
    fn nothing_passed_while_the_clock_went_back() {
        let (early, late) = (UnixSecs::new(-3), UnixSecs::new(7));
        assert_eq!(late.since(early), SECOND * 10);
        assert_eq!(early.since(late), Duration::ZERO);
        assert_eq!(early.distance(late), SECOND * 10);
        assert_eq!(late.to_millis().since(early.to_millis()), SECOND * 10);
        assert_eq!(early.to_millis().since(late.to_millis()), Duration::ZERO);
        assert_eq!(early.to_millis().distance(late.to_millis()), SECOND * 10);
    }

    #[test]
    fn what_is_less_than_the_unit_does_not_count() {
        let span = Duration::from_micros(1_999_999);
        assert_eq!(UnixSecs::new(1) + span, UnixSecs::new(2));
        assert_eq!(UnixSecs::new(1) - span, UnixSecs::new(0));
        assert_eq!(UnixMillis::new(1) + span, UnixMillis::new(2000));
        assert_eq!(UnixMillis::new(1) - span, UnixMillis::new(-1998));
    }

    #[test]
    fn arithmetic_stops_at_the_ends_of_the_range() {
        let (first, last) = (UnixMillis::new(i64::MIN), UnixMillis::new(i64::MAX));
        assert_eq!(last + SECOND, last);
        assert_eq!(first - SECOND, first);
        assert_eq!(first + Duration::MAX, last);
        assert_eq!(last - Duration::MAX, first);
        assert_eq!(last.since(first), Duration::from_millis(u64::MAX));
        assert_eq!(first.distance(last), Duration::from_millis(u64::MAX));
        let (first, last) = (UnixSecs::new(i64::MIN), UnixSecs::new(i64::MAX));
        assert_eq!(last + SECOND, last);
        assert_eq!(first - SECOND, first);
        assert_eq!(first + Duration::MAX, last);
        assert_eq!(last - Duration::MAX, first);
        assert_eq!(last.since(first), Duration::from_secs(u64::MAX));
        assert_eq!(last.to_millis(), UnixMillis::new(i64::MAX));
        assert_eq!(first.to_millis(), UnixMillis::new(i64::MIN));
    }

    #[test]
    fn on_the_wire_a_moment_is_a_number() {
        let text = serde_json::to_string(&(UnixSecs::new(5), UnixMillis::new(-6)));
        assert_eq!(text.expect("JSON"), "[5,-6]");
        let told = format!("{} {}", UnixSecs::new(5), UnixMillis::new(-6));
        assert_eq!(told, "5 -6");
        let read = serde_json::from_str::<(UnixSecs, UnixMillis)>("[5,-6]");
        assert_eq!(
            read.expect("times"),
            (UnixSecs::new(5), UnixMillis::new(-6))
        );
    }

    proptest! {
        #[test]
        fn no_arithmetic_panics(a: i64, b: i64, secs: u64, nanos in 0_u32..1_000_000_000) {
            let span = Duration::new(secs, nanos);
            let (early, late) = (a.min(b), a.max(b));
            let (early, late) = (UnixMillis::new(early), UnixMillis::new(late));
            prop_assert_eq!(early + late.since(early), late);
            prop_assert_eq!(late - late.since(early), early);
            prop_assert!(early + span >= early && early - span <= early);
            prop_assert!(early.to_secs().to_millis() <= early || early.get() < i64::MIN + 1000);
            let (early, late) = (UnixSecs::new(early.get()), UnixSecs::new(late.get()));
            prop_assert_eq!(early + late.since(early), late);
            prop_assert_eq!(late - late.since(early), early);
            prop_assert!(early + span >= early && early - span <= early);
        }
    }
}
