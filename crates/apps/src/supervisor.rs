//! The head of the room: builds the instances, runs them, passes on what is asked of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::app::{AddressBoard, AppAddresses, AppView};
use crate::app_entry::{AppEntry, InstanceLife};
use crate::app_spec::{AppSpec, SpecGround};
use crate::app_tasks::AppTasks;
use crate::config::{AppConfig, problem_of_name};
use crate::context::{AppsContext, InstanceCommand};
use crate::counters::AppCounters;
use crate::environment::EnvVariables;
use crate::error::Error;
use crate::instance::InstanceTask;
use crate::journal::RunJournal;
use crate::logs::{AppLog, LogStream};
use crate::procfs;
use crate::spawner::ProcessSpawner;

/// How long what a killed weappd left behind may take to end when asked.
const LEFTOVER_GRACE: Duration = Duration::from_secs(1);
/// The most lines that are read from the end of a log.
const TAIL_MAX_LINES: usize = 10_000;

/// What the supervisor is made of.
#[derive(Debug)]
pub struct SupervisorParts {
    /// The apps by name.
    pub apps: BTreeMap<String, AppConfig>,
    /// Where logs (`logs/`) and the journal (`run/`) are kept.
    pub data_dir: PathBuf,
    /// Where apps without a `dir` start, and what a relative `dir` is relative to.
    pub base_dir: PathBuf,
    /// weappd's own environment, as the binary read it.
    pub own_env: Vec<(OsString, OsString)>,
    /// Names (`*` stands for any text) of own variables that no app may see, beside
    /// [`DENY_ENV`](crate::DENY_ENV).
    pub deny_env: Vec<String>,
    /// Variables for each app: `WEAPPD_INTERNAL_URL`, `WEAPPD_TOKEN`, ...
    pub extra_env: BTreeMap<String, EnvVariables>,
    /// The words that start [`launch`](crate::launch()): usually `/proc/self/exe` and a
    /// hidden subcommand. Without it, a `kill -9` of weappd leaves its apps running until
    /// weappd starts again.
    pub launcher: Option<Vec<OsString>>,
    /// The most that any app's grace may be; `None`: as configured.
    pub stop_deadline: Option<Duration>,
    /// How an app's port is set, as hints put it before the number: `port = `, or an option.
    pub port_setting: &'static str,
    /// What time it is.
    pub clock: Clock,
    /// Markers, ports and the spread of waits.
    pub random: RandomSource,
    /// Where everything runs.
    pub work: Work,
    /// Ends all apps.
    pub stop: Stop,
}

/// All apps. Cheap to clone.
#[derive(Clone, Debug)]
pub struct AppSupervisor(pub(crate) Arc<SupervisorState>);

#[derive(Debug)]
pub(crate) struct SupervisorState {
    pub(crate) apps: ArcSwap<BTreeMap<String, AppEntry>>,
    pub(crate) context: Arc<AppsContext>,
    pub(crate) ground: SpecGround,
    pub(crate) tasks: AppTasks,
    /// Instances that were removed and may not have ended yet. Held while a reload changes the
    /// apps.
    pub(crate) leaving: Mutex<BTreeMap<(String, u16), InstanceLife>>,
}

impl AppSupervisor {
    /// Checks the settings, locks the data directory, opens the logs. Starts no app yet.
    pub fn build(parts: SupervisorParts) -> Result<Self, Error> {
        check(&parts.apps)?;
        let logs = parts.data_dir.join("logs");
        fs::create_dir_all(&logs).map_err(|source| Error::MakeDirectory {
            path: logs.clone(),
            source,
        })?;
        let journal = Arc::new(RunJournal::open(&parts.data_dir)?);
        let spawner =
            ProcessSpawner::new(Arc::clone(&journal), parts.launcher, parts.random.clone())?;
        let context = Arc::new(AppsContext {
            spawner,
            journal,
            addresses: AddressBoard::new(parts.apps.keys().cloned().collect()),
            counters: AppCounters::default(),
            clock: parts.clock,
            random: parts.random,
            work: parts.work,
            pumps: Tasks::new(),
            stop: parts.stop,
            stop_deadline: parts.stop_deadline,
            port_setting: parts.port_setting,
        });
        let state = SupervisorState {
            apps: ArcSwap::default(),
            context,
            ground: SpecGround {
                logs,
                base_dir: parts.base_dir,
                own_env: parts.own_env,
                deny_env: parts.deny_env,
            },
            tasks: AppTasks::new(),
            leaving: Mutex::default(),
        };
        let mut apps = BTreeMap::new();
        for (name, config) in parts.apps {
            let path = state.ground.log_path(&name);
            let log = AppLog::open(path, &config.log, state.context.clock.clone())?;
            let given = parts.extra_env.get(&name);
            let spec = state.ground.spec(name.clone(), config, given, log);
            apps.insert(name, state.begin(spec, &BTreeMap::new()));
        }
        state.apps.store(Arc::new(apps));
        Ok(Self(Arc::new(state)))
    }

