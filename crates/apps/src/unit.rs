//! One instance's life: a task that starts it, waits, and decides what comes next.
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
//! Its address is up exactly while the state is Ready: it is taken down before anything
//! else is done about an ending, and before a process is asked to end.

mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use weappd_base::causes::chain;
use weappd_base::tasks::Tasks;

use crate::app::{Ending, Span, State, Status};
use crate::error::StartError;
use crate::house::{Command, House, Sheet};
use crate::journal::{Journal, MARKER};
use crate::process::Process;
use crate::restart::{self, Decision, History};
use crate::search::Habit;
use crate::spawner::{Plan, Port, Started};
use crate::spool::Source;

/// One instance.
#[derive(Debug)]
pub(crate) struct Unit {
    house: Arc<House>,
    app: Arc<Sheet>,
    index: u16,
    commands: mpsc::Receiver<Command>,
    status: watch::Sender<Status>,
    history: History,
    habit: Habit,
    waiters: Vec<oneshot::Sender<()>>,
}

/// What comes next.
enum Next {
    Start,
    Wait(Duration),
    Rest,
    Quit,
}

/// Why a running process is no longer left running.
enum Turn {
    /// It ended by itself.
    Ended,
    /// It was not ready in time.
    Hung,
    /// It is to be stopped, within this time, before what comes next.
    Stop(Option<Duration>, Next),
}

/// A process and what goes with it.
struct Life {
    process: Process,
    marker: String,
    ended: CancellationToken,
    pumps: Tasks,
    born: Instant,
    ready_since: Option<Instant>,
    /// Whether it said that a port is taken.
    port_clash: Arc<AtomicBool>,
}

impl Unit {
    pub(crate) fn new(
        house: Arc<House>,
        app: Arc<Sheet>,
        index: u16,
        commands: mpsc::Receiver<Command>,
        status: watch::Sender<Status>,
    ) -> Self {
        Self {
            house,
            app,
            index,
            commands,
            status,
            history: History::default(),
            habit: Habit::default(),
            waiters: Vec::new(),
        }
    }

    /// Lives until the house stops.
    pub(crate) async fn run(mut self) {
        let mut next = if self.app.config.autostart {
            Next::Start
        } else {
            Next::Rest
        };
        loop {
            next = match next {
                Next::Start => self.start().await,
                Next::Wait(time) => self.wait(time).await,
                Next::Rest => self.rest().await,
                Next::Quit => {
                    self.enter(State::Stopped);
                    return;
                }
            };
        }
    }

    async fn start(&mut self) -> Next {
        self.status.send_modify(|status| status.tries += 1);
        self.enter(State::Starting);
        let marker = self.house.tokens.url256();
        let started = match self.house.spawner.start(self.plan(&marker)).await {
            Ok(started) => self.adopt(started, marker),
            Err(error) => Err(error),
        };
        match started {
            Ok(life) => self.live(life).await,
            Err(error) => {
                let ending = Ending::NeverStarted {
                    why: chain(&error),
                    hint: error.hint().map(str::to_owned),
                };
                self.decide(&ending, None)
            }
        }
    }

    fn plan(&self, marker: &str) -> Plan {
        let mut env = self.app.env.clone();
        let index = self.index.to_string();
        env.push(("WEAPPD_INSTANCE".into(), index.into()));
        env.push((MARKER.into(), marker.into()));
        Plan {
            app: self.app.name.clone(),
            words: Arc::clone(&self.app.words),
            dir: self.app.dir.clone(),
            env,
            port: match self.app.config.port {
                _ if !self.app.config.listens => Port::None,
                Some(port) => Port::Fixed(port.saturating_add(self.index)),
                None => Port::Free,
            },
            marker: marker.to_owned(),
        }
    }

