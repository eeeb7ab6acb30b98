//! The room's families of metrics: `weappd_files_…`.

use weappd_base::metrics::{MetricRegistry, MetricUnit};

use crate::files::Files;

impl Files {
    /// Declares them. Call it once.
    pub fn register_metrics(&self, registry: &MetricRegistry) {
        let room = registry.room("files");
        let counters = self.counters();
        room.counters(
            "uploads",
            "Uploads that ended, pictures of users too",
            MetricUnit::None,
            &counters.uploads,
        );
        room.counter(
            "kept",
            "What uploads were kept with",
            MetricUnit::Bytes,
            &counters.kept_bytes,
        );
        room.counters(
            "downloads",
            "Downloads that were answered",
            MetricUnit::None,
            &counters.downloads,
        );
    }
}
