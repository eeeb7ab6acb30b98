//! A start: what is asked of the spawner, and what comes of it.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;

use crate::procfs::ProcessIdentity;

/// What to start.
#[derive(Debug)]
pub(crate) struct StartPlan {
    pub(crate) app: String,
    pub(crate) words: Arc<[String]>,
    pub(crate) dir: PathBuf,
    /// All of the environment but `PORT`.
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) port: PortChoice,
    pub(crate) marker: String,
}

/// The port a process gets.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PortChoice {
    None,
    Free,
    Fixed(u16),
}

/// What was started.
#[derive(Debug)]
pub(crate) struct StartedProcess {
    pub(crate) child: Child,
    pub(crate) identity: ProcessIdentity,
    pub(crate) port: Option<u16>,
}
