//! weappd's tasks, and the work runtime they share.

use super::{MetricRegistry, MetricUnit};
use crate::tasks::{Tasks, Work};

/// Declares how many tasks each of `owners` has, and how busy the work runtime is.
pub fn watch(registry: &MetricRegistry, work: &Work, owners: Vec<(&'static str, Tasks)>) {
    let metrics = work.handle().metrics();
    registry.with_prefix("weappd_").read(move |scrape| {
        let tasks = owners.iter().map(|(owner, tasks)| {
            let labels = vec![("owner", (*owner).to_owned())];
            (labels, tasks.len())
        });
        scrape.gauges("tasks", "Tasks that run, by owner", MetricUnit::None, tasks);
        scrape.gauge(
            "work_threads",
            "Threads of the work runtime",
            MetricUnit::None,
            metrics.num_workers(),
        );
        scrape.gauge(
            "work_tasks",
            "Tasks of the work runtime",
            MetricUnit::None,
            metrics.num_alive_tasks(),
        );
        scrape.gauge(
            "work_queue_tasks",
            "Tasks that wait for a thread of the work runtime",
            MetricUnit::None,
            metrics.global_queue_depth(),
        );
        let busy = (0..metrics.num_workers()).map(|at| metrics.worker_total_busy_duration(at));
        scrape.counter(
            "work_busy",
            "Time in which threads of the work runtime were busy",
            MetricUnit::Seconds,
            busy.map(|time| time.as_secs_f64()).sum::<f64>(),
        );
    });
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::exposition;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn tasks_are_shown_by_their_owner() {
        let (registry, tasks) = (MetricRegistry::new(), Tasks::new());
        watch(&registry, &Work::current(), vec![("tunnel", tasks.clone())]);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn(async move { drop(ended.await) });
        let text = registry.text();
        assert_eq!(exposition::problem(&text), None, "{text}");
        assert!(
            text.contains("weappd_tasks{owner=\"tunnel\"} 1\n"),
            "{text}"
        );
        assert!(text.contains("weappd_work_threads 1\n"), "{text}");
        assert!(text.contains("weappd_work_busy_seconds_total "), "{text}");
        drop(end);
        assert!(tasks.finish(Duration::from_mins(1)).await);
        assert!(registry.text().contains("{owner=\"tunnel\"} 0\n"));
    }
}
