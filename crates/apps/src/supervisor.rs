//! The head of the room: builds the instances, runs them, passes on what is asked of them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::app::{
    AddressBoard, AppAddresses, AppView, InstanceState, InstanceStatus, InstanceView,
};
use crate::config::{AppConfig, problem_of_name};
use crate::context::{AppSpec, AppsContext, InstanceCommand};
use crate::environment::{self, EnvVariables};
use crate::error::Error;
use crate::instance::InstanceTask;
use crate::journal::RunJournal;
use crate::logs::{AppLog, LogStream};
use crate::procfs::{self, ProcessEntry};
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
pub struct AppSupervisor(Arc<SupervisorState>);

#[derive(Debug)]
struct SupervisorState {
    apps: BTreeMap<String, AppEntry>,
    context: Arc<AppsContext>,
    /// Taken by `run`. Never held across an await.
    tasks: Mutex<Vec<InstanceTask>>,
}

#[derive(Debug)]
struct AppEntry {
    spec: Arc<AppSpec>,
    instances: Vec<InstanceHandle>,
}

#[derive(Debug)]
struct InstanceHandle {
    commands: mpsc::Sender<InstanceCommand>,
    status: watch::Receiver<InstanceStatus>,
    /// The last look at the processor time: (pid, when, milliseconds).
    seen: Mutex<Option<(u32, Instant, u64)>>,
}

impl AppSupervisor {
    /// Checks the settings, locks the data directory, opens the logs. Starts no app yet.
    pub fn build(mut parts: SupervisorParts) -> Result<Self, Error> {
        check(&parts.apps)?;
        let logs = parts.data_dir.join("logs");
        fs::create_dir_all(&logs).map_err(|source| Error::MakeDirectory {
            path: logs.clone(),
            source,
        })?;
        let journal = Arc::new(RunJournal::open(&parts.data_dir)?);
        let launcher = parts.launcher.take();
        let spawner = ProcessSpawner::new(Arc::clone(&journal), launcher, parts.random.clone())?;
        let mut specs = Vec::new();
        for (name, config) in std::mem::take(&mut parts.apps) {
            let path = logs.join(format!("{name}.log"));
            let log = AppLog::open(path, &config.log, parts.clock.clone())?;
            specs.push(spec(name, config, log, &parts));
        }
        let context = Arc::new(AppsContext {
            spawner,
            journal,
            addresses: AddressBoard::new(specs.iter().map(|spec| spec.name.clone()).collect()),
            clock: parts.clock,
            random: parts.random,
            work: parts.work,
            pumps: Tasks::new(),
            stop: parts.stop,
            stop_deadline: parts.stop_deadline,
            port_setting: parts.port_setting,
        });
        let mut tasks = Vec::new();
        let apps = (specs.into_iter().map(Arc::new))
            .map(|spec| (spec.name.clone(), instances(&context, spec, &mut tasks)))
            .collect();
        Ok(Self(Arc::new(SupervisorState {
            apps,
            context,
            tasks: Mutex::new(tasks),
        })))
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
        let (tasks, writers) = (Tasks::new(), Tasks::new());
        for app in self.0.apps.values() {
            writers.spawn_on(work, app.spec.log.clone().write(work.clone()));
        }
        for unit in std::mem::take(&mut *self.0.tasks.lock()) {
            tasks.spawn_on(work, unit.run());
        }
        stop.asked().await;
        // Each has its own deadline.
        tasks.finish(Duration::MAX).await;
        self.0.context.pumps.finish(Duration::from_secs(1)).await;
        for app in self.0.apps.values() {
            app.spec.log.spool.close();
        }
        if !writers.finish(Duration::from_secs(2)).await {
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
        (self.0.apps.values())
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
        let log = &self.app(name)?.spec.log;
        log.read(
            lines.min(TAIL_MAX_LINES),
            follow,
            self.0.context.work.clone(),
        )
        .await
    }

    fn app(&self, name: &str) -> Result<&AppEntry, Error> {
        self.0.apps.get(name).ok_or_else(|| Error::UnknownApp {
            name: name.to_owned(),
        })
    }

    /// Gives a command to every instance, then waits until all have settled.
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
            sent.map_err(|_| Error::Closed)?;
            answers.push(answer);
        }
        for answer in answers {
            answer.await.map_err(|_| Error::Closed)?;
        }
        Ok(())
    }
}

fn check(apps: &BTreeMap<String, AppConfig>) -> Result<(), Error> {
    for (name, config) in apps {
        let problem = problem_of_name(name).or_else(|| config.problems().into_iter().next());
        if let Some((field, message, hint)) = problem {
            return Err(Error::Config {
                app: name.clone(),
                field,
                message,
                hint,
            });
        }
    }
    Ok(())
}

