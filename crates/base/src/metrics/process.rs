//! The process itself, under the names that every Prometheus dashboard knows.

use std::fs;
use std::time::Duration;

use super::{MetricRegistry, MetricUnit, ScrapeWriter};

/// Declares `process_cpu_seconds_total`, `process_resident_memory_bytes` and their like. Where
/// there is no `/proc`, there are none.
pub fn watch(registry: &MetricRegistry) {
    registry.with_prefix("process_").read(write);
}

fn write(scrape: &mut ScrapeWriter<'_>) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(facts) = ProcessFacts::parse(&stat) {
        scrape.counter(
            "cpu",
            "Processor time, user and system",
            MetricUnit::Seconds,
            facts.cpu_seconds,
        );
        scrape.gauge(
            "resident_memory",
            "Memory in use, shared pages included",
            MetricUnit::Bytes,
            facts.resident_bytes,
        );
        scrape.gauge("threads", "Threads", MetricUnit::None, facts.threads);
        if let Some(boot) = boot_time() {
            scrape.gauge(
                "start_time",
                "When it started, in seconds since 1970",
                MetricUnit::Seconds,
                boot + facts.start_seconds,
            );
        }
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        scrape.gauge(
            "open_fds",
            "Open files and sockets",
            MetricUnit::None,
            open.count(),
        );
    }
    let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    if let Some(most) = most {
        scrape.gauge("max_fds", "How many may be open", MetricUnit::None, most);
    }
}

/// What `/proc/self/stat` says.
struct ProcessFacts {
    cpu_seconds: f64,
    start_seconds: f64,
    threads: u64,
    resident_bytes: u64,
}

impl ProcessFacts {
    fn parse(stat: &str) -> Option<Self> {
        // The program's name may hold anything; the last parenthesis ends it.
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<u64> = (rest.split_whitespace().skip(1))
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        let field = |number: usize| fields.get(number - 4).copied();
        let in_a_second = rustix::param::clock_ticks_per_second().max(1);
        let seconds = |ticks: u64| Duration::from_millis(ticks * 1000 / in_a_second).as_secs_f64();
        let page = rustix::param::page_size() as u64;
        Some(Self {
            cpu_seconds: seconds(field(14)? + field(15)?),
            threads: field(20)?,
            start_seconds: seconds(field(22)?),
            resident_bytes: field(24)?.saturating_mul(page),
        })
    }
}

/// When the machine started, in seconds since 1970.
fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::exposition;

    #[test]
    fn the_process_is_shown_under_the_usual_names() {
        let registry = MetricRegistry::new();
        watch(&registry);
        let text = registry.text();
        assert_eq!(exposition::problem(&text), None, "{text}");
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_start_time_seconds ",
            "process_open_fds ",
            "process_threads ",
        ] {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value: f64 = line.expect(name).parse().expect("a number");
            assert!(value >= 0.0, "{name}{value}");
        }
    }

    #[test]
    fn a_name_with_parentheses_is_no_field() {
        let stat = "7 (a) (b) S 1 7 7 0 -1 0 0 0 0 0 250 50 0 0 20 0 3 0 900 1000 5 0";
        let facts = ProcessFacts::parse(stat).expect("facts");
        assert_eq!((facts.threads, facts.cpu_seconds > 0.0), (3, true));
        assert!(ProcessFacts::parse("7 (a) S 1").is_none());
        assert!(ProcessFacts::parse("").is_none());
    }
}
