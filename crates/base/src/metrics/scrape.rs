//! Numbers that are read when somebody asks.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

use super::MetricUnit;
use super::durations::DurationHistogram;

type ReadFn = Box<dyn Fn(&mut ScrapeWriter<'_>) + Send + Sync>;

/// Reads one room's numbers.
pub(super) struct ScrapeReader {
    prefix: String,
    read: ReadFn,
}

impl ScrapeReader {
    pub(super) fn new(prefix: String, read: ReadFn) -> Self {
        Self { prefix, read }
    }
}

impl fmt::Debug for ScrapeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScrapeReader({})", self.prefix)
    }
}

impl Collector for ScrapeReader {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut writer = ScrapeWriter {
            encoder,
            prefix: self.prefix.clone(),
            outcome: Ok(()),
        };
        (self.read)(&mut writer);
        writer.outcome
    }
}

/// Labels of one series: names and values. The values come from weappd.toml or the code.
pub type ScrapeLabels = Vec<(&'static str, String)>;

/// A number as it is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SeriesValue {
    /// A whole one.
    Whole(u64),
    /// Another.
    Real(f64),
}

impl From<u64> for SeriesValue {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for SeriesValue {
    fn from(value: usize) -> Self {
        Self::Whole(value as u64)
    }
}

impl From<f64> for SeriesValue {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// Takes the numbers of one look. `help` is a sentence without its full stop.
#[derive(Debug)]
pub struct ScrapeWriter<'a> {
    encoder: DescriptorEncoder<'a>,
    prefix: String,
    outcome: fmt::Result,
}

impl ScrapeWriter<'_> {
    /// Something that goes up and down.
    pub fn gauge(
        &mut self,
        name: &str,
        help: &str,
        unit: MetricUnit,
        value: impl Into<SeriesValue>,
    ) {
        self.gauges(name, help, unit, [(ScrapeLabels::new(), value)]);
    }

    /// The same with labels; no series, no family.
    pub fn gauges<V: Into<SeriesValue>>(
        &mut self,
        name: &str,
        help: &str,
        unit: MetricUnit,
        series: impl IntoIterator<Item = (ScrapeLabels, V)>,
    ) {
        self.family(name, help, unit, MetricType::Gauge, series);
    }

    /// Something that only goes up, counted elsewhere.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        unit: MetricUnit,
        value: impl Into<SeriesValue>,
    ) {
        self.counters(name, help, unit, [(ScrapeLabels::new(), value)]);
    }

    /// The same with labels; no series, no family.
    pub fn counters<V: Into<SeriesValue>>(
        &mut self,
        name: &str,
        help: &str,
        unit: MetricUnit,
        series: impl IntoIterator<Item = (ScrapeLabels, V)>,
    ) {
        self.family(name, help, unit, MetricType::Counter, series);
    }

    /// How long something takes: a histogram, counted in several parts (one for each thread)
    /// which have the same bounds.
    pub fn durations(&mut self, name: &str, help: &str, parts: &[&DurationHistogram]) {
        if self.outcome.is_err() {
            return;
        }
        let (name, help) = (format!("{}{name}", self.prefix), format!("{help}."));
        let family = self.encoder.encode_descriptor(
            &name,
            &help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        );
        self.outcome =
            family.and_then(|mut family| DurationHistogram::encode_all(parts, &mut family));
    }

    fn family<V: Into<SeriesValue>>(
        &mut self,
        name: &str,
        help: &str,
        unit: MetricUnit,
        kind: MetricType,
        series: impl IntoIterator<Item = (ScrapeLabels, V)>,
    ) {
        let mut series = series.into_iter().peekable();
        if self.outcome.is_err() || series.peek().is_none() {
            return;
        }
        let (name, help) = (format!("{}{name}", self.prefix), format!("{help}."));
        let unit = unit.of_registry();
        let family = self
            .encoder
            .encode_descriptor(&name, &help, unit.as_ref(), kind);
        self.outcome = family.and_then(|mut family| {
            for (labels, value) in series {
                let mut one = family.encode_family(&labels)?;
                write(&mut one, kind, value.into())?;
            }
            Ok(())
        });
    }
}

fn write(series: &mut MetricEncoder<'_>, kind: MetricType, value: SeriesValue) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, SeriesValue::Whole(value)) => {
            series.encode_counter::<NoLabelSet, _, u64>(&value, None)
        }
        (MetricType::Counter, SeriesValue::Real(value)) => {
            series.encode_counter::<NoLabelSet, _, f64>(&value, None)
        }
        (_, SeriesValue::Whole(value)) => series.encode_gauge(&value),
        (_, SeriesValue::Real(value)) => series.encode_gauge(&value),
    }
}
