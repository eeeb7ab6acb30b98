//! What weappd counts, for Prometheus and its like: one registry, families declared by rooms.
//!
//! # How a room takes part
//!
//! 1. A room counts in fields of its own, beside the code that counts: [`MetricCounter`], by a
//!    label of few values [`LabelCounters`], and [`DurationHistogram`] or [`LabelDurations`]. All
//!    have `Default` or `new`, are cheap to clone, and cost one or two relaxed atomics: nothing
//!    is looked up, and nothing is allocated. They count whether or not anybody asks.
//! 2. The room's head has `pub fn register_metrics(&self, registry: &MetricRegistry)`, which
//!    declares them, once: `let room = registry.room("tunnel"); room.counter("pushes", "Packets
//!    pushed", MetricUnit::None, &counts.pushes);`. The name becomes `weappd_tunnel_pushes_total`:
//!    the unit and `_total` are added, so leave them out.
//! 3. What the room knows as a number anyway (queue lengths, open connections) is read when
//!    somebody asks: `room.read(move |scrape| scrape.gauge(...))`. Also counters that exist as
//!    plain atomics, and series with a label from weappd.toml (an app's name).
//!
//! A label never has a value that a client chooses: each value is a series for ever. A
//! [`MetricLabel`] lists all of its values, so they are bounded by their type; labels of
//! [`ScrapeWriter`] are texts, and must come from weappd.toml or the code.
//!
//! # How the binary serves it
//!
//! One [`MetricRegistry`] is made at the start; each room's `register_metrics` is called once,
//! [`runtime::watch`] and [`process::watch`] too. `GET /metrics` answers [`MetricRegistry::text`]
//! with [`CONTENT_TYPE`]. Some reads look into `/proc`: call it in
//! [`Work::run_blocking`](crate::tasks::Work::run_blocking). A reload registers nothing again.
//!
//! Tests of a room's families look at [`exposition::problem`].

mod counters;
mod durations;
pub mod exposition;
pub mod process;
pub mod runtime;
mod scrape;

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::{Metric, Registry, Unit};

pub use counters::{LabelCounters, LabelSet, MetricCounter, MetricLabel};
pub use durations::{DurationHistogram, LabelDurations, QUICK_BOUNDS, SLOW_BOUNDS};
pub use scrape::{ScrapeLabels, ScrapeWriter, SeriesValue};

/// The `Content-Type` of [`MetricRegistry::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a number counts, as the end of its family's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricUnit {
    /// Things.
    None,
    /// `_seconds`.
    Seconds,
    /// `_bytes`.
    Bytes,
}

impl MetricUnit {
    fn of_registry(self) -> Option<Unit> {
        match self {
            Self::None => None,
            Self::Seconds => Some(Unit::Seconds),
            Self::Bytes => Some(Unit::Bytes),
        }
    }
}

/// All families of this weappd. Cheap to clone; all clones are one registry.
#[derive(Clone, Default)]
pub struct MetricRegistry(Arc<Mutex<Registry>>);

impl MetricRegistry {
    /// No family yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Where families of `room` are declared: their names begin with `weappd_room_`.
    pub fn room(&self, room: &str) -> RoomMetrics {
        RoomMetrics {
            registry: self.clone(),
            prefix: format!("weappd_{room}_"),
        }
    }

    /// Where families are declared whose names begin with `prefix`.
    fn with_prefix(&self, prefix: &str) -> RoomMetrics {
        RoomMetrics {
            registry: self.clone(),
            prefix: prefix.to_owned(),
        }
    }

    /// Everything as it is now, as `OpenMetrics` text. May look into `/proc`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _: fmt::Result = encode(&mut text, &self.0.lock());
        text
    }
}

impl fmt::Debug for MetricRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MetricRegistry")
    }
}

/// Where one room declares its families. `help` is a sentence without its full stop.
#[derive(Clone, Debug)]
pub struct RoomMetrics {
    registry: MetricRegistry,
    prefix: String,
}

impl RoomMetrics {
    /// Declares `weappd_room_name_total`.
    pub fn counter(&self, name: &str, help: &str, unit: MetricUnit, counter: &MetricCounter) {
        self.register(name, help, unit, counter.of_registry());
    }

    /// Declares `weappd_room_name_total` with one series for each value of its labels.
    pub fn counters<L: LabelSet>(
        &self,
        name: &str,
        help: &str,
        unit: MetricUnit,
        counters: &LabelCounters<L>,
    ) {
        self.register(name, help, unit, counters.clone());
    }

    /// Declares the histogram `weappd_room_name_seconds`.
    pub fn durations(&self, name: &str, help: &str, durations: &DurationHistogram) {
        self.register(name, help, MetricUnit::Seconds, durations.clone());
    }

    /// Declares the histogram `weappd_room_name_seconds`, one for each value of its labels.
    pub fn label_durations<L: LabelSet>(
        &self,
        name: &str,
        help: &str,
        durations: &LabelDurations<L>,
    ) {
        self.register(name, help, MetricUnit::Seconds, durations.clone());
    }

