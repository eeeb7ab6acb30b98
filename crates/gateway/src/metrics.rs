//! The room's families of metrics: `weappd_gateway_…`.

use weappd_base::metrics::MetricRegistry;

use crate::gateway::GatewayService;

impl GatewayService {
    /// Declares them. Call it once. Those of the queue are told from the first mini program that
    /// takes messages on.
    pub fn register_metrics(&self, registry: &MetricRegistry) {
        let room = registry.room("gateway");
        let gateway = self.clone();
        room.read(move |scrape| {
            if let Some(counts) = gateway.write_counts() {
                counts.scrape(scrape);
            }
        });
    }
}
