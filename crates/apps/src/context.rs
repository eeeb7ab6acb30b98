//! What instances share, and what can be asked of them.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::app::AddressBoard;
use crate::counters::AppCounters;
use crate::journal::RunJournal;
use crate::spawner::ProcessSpawner;

/// What can be asked of an instance. The answer comes once it has settled: ready, stopped,
/// or waiting for its next try.
#[derive(Debug)]
pub(crate) enum InstanceCommand {
    Start(oneshot::Sender<()>),
    Stop(Option<Duration>, oneshot::Sender<()>),
    Restart(oneshot::Sender<()>),
    /// Restart if what runs was started by other settings than those of now.
    Renew(oneshot::Sender<()>),
}

/// What all instances of all apps share.
#[derive(Debug)]
pub(crate) struct AppsContext {
    pub(crate) spawner: ProcessSpawner,
    pub(crate) journal: Arc<RunJournal>,
    pub(crate) addresses: AddressBoard,
    pub(crate) counters: AppCounters,
    pub(crate) clock: Clock,
    pub(crate) random: RandomSource,
    pub(crate) work: Work,
    /// Owns the pumps of the children's output.
    pub(crate) pumps: Tasks,
    pub(crate) stop: Stop,
    /// The most that any app's grace may be.
    pub(crate) stop_deadline: Option<Duration>,
    /// How an app's port is set.
    pub(crate) port_setting: &'static str,
}
