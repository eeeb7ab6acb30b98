//! The room's families of metrics: `weappd_session_…`.

use weappd_base::metrics::{MetricRegistry, MetricUnit};

use crate::sessions::SessionService;

impl SessionService {
    /// Declares them. Call it once.
    pub fn register_metrics(&self, registry: &MetricRegistry) {
        let room = registry.room("session");
        let sessions = self.clone();
        room.read(move |scrape| {
            let shared = sessions.shared();
            scrape.gauge(
                "cached",
                "Sessions in memory",
                MetricUnit::None,
                shared.cache.count(),
            );
            scrape.gauge(
                "cache",
                "About how much memory they take",
                MetricUnit::Bytes,
                shared.cache.weight(),
            );
            shared.store.write_counts().scrape(scrape);
        });
    }
}

#[cfg(test)]
mod tests {
    use weappd_base::metrics::exposition;

    use super::*;

    #[tokio::test]
    async fn what_is_told_can_be_read_and_counts_writes() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let sessions = crate::reload::tests::open(dir.path()).await;
        let registry = MetricRegistry::new();
        sessions.register_metrics(&registry);
        sessions.revoke_all().await.expect("written");
        let text = registry.text();
        assert_eq!(exposition::problem(&text), None, "{text}");
        let written = "weappd_session_writes_total{outcome=\"written\"} 1";
        assert!(text.contains(written), "{text}");
        sessions.close().await.expect("closes");
    }
}
