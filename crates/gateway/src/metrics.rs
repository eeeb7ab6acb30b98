//! The room's families of metrics: `weappd_gateway_…`.

use weappd_base::metrics::{MetricRegistry, MetricUnit};

use crate::gateway::GatewayService;

impl GatewayService {
    /// Declares them. Call it once. Those of the queue are told from the first mini program that
    /// takes messages on.
    pub fn register_metrics(&self, registry: &MetricRegistry) {
        let room = registry.room("gateway");
        let counters = &self.0.counters;
        room.counters(
            "calls",
            "Calls of WeChat's API, of apps and of weappd itself",
            MetricUnit::None,
            &counters.calls,
        );
        room.durations(
            "call",
            "How long a call of WeChat's API takes until the head of its answer",
            &counters.call_time,
        );
        room.counters(
            "pushes",
            "Messages that came in, by how they were answered",
            MetricUnit::None,
            &counters.pushes,
        );
        room.counters(
            "deliveries",
            "Tries to deliver a message to its app",
            MetricUnit::None,
            &counters.deliveries,
        );
        room.durations(
            "delivery",
            "How long a try to deliver a message takes",
            &counters.delivery_time,
        );
        room.counter(
            "given_up",
            "Messages that became dead letters",
            MetricUnit::None,
            &counters.given_up,
        );
        let gateway = self.clone();
        room.read(move |scrape| {
            if let Some(counts) = gateway.write_counts() {
                counts.scrape(scrape);
            }
        });
    }
}
