//! What weappd counts, in one place for Prometheus and its like: `GET /metrics` of the internal
//! API. Each room declares its own families (`weappd_base::metrics`); here are those of the whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use weappd_base::clock::Clock;
use weappd_base::metrics::{
    CONTENT_TYPE, LabelCounters, MetricLabel, MetricRegistry, MetricUnit, process, runtime,
};
use weappd_base::tasks::Work;

use crate::server_context::ServerContext;

/// How a reload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReloadEnd {
    /// Everything changed.
    Taken,
    /// Nothing changed.
    Refused,
}

impl MetricLabel for ReloadEnd {
    const NAME: &'static str = "end";
    const VALUES: &'static [&'static str] = &["taken", "refused"];

    fn index(self) -> usize {
        self as usize
    }
}

/// Counts reloads. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct ReloadCounts {
    ends: LabelCounters<ReloadEnd>,
    /// When the configuration that holds was taken: seconds since 1970.
    taken_at: Arc<AtomicI64>,
}

impl ReloadCounts {
    /// The start takes the first configuration.
    pub(crate) fn new(clock: &Clock) -> Self {
        Self {
            taken_at: Arc::new(AtomicI64::new(clock.unix_secs().get())),
            ..Self::default()
        }
    }

    /// One more.
    pub(crate) fn count(&self, end: ReloadEnd, clock: &Clock) {
        self.ends.inc(end);
        if end == ReloadEnd::Taken {
            self.taken_at
                .store(clock.unix_secs().get(), Ordering::Relaxed);
        }
    }
}

/// Declares the families of the whole. Called once, at the start.
pub(crate) fn register(registry: &MetricRegistry, context: &ServerContext, reloads: &ReloadCounts) {
    process::watch(registry);
    let owners = vec![
        ("server", context.tasks.clone()),
        ("tunnel", context.tunnel_tasks.clone()),
    ];
    runtime::watch(registry, &context.work, owners);
    let whole = registry.room("server");
    let help = "Reloads of weappd.toml, by their end";
    whole.counters("reloads", help, MetricUnit::None, &reloads.ends);
    let taken_at = Arc::clone(&reloads.taken_at);
    whole.read(move |scrape| {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        scrape.gauges(
            "build",
            "The version that runs",
            MetricUnit::None,
            [(version, 1_u64)],
        );
        let at = u64::try_from(taken_at.load(Ordering::Relaxed)).unwrap_or_default();
        let help = "When the configuration that holds was taken, in Unix time";
        scrape.gauge("config_taken", help, MetricUnit::Seconds, at);
    });
}

/// `GET /metrics`.
pub(crate) fn router(registry: MetricRegistry, work: Work) -> Router {
    Router::new()
        .route("/metrics", get(scrape))
        .with_state((registry, work))
}

async fn scrape(State((registry, work)): State<(MetricRegistry, Work)>) -> Response {
    match work.run_blocking(move || registry.text()).await {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}
