//! A reload: apps that were read anew take the place of those that run.
//!
//! Apps are known by their name. One whose section and variables are the same is not touched.
//! Otherwise:
//! - `run`, `dir`, `env`, `pass_env` (as far as variables differ by it), `listens`, `port`, and the
//!   variables that weappd gives: its processes are restarted, one after the other; the next one
//!   only when the one before is ready, so that of several one is ready all the time. One that was
//!   stopped by hand stays stopped; one that is down or waits for its next try is tried at once.
//! - `instances`: further ones start if the app runs, the last ones are stopped.
//! - `autostart`: an app that gets it starts; one that loses it goes on.
//! - `restart` counts for the next ending, `stop` for the next stop, `ready` for a process that is
//!   not ready yet and for the next start: no process is touched. A process that is to be
//!   restarted ends by the rules it was started with.
//! - `log` counts for the next line.
//!
//! A new app starts. One that is no longer named has no address at once, and is stopped.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{oneshot, watch};

use crate::app::InstanceState;
use crate::app_entry::{AppEntry, InstanceHandle, InstanceLife};
use crate::app_spec::AppSpec;
use crate::config::AppConfig;
use crate::context::{AppsContext, InstanceCommand};
use crate::environment::EnvVariables;
use crate::error::Error;
use crate::logs::AppLog;
use crate::supervisor::{AppSupervisor, SupervisorState, check};

/// What a reload does to an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppChange {
    /// It is new.
    Begins,
    /// Its processes are restarted, one after the other.
    Restarts,
    /// Its processes go on, under other rules or in another number.
    Adjusts,
    /// It is no longer named.
    Ends,
}

/// Apps that were checked and can take the place of those that run.
#[derive(Debug)]
pub struct StagedApps {
    apps: Vec<StagedApp>,
    changes: BTreeMap<String, AppChange>,
    /// Logs that were not there before: removed again if nothing comes of it.
    fresh_logs: Vec<PathBuf>,
}

#[derive(Debug)]
struct StagedApp {
    name: String,
    config: AppConfig,
    given: EnvVariables,
    /// Of one that does not run yet.
    log: Option<AppLog>,
}

impl StagedApps {
    /// What will happen to which app; those that are not named here are not touched.
    pub fn changes(&self) -> &BTreeMap<String, AppChange> {
        &self.changes
    }
}

impl Drop for StagedApps {
    fn drop(&mut self) {
        for path in &self.fresh_logs {
            // An empty file that stays does no harm.
            drop(fs::remove_file(path));
        }
    }
}

impl AppSupervisor {
    /// Checks apps that were read anew, and the variables weappd gives to each. Changes nothing;
    /// to be committed or dropped before the next.
    pub fn prepare(
        &self,
        apps: BTreeMap<String, AppConfig>,
        mut extra_env: BTreeMap<String, EnvVariables>,
    ) -> Result<StagedApps, Error> {
        check(&apps)?;
        let state = &self.0;
        let now = state.apps.load_full();
        let mut staged = StagedApps {
            apps: Vec::new(),
            changes: BTreeMap::new(),
            fresh_logs: Vec::new(),
        };
        for name in now.keys().filter(|name| !apps.contains_key(*name)) {
            staged.changes.insert(name.clone(), AppChange::Ends);
        }
        for (name, config) in apps {
            let given = extra_env.remove(&name).unwrap_or_default();
            let mut log = None;
            let change = if let Some(entry) = now.get(&name) {
                change_of(state, entry, &config, &given)
            } else {
                let path = state.ground.log_path(&name);
                if !path.exists() {
                    staged.fresh_logs.push(path.clone());
                }
                let clock = state.context.clock.clone();
                log = Some(AppLog::open(path, &config.log, clock)?);
                Some(AppChange::Begins)
            };
            if let Some(change) = change {
                staged.changes.insert(name.clone(), change);
            }
            staged.apps.push(StagedApp {
                name,
                config,
                given,
                log,
            });
        }
        Ok(staged)
    }

    /// Puts them in place. What starts, restarts and ends does so in its own time.
    pub fn commit(&self, mut staged: StagedApps) {
        staged.fresh_logs.clear();
        let state = &self.0;
        let mut leaving = state.leaving.lock();
        leaving.retain(|_, life| !life.ended.is_cancelled());
        let before = state.apps.load_full();
        let names: BTreeSet<String> = staged.apps.iter().map(|app| app.name.clone()).collect();
        state.context.addresses.set_names(names.clone());
        for entry in (before.values()).filter(|entry| !names.contains(&entry.spec().name)) {
            end(state, entry, &mut leaving);
        }
        let mut after = BTreeMap::new();
        for app in std::mem::take(&mut staged.apps) {
            let entry = match before.get(&app.name) {
                Some(entry) => Some(change(state, entry, app, &mut leaving)),
                None => begin(state, app, &leaving),
            };
            after.extend(entry.map(|entry| (entry.spec().name.clone(), entry)));
        }
        state.apps.store(Arc::new(after));
    }
}

/// What of an app differs, if anything does.
fn change_of(
    state: &SupervisorState,
    entry: &AppEntry,
    config: &AppConfig,
    given: &EnvVariables,
) -> Option<AppChange> {
    let now = entry.spec();
    let (name, log) = (now.name.clone(), now.log.clone());
    let next = state.ground.spec(name, config.clone(), Some(given), log);
    if next.is_same(&now) {
        None
    } else if next.starts_like(&now) || !entry.instances.iter().any(runs) {
        Some(AppChange::Adjusts)
    } else {
        Some(AppChange::Restarts)
    }
}

