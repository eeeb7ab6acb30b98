//! The thread that starts processes.
//!
//! One thread starts all of them and lives as long as the supervisor, because a child that
//! asked to die with its parent dies with the *thread* that started it: threads of a pool
//! come and go. It also does the blocking work around a start.

use std::ffi::OsString;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::{fs, thread};

use tokio::sync::oneshot;
use weappd_base::random::RandomSource;

use crate::command;
use crate::error::{Error, StartError};
use crate::journal::RunJournal;
use crate::launch;
use crate::placeholder;
use crate::process::ChildProcess;
use crate::procfs::{self, ProcessIdentity};
use crate::start_plan::{PortChoice, StartPlan, StartedProcess};

type StartJob = (
    StartPlan,
    oneshot::Sender<Result<StartedProcess, StartError>>,
);

/// Starts processes, one after the other. The thread ends with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct ProcessSpawner(mpsc::Sender<StartJob>);

impl ProcessSpawner {
    pub(crate) fn new(
        journal: Arc<RunJournal>,
        launcher: Option<Vec<OsString>>,
        random: RandomSource,
    ) -> Result<Self, Error> {
        let (jobs, todo) = mpsc::channel::<StartJob>();
        let spawner = SpawnerThread {
            journal,
            launcher: launcher.filter(|words| !words.is_empty()),
            random,
            low: lowest_ephemeral_port(),
        };
        thread::Builder::new()
            .name("weappd-spawner".to_owned())
            .spawn(move || {
                for (plan, answer) in todo {
                    if let Err(Ok(unwanted)) = answer.send(spawner.start(&plan)) {
                        drop(ChildProcess::adopt(unwanted));
                    }
                }
            })
            .map_err(Error::MakeSpawner)?;
        Ok(Self(jobs))
    }

    pub(crate) async fn start(&self, plan: StartPlan) -> Result<StartedProcess, StartError> {
        let (answer, started) = oneshot::channel();
        if self.0.send((plan, answer)).is_err() {
            return Err(StartError::Closed);
        }
        started.await.unwrap_or(Err(StartError::Closed))
    }
}

struct SpawnerThread {
    journal: Arc<RunJournal>,
    launcher: Option<Vec<OsString>>,
    random: RandomSource,
    low: u16,
}

impl SpawnerThread {
    fn start(&self, plan: &StartPlan) -> Result<StartedProcess, StartError> {
        if !fs::metadata(&plan.dir).is_ok_and(|meta| meta.is_dir()) {
            let dir = plan.dir.clone();
            return Err(StartError::NoSuchDirectory { dir });
        }
        let path = (plan.env.iter().rev()).find(|(name, _)| name == "PATH");
        let path = path.map(|(_, value)| value.as_os_str());
        let (name, rest) = plan.words.split_first().ok_or(StartError::NotInPath {
            program: String::new(),
            hint: "write the command that starts your server into run",
        })?;
        let file = command::find(name, &plan.dir, path)?;
        let port = match plan.port {
            PortChoice::None => None,
            PortChoice::Fixed(port) if is_free(port) => Some(port),
            PortChoice::Fixed(port) => return Err(StartError::PortTaken { port }),
            PortChoice::Free => Some(self.free_port().map_err(StartError::FindPort)?),
        };
        let mut command = self.command(name, &file);
        command
            .args(match port {
                Some(port) => placeholder::with_port(&plan.words, port).split_off(1),
                None => rest.to_vec(),
            })
            .current_dir(&plan.dir)
            .env_clear()
            .envs(plan.env.iter().map(|(name, value)| (name, value)))
            .envs(port.map(|port| ("PORT", port.to_string())))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        self.note(plan, None);
        let child = command.spawn().map_err(|source| {
            self.journal.forget(&plan.marker);
            StartError::Spawn { file, source }
        })?;
        let pid = i32::try_from(child.id()).unwrap_or(0);
        let start = procfs::entry(pid).map_or(0, |entry| entry.identity.start);
        let identity = ProcessIdentity { pid, start };
        self.note(plan, Some(identity));
        Ok(StartedProcess {
            child,
            identity,
            port,
        })
    }

    /// The command that becomes the program `file`, which sees `name` as its own.
    fn command(&self, name: &str, file: &Path) -> Command {
        if let Some([launcher, words @ ..]) = self.launcher.as_deref() {
            let mut command = Command::new(launcher);
            command.args(words).args(launch::arguments(name, file));
            return command;
        }
        let mut command = Command::new(file);
        command.arg0(name);
        command
    }

    /// A full disk must not keep an app down: without a note, the worst is a leftover
    /// after a `kill -9` of weappd.
    fn note(&self, plan: &StartPlan, leader: Option<ProcessIdentity>) {
        if let Err(error) = self.journal.write(&plan.marker, &plan.app, leader) {
            tracing::warn!(app.name = plan.app, %error, "a start could not be written down");
        }
    }

    /// A port nobody listens on, chosen below the range from which the system takes the
    /// ports of outgoing connections: those could take it before the app does.
    fn free_port(&self) -> io::Result<u16> {
        const LOWEST_PORT: u16 = 20_000;
        let choice = self.low.saturating_sub(LOWEST_PORT);
        for _ in 0..if choice > 1_000 { 64 } else { 0 } {
            let port = LOWEST_PORT + u16::from_le_bytes(self.random.bytes()) % choice;
            if is_free(port) {
                return Ok(port);
            }
        }
        // Bound only to be let go again: the app binds it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        Ok(listener.local_addr()?.port())
    }
}

/// Whether nobody listens on the port: it is bound for a moment.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// The lowest port the system gives to outgoing connections.
fn lowest_ephemeral_port() -> u16 {
    fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range")
        .ok()
        .and_then(|range| range.split_whitespace().next()?.parse().ok())
        .unwrap_or(32_768)
}
