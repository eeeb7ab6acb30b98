//! The tasks of all apps: kept until the supervisor runs, and none is begun once it ends.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use parking_lot::Mutex;
use weappd_base::tasks::{Tasks, Work};

type AppTask = Pin<Box<dyn Future<Output = ()> + Send>>;

/// How long the logs' last lines may take to reach the disk.
const LAST_LINES_TIME: Duration = Duration::from_secs(2);

/// Tasks of instances and of logs.
pub(crate) struct AppTasks {
    instances: Tasks,
    writers: Tasks,
    stage: Mutex<TaskStage>,
}

enum TaskStage {
    /// What is to be begun then: instances and writers.
    Before(Vec<AppTask>, Vec<AppTask>),
    Running,
    Ended,
}

impl AppTasks {
    pub(crate) fn new() -> Self {
        Self {
            instances: Tasks::new(),
            writers: Tasks::new(),
            stage: Mutex::new(TaskStage::Before(Vec::new(), Vec::new())),
        }
    }

    /// Begins a task of an instance, now or as soon as the supervisor runs.
    pub(crate) fn add(&self, work: &Work, task: impl Future<Output = ()> + Send + 'static) {
        match &mut *self.stage.lock() {
            TaskStage::Before(instances, _) => instances.push(Box::pin(task)),
            TaskStage::Running => self.instances.spawn_on(work, task),
            TaskStage::Ended => {}
        }
    }

    /// Begins the task that writes a log, likewise.
    pub(crate) fn add_writer(&self, work: &Work, task: impl Future<Output = ()> + Send + 'static) {
        match &mut *self.stage.lock() {
            TaskStage::Before(_, writers) => writers.push(Box::pin(task)),
            TaskStage::Running => self.writers.spawn_on(work, task),
            TaskStage::Ended => {}
        }
    }

    /// The supervisor runs.
    pub(crate) fn begin(&self, work: &Work) {
        let mut stage = self.stage.lock();
        let before = std::mem::replace(&mut *stage, TaskStage::Running);
        if let TaskStage::Before(instances, writers) = before {
            for task in writers {
                self.writers.spawn_on(work, task);
            }
            for task in instances {
                self.instances.spawn_on(work, task);
            }
        }
    }

    /// Begins no further task, and waits for all instances: each has its own deadline.
    pub(crate) async fn end_instances(&self) {
        *self.stage.lock() = TaskStage::Ended;
        self.instances.finish(Duration::MAX).await;
    }

    /// Waits for the writers of logs that were closed; whether all ended in time.
    pub(crate) async fn end_writers(&self) -> bool {
        self.writers.finish(LAST_LINES_TIME).await
    }
}

impl fmt::Debug for AppTasks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AppTasks({})", self.instances.len())
    }
}
