//! One instance: a task that starts it, waits, and decides what comes next.
//!
//! ```text
//!            start                  ready
//! Stopped ----------> Starting ----------------> Ready
//!    ^                  |  ^                       |
//!    | stop             |  | its time has come     | ended
//!    |      ended, hung v  |                       v
//!    +---------------- Waiting <------------- (restart.rs decides) ----> Down
//! ```
//!
//! Its address is published exactly while the state is Ready: it is withdrawn before anything
//! else is done about an ending, and before a process is asked to end.

mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use weappd_base::causes::chain;
use weappd_base::tasks::Tasks;

use crate::app::{ExitReason, HumanDuration, InstanceState, InstanceStatus, millis};
use crate::app_entry::{InstanceHandle, InstanceLife};
use crate::app_spec::AppSpec;
use crate::context::{AppsContext, InstanceCommand};
use crate::counters::RestartCause;
use crate::error::StartError;
use crate::journal::{MARKER, RunJournal};
use crate::process::ChildProcess;
use crate::restart::{self, RestartDecision, RestartHistory};
use crate::search::PortHabit;
use crate::spool::LogSource;
use crate::start_plan::{PortChoice, StartPlan, StartedProcess};

/// One instance.
#[derive(Debug)]
pub(crate) struct InstanceTask {
    context: Arc<AppsContext>,
    /// As it was last started; rules that changed since then are in it.
    app: Arc<AppSpec>,
    /// The settings of now.
    specs: watch::Receiver<Arc<AppSpec>>,
    index: u16,
    commands: mpsc::Receiver<InstanceCommand>,
    status: watch::Sender<InstanceStatus>,
    life: InstanceLife,
    history: RestartHistory,
    habit: PortHabit,
    waiters: Vec<oneshot::Sender<()>>,
}

/// What comes next.
enum NextStep {
    Start,
    Wait(Duration),
    Rest,
    Quit,
}

/// Why a running process is no longer left running.
enum StopCause {
    /// It ended by itself.
    Ended,
    /// It was not ready in time.
    Hung,
    /// It is to be stopped, within this time, before what comes next.
    Stop(Option<Duration>, NextStep),
}

/// A process and what goes with it.
struct RunningInstance {
    process: ChildProcess,
    marker: String,
    ended: CancellationToken,
    pumps: Tasks,
    born: Instant,
    ready_since: Option<Instant>,
    /// Whether it said that a port is taken.
    port_clash: Arc<AtomicBool>,
}

impl InstanceTask {
    /// The `index`th instance of the app of `specs`, and the way to it.
    pub(crate) fn new(
        context: Arc<AppsContext>,
        specs: watch::Receiver<Arc<AppSpec>>,
        index: u16,
    ) -> (Self, InstanceHandle) {
        let (sender, commands) = mpsc::channel(16);
        let (status, seen) = watch::channel(InstanceStatus::new());
        let life = InstanceLife::default();
        let app = Arc::clone(&specs.borrow());
        let handle = InstanceHandle::new(sender, seen, life.clone());
        let task = Self {
            context,
            app,
            specs,
            index,
            commands,
            status,
            life,
            history: RestartHistory::default(),
            habit: PortHabit::default(),
            waiters: Vec::new(),
        };
        (task, handle)
    }

    /// Runs until weappd stops or the app is removed. `starts` tells whether it begins with a
    /// start; `former` is an instance of the same name and number that has to end first.
    pub(crate) async fn run(mut self, starts: bool, former: Option<InstanceLife>) {
        let ended = self.life.ended.clone();
        if let Some(former) = former {
            former.ended.cancelled().await;
        }
        self.live(if starts {
            NextStep::Start
        } else {
            NextStep::Rest
        })
        .await;
        ended.cancel();
    }

    async fn live(&mut self, first: NextStep) {
        let mut next = first;
        loop {
            next = match next {
                // It may have waited for a former one of its name until it is not wanted itself.
                NextStep::Start if self.is_unwanted() => NextStep::Quit,
                NextStep::Start => {
                    let span = self.start_span();
                    self.start().instrument(span).await
                }
                NextStep::Wait(time) => self.wait(time).await,
                NextStep::Rest => self.rest().await,
                NextStep::Quit => {
                    self.enter(InstanceState::Stopped);
                    return;
                }
            };
        }
    }

