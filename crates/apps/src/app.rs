//! What is known of an app: how its processes ended, how they are, where they listen.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;
use weappd_base::unix_time::UnixMillis;

/// The ready addresses of each app. An app without a ready process has an empty list.
pub type AppAddresses = HashMap<String, Vec<SocketAddr>>;

/// How a process ended. Every ending is one of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ExitReason {
    /// It never ran: the program was not found, its port was taken, ...
    NeverStarted {
        /// What was in the way.
        why: String,
        /// What to do about it, where that is known.
        hint: Option<String>,
    },
    /// It left by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal that was not ours ended it: it crashed, or somebody else ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// It ran, but was not ready in time, and was ended.
    HungAtStart {
        /// How long it was waited for.
        after_ms: u64,
    },
    /// It was asked to end and did.
    Stopped,
    /// It was asked to end, did not, and was killed.
    Killed,
}

impl fmt::Display for ExitReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverStarted { why, hint: None } => write!(f, "could not start: {why}"),
            Self::NeverStarted {
                why,
                hint: Some(hint),
            } => write!(f, "could not start: {why} (hint: {hint})"),
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Signalled { signal } => match signal_name(*signal) {
                Some(name) => write!(f, "ended by {name}"),
                None => write!(f, "ended by signal {signal}"),
            },
            Self::HungAtStart { after_ms } => {
                write!(f, "was not ready after {}", HumanDuration(*after_ms))
            }
            Self::Stopped => f.write_str("stopped"),
            Self::Killed => f.write_str("killed: it did not stop when asked"),
        }
    }
}

fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        8 => "SIGFPE",
        9 => "SIGKILL (killed from outside, or out of memory)",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return None,
    })
}

/// Milliseconds as people say them: `35 ms`, `12 s`, `3 min`.
pub(crate) struct HumanDuration(pub(crate) u64);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms @ 0..1_000 => write!(f, "{ms} ms"),
            ms @ 1_000..10_000 => write!(f, "{}.{} s", ms / 1_000, ms % 1_000 / 100),
            ms @ 10_000..120_000 => write!(f, "{} s", ms / 1_000),
            ms => write!(f, "{} min", ms / 60_000),
        }
    }
}

/// The milliseconds of a span.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What one instance is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "name", rename_all = "snake_case")]
pub enum InstanceState {
    /// Nobody asked for it, or it was stopped.
    Stopped,
    /// It runs and is not ready yet.
    Starting,
    /// It is ready for requests.
    Ready,
    /// It was asked to end.
    Stopping,
    /// It ended and waits for the next try.
    Waiting {
        /// When that is.
        next_try_at: UnixMillis,
        /// How many tries in a row have failed.
        failures: u32,
    },
    /// It ended and is not started again.
    Down {
        /// Which rule says so.
        why: String,
    },
}

/// One instance, as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct InstanceView {
    /// Counted from 0.
    pub index: u16,
    /// What it is doing.
    pub state: InstanceState,
    /// The same in words: `crash-looping, next try in 12 s`.
    pub summary: String,
    /// The process, if one runs.
    pub pid: Option<u32>,
    /// The port it was given in `PORT`.
    pub port: Option<u16>,
    /// Where it accepts connections, once ready.
    pub address: Option<SocketAddr>,
    /// How often it was started again since weappd runs.
    pub restarts: u32,
    /// Since when the process runs.
    pub started_at: Option<UnixMillis>,
    /// How long the process runs.
    pub uptime_ms: Option<u64>,
    /// How long the last start took until ready.
    pub ready_after_ms: Option<u64>,
    /// Memory of the process and what it started, in bytes (resident).
    pub memory_bytes: Option<u64>,
    /// Processor time of the process and what it started, in percent of one core, since
    /// the last look (at the first look: since it started).
    pub cpu_percent: Option<f32>,
    /// How many processes these are.
    pub processes: Option<u32>,
    /// How the process before this one ended.
    pub last_ending: Option<ExitReason>,
}

/// One app, as it is now.
#[derive(Clone, Debug, Serialize)]
pub struct AppView {
    /// Its name in weappd.toml.
    pub name: String,
    /// The program, without its arguments: they may hold secrets.
    pub program: String,
    /// The worst of its instances, in words.
    pub summary: String,
    /// Its instances.
    pub instances: Vec<InstanceView>,
    /// Its log file.
    pub log: PathBuf,
}

/// What an instance's task tells about it.
#[derive(Clone, Debug)]
pub(crate) struct InstanceStatus {
    pub(crate) state: InstanceState,
    pub(crate) pid: Option<u32>,
    pub(crate) port: Option<u16>,
    pub(crate) address: Option<SocketAddr>,
    /// Starts tried so far.
    pub(crate) tries: u32,
    pub(crate) started_at: Option<UnixMillis>,
    pub(crate) ready_after_ms: Option<u64>,
    /// Why it is not ready, if that takes long.
    pub(crate) waits: Option<String>,
    pub(crate) last_ending: Option<ExitReason>,
}

impl InstanceStatus {
    pub(crate) fn new() -> Self {
        Self {
            state: InstanceState::Stopped,
            pid: None,
            port: None,
            address: None,
            tries: 0,
            started_at: None,
            ready_after_ms: None,
            waits: None,
            last_ending: None,
        }
    }

