//! Counters: alone, and one for each value of a label.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;

/// Counts events. Cheap to clone; all clones are one counter.
#[derive(Clone, Debug, Default)]
pub struct MetricCounter(Counter);

impl MetricCounter {
    /// One more.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.inc_by(more);
    }

    /// How many so far.
    pub fn get(&self) -> u64 {
        self.0.get()
    }

    pub(super) fn of_registry(&self) -> Counter {
        self.0.clone()
    }
}

/// A label whose values are known beforehand: an enum without fields.
pub trait MetricLabel: Copy + Send + Sync + 'static {
    /// The label's name.
    const NAME: &'static str;
    /// Its values, in the order of [`index`](Self::index).
    const VALUES: &'static [&'static str];

    /// Which of the values this is: `self as usize`.
    fn index(self) -> usize;
}

/// One label or two.
pub trait LabelSet: Copy + Send + Sync + 'static {
    /// How many series there are.
    const COUNT: usize;

    /// Which series this is.
    fn index(self) -> usize;

    /// Name and value of each label of a series.
    fn pairs(index: usize) -> Vec<(&'static str, &'static str)>;
}

impl<L: MetricLabel> LabelSet for L {
    const COUNT: usize = L::VALUES.len();

    fn index(self) -> usize {
        MetricLabel::index(self)
    }

    fn pairs(index: usize) -> Vec<(&'static str, &'static str)> {
        let value = L::VALUES.get(index).copied().unwrap_or_default();
        vec![(L::NAME, value)]
    }
}

impl<A: MetricLabel, B: MetricLabel> LabelSet for (A, B) {
    const COUNT: usize = A::VALUES.len() * B::VALUES.len();

    fn index(self) -> usize {
        MetricLabel::index(self.0) * B::VALUES.len() + MetricLabel::index(self.1)
    }

    fn pairs(index: usize) -> Vec<(&'static str, &'static str)> {
        let inner = B::VALUES.len().max(1);
        let mut pairs = A::pairs(index / inner);
        pairs.extend(B::pairs(index % inner));
        pairs
    }
}

/// Counts events by their labels. All series are there from the start, at zero.
pub struct LabelCounters<L> {
    counts: Arc<[AtomicU64]>,
    labels: PhantomData<L>,
}

impl<L: LabelSet> LabelCounters<L> {
    /// One more of this series.
    pub fn inc(&self, labels: L) {
        self.add(labels, 1);
    }

    /// So many more of this series.
    pub fn add(&self, labels: L, more: u64) {
        if let Some(count) = self.counts.get(labels.index()) {
            count.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// How many of this series so far.
    pub fn get(&self, labels: L) -> u64 {
        let count = self.counts.get(labels.index());
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

impl<L: LabelSet> Default for LabelCounters<L> {
    fn default() -> Self {
        Self {
            counts: (0..L::COUNT).map(|_| AtomicU64::new(0)).collect(),
            labels: PhantomData,
        }
    }
}

impl<L> Clone for LabelCounters<L> {
    fn clone(&self) -> Self {
        Self {
            counts: Arc::clone(&self.counts),
            labels: PhantomData,
        }
    }
}

impl<L> fmt::Debug for LabelCounters<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LabelCounters({} series)", self.counts.len())
    }
}

impl<L: LabelSet> EncodeMetric for LabelCounters<L> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for (index, count) in self.counts.iter().enumerate() {
            let labels = L::pairs(index);
            let mut series = encoder.encode_family(&labels)?;
            series.encode_counter::<NoLabelSet, _, u64>(&count.load(Ordering::Relaxed), None)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}