    fn is_unwanted(&self) -> bool {
        self.life.removed.is_cancelled() || self.context.stop.is_asked()
    }

    /// What names one process, from its start to its end.
    fn start_span(&self) -> Span {
        tracing::debug_span!(
            "app",
            app.name = self.app.name,
            index = self.index,
            start = self.status.borrow().tries + 1,
        )
    }

    async fn start(&mut self) -> NextStep {
        self.app = Arc::clone(&self.specs.borrow_and_update());
        self.status.send_modify(|status| status.tries += 1);
        self.enter(InstanceState::Starting);
        let marker = self.context.random.url256();
        let started = match self.context.spawner.start(self.plan(&marker)).await {
            Ok(started) => self.adopt(started, marker),
            Err(error) => Err(error),
        };
        match started {
            Ok(running) => self.supervise(running).await,
            Err(error) => {
                let ending = ExitReason::NeverStarted {
                    why: chain(&error),
                    hint: error.hint().map(str::to_owned),
                };
                self.decide(&ending, None)
            }
        }
    }

    fn plan(&self, marker: &str) -> StartPlan {
        let mut env = self.app.env.clone();
        let index = self.index.to_string();
        env.push(("WEAPPD_INSTANCE".into(), index.into()));
        env.push((MARKER.into(), marker.into()));
        StartPlan {
            app: self.app.name.clone(),
            words: Arc::clone(&self.app.words),
            dir: self.app.dir.clone(),
            env,
            port: match self.app.config.port {
                _ if !self.app.config.listens => PortChoice::None,
                Some(port) => PortChoice::Fixed(port.saturating_add(self.index)),
                None => PortChoice::Free,
            },
            marker: marker.to_owned(),
        }
    }

    fn adopt(
        &self,
        started: StartedProcess,
        marker: String,
    ) -> Result<RunningInstance, StartError> {
        let mut process = ChildProcess::adopt(started);
        let pumps = Tasks::new();
        let ended = CancellationToken::new();
        let port_clash = Arc::new(AtomicBool::new(false));
        let output = process.output().map_err(|source| StartError::Spawn {
            file: self.app.words[0].clone().into(),
            source,
        })?;
        if let Some((out, err)) = output {
            let instance = (self.app.config.instances > 1).then_some(self.index);
            let spool = &self.app.log.spool;
            let ends = || (ended.clone(), Arc::clone(&port_clash));
            let pump = spool.clone().pump(LogSource::Out, instance, out, ends());
            pumps.spawn_on(&self.context.work, pump);
            let pump = spool.clone().pump(LogSource::Err, instance, err, ends());
            pumps.spawn_on(&self.context.work, pump);
        }
        Ok(RunningInstance {
            process,
            marker,
            ended,
            pumps,
            born: Instant::now(),
            ready_since: None,
            port_clash,
        })
    }