fn spec(name: String, config: AppConfig, log: AppLog, parts: &SupervisorParts) -> AppSpec {
    let dir =
        (config.dir.as_deref()).map_or(parts.base_dir.clone(), |dir| parts.base_dir.join(dir));
    let found = environment::inherited(&parts.own_env, &parts.deny_env, &config.pass_env);
    let given = parts.extra_env.get(&name);
    let own = |variable: &String| {
        config.env.contains_key(variable) || given.is_some_and(|given| given.contains_key(variable))
    };
    let withheld: Vec<_> = (found.withheld.into_iter())
        .filter(|name| !own(name))
        .collect();
    if !withheld.is_empty() {
        tell_withheld(&name, &log, &withheld);
    }
    let mut env = found.kept;
    env.retain(|(variable, _)| variable != "PORT");
    // Python holds output back unless it writes to a terminal: for hours, or for ever.
    if !env
        .iter()
        .any(|(variable, _)| variable == "PYTHONUNBUFFERED")
    {
        env.push(("PYTHONUNBUFFERED".into(), "1".into()));
    }
    env.push(("HOST".into(), "127.0.0.1".into()));
    env.push(("WEAPPD_APP".into(), name.clone().into()));
    let extra = parts.extra_env.get(&name).into_iter().flatten();
    for (variable, value) in extra.chain(&config.env) {
        env.push((variable.into(), value.expose().into()));
    }
    AppSpec {
        // Checked before: a command line that cannot be split does not come this far.
        words: config.run.words().unwrap_or_default().into(),
        // A relative program path must mean the same before and after the change of
        // directory.
        dir: std::path::absolute(&dir).unwrap_or(dir),
        name,
        config,
        env,
        log,
    }
}

/// Says once which variables an app did not get, and how it would.
fn tell_withheld(app: &str, log: &AppLog, names: &[String]) {
    let quoted: Vec<_> = names.iter().map(|name| format!("\"{name}\"")).collect();
    let text = format!(
        "not passed on, as it looks secret: {}; if the app needs it, write pass_env = [{}] in its \
         section",
        names.join(", "),
        quoted.join(", ")
    );
    log.spool.note(&text);
    tracing::info!(app.name = app, "{text}");
}

fn instances(
    context: &Arc<AppsContext>,
    spec: Arc<AppSpec>,
    tasks: &mut Vec<InstanceTask>,
) -> AppEntry {
    let make = |index| {
        let (commands, inbox) = mpsc::channel(16);
        let (sender, status) = watch::channel(InstanceStatus::new());
        let (context, spec) = (Arc::clone(context), Arc::clone(&spec));
        tasks.push(InstanceTask::new(context, spec, index, inbox, sender));
        InstanceHandle {
            commands,
            status,
            seen: Mutex::default(),
        }
    };
    let instances = (0..spec.config.instances).map(make).collect();
    AppEntry { spec, instances }
}

impl AppEntry {
    fn view(&self, table: &[ProcessEntry], now: i64) -> AppView {
        let views = self.instances.iter().enumerate();
        let instances: Vec<_> = views
            .map(|(at, one)| one.view(u16::try_from(at).unwrap_or(u16::MAX), table, now))
            .collect();
        let worst = instances.iter().max_by_key(|view| severity(&view.state));
        AppView {
            name: self.spec.name.clone(),
            program: self.spec.words.first().cloned().unwrap_or_default(),
            summary: worst.map(|view| view.summary.clone()).unwrap_or_default(),
            instances,
            log: self.spec.log.path().to_owned(),
        }
    }
}

fn severity(state: &InstanceState) -> u8 {
    match state {
        InstanceState::Ready => 0,
        InstanceState::Stopped => 1,
        InstanceState::Stopping => 2,
        InstanceState::Starting => 3,
        InstanceState::Waiting { .. } => 4,
        InstanceState::Down { .. } => 5,
    }
}

impl InstanceHandle {
    fn view(&self, index: u16, table: &[ProcessEntry], now: i64) -> InstanceView {
        let status = self.status.borrow().clone();
        let uptime_ms = (status.started_at).map(|at| u64::try_from(now - at).unwrap_or(0));
        // The group has the pid of its leader.
        let group = status.pid.and_then(|pid| i32::try_from(pid).ok());
        let members: Vec<&ProcessEntry> = (table.iter())
            .filter(|entry| Some(entry.group) == group && !entry.zombie)
            .collect();
        let sum = |of: fn(&ProcessEntry) -> u64| {
            (!members.is_empty()).then(|| members.iter().map(|&entry| of(entry)).sum::<u64>())
        };
        let cpu_ms = sum(|entry| entry.cpu_ms);
        InstanceView {
            index,
            summary: status.summary(now),
            restarts: status.tries.saturating_sub(1),
            uptime_ms,
            memory_bytes: sum(|entry| entry.memory_bytes),
            cpu_percent: self.cpu_percent(status.pid, cpu_ms, uptime_ms),
            processes: sum(|_| 1).and_then(|count| u32::try_from(count).ok()),
            state: status.state,
            pid: status.pid,
            port: status.port,
            address: status.address,
            started_at: status.started_at,
            ready_after_ms: status.ready_after_ms,
            last_ending: status.last_ending,
        }
    }

    fn cpu_percent(
        &self,
        pid: Option<u32>,
        cpu_ms: Option<u64>,
        uptime_ms: Option<u64>,
    ) -> Option<f32> {
        let (pid, cpu_ms) = (pid?, cpu_ms?);
        let now = Instant::now();
        let before = self.seen.lock().replace((pid, now, cpu_ms));
        let (used, time) = match before {
            Some((same, at, used)) if same == pid => {
                let time = now.duration_since(at).as_secs_f32() * 1_000.0;
                (cpu_ms.saturating_sub(used), time)
            }
            _ => (
                cpu_ms,
                Duration::from_millis(uptime_ms?).as_secs_f32() * 1_000.0,
            ),
        };
        let used = Duration::from_millis(used).as_secs_f32() * 1_000.0;
        (time >= 1.0).then(|| used / time * 100.0)
    }
}