    fn adopt(&self, started: Started, marker: String) -> Result<Life, StartError> {
        let mut process = Process::adopt(started);
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
            let pump = spool.clone().pump(Source::Out, instance, out, ends());
            pumps.spawn_on(&self.house.work, pump);
            let pump = spool.clone().pump(Source::Err, instance, err, ends());
            pumps.spawn_on(&self.house.work, pump);
        }
        Ok(Life {
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
    async fn live(&mut self, mut life: Life) -> Next {
        let (pid, port) = (life.process.pid(), life.process.port);
        let now = self.house.clock.unix_millis();
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
        let turn = self.watch(&mut life).await;
        self.house.board.set(&self.app.name, self.index, None);
        let since = life.process.identity.start;
        let never_ready = life.ready_since.is_none();
        let (ending, next) = match turn {
            Turn::Ended => (self.bury(life.process), None),
            Turn::Hung => {
                let after_ms = self.app.config.ready.timeout_ms;
                self.stop(life.process, None).await;
                (Ending::HungAtStart { after_ms }, None)
            }
            Turn::Stop(grace, next) => {
                self.enter(State::Stopping);
                (self.stop(life.process, grace).await, Some(next))
            }
        };
        life.ended.cancel();
        // The last words come before the note of the ending; who inherited the pipe and holds
        // it open is not waited for.
        life.pumps.finish(Duration::from_secs(1)).await;
        if never_ready && life.port_clash.load(Ordering::Relaxed) {
            self.note(
                "it wanted a port that is taken: let it listen on the variable PORT, or write \
                 $PORT where run names a port",
            );
        }
        self.clean(&life.marker, since, next.is_some()).await;
        self.status.send_modify(|status| {
            status.pid = None;
            status.port = None;
            status.address = None;
            status.started_at = None;
            status.waits = None;
        });
        let ran = Span(millis(life.born.elapsed()));
        self.note(&format!("{ending}, after {ran}"));
        match next {
            None => self.decide(&ending, life.ready_since.map(|since| since.elapsed())),
            Some(next) => {
                tracing::info!(app.name = self.app.name, index = self.index, %ending, "app stopped");
                self.status
                    .send_modify(|status| status.last_ending = Some(ending));
                self.forget();
                next
            }
        }
    }

    fn bury(&self, process: Process) -> Ending {
        let hasty = process.port.is_some();
        let ending = process.bury();
        let never_ready = self.status.borrow().ready_after_ms.is_none();
        if ending == (Ending::Exited { code: 0 }) && hasty && never_ready {
            self.note(
                "it left without ever listening on PORT: a server must stay in the foreground, \
                 and a worker needs listens = false",
            );
        }
        ending
    }

    async fn stop(&self, process: Process, grace: Option<Duration>) -> Ending {
        let own = Duration::from_millis(self.app.config.stop.grace_ms);
        let grace = grace.unwrap_or(own);
        let grace = (self.house.stop_deadline).map_or(grace, |most| grace.min(most));
        let House { stop, work, .. } = &*self.house;
        (process.stop(self.app.config.stop.signal, grace, stop, work)).await
    }

    /// Ends what left the process group, and strikes the start out of the journal. Waited
    /// for only if nothing is to start at once.
    async fn clean(&self, marker: &str, since: u64, wait: bool) {
        let journal = Arc::clone(&self.house.journal);
        let (marker, name) = (marker.to_owned(), self.app.name.clone());
        let (work, spool) = (self.house.work.clone(), self.app.log.spool.clone());
        let clean = async move {
            let swept = work.run_blocking(move || {
                let escaped = Journal::kill_escaped(&marker, since);
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
            self.house.pumps.spawn_on(&self.house.work, clean);
        }
    }

    /// What comes after an ending nobody asked for.
    fn decide(&mut self, ending: &Ending, ready_for: Option<Duration>) -> Next {
        let chance = u16::from_le_bytes(self.house.tokens.bytes());
        let rules = &self.app.config.restart;
        let decision = restart::decide(rules, &mut self.history, ending, ready_for, chance);
        self.status
            .send_modify(|status| status.last_ending = Some(ending.clone()));
        let failures = self.history.failures;
        let (app, index) = (&self.app.name, self.index);
        match decision {
            Decision::Start(wait) => {
                let wait_ms = millis(wait);
                let next_try_at = self.house.clock.unix_millis() + wait_ms.cast_signed();
                if let Ending::NeverStarted { .. } = ending {
                    self.note(&ending.to_string());
                }
                match wait_ms {
                    0 => self.note("next try at once"),
                    wait_ms => self.note(&format!("next try in {}", Span(wait_ms))),
                }
                tracing::warn!(app.name = app, index, %ending, failures, wait_ms, "app ended, starting it again: `weappd logs {app}` shows what it printed");
                self.enter(State::Waiting {
                    next_try_at,
                    failures,
                });
                Next::Wait(wait)
            }
            Decision::StayDown(why) => {
                self.note(&format!("stays down: {why}"));
                tracing::warn!(app.name = app, index, %ending, why, "app ended, staying down: `weappd logs {app}` shows what it printed");
                self.enter(State::Down { why });
                Next::Rest
            }
        }
    }

    async fn wait(&mut self, time: Duration) -> Next {
        tokio::select! {
            biased;
            () = self.house.stop.asked() => Next::Quit,
            command = self.commands.recv() => self.obey(command),
            () = sleep(time) => Next::Start,
        }
    }

    async fn rest(&mut self) -> Next {
        if !matches!(self.status.borrow().state, State::Down { .. }) {
            self.enter(State::Stopped);
        }
        tokio::select! {
            biased;
            () = self.house.stop.asked() => Next::Quit,
            command = self.commands.recv() => self.obey(command),
        }
    }

    /// Obeys while no process runs.
    fn obey(&mut self, command: Option<Command>) -> Next {
        let (waiter, next) = match command {
            None => return Next::Quit,
            Some(Command::Stop(_, waiter)) => {
                // Also what was down by itself is now stopped by hand.
                self.enter(State::Stopped);
                (waiter, Next::Rest)
            }
            Some(Command::Start(waiter) | Command::Restart(waiter)) => (waiter, Next::Start),
        };
        self.forget();
        self.waiters.push(waiter);
        if matches!(next, Next::Rest) {
            self.settle();
        }
        next
    }

    /// Who commands has changed something: what was learnt before means nothing.
    fn forget(&mut self) {
        self.history = History::default();
        self.habit = Habit::default();
    }

    fn enter(&mut self, state: State) {
        let settled = !matches!(state, State::Starting | State::Stopping);
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