/// Whether an instance is not stopped, by hand or from the start.
fn runs(instance: &Arc<InstanceHandle>) -> bool {
    instance.status.borrow().state != InstanceState::Stopped
}

fn begin(
    state: &SupervisorState,
    app: StagedApp,
    leaving: &BTreeMap<(String, u16), InstanceLife>,
) -> Option<AppEntry> {
    let StagedApp {
        name, config, log, ..
    } = app;
    let open = || {
        let path = state.ground.log_path(&name);
        AppLog::open(path, &config.log, state.context.clock.clone())
    };
    let log = match log.map_or_else(open, Ok) {
        Ok(log) => log,
        Err(error) => {
            tracing::error!(app.name = name, %error, "an app cannot begin");
            return None;
        }
    };
    let spec = state.ground.spec(name, config, Some(&app.given), log);
    tracing::info!(app.name = spec.name, "app begins: weappd.toml names it");
    Some(state.begin(spec, leaving))
}

/// Sets an app anew, if something differs.
fn change(
    state: &SupervisorState,
    entry: &AppEntry,
    app: StagedApp,
    leaving: &mut BTreeMap<(String, u16), InstanceLife>,
) -> AppEntry {
    let before = entry.spec();
    let log = before.log.clone();
    let spec = (state.ground).spec(app.name, app.config, Some(&app.given), log);
    let mut entry = entry.clone();
    if spec.is_same(&before) {
        return entry;
    }
    spec.log.set(&spec.config.log);
    if spec.withheld != before.withheld {
        spec.tell_withheld();
    }
    let (count, autostart) = (spec.config.instances, spec.config.autostart);
    let name = spec.name.clone();
    entry.specs.send_replace(Arc::new(spec));
    while entry.instances.len() > usize::from(count) {
        if let Some(instance) = entry.instances.pop() {
            let index = u16::try_from(entry.instances.len()).unwrap_or(u16::MAX);
            instance.life.removed.cancel();
            leaving.insert((name.clone(), index), instance.life.clone());
        }
    }
    let starts = entry.instances.iter().any(runs);
    state.grow(&mut entry, count, starts, leaving);
    if autostart != before.config.autostart {
        entry.wants_start.store(autostart, Ordering::Relaxed);
    }
    let renewal = InstanceRenewal {
        specs: entry.specs.subscribe(),
        entry: entry.clone(),
        context: Arc::clone(&state.context),
    };
    state.tasks.add(&state.context.work, renewal.run());
    entry
}

/// Ends an app that is no longer named.
fn end(
    state: &SupervisorState,
    entry: &AppEntry,
    leaving: &mut BTreeMap<(String, u16), InstanceLife>,
) {
    let spec = entry.spec();
    tracing::info!(
        app.name = spec.name,
        "app ends: weappd.toml no longer names it"
    );
    let mut lives = Vec::new();
    for (index, instance) in (0_u16..).zip(&entry.instances) {
        instance.life.removed.cancel();
        leaving.insert((spec.name.clone(), index), instance.life.clone());
        lives.push(instance.life.clone());
    }
    let log = spec.log.clone();
    state.tasks.add(&state.context.work, async move {
        for life in lives {
            life.ended.cancelled().await;
        }
        log.spool.close();
    });
}

/// Restarts the instances of an app that run under other settings, one after the other.
struct InstanceRenewal {
    entry: AppEntry,
    context: Arc<AppsContext>,
    specs: watch::Receiver<Arc<AppSpec>>,
}

impl InstanceRenewal {
    async fn run(mut self) {
        let renewal = Arc::clone(&self.entry.renewal);
        let _one_at_a_time = renewal.lock().await;
        let starts = self.entry.wants_start.load(Ordering::Relaxed);
        for instance in self.entry.instances.clone() {
            let stop = self.context.stop.clone();
            let goes_on = tokio::select! {
                goes_on = renew(&instance, starts) => goes_on,
                // The next renewal looks at all instances again.
                _ = self.specs.changed() => false,
                () = stop.asked() => false,
            };
            if !goes_on {
                return;
            }
        }
        if starts {
            self.entry.wants_start.store(false, Ordering::Relaxed);
        }
    }
}

/// Has one instance take the settings of now, and waits until it is ready, or stopped. Whether
/// the next may follow: one that cannot start with them leaves the others alone.
async fn renew(instance: &InstanceHandle, starts: bool) -> bool {
    ask(instance, InstanceCommand::Renew).await;
    if starts {
        ask(instance, InstanceCommand::Start).await;
    }
    let mut status = instance.status.clone();
    loop {
        match &status.borrow_and_update().state {
            InstanceState::Ready | InstanceState::Stopped => return true,
            InstanceState::Down { .. } => return false,
            InstanceState::Starting | InstanceState::Stopping | InstanceState::Waiting { .. } => {}
        }
        if status.changed().await.is_err() {
            return true;
        }
    }
}

/// Gives a command, and waits until it is settled.
async fn ask(
    instance: &InstanceHandle,
    command: impl FnOnce(oneshot::Sender<()>) -> InstanceCommand,
) {
    let (done, settled) = oneshot::channel();
    if instance.commands.send(command(done)).await.is_ok() {
        // An instance that ends settles nothing.
        let _: Result<(), _> = settled.await;
    }
}
