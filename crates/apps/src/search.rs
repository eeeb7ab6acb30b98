//! Looks after a program that is not ready yet: where else it listens, and what to say of it.
//!
//! Programs that do not know `PORT` listen on a port of their own, and some need minutes
//! until they listen at all. Neither is a reason to end them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use weappd_base::tasks::Work;

use crate::app::HumanDuration;
use crate::listening::ListenSockets;
use crate::ready;

/// The pause between two looks, at first and later.
const LOOK_INTERVALS: [Duration; 2] = [Duration::from_millis(250), Duration::from_secs(1)];
/// From when on looks are rarer.
const RARE_LOOKS_AFTER: Duration = Duration::from_secs(30);
/// How long a port must be the only one before it is taken for the program's: servers open
/// others on the way to `PORT`.
const STEADY_TIME: Duration = Duration::from_secs(2);
/// When something is said of a program that is not ready; later, once a minute.
const REPORT_AT_SECS: [u64; 4] = [5, 15, 30, 60];
/// The most one question may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// What is looked for.
#[derive(Clone, Debug)]
pub(crate) struct PortSearch {
    pub(crate) leader: u32,
    pub(crate) port: u16,
    pub(crate) path: Option<String>,
    pub(crate) instances: u16,
    /// How the port is set.
    pub(crate) port_setting: &'static str,
    /// Where earlier runs of the program listened.
    pub(crate) habit: PortHabit,
    pub(crate) work: Work,
    pub(crate) born: Instant,
    steady: Option<(u16, Instant)>,
    said: usize,
}

/// Where a program listened in its earlier runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum PortHabit {
    /// It was never ready.
    #[default]
    Unknown,
    /// On `PORT`: it is waited for there.
    Port,
    /// On this one.
    Other(u16),
}

/// What came of looking.
#[derive(Debug)]
pub(crate) enum SearchFinding {
    /// It serves on `PORT`, at an address of its own.
    Here(SocketAddr),
    /// It serves on another port, and only there.
    Elsewhere(SocketAddr),
    /// It is not ready, and this is why.
    Waits(String),
}

impl PortSearch {
    pub(crate) fn new(leader: u32, port: u16, work: Work, born: Instant) -> Self {
        Self {
            leader,
            port,
            path: None,
            instances: 1,
            port_setting: "port = ",
            habit: PortHabit::default(),
            work,
            born,
            steady: None,
            said: 0,
        }
    }

    /// Waits for the next finding. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> SearchFinding {
        loop {
            let [soon, later] = LOOK_INTERVALS;
            let pause = if self.born.elapsed() < RARE_LOOKS_AFTER {
                soon
            } else {
                later
            };
            sleep(pause).await;
            let leader = self.leader;
            let look = self.work.run_blocking(move || ListenSockets::of(leader));
            let seen = look.await.unwrap_or_default();
            if let Some(finding) = self.serves(&seen).await {
                return finding;
            }
            let age = self.born.elapsed();
            if age >= due(self.said) {
                self.said += 1;
                let age = HumanDuration(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
                return SearchFinding::Waits(format!("not ready after {age}: {}", self.why(&seen)));
            }
        }
    }

