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
        encode_sum(&[self], encoder)
    }
}

/// Writes the sum of several, which have the same bounds.
fn encode_sum(parts: &[&DurationBuckets], encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    let bounds = parts.first().map_or(&[][..], |part| part.bounds);
    let mut buckets: Vec<(f64, u64)> = (bounds.iter().map(|bound| seconds(*bound)))
        .chain(std::iter::once(f64::INFINITY))
        .map(|bound| (bound, 0))
        .collect();
    for part in parts {
        for ((_, sum), count) in buckets.iter_mut().zip(&part.counts) {
            *sum += count.load(Ordering::Relaxed);
        }
    }
    let count = buckets.iter().map(|(_, count)| count).sum();
    let sum = parts
        .iter()
        .map(|part| part.sum_micros.load(Ordering::Relaxed));
    let sum = seconds(sum.sum());
    encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
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

    /// Writes the sum of several, which have the same bounds.
    pub(super) fn encode_all(parts: &[&Self], encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        let parts: Vec<&DurationBuckets> = parts.iter().map(|part| &*part.0).collect();
        encode_sum(&parts, encoder)
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

#[cfg(test)]
mod tests {
    use super::super::MetricRegistry;
    use super::*;

    #[test]
    fn several_parts_are_told_as_one() {
        let parts = [
            DurationHistogram::new(QUICK_BOUNDS),
            DurationHistogram::new(QUICK_BOUNDS),
        ];
        parts[0].observe(Duration::from_millis(1));
        parts[1].observe(Duration::from_millis(1));
        parts[1].observe(Duration::from_mins(1));
        let registry = MetricRegistry::new();
        registry.room("edge").read(move |scrape| {
            scrape.durations("request", "How long", &parts.each_ref());
        });
        let text = registry.text();
        for line in [
            "weappd_edge_request_seconds_bucket{le=\"0.0005\"} 0",
            "weappd_edge_request_seconds_bucket{le=\"0.001\"} 2",
            "weappd_edge_request_seconds_bucket{le=\"+Inf\"} 3",
            "weappd_edge_request_seconds_count 3",
        ] {
            assert!(text.lines().any(|told| told == line), "{line}\n{text}");
        }
    }
}