    /// Has `read` write families each time somebody asks.
    pub fn read(&self, read: impl Fn(&mut ScrapeWriter<'_>) + Send + Sync + 'static) {
        let reader = scrape::ScrapeReader::new(self.prefix.clone(), Box::new(read));
        self.registry.0.lock().register_collector(Box::new(reader));
    }

    fn register(&self, name: &str, help: &str, unit: MetricUnit, metric: impl Metric) {
        let name = format!("{}{name}", self.prefix);
        let mut registry = self.registry.0.lock();
        match unit.of_registry() {
            Some(unit) => registry.register_with_unit(name, help, unit, metric),
            None => registry.register(name, help, metric),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[derive(Clone, Copy)]
    enum CallEnd {
        Taken,
        Lost,
    }

    impl MetricLabel for CallEnd {
        const NAME: &'static str = "end";
        const VALUES: &'static [&'static str] = &["taken", "lost"];

        fn index(self) -> usize {
            self as usize
        }
    }

    #[derive(Clone, Copy)]
    struct CallWay(bool);

    impl MetricLabel for CallWay {
        const NAME: &'static str = "way";
        const VALUES: &'static [&'static str] = &["in", "out"];

        fn index(self) -> usize {
            usize::from(self.0)
        }
    }

    #[test]
    fn families_have_their_rooms_name_and_their_unit() {
        let registry = MetricRegistry::new();
        let room = registry.room("tunnel");
        let (pushes, sent) = (MetricCounter::default(), MetricCounter::default());
        let ends = LabelCounters::<CallEnd>::default();
        let both = LabelCounters::<(CallEnd, CallWay)>::default();
        room.counter("pushes", "Packets pushed", MetricUnit::None, &pushes);
        room.counter("sent", "What was sent", MetricUnit::Bytes, &sent);
        room.counters("calls", "Calls by their end", MetricUnit::None, &ends);
        room.counters("parts", "Parts", MetricUnit::None, &both);
        room.read(|scrape| {
            scrape.gauge("open", "Open tunnels", MetricUnit::None, 7_u64);
            let apps = [("a\"", 1.5), ("b", 0.0)];
            scrape.gauges(
                "age",
                "Ages",
                MetricUnit::Seconds,
                apps.map(|(app, age)| (vec![("app", app.to_owned())], age)),
            );
            let none: [(ScrapeLabels, u64); 0] = [];
            scrape.counters("nothing", "Nothing yet", MetricUnit::None, none);
        });
        pushes.inc();
        sent.add(41);
        ends.inc(CallEnd::Taken);
        both.inc((CallEnd::Lost, CallWay(true)));
        let text = registry.text();
        assert_eq!(exposition::problem(&text), None, "{text}");
        for line in [
            "# HELP weappd_tunnel_pushes Packets pushed.",
            "# TYPE weappd_tunnel_pushes counter",
            "weappd_tunnel_pushes_total 1",
            "# UNIT weappd_tunnel_sent_bytes bytes",
            "weappd_tunnel_sent_bytes_total 41",
            "weappd_tunnel_calls_total{end=\"taken\"} 1",
            "weappd_tunnel_calls_total{end=\"lost\"} 0",
            "weappd_tunnel_parts_total{end=\"lost\",way=\"out\"} 1",
            "weappd_tunnel_open 7",
            "weappd_tunnel_age_seconds{app=\"a\\\"\"} 1.5",
            "# EOF",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert_eq!(text.matches("weappd_tunnel_parts_total{").count(), 4);
        assert!(!text.contains("nothing"));
    }

    #[test]
    fn durations_fall_into_their_buckets() {
        let registry = MetricRegistry::new();
        let all = DurationHistogram::new(QUICK_BOUNDS);
        let by_end = LabelDurations::<CallEnd>::new(SLOW_BOUNDS);
        let room = registry.room("a");
        room.durations("wait", "Waits", &all);
        room.label_durations("call", "Calls", &by_end);
        for millis in [0, 1, 40, 70_000] {
            all.observe(Duration::from_millis(millis));
        }
        by_end.observe(CallEnd::Lost, Duration::from_mins(1));
        let text = registry.text();
        assert_eq!(exposition::problem(&text), None, "{text}");
        for line in [
            "weappd_a_wait_seconds_sum 70.041",
            "weappd_a_wait_seconds_count 4",
            "weappd_a_wait_seconds_bucket{le=\"0.001\"} 2",
            "weappd_a_wait_seconds_bucket{le=\"0.05\"} 3",
            "weappd_a_wait_seconds_bucket{le=\"+Inf\"} 4",
            "weappd_a_call_seconds_bucket{le=\"60.0\",end=\"lost\"} 1",
            "weappd_a_call_seconds_bucket{le=\"30.0\",end=\"lost\"} 0",
            "weappd_a_call_seconds_count{end=\"taken\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn clones_count_together() {
        let (one, ends) = (
            MetricCounter::default(),
            LabelCounters::<CallEnd>::default(),
        );
        one.clone().add(3);
        ends.clone().add(CallEnd::Lost, 2);
        assert_eq!(one.get(), 3);
        assert_eq!((ends.get(CallEnd::Lost), ends.get(CallEnd::Taken)), (2, 0));
    }
}