    /// The state in words.
    pub(crate) fn summary(&self, now: UnixMillis) -> String {
        match &self.state {
            InstanceState::Stopped => "stopped".to_owned(),
            InstanceState::Starting => match &self.waits {
                Some(why) => format!("starting, {why}"),
                None => "starting".to_owned(),
            },
            InstanceState::Ready => "ready".to_owned(),
            InstanceState::Stopping => "stopping".to_owned(),
            InstanceState::Waiting {
                next_try_at,
                failures,
            } => {
                let left = HumanDuration(millis(next_try_at.since(now)));
                let word = if *failures > 2 {
                    "crash-looping"
                } else {
                    "restarting"
                };
                format!("{word}, next try in {left}")
            }
            InstanceState::Down { why } => format!("down: {why}"),
        }
    }
}

/// The addresses of ready instances, for whoever watches them. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct AddressBoard(Arc<BoardState>);

#[derive(Debug)]
struct BoardState {
    /// Held while publishing too, so that no older list overwrites a newer one.
    places: Mutex<BoardPlaces>,
    published: watch::Sender<Arc<AppAddresses>>,
}

#[derive(Debug)]
struct BoardPlaces {
    ready: BTreeMap<(String, u16), SocketAddr>,
    names: BTreeSet<String>,
}

impl BoardPlaces {
    fn list(&self) -> AppAddresses {
        let mut list: AppAddresses = (self.names.iter())
            .map(|name| (name.clone(), Vec::new()))
            .collect();
        for ((app, _), address) in &self.ready {
            list.entry(app.clone()).or_default().push(*address);
        }
        list
    }
}

impl AddressBoard {
    pub(crate) fn new(names: BTreeSet<String>) -> Self {
        let places = BoardPlaces {
            ready: BTreeMap::new(),
            names,
        };
        Self(Arc::new(BoardState {
            published: watch::Sender::new(Arc::new(places.list())),
            places: Mutex::new(places),
        }))
    }

    /// Lists these apps and no others: addresses of others are gone at once.
    pub(crate) fn set_names(&self, names: BTreeSet<String>) {
        let mut places = self.0.places.lock();
        if places.names == names {
            return;
        }
        places.ready.retain(|(app, _), _| names.contains(app));
        places.names = names;
        drop(self.0.published.send_replace(Arc::new(places.list())));
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Arc<AppAddresses>> {
        self.0.published.subscribe()
    }

    /// Publishes the address of an instance, or withdraws it.
    pub(crate) fn set(&self, app: &str, index: u16, address: Option<SocketAddr>) {
        let mut places = self.0.places.lock();
        if !places.names.contains(app) {
            return;
        }
        let key = (app.to_owned(), index);
        let before = match address {
            Some(address) => places.ready.insert(key, address),
            None => places.ready.remove(&key),
        };
        if before != address {
            drop(self.0.published.send_replace(Arc::new(places.list())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_board_lists_every_app_and_only_ready_addresses() {
        let addresses = AddressBoard::new(["a", "b"].map(str::to_owned).into());
        let mut watch = addresses.watch();
        assert_eq!(watch.borrow_and_update()["b"], []);
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        addresses.set("a", 1, Some(at(2)));
        addresses.set("a", 0, Some(at(1)));
        assert_eq!(watch.borrow_and_update()["a"], [at(1), at(2)]);
        addresses.set("a", 1, Some(at(2)));
        assert!(!watch.has_changed().expect("open"), "no change, no news");
        addresses.set("a", 0, None);
        assert_eq!(watch.borrow_and_update()["a"], [at(2)]);
        assert_eq!(watch.borrow()["b"], []);
        addresses.set_names(["b", "c"].map(str::to_owned).into());
        addresses.set("a", 1, Some(at(2)));
        let names: BTreeSet<String> = watch.borrow_and_update().keys().cloned().collect();
        assert_eq!(names, ["b", "c"].map(str::to_owned).into(), "`a` is gone");
        addresses.set_names(names);
        assert!(!watch.has_changed().expect("open"), "no change, no news");
    }

    #[test]
    fn a_crash_loop_says_when_the_next_try_is() {
        let status = |failures| InstanceStatus {
            state: InstanceState::Waiting {
                next_try_at: UnixMillis::new(13_000),
                failures,
            },
            ..InstanceStatus::new()
        };
        assert_eq!(
            status(7).summary(UnixMillis::new(1_000)),
            "crash-looping, next try in 12 s"
        );
        assert_eq!(
            status(2).summary(UnixMillis::new(12_800)),
            "restarting, next try in 200 ms"
        );
        assert_eq!(
            status(9).summary(UnixMillis::new(99_000)),
            "crash-looping, next try in 0 ms"
        );
    }

    #[test]
    fn endings_are_sentences() {
        let hint = Some("install Node.js".to_owned());
        let why = "no node".to_owned();
        let never = ExitReason::NeverStarted { why, hint };
        assert_eq!(
            never.to_string(),
            "could not start: no node (hint: install Node.js)"
        );
        assert_eq!(
            ExitReason::Signalled { signal: 11 }.to_string(),
            "ended by SIGSEGV"
        );
        assert_eq!(
            ExitReason::Signalled { signal: 64 }.to_string(),
            "ended by signal 64"
        );
        let hung = ExitReason::HungAtStart { after_ms: 30_000 };
        assert_eq!(hung.to_string(), "was not ready after 30 s");
        let json = serde_json::to_value(ExitReason::Exited { code: 3 }).expect("json");
        assert_eq!(json, serde_json::json!({"kind": "exited", "code": 3}));
    }
}
