//! The room's families of metrics: `weappd_apps_…`.

use weappd_base::metrics::{MetricRegistry, MetricUnit, ScrapeLabels, ScrapeWriter};

use crate::app::InstanceState;
use crate::app_entry::ProcessUse;
use crate::procfs;
use crate::supervisor::AppSupervisor;

/// What an instance may be doing.
const STATES: [&str; 6] = [
    "stopped", "starting", "ready", "stopping", "waiting", "down",
];

impl AppSupervisor {
    /// Declares them. Call it once; each look at them reads the table of processes.
    pub fn register_metrics(&self, registry: &MetricRegistry) {
        let room = registry.room("apps");
        let counters = &self.0.context.counters;
        room.counters(
            "restarts",
            "Programs started again, by what happened before",
            MetricUnit::None,
            &counters.restarts,
        );
        room.durations(
            "ready",
            "How long programs need until they are ready",
            &counters.ready_time,
        );
        let apps = self.clone();
        room.read(move |scrape| {
            states(&apps, scrape);
            processes(&apps, scrape);
        });
    }
}

fn state_index(state: &InstanceState) -> usize {
    match state {
        InstanceState::Stopped => 0,
        InstanceState::Starting => 1,
        InstanceState::Ready => 2,
        InstanceState::Stopping => 3,
        InstanceState::Waiting { .. } => 4,
        InstanceState::Down { .. } => 5,
    }
}

/// How many instances of each app do what. Names of apps are from weappd.toml.
fn states(apps: &AppSupervisor, scrape: &mut ScrapeWriter<'_>) {
    let mut series = Vec::new();
    for (name, app) in &**apps.0.apps.load() {
        let mut counts = [0_u64; STATES.len()];
        for instance in &app.instances {
            counts[state_index(&instance.status.borrow().state)] += 1;
        }
        for (state, count) in STATES.iter().zip(counts) {
            let labels = vec![("app", name.clone()), ("state", (*state).to_owned())];
            series.push((labels, count));
        }
    }
    scrape.gauges("instances", "Instances by state", MetricUnit::None, series);
}

/// What each instance's processes take.
fn processes(apps: &AppSupervisor, scrape: &mut ScrapeWriter<'_>) {
    let table = procfs::table();
    let mut all: Vec<(ScrapeLabels, ProcessUse)> = Vec::new();
    for (name, app) in &**apps.0.apps.load() {
        for (index, instance) in app.instances.iter().enumerate() {
            let labels = vec![("app", name.clone()), ("instance", index.to_string())];
            all.push((labels, instance.process_use(&table)));
        }
    }
    let each = |value: fn(&ProcessUse) -> u64| {
        let series = (all.iter()).map(move |(labels, used)| (labels.clone(), value(used)));
        series.collect::<Vec<_>>()
    };
    scrape.gauges(
        "resident",
        "Memory of an instance's processes, shared pages included",
        MetricUnit::Bytes,
        each(|used| used.memory_bytes),
    );
    scrape.gauges(
        "processes",
        "Processes of an instance",
        MetricUnit::None,
        each(|used| used.processes),
    );
    let cpu = (all.iter()).map(|(labels, used)| (labels.clone(), used.cpu.as_secs_f64()));
    scrape.counters(
        "cpu",
        "Processor time of an instance's processes, user and system",
        MetricUnit::Seconds,
        cpu.collect::<Vec<_>>(),
    );
}