    /// From the start of a process to its end.
    async fn supervise(&mut self, mut running: RunningInstance) -> NextStep {
        let (pid, port) = (running.process.pid(), running.process.port);
        let now = self.context.clock.unix_millis();
        self.status.send_modify(|status| {
            status.pid = Some(pid);
            status.port = port;
            status.started_at = Some(now);
            status.ready_after_ms = None;
        });
        match port {
            Some(port) => self.note(&format!("started: pid {pid}, PORT={port}")),
            None => self.note(&format!("started: pid {pid}")),
        }
        let turn = loop {
            if let Some(turn) = self.watch(&mut running).await {
                break turn;
            }
        };
        self.take_rules();
        self.context.addresses.set(&self.app.name, self.index, None);
        let since = running.process.identity.start;
        let never_ready = running.ready_since.is_none();
        let (ending, next) = match turn {
            StopCause::Ended => (self.reap(running.process), None),
            StopCause::Hung => {
                let after_ms = self.app.config.ready.timeout_ms;
                self.stop(running.process, None).await;
                (ExitReason::HungAtStart { after_ms }, None)
            }
            StopCause::Stop(grace, next) => {
                self.enter(InstanceState::Stopping);
                (self.stop(running.process, grace).await, Some(next))
            }
        };
        running.ended.cancel();
        // The last lines come before the note of the ending; who inherited the pipe and holds
        // it open is not waited for.
        running.pumps.finish(Duration::from_secs(1)).await;
        if never_ready && running.port_clash.load(Ordering::Relaxed) {
            self.note(
                "it wanted a port that is taken: let it listen on the variable PORT, or write \
                 $PORT where run names a port",
            );
        }
        self.clean(&running.marker, since, next.is_some()).await;
        self.status.send_modify(|status| {
            status.pid = None;
            status.port = None;
            status.address = None;
            status.started_at = None;
            status.waits = None;
        });
        let ran = HumanDuration(millis(running.born.elapsed()));
        self.note(&format!("{ending}, after {ran}"));
        match next {
            None => self.decide(&ending, running.ready_since.map(|since| since.elapsed())),
            Some(next) => {
                tracing::info!(app.name = self.app.name, index = self.index, %ending, "app stopped");
                self.status
                    .send_modify(|status| status.last_ending = Some(ending));
                self.forget();
                next
            }
        }
    }

    fn reap(&self, process: ChildProcess) -> ExitReason {
        let hasty = process.port.is_some();
        let ending = process.reap();
        let never_ready = self.status.borrow().ready_after_ms.is_none();
        if ending == (ExitReason::Exited { code: 0 }) && hasty && never_ready {
            self.note(
                "it left without ever listening on PORT: a server must stay in the foreground, \
                 and a worker needs listens = false",
            );
        }
        ending
    }

    async fn stop(&self, process: ChildProcess, grace: Option<Duration>) -> ExitReason {
        let own = Duration::from_millis(self.app.config.stop.grace_ms);
        let grace = grace.unwrap_or(own);
        let grace = (self.context.stop_deadline).map_or(grace, |most| grace.min(most));
        let AppsContext { stop, work, .. } = &*self.context;
        (process.stop(self.app.config.stop.signal, grace, stop, work)).await
    }

    /// Ends what left the process group, and strikes the start out of the journal. Waited
    /// for only if nothing is to start at once.
    async fn clean(&self, marker: &str, since: u64, wait: bool) {
        let journal = Arc::clone(&self.context.journal);
        let (marker, name) = (marker.to_owned(), self.app.name.clone());
        let (work, spool) = (self.context.work.clone(), self.app.log.spool.clone());
        let clean = async move {
            let swept = work.run_blocking(move || {
                let escaped = RunJournal::kill_escaped(&marker, since);
                journal.forget(&marker);
                escaped
            });
            if let Ok(escaped @ 1..) = swept.await {
                spool.note(&format!(
                    "{escaped} processes it had left behind were killed"
                ));
                tracing::warn!(app.name = name, escaped, "killed what an app left behind");
            }
        };
        if wait {
            clean.await;
        } else {
            self.context.pumps.spawn_on(&self.context.work, clean);
        }
    }

    /// What comes after an ending nobody asked for.
    fn decide(&mut self, ending: &ExitReason, ready_for: Option<Duration>) -> NextStep {
        let chance = u16::from_le_bytes(self.context.random.bytes());
        let rules = &self.app.config.restart;
        let decision = restart::decide(rules, &mut self.history, ending, ready_for, chance);
        self.status
            .send_modify(|status| status.last_ending = Some(ending.clone()));
        let failures = self.history.failures;
        let (app, index) = (&self.app.name, self.index);
        match decision {
            RestartDecision::Start(wait) => {
                let cause = RestartCause::of(ending);
                self.context.counters.restarts.inc(cause);
                let wait_ms = millis(wait);
                let next_try_at = self.context.clock.unix_millis() + wait;
                if let ExitReason::NeverStarted { .. } = ending {
                    self.note(&ending.to_string());
                }
                match wait_ms {
                    0 => self.note("next try at once"),
                    wait_ms => self.note(&format!("next try in {}", HumanDuration(wait_ms))),
                }
                tracing::warn!(app.name = app, index, %ending, failures, wait_ms, "app ended, starting it again: `weappd logs {app}` shows what it printed");
                self.enter(InstanceState::Waiting {
                    next_try_at,
                    failures,
                });
                NextStep::Wait(wait)
            }
            RestartDecision::StayDown(why) => {
                self.note(&format!("stays down: {why}"));
                tracing::warn!(app.name = app, index, %ending, why, "app ended, staying down: `weappd logs {app}` shows what it printed");
                self.enter(InstanceState::Down { why });
                NextStep::Rest
            }
        }
    }

