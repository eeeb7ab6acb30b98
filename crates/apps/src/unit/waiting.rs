//! Waits for whatever happens first to a running process.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::app::{Span, State};
use crate::house::Command;
use crate::ready;
use crate::search::{Finding, Habit, Search};
use crate::unit::{Life, Next, Turn, Unit, millis};

/// How long a process that serves on another port may still come to `PORT`.
const LATE: Duration = Duration::from_mins(1);
/// From when on the wait for a slow program is worth a line in weappd's own log.
const SLOW: Duration = Duration::from_secs(15);
/// How long a command waits for the program it started.
const PATIENCE: Duration = Duration::from_secs(30);

impl Unit {
    pub(super) async fn watch(&mut self, life: &mut Life) -> Turn {
        let port = life.process.port;
        let path = self.app.config.ready.path.clone();
        let ready = async move {
            match port {
                Some(port) => Some(ready::wait(port, path.as_deref()).await),
                None => None,
            }
        };
        let too_long = sleep(Duration::from_millis(self.app.config.ready.timeout_ms));
        tokio::pin!(ready, too_long);
        let mut search = port.map(|port| self.search(life, port));
        let mut asks_port = true;
        let mut until = Instant::now();
        loop {
            let unready = life.ready_since.is_none();
            tokio::select! {
                biased;
                () = life.process.exited() => return Turn::Ended,
                () = self.house.stop.asked() => return Turn::Stop(None, Next::Quit),
                command = self.commands.recv() => match command {
                    None => return Turn::Stop(None, Next::Quit),
                    Some(Command::Start(waiter)) => {
                        self.waiters.push(waiter);
                        if !unready {
                            self.settle();
                        }
                    }
                    Some(Command::Stop(grace, waiter)) => {
                        self.waiters.push(waiter);
                        return Turn::Stop(grace, Next::Rest);
                    }
                    Some(Command::Restart(waiter)) => {
                        self.waiters.push(waiter);
                        return Turn::Stop(None, Next::Start);
                    }
                },
                address = &mut ready, if asks_port => {
                    asks_port = false;
                    self.habit = Habit::Port;
                    self.serves(life, address);
                }
                finding = next(&mut search), if unready => match finding {
                    Finding::Here(address) => {
                        asks_port = false;
                        self.habit = Habit::Port;
                        self.serves(life, Some(address));
                    }
                    Finding::Elsewhere(address) => {
                        until = Instant::now() + LATE;
                        self.habit = Habit::Other(address.port());
                        self.tell_other_port(address, port.unwrap_or_default());
                        self.serves(life, Some(address));
                    }
                    Finding::Waits(why) => self.tell_wait(life.born.elapsed(), why),
                },
                () = sleep_until(until), if asks_port && !unready => asks_port = false,
                () = &mut too_long, if unready => return Turn::Hung,
            }
        }
    }

    fn search(&self, life: &Life, port: u16) -> Search {
        let work = self.house.work.clone();
        let mut search = Search::new(life.process.pid(), port, work, life.born);
        search.path.clone_from(&self.app.config.ready.path);
        search.instances = self.app.config.instances;
        search.habit = self.habit;
        search.port_setting = self.house.port_setting;
        search
    }

    /// Puts the address up: the first one, or a better one.
    fn serves(&mut self, life: &mut Life, address: Option<SocketAddr>) {
        self.status.send_modify(|status| status.address = address);
        self.house.board.set(&self.app.name, self.index, address);
        if life.ready_since.is_some() {
            self.note("it listens on PORT now: requests go there");
            return;
        }
        let now = Instant::now();
        life.ready_since = Some(now);
        let took = millis(now.duration_since(life.born));
        self.status.send_modify(|status| {
            status.ready_after_ms = Some(took);
            status.waits = None;
        });
        self.note(&format!("ready after {}", Span(took)));
        tracing::info!(
            app.name = self.app.name,
            index = self.index,
            pid = life.process.pid(),
            took_ms = took,
            "app ready"
        );
        self.enter(State::Ready);
    }

    fn tell_other_port(&self, address: SocketAddr, port: u16) {
        let other = address.port();
        let text = format!(
            "it listens on {address}, not on PORT ({port}): requests go there; write {}\
             {other}, or let it listen on the variable PORT",
            self.house.port_setting
        );
        self.note(&text);
        tracing::warn!(app.name = self.app.name, index = self.index, "{text}");
    }

    fn tell_wait(&mut self, age: Duration, why: String) {
        self.note(&why);
        if age >= SLOW {
            tracing::warn!(app.name = self.app.name, index = self.index, "{why}");
        }
        self.status.send_modify(|status| status.waits = Some(why));
        if age >= PATIENCE {
            self.settle();
        }
    }
}

/// The next finding; none comes of a program that need not listen.
async fn next(search: &mut Option<Search>) -> Finding {
    match search {
        Some(search) => search.next().await,
        None => std::future::pending().await,
    }
}
