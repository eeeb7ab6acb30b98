//! The room's families of metrics: `weappd_edge_…`.

use std::sync::Arc;

use weappd_base::metrics::{MetricRegistry, MetricUnit, ScrapeWriter};

use crate::refusal::RefusedLimit;
use crate::reload::EdgeControl;
use crate::thread_counters::{STATUS_CLASSES, ThreadCounters};

impl EdgeControl {
    /// Declares them. Call it once, and for one edge only.
    pub fn register_metrics(&self, registry: &MetricRegistry) {
        let threads = self.counters();
        registry.room("edge").read(move |scrape| {
            let sum = |count: &dyn Fn(&ThreadCounters) -> u64| {
                threads.iter().map(|thread| count(thread)).sum::<u64>()
            };
            conns(&threads, &sum, scrape);
            requests(&sum, scrape);
            let times: Vec<_> = threads.iter().map(|thread| &thread.request_time).collect();
            scrape.durations(
                "request",
                "From a request's head to the end of its answer",
                &times,
            );
            upstreams(&sum, scrape);
        });
    }
}

/// Sums a number over all edge threads.
type ThreadSum<'a> = &'a dyn Fn(&dyn Fn(&ThreadCounters) -> u64) -> u64;

fn conns(threads: &[Arc<ThreadCounters>], sum: ThreadSum<'_>, scrape: &mut ScrapeWriter<'_>) {
    scrape.gauge(
        "connections_open",
        "Connections of clients that are open, tunnels too",
        MetricUnit::None,
        threads
            .iter()
            .map(|thread| thread.conn_count.count())
            .sum::<usize>(),
    );
    scrape.counter(
        "connections",
        "Connections of clients that were accepted",
        MetricUnit::None,
        sum(&|thread| thread.accepted.get()),
    );
    scrape.counter(
        "handshake_failures",
        "Connections on which no TLS came about",
        MetricUnit::None,
        sum(&|thread| thread.handshake_failures.get()),
    );
    scrape.counter(
        "refused_heads",
        "Heads of requests that could not be read",
        MetricUnit::None,
        sum(&|thread| thread.refused_heads.get()),
    );
}

fn requests(sum: ThreadSum<'_>, scrape: &mut ScrapeWriter<'_>) {
    scrape.gauge(
        "requests_under_way",
        "Requests whose answers are not wholly sent",
        MetricUnit::None,
        sum(&|thread| thread.requests_under_way()),
    );
    let classes = STATUS_CLASSES.iter().enumerate().map(|(class, name)| {
        let labels = vec![("status", (*name).to_owned())];
        (labels, sum(&|thread| thread.requests_ended(class)))
    });
    scrape.counters(
        "requests",
        "Requests that ended, by the status of their answer; 4xx if the client left before",
        MetricUnit::None,
        classes,
    );
    scrape.counter(
        "answer",
        "Content of answers that was handed out",
        MetricUnit::Bytes,
        sum(&|thread| thread.answer_bytes.get()),
    );
    let limits = RefusedLimit::CODES.iter().enumerate().map(|(limit, code)| {
        let labels = vec![("code", (*code).to_owned())];
        (labels, sum(&|thread| thread.refused_for(limit)))
    });
    scrape.counters(
        "refused",
        "Requests refused for a limit, by the code of the refusal",
        MetricUnit::None,
        limits,
    );
}

fn upstreams(sum: ThreadSum<'_>, scrape: &mut ScrapeWriter<'_>) {
    let failures = [
        ("unreached", sum(&|thread| thread.upstream_unreached.get())),
        ("no_answer", sum(&|thread| thread.upstream_no_answer.get())),
    ];
    scrape.counters(
        "upstream_failures",
        "Tries at business servers that failed, by how",
        MetricUnit::None,
        failures.map(|(how, count)| (vec![("how", how.to_owned())], count)),
    );
    scrape.counter(
        "upstream_rests",
        "Rests of business servers that began because they failed",
        MetricUnit::None,
        sum(&|thread| thread.upstream_rests.get()),
    );
}
