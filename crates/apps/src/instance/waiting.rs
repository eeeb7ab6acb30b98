//! Waits for whatever happens first to a running process.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::app::{HumanDuration, InstanceState};
use crate::context::InstanceCommand;
use crate::counters::RestartCause;
use crate::instance::{InstanceTask, NextStep, RunningInstance, StopCause, millis};
use crate::ready;
use crate::search::{PortHabit, PortSearch, SearchFinding};

/// How long a process that serves on another port may still come to `PORT`.
const LATE_PORT_TIME: Duration = Duration::from_mins(1);
/// From when on the wait for a slow program is worth a line in weappd's own log.
const SLOW_START: Duration = Duration::from_secs(15);
/// How long a command waits for the program it started.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

impl InstanceTask {
    /// Waits for what ends the watch over a process; `None`: rules changed, watch again.
    pub(super) async fn watch(&mut self, running: &mut RunningInstance) -> Option<StopCause> {
        let port = running.process.port;
        let path = self.app.config.ready.path.clone();
        let ready = async move {
            match port {
                Some(port) => Some(ready::wait(port, path.as_deref()).await),
                None => None,
            }
        };
        let too_long =
            sleep_until(running.born + Duration::from_millis(self.app.config.ready.timeout_ms));
        tokio::pin!(ready, too_long);
        let mut search = port.map(|port| self.search(running, port));
        let mut asks_port = true;
        let mut until = Instant::now();
        loop {
            let unready = running.ready_since.is_none();
            tokio::select! {
                biased;
                () = running.process.exited() => return Some(StopCause::Ended),
                () = self.context.stop.asked() => return Some(StopCause::Stop(None, NextStep::Quit)),
                () = self.life.removed.cancelled() => {
                    return Some(StopCause::Stop(None, NextStep::Quit));
                }
                Ok(()) = self.specs.changed() => {
                    self.take_rules();
                    if unready {
                        return None;
                    }
                }
                command = self.commands.recv() => {
                    if let Some(cause) = self.obey(command, unready) {
                        return Some(cause);
                    }
                }
                address = &mut ready, if asks_port => {
                    asks_port = false;
                    self.habit = PortHabit::Port;
                    self.serves(running, address);
                }
                finding = next(&mut search), if unready => match finding {
                    SearchFinding::Here(address) => {
                        asks_port = false;
                        self.habit = PortHabit::Port;
                        self.serves(running, Some(address));
                    }
                    SearchFinding::Elsewhere(address) => {
                        until = Instant::now() + LATE_PORT_TIME;
                        self.habit = PortHabit::Other(address.port());
                        self.tell_other_port(address, port.unwrap_or_default());
                        self.serves(running, Some(address));
                    }
                    SearchFinding::Waits(why) => self.tell_wait(running.born.elapsed(), why),
                },
                () = sleep_until(until), if asks_port && !unready => asks_port = false,
                () = &mut too_long, if unready => return Some(StopCause::Hung),
            }
        }
    }

    /// Obeys while a process runs; says why it is no longer to run.
    fn obey(&mut self, command: Option<InstanceCommand>, unready: bool) -> Option<StopCause> {
        let (waiter, cause) = match command {
            None => return Some(StopCause::Stop(None, NextStep::Quit)),
            Some(InstanceCommand::Stop(grace, waiter)) => {
                (waiter, Some(StopCause::Stop(grace, NextStep::Rest)))
            }
            Some(InstanceCommand::Restart(waiter)) => {
                self.context.counters.restarts.inc(RestartCause::Command);
                (waiter, Some(StopCause::Stop(None, NextStep::Start)))
            }
            Some(InstanceCommand::Renew(waiter)) if self.is_outdated() => {
                self.context.counters.restarts.inc(RestartCause::Reload);
                (waiter, Some(StopCause::Stop(None, NextStep::Start)))
            }
            Some(InstanceCommand::Start(waiter) | InstanceCommand::Renew(waiter)) => (waiter, None),
        };
        self.waiters.push(waiter);
        if cause.is_none() && !unready {
            self.settle();
        }
        cause
    }

    fn search(&self, running: &RunningInstance, port: u16) -> PortSearch {
        let work = self.context.work.clone();
        let mut search = PortSearch::new(running.process.pid(), port, work, running.born);
        search.path.clone_from(&self.app.config.ready.path);
        search.instances = self.app.config.instances;
        search.habit = self.habit;
        search.port_setting = self.context.port_setting;
        search
    }

    /// Publishes the address: the first one, or a better one.
    fn serves(&mut self, running: &mut RunningInstance, address: Option<SocketAddr>) {
        self.status.send_modify(|status| status.address = address);
        self.context
            .addresses
            .set(&self.app.name, self.index, address);
        if running.ready_since.is_some() {
            self.note("it listens on PORT now: requests go there");
            return;
        }
        let now = Instant::now();
        running.ready_since = Some(now);
        let took = now.duration_since(running.born);
        self.context.counters.ready_time.observe(took);
        let took = millis(took);
        self.status.send_modify(|status| {
            status.ready_after_ms = Some(took);
            status.waits = None;
        });
        self.note(&format!("ready after {}", HumanDuration(took)));
        tracing::info!(
            app.name = self.app.name,
            index = self.index,
            pid = running.process.pid(),
            took_ms = took,
            "app ready"
        );
        self.enter(InstanceState::Ready);
    }

    fn tell_other_port(&self, address: SocketAddr, port: u16) {
        let other = address.port();
        let text = format!(
            "it listens on {address}, not on PORT ({port}): requests go there; write {}\
             {other}, or let it listen on the variable PORT",
            self.context.port_setting
        );
        self.note(&text);
        tracing::warn!(app.name = self.app.name, index = self.index, "{text}");
    }

    fn tell_wait(&mut self, age: Duration, why: String) {
        self.note(&why);
        if age >= SLOW_START {
            tracing::warn!(app.name = self.app.name, index = self.index, "{why}");
        }
        self.status.send_modify(|status| status.waits = Some(why));
        if age >= COMMAND_TIMEOUT {
            self.settle();
        }
    }
}

/// The next finding; none comes of a program that need not listen.
async fn next(search: &mut Option<PortSearch>) -> SearchFinding {
    match search {
        Some(search) => search.next().await,
        None => std::future::pending().await,
    }
}
