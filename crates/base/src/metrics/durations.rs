//! How long things take: histograms that cost two relaxed atomics, and no lock.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::counters::LabelSet;

/// For what usually takes less than a second: 0.1 ms to 10 s, in microseconds.
pub const QUICK_BOUNDS: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 10_000_000,
];

/// For what may take minutes: 10 ms to 10 minutes, in microseconds.
pub const SLOW_BOUNDS: &[u64] = &[
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    180_000_000,
    600_000_000,
];

/// One series: how many fell between two bounds, and the sum.
struct DurationBuckets {
    bounds: &'static [u64],
    /// One more than bounds: the last is for what is longer than all.
    counts: Box<[AtomicU64]>,
    sum_micros: AtomicU64,
}

impl DurationBuckets {
    fn new(bounds: &'static [u64]) -> Self {
        Self {
            bounds,
            counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(),
            sum_micros: AtomicU64::new(0),
        }
    }

    fn observe(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let at = self.bounds.iter().take_while(|bound| **bound < micros);
        if let Some(count) = self.counts.get(at.count()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    fn encode(&self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let bounds = self.bounds.iter().map(|bound| seconds(*bound));
        let counts = self
            .counts
            .iter()
            .map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds
            .chain(std::iter::once(f64::INFINITY))
            .zip(counts)
            .collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = seconds(self.sum_micros.load(Ordering::Relaxed));
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

fn seconds(micros: u64) -> f64 {
    Duration::from_micros(micros).as_secs_f64()
}

/// How long something takes. Cheap to clone; all clones are one histogram.
#[derive(Clone)]
pub struct DurationHistogram(Arc<DurationBuckets>);

impl DurationHistogram {
    /// With these bounds in microseconds: [`QUICK_BOUNDS`] or [`SLOW_BOUNDS`].
    pub fn new(bounds: &'static [u64]) -> Self {
        Self(Arc::new(DurationBuckets::new(bounds)))
    }

    /// It took so long.
    pub fn observe(&self, time: Duration) {
        self.0.observe(time);
    }
}

impl fmt::Debug for DurationHistogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DurationHistogram")
    }
}

impl EncodeMetric for DurationHistogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.0.encode(&mut encoder)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

/// How long something takes, by labels. Cheap to clone.
pub struct LabelDurations<L> {
    series: Arc<[DurationBuckets]>,
    labels: PhantomData<L>,
}

impl<L: LabelSet> LabelDurations<L> {
    /// With these bounds in microseconds: [`QUICK_BOUNDS`] or [`SLOW_BOUNDS`].
    pub fn new(bounds: &'static [u64]) -> Self {
        Self {
            series: (0..L::COUNT)
                .map(|_| DurationBuckets::new(bounds))
                .collect(),
            labels: PhantomData,
        }
    }

    /// It took so long.
    pub fn observe(&self, labels: L, time: Duration) {
        if let Some(series) = self.series.get(labels.index()) {
            series.observe(time);
        }
    }
}

impl<L> Clone for LabelDurations<L> {
    fn clone(&self) -> Self {
        Self {
            series: Arc::clone(&self.series),
            labels: PhantomData,
        }
    }
}

impl<L> fmt::Debug for LabelDurations<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelDurations({} series)", self.series.len())
    }
}

impl<L: LabelSet> EncodeMetric for LabelDurations<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (index, series) in self.series.iter().enumerate() {
            let labels = L::pairs(index);
            series.encode(&mut encoder.encode_family(&labels)?)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}
