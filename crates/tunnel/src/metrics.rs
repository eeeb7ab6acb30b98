//! The room's families of metrics: `weappd_tunnel_…`.

use std::sync::atomic::{AtomicU64, Ordering};

use weappd_base::metrics::{MetricRegistry, MetricUnit, ScrapeWriter};

use crate::id::SHARDS;
use crate::stats::BusinessStats;
use crate::tunnels::TunnelServer;

impl TunnelServer {
    /// Declares them. Call it once.
    pub fn register_metrics(&self, registry: &MetricRegistry) {
        let room = registry.room("tunnel");
        let counters = &self.hub().counters;
        room.counters(
            "closes",
            "Tunnels that ended, by cause",
            MetricUnit::None,
            &counters.closes,
        );
        room.counters(
            "message",
            "Content of messages from phones (in) and to phones (out)",
            MetricUnit::Bytes,
            &counters.bytes,
        );
        room.counters(
            "callbacks",
            "Tries of callbacks to business servers",
            MetricUnit::None,
            &counters.callbacks,
        );
        room.durations(
            "callback",
            "How long a try of a callback takes",
            &counters.callback_time,
        );
        let tunnels = self.clone();
        room.read(move |scrape| {
            counts(&tunnels, scrape);
            businesses(&tunnels, scrape);
            waiting(&tunnels, scrape);
        });
    }
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

/// What the hub counts anyway.
fn counts(tunnels: &TunnelServer, scrape: &mut ScrapeWriter<'_>) {
    let hub = tunnels.hub();
    let counts = &hub.counts;
    let open = read(&counts.opened).saturating_sub(read(&counts.closed));
    let issued = (hub.len() as u64).saturating_sub(open);
    scrape.gauges(
        "tunnels",
        "Tunnels that wait for their phone (issued) or have one (open)",
        MetricUnit::None,
        [("issued", issued), ("open", open)].map(|(state, count)| {
            let labels = vec![("state", state.to_owned())];
            (labels, count)
        }),
    );
    let messages = [
        ("in", read(&counts.messages)),
        ("out", read(&counts.deliveries)),
    ];
    scrape.counters(
        "messages",
        "Messages from phones (in) and to phones (out)",
        MetricUnit::None,
        messages.map(|(way, count)| (vec![("way", way.to_owned())], count)),
    );
    for (name, help, count) in [
        ("issued", "Tunnels issued", &counts.issued),
        ("opened", "Tunnels that a phone opened", &counts.opened),
        (
            "pushes",
            "Packets that business servers pushed",
            &counts.pushes,
        ),
        (
            "undelivered",
            "Pushes that did not reach a tunnel that lives",
            &counts.undelivered,
        ),
        (
            "violations",
            "Phones that broke the rules of WebSocket",
            &counts.violations,
        ),
        (
            "callback_retries",
            "Callbacks that went again",
            &counts.callback_retries,
        ),
        (
            "callbacks_given_up",
            "Callbacks that were given up",
            &counts.callback_failures,
        ),
    ] {
        scrape.counter(name, help, MetricUnit::None, read(count));
    }
}

/// How each business server takes its callbacks. Their hosts are from weappd.toml.
fn businesses(tunnels: &TunnelServer, scrape: &mut ScrapeWriter<'_>) {
    let all: Vec<BusinessStats> = (tunnels.table().businesses.all())
        .map(|business| business.stats())
        .collect();
    let of = |value: fn(&BusinessStats) -> u64| {
        let series = all.iter().map(move |business| {
            let labels = vec![("business", business.host.clone())];
            (labels, value(business))
        });
        series.collect::<Vec<_>>()
    };
    scrape.gauges(
        "callbacks_late",
        "Callbacks that failed and wait to go again, by business server",
        MetricUnit::None,
        of(|business| business.waiting),
    );
    scrape.gauges(
        "business_trouble",
        "Whether a business server does not take its callbacks (1) or does (0)",
        MetricUnit::None,
        of(|business| business.trouble.is_some().into()),
    );
}

/// What waits on all tunnels together.
fn waiting(tunnels: &TunnelServer, scrape: &mut ScrapeWriter<'_>) {
    let (mut bytes, mut callbacks) = (0, 0);
    for shard in 0..SHARDS {
        tunnels.hub().sweep(shard, |tunnel| {
            let snapshot = tunnel.snapshot(0);
            bytes += snapshot.queued_bytes;
            callbacks += snapshot.waiting_callbacks;
            false
        });
    }
    scrape.gauge(
        "queued",
        "What waits for phones that do not read yet",
        MetricUnit::Bytes,
        bytes,
    );
    scrape.gauge(
        "callbacks_waiting",
        "Callbacks that wait for the one before them",
        MetricUnit::None,
        callbacks,
    );
}
