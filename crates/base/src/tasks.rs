//! Owned tasks: every task has a name, an owner and an end.
//!
//! [`Stop`] has two steps: *soft* asks everyone to finish what they hold, *hard*
//! says that time is up. [`Tasks`] spawns and waits. [`Work`] leads from the edge
//! threads (one runtime a core, never to be blocked or to own a database connection) to
//! the shared runtime where databases, outgoing calls and child processes live.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Tells tasks to end: softly first, hard when the grace period is over.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    soft: CancellationToken,
    hard: CancellationToken,
}

impl Stop {
    /// A stop nobody has asked for yet.
    pub fn new() -> Self {
        let hard = CancellationToken::new();
        Self {
            soft: hard.child_token(),
            hard,
        }
    }

    /// Asks everyone to finish and go.
    pub fn ask(&self) {
        self.soft.cancel();
    }

    /// Ends the grace period.
    pub fn force(&self) {
        self.hard.cancel();
    }

    /// Whether the end was asked for.
    pub fn is_asked(&self) -> bool {
        self.soft.is_cancelled()
    }

    /// Whether the grace period is over.
    pub fn is_forced(&self) -> bool {
        self.hard.is_cancelled()
    }

    /// Waits until the end is asked for.
    pub async fn asked(&self) {
        self.soft.cancelled().await;
    }

    /// Waits until the grace period is over.
    pub async fn forced(&self) {
        self.hard.cancelled().await;
    }
}

/// Spawns tasks and waits for them. Cheap to clone; all clones own the same tasks.
#[derive(Clone, Debug, Default)]
pub struct Tasks {
    tracker: TaskTracker,
}

impl Tasks {
    /// Owns no task yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs `task` on the current runtime.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.tracker.spawn(task));
    }

    /// Runs `task` on `work`, whichever thread calls.
    pub fn spawn_on<F>(&self, work: &Work, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.tracker.spawn_on(task, &work.0));
    }

    /// How many tasks still run.
    pub fn len(&self) -> usize {
        self.tracker.len()
    }

    /// Whether no task runs.
    pub fn is_empty(&self) -> bool {
        self.tracker.is_empty()
    }

    /// Waits at most `grace` for all tasks; says whether all ended.
    pub async fn finish(&self, grace: Duration) -> bool {
        self.tracker.close();
        tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_ok()
    }
}

/// The shared runtime where databases, outgoing calls and child processes live.
#[derive(Clone, Debug)]
pub struct Work(Handle);

/// The work could not be finished: it panicked, or weappd stops.
#[derive(Debug, thiserror::Error)]
#[error("the work was cut short")]
pub struct WorkLost(#[source] tokio::task::JoinError);

impl Work {
    /// The runtime behind `handle`.
    pub fn new(handle: Handle) -> Self {
        Self(handle)
    }

    /// The runtime this is called on, for tests and for the binary's main.
    ///
    /// # Panics
    ///
    /// Panics outside a runtime.
    pub fn current() -> Self {
        Self(Handle::current())
    }

    /// Runs `work` on the shared runtime and waits for its answer. The work goes on when
    /// the caller is dropped: a phone that hangs up must not tear a half-done login.
    pub fn run<F, T>(&self, work: F) -> impl Future<Output = Result<T, WorkLost>> + use<F, T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        run_on(&self.0, work)
    }

    /// Runs `work` where the caller runs, and goes on like [`Work::run`] when the caller is
    /// dropped. Spares the way to another thread and back; for work that waits for others
    /// more than it does, and opens no database.
    pub fn run_here<F, T>(&self, work: F) -> impl Future<Output = Result<T, WorkLost>> + use<F, T>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let here = Handle::try_current();
        run_on(here.as_ref().unwrap_or(&self.0), work)
    }

    /// Runs blocking `work` (file system, heavy sums) off every event loop.
    pub async fn run_blocking<F, T>(&self, work: F) -> Result<T, WorkLost>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.0.spawn_blocking(work).await.map_err(WorkLost)
    }

    /// The runtime handle, for parts that spawn by themselves.
    pub fn handle(&self) -> &Handle {
        &self.0
    }
}

/// Larger work is boxed first: tokio moves what it runs several times, and its answer with as
/// many bytes.
const LARGE_FUTURE: usize = 1024;

/// Not async: the caller's future would hold the work a second time.
fn run_on<F, T>(runtime: &Handle, work: F) -> impl Future<Output = Result<T, WorkLost>> + use<F, T>
where
    F: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let task = if size_of::<F>() > LARGE_FUTURE {
        runtime.spawn(Box::pin(work))
    } else {
        runtime.spawn(work)
    };
    async move { task.await.map_err(WorkLost) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn soft_then_hard() {
        let stop = Stop::new();
        let tasks = Tasks::new();
        let seen = stop.clone();
        tasks.spawn(async move {
            seen.asked().await;
            seen.forced().await;
        });
        stop.ask();
        assert!(!tasks.finish(Duration::from_millis(20)).await);
        stop.force();
        assert!(tasks.finish(Duration::from_secs(5)).await);
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn forcing_also_asks() {
        let stop = Stop::new();
        stop.force();
        stop.asked().await;
        assert!(stop.is_asked());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn work_reports_a_panic_instead_of_spreading_it() {
        let work = Work::current();
        assert_eq!(work.run(async { 7 }).await.ok(), Some(7));
        let lost = work
            .run(async { assert!(std::hint::black_box(false)) })
            .await;
        assert!(lost.is_err());
    }
}
