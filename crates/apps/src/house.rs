//! What instances share, and what can be asked of them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::app::Board;
use crate::config::AppConfig;
use crate::journal::Journal;
use crate::logs::Log;
use crate::spawner::Spawner;

/// What can be asked of an instance. The answer comes once it has settled: ready, stopped,
/// or waiting for its next try.
#[derive(Debug)]
pub(crate) enum Command {
    Start(oneshot::Sender<()>),
    Stop(Option<Duration>, oneshot::Sender<()>),
    Restart(oneshot::Sender<()>),
}

/// What all instances of an app share.
#[derive(Debug)]
pub(crate) struct Sheet {
    pub(crate) name: String,
    pub(crate) config: AppConfig,
    pub(crate) words: Arc<[String]>,
    pub(crate) dir: PathBuf,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) log: Log,
}

/// What all instances of all apps share.
#[derive(Debug)]
pub(crate) struct House {
    pub(crate) spawner: Spawner,
    pub(crate) journal: Arc<Journal>,
    pub(crate) board: Board,
    pub(crate) clock: Clock,
    pub(crate) tokens: RandomSource,
    pub(crate) work: Work,
    /// Owns the pumps of the children's output.
    pub(crate) pumps: Tasks,
    pub(crate) stop: Stop,
    /// The most that any app's grace may be.
    pub(crate) stop_deadline: Option<Duration>,
    /// How an app's port is set.
    pub(crate) port_setting: &'static str,
}