    /// Ends what an earlier weappd left running, then keeps the apps alive until weappd
    /// stops and the last of them has ended. Call it once.
    pub async fn run(&self) {
        let AppsContext { work, stop, .. } = &*self.0.context;
        let journal = Arc::clone(&self.0.context.journal);
        let ended = work.run_blocking(move || journal.end_leftovers(LEFTOVER_GRACE));
        for (app, processes) in ended.await.unwrap_or_default() {
            tracing::warn!(
                app.name = app,
                processes,
                "ended what an earlier weappd left running"
            );
        }
        self.0.tasks.begin(work);
        stop.asked().await;
        self.0.tasks.end_instances().await;
        self.0.context.pumps.finish(Duration::from_secs(1)).await;
        for app in self.0.apps.load().values() {
            app.spec().log.spool.close();
        }
        if !self.0.tasks.end_writers().await {
            tracing::warn!("the disk is slow: the last lines of the apps' logs may be lost");
        }
    }

    /// Where ready instances listen; changes as soon as one becomes ready or ends.
    pub fn addresses(&self) -> watch::Receiver<Arc<AppAddresses>> {
        self.0.context.addresses.watch()
    }

    /// All apps, as they are now.
    pub async fn list(&self) -> Vec<AppView> {
        let table = self.0.context.work.run_blocking(procfs::table).await;
        let table = table.unwrap_or_default();
        (self.0.apps.load().values())
            .map(|app| app.view(&table, self.0.context.clock.unix_millis()))
            .collect()
    }

    /// One app, as it is now.
    pub async fn describe(&self, name: &str) -> Result<AppView, Error> {
        let app = self.app(name)?;
        let table = self.0.context.work.run_blocking(procfs::table).await;
        Ok(app.view(
            &table.unwrap_or_default(),
            self.0.context.clock.unix_millis(),
        ))
    }

    /// Starts what does not run. Returns once every instance is ready or has failed.
    pub async fn start(&self, name: &str) -> Result<(), Error> {
        self.command_all(name, InstanceCommand::Start).await
    }

    /// Stops and starts. Returns once every instance is ready or has failed.
    pub async fn restart(&self, name: &str) -> Result<(), Error> {
        self.command_all(name, InstanceCommand::Restart).await
    }

    /// Stops, within `grace` if given. Returns once every instance has ended.
    pub async fn stop(&self, name: &str, grace: Option<Duration>) -> Result<(), Error> {
        self.command_all(name, |done| InstanceCommand::Stop(grace, done))
            .await
    }

    /// The last `lines` lines of an app's log, and what comes after them if `follow`.
    pub async fn logs(&self, name: &str, lines: usize, follow: bool) -> Result<LogStream, Error> {
        let log = self.app(name)?.spec().log.clone();
        log.read(
            lines.min(TAIL_MAX_LINES),
            follow,
            self.0.context.work.clone(),
        )
        .await
    }

    fn app(&self, name: &str) -> Result<AppEntry, Error> {
        let app = self.0.apps.load().get(name).cloned();
        app.ok_or_else(|| Error::UnknownApp {
            name: name.to_owned(),
        })
    }

    /// Gives a command to every instance, then waits until all have settled. One that a reload
    /// removes meanwhile has settled too.
    async fn command_all(
        &self,
        name: &str,
        command: impl Fn(oneshot::Sender<()>) -> InstanceCommand,
    ) -> Result<(), Error> {
        let app = self.app(name)?;
        let mut answers = Vec::new();
        for instance in &app.instances {
            let (done, answer) = oneshot::channel();
            let sent = instance.commands.send(command(done)).await;
            if sent.is_err() && !instance.life.removed.is_cancelled() {
                return Err(Error::Closed);
            }
            answers.push((instance, answer));
        }
        for (instance, answer) in answers {
            if answer.await.is_err() && !instance.life.removed.is_cancelled() {
                return Err(Error::Closed);
            }
        }
        self.app(name).map(drop)
    }
}

impl SupervisorState {
    /// Begins an app that was not there: its log, its instances. `leaving` are instances of
    /// the same name that have to end first.
    pub(crate) fn begin(
        &self,
        spec: AppSpec,
        leaving: &BTreeMap<(String, u16), InstanceLife>,
    ) -> AppEntry {
        let AppsContext { work, .. } = &*self.context;
        spec.tell_withheld();
        (self.tasks).add_writer(work, spec.log.clone().write(work.clone()));
        let (count, starts) = (spec.config.instances, spec.config.autostart);
        let mut entry = AppEntry {
            specs: Arc::new(watch::Sender::new(Arc::new(spec))),
            instances: Vec::new(),
            renewal: Arc::default(),
            wants_start: Arc::default(),
        };
        self.grow(&mut entry, count, starts, leaving);
        entry
    }

    /// Begins instances until there are `count`.
    pub(crate) fn grow(
        &self,
        entry: &mut AppEntry,
        count: u16,
        starts: bool,
        leaving: &BTreeMap<(String, u16), InstanceLife>,
    ) {
        let from = u16::try_from(entry.instances.len()).unwrap_or(u16::MAX);
        for index in from..count {
            let context = Arc::clone(&self.context);
            let (task, handle) = InstanceTask::new(context, entry.specs.subscribe(), index);
            let former = leaving.get(&(entry.spec().name.clone(), index)).cloned();
            self.tasks.add(&self.context.work, task.run(starts, former));
            entry.instances.push(Arc::new(handle));
        }
    }
}

pub(crate) fn check(apps: &BTreeMap<String, AppConfig>) -> Result<(), Error> {
    for (name, config) in apps {
        let problem = problem_of_name(name).or_else(|| config.problems().into_iter().next());
        if let Some(problem) = problem {
            return Err(Error::Config {
                app: name.clone(),
                field: problem.field.into_owned(),
                message: problem.message,
                hint: problem.hint.into_owned(),
            });
        }
    }
    Ok(())
}