    async fn serves(&mut self, seen: &ListenSockets) -> Option<SearchFinding> {
        // The usual addresses of `PORT` are asked all the time.
        let usual = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            Ipv6Addr::LOCALHOST.into(),
        ];
        for way in seen.ways_to(self.port) {
            if !usual.contains(&way.ip()) && self.answers(way).await {
                return Some(SearchFinding::Here(way));
            }
        }
        let only = only(&seen.ports()).filter(|port| *port != self.port);
        let Some(port) = only else {
            self.steady = None;
            return None;
        };
        let since = match self.steady {
            Some((same, since)) if same == port => since,
            _ => self.steady.insert((port, Instant::now())).1,
        };
        let is_known = self.habit == PortHabit::Other(port);
        let is_steady =
            is_known || (self.habit != PortHabit::Port && since.elapsed() >= STEADY_TIME);
        if self.instances == 1 && is_steady {
            for way in seen.ways_to(port) {
                if self.answers(way).await {
                    return Some(SearchFinding::Elsewhere(way));
                }
            }
        }
        None
    }

    async fn answers(&self, way: SocketAddr) -> bool {
        timeout(ANSWER_TIMEOUT, ready::answers(way, self.path.as_deref())).await == Ok(true)
    }

    /// Why it is not ready, and what to do about it.
    fn why(&self, seen: &ListenSockets) -> String {
        let (port, ports) = (self.port, seen.ports());
        if seen.tcp.iter().any(|address| address.port() == port) {
            return match &self.path {
                Some(path) => format!(
                    "it listens on PORT ({port}), but GET {path} is not answered with a status \
                     below 400"
                ),
                None => format!("it listens on PORT ({port}), but accepts no connection"),
            };
        }
        if ports.is_empty() {
            let sockets: Vec<_> = seen.unix.iter().map(String::as_str).collect();
            return if sockets.is_empty() {
                format!("it does not listen on PORT ({port}) yet, nor on any other port")
            } else {
                format!(
                    "it listens on no port, only on the Unix socket {}: weappd calls apps over \
                     TCP, so let it listen on 127.0.0.1 and PORT ({port})",
                    sockets.join(" and ")
                )
            };
        }
        let numbers: Vec<_> = ports.iter().map(u16::to_string).collect();
        let at = numbers.join(" and ");
        match only(&ports) {
            Some(_) if self.instances > 1 => format!(
                "it listens on {at}, not on PORT ({port}); each of {} instances needs a port of \
                 its own, so let it listen on the variable PORT",
                self.instances
            ),
            Some(other) if self.path.is_some() => format!(
                "it listens on {at}, not on PORT ({port}), and does not answer ready.path there \
                 with a status below 400; write {}{other}, or let it listen on the variable \
                 PORT",
                self.port_setting
            ),
            Some(other) => format!(
                "it listens on {at}, not on PORT ({port}); write {}{other}, or let it listen \
                 on the variable PORT",
                self.port_setting
            ),
            None => format!(
                "it listens on {at}, not on PORT ({port}); write {}with the right one, or \
                 let it listen on the variable PORT",
                self.port_setting
            ),
        }
    }
}

/// When the next report is due, after `said` of them.
fn due(said: usize) -> Duration {
    let late = said.saturating_sub(REPORT_AT_SECS.len() - 1) as u64;
    let last = REPORT_AT_SECS[said.min(REPORT_AT_SECS.len() - 1)];
    Duration::from_secs(last + late * 60)
}

fn only(ports: &BTreeSet<u16>) -> Option<u16> {
    ports.first().copied().filter(|_| ports.len() == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_come_soon_and_then_once_a_minute() {
        let times: Vec<_> = (0..7).map(|said| due(said).as_secs()).collect();
        assert_eq!(times, [5, 15, 30, 60, 120, 180, 240]);
    }

    #[tokio::test]
    async fn why_it_is_not_ready_names_both_ports_and_the_mend() {
        let mut search = PortSearch::new(1, 20_001, Work::current(), Instant::now());
        let of = |list: &[&str], unix: &[&str]| ListenSockets {
            tcp: list.iter().map(|text| text.parse().unwrap()).collect(),
            unix: unix.iter().map(ToString::to_string).collect(),
        };
        let two = search.why(&of(&["0.0.0.0:3000", "127.0.0.1:3001"], &[]));
        for part in ["3000 and 3001", "PORT (20001)", "port ="] {
            assert!(two.contains(part), "{two}");
        }
        let none = search.why(&of(&[], &[]));
        assert!(
            none.contains("PORT (20001)") && none.contains("yet"),
            "{none}"
        );
        let unix = search.why(&of(&[], &["/run/app.sock"]));
        assert!(
            unix.contains("/run/app.sock") && unix.contains("TCP"),
            "{unix}"
        );
        search.instances = 2;
        let shared = search.why(&of(&["0.0.0.0:3000"], &[]));
        assert!(shared.contains("2 instances"), "{shared}");
        search.path = Some("/healthz".to_owned());
        let sick = search.why(&of(&["127.0.0.1:20001"], &[]));
        assert!(sick.contains("GET /healthz"), "{sick}");
    }
}
