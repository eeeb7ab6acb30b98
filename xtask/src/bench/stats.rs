//! Medians and ranges.

/// Several measurements of one thing.
#[derive(Clone, Debug, Default)]
pub(super) struct Sample(Vec<f64>);

impl FromIterator<f64> for Sample {
    fn from_iter<I: IntoIterator<Item = f64>>(all: I) -> Self {
        let mut all: Vec<f64> = all.into_iter().collect();
        all.sort_by(f64::total_cmp);
        Self(all)
    }
}

impl Sample {
    /// The middle one, or the mean of the two in the middle; 0 of none.
    pub(super) fn median(&self) -> f64 {
        let middle = self.0.len() / 2;
        let at = |n: usize| self.0.get(n).copied().unwrap_or_default();
        if self.0.len() % 2 == 1 {
            at(middle)
        } else {
            f64::midpoint(at(middle.saturating_sub(1)), at(middle))
        }
    }

    /// The smallest.
    pub(super) fn least(&self) -> f64 {
        self.0.first().copied().unwrap_or_default()
    }

    /// The largest.
    pub(super) fn most(&self) -> f64 {
        self.0.last().copied().unwrap_or_default()
    }
}

/// A count as a number to divide.
#[expect(clippy::cast_precision_loss, reason = "counts here are far below 2^52")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let sample = |all: &[f64]| all.iter().copied().collect::<Sample>();
        let of = |all: &[f64]| sample(all).median().to_string();
        assert_eq!(of(&[3.0, 1.0, 2.0]), "2");
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]), "2.5");
        assert_eq!(of(&[]), "0");
        let range = sample(&[3.0, 1.0, 2.0]);
        assert_eq!(format!("{} {}", range.least(), range.most()), "1 3");
    }
}