    /// Takes rules (restart, ready, stop) that changed, unless the program is to be started in
    /// another way: until then it is treated by the rules that it was started with.
    fn take_rules(&mut self) {
        let newest = self.specs.borrow_and_update();
        if newest.starts_like(&self.app) {
            self.app = Arc::clone(&newest);
        }
    }

    /// Whether the settings of now would start it in another way.
    fn is_outdated(&self) -> bool {
        !self.specs.borrow().starts_like(&self.app)
    }

    async fn wait(&mut self, time: Duration) -> NextStep {
        let until = Instant::now() + time;
        tokio::select! {
            biased;
            () = self.context.stop.asked() => NextStep::Quit,
            () = self.life.removed.cancelled() => NextStep::Quit,
            command = self.commands.recv() => {
                let left = until.saturating_duration_since(Instant::now());
                self.handle_command(command, NextStep::Wait(left))
            }
            () = sleep_until(until) => NextStep::Start,
        }
    }

    async fn rest(&mut self) -> NextStep {
        if !matches!(self.status.borrow().state, InstanceState::Down { .. }) {
            self.enter(InstanceState::Stopped);
        }
        tokio::select! {
            biased;
            () = self.context.stop.asked() => NextStep::Quit,
            () = self.life.removed.cancelled() => NextStep::Quit,
            command = self.commands.recv() => self.handle_command(command, NextStep::Rest),
        }
    }

    /// Obeys while no process runs; `otherwise` is what comes if nothing is to be done.
    fn handle_command(
        &mut self,
        command: Option<InstanceCommand>,
        otherwise: NextStep,
    ) -> NextStep {
        let (waiter, next) = match command {
            None => return NextStep::Quit,
            Some(InstanceCommand::Renew(waiter)) => {
                let is_stopped = self.status.borrow().state == InstanceState::Stopped;
                if is_stopped || !self.is_outdated() {
                    self.take_rules();
                    // Whoever no longer waits needs no answer.
                    let _: Result<(), ()> = waiter.send(());
                    return otherwise;
                }
                (waiter, NextStep::Start)
            }
            Some(InstanceCommand::Stop(_, waiter)) => {
                // Also what was down by itself is now stopped by hand.
                self.enter(InstanceState::Stopped);
                (waiter, NextStep::Rest)
            }
            Some(InstanceCommand::Start(waiter) | InstanceCommand::Restart(waiter)) => {
                (waiter, NextStep::Start)
            }
        };
        self.forget();
        self.waiters.push(waiter);
        if matches!(next, NextStep::Rest) {
            self.settle();
        }
        next
    }

    /// Who commands has changed something: what was learnt before means nothing.
    fn forget(&mut self) {
        self.history = RestartHistory::default();
        self.habit = PortHabit::default();
    }

    fn enter(&mut self, state: InstanceState) {
        let settled = !matches!(state, InstanceState::Starting | InstanceState::Stopping);
        self.status.send_modify(|status| status.state = state);
        if settled {
            self.settle();
        }
    }

    /// Tells everybody who waits for the outcome of a command.
    fn settle(&mut self) {
        for waiter in self.waiters.drain(..) {
            // Whoever no longer waits needs no answer.
            let _: Result<(), ()> = waiter.send(());
        }
    }

    fn note(&self, text: &str) {
        if self.app.config.instances > 1 {
            let text = format!("[{}] {text}", self.index);
            self.app.log.spool.note(&text);
        } else {
            self.app.log.spool.note(text);
        }
    }
}
