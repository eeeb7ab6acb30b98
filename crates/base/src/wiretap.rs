//! What went over the wire, for the sequence diagram of `weappd dev`.
//!
//! Rooms report each hop they send or receive with [`Wiretap::hop`]; nothing is built or
//! sent unless somebody listens, so production pays one branch. Whoever reports masks
//! secrets first (see [`crate::secret::mask`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::clock::Clock;

/// Who stands at an end of an arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Party {
    /// The phone, running the mini program.
    Phone,
    /// This server.
    Weappd,
    /// WeChat's server, real or simulated.
    Wechat,
    /// The business server.
    App,
}

/// One arrow of the sequence diagram.
#[derive(Clone, Debug, Serialize)]
pub struct Hop {
    /// Rises by one each hop.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub at: i64,
    /// Where the arrow starts.
    pub from: Party,
    /// Where the arrow ends.
    pub to: Party,
    /// What the tutorials call it: `jscode2session`, `connect`, `skey` ...
    pub name: String,
    /// Whether this is an answer (a dashed arrow).
    pub answer: bool,
    /// Groups the hops of one user or tunnel (an openid, a tunnelId), where known.
    pub who: Option<String>,
    /// The real request or answer, secrets masked.
    pub detail: serde_json::Value,
}

/// A hop as a room reports it.
#[derive(Debug)]
pub struct Report {
    /// Where the arrow starts.
    pub from: Party,
    /// Where the arrow ends.
    pub to: Party,
    /// What the tutorials call it.
    pub name: String,
    /// Whether this is an answer.
    pub answer: bool,
    /// Groups the hops of one user or tunnel.
    pub who: Option<String>,
    /// The real request or answer, secrets masked.
    pub detail: serde_json::Value,
}

/// Where rooms report hops. Cheap to clone; silent unless made with [`Wiretap::on`].
#[derive(Clone, Debug, Default)]
pub struct Wiretap(Option<Arc<Tap>>);

#[derive(Debug)]
struct Tap {
    clock: Clock,
    seq: AtomicU64,
    hops: broadcast::Sender<Arc<Hop>>,
}

impl Wiretap {
    /// Reports nothing: production.
    pub fn off() -> Self {
        Self(None)
    }

    /// Reports to whoever listens; keeps the last 1,024 hops for slow listeners.
    pub fn on(clock: Clock) -> Self {
        let (hops, _) = broadcast::channel(1024);
        Self(Some(Arc::new(Tap {
            clock,
            seq: AtomicU64::new(0),
            hops,
        })))
    }

    /// Reports a hop, if somebody listens; `report` is not even called otherwise.
    pub fn hop(&self, report: impl FnOnce() -> Report) {
        let Some(tap) = self.0.as_ref().filter(|_| self.heard()) else {
            return;
        };
        let report = report();
        let hop = Hop {
            seq: tap.seq.fetch_add(1, Ordering::Relaxed),
            at: tap.clock.unix_millis(),
            from: report.from,
            to: report.to,
            name: report.name,
            answer: report.answer,
            who: report.who,
            detail: report.detail,
        };
        // No receiver left since the check above is no loss.
        drop(tap.hops.send(Arc::new(hop)));
    }

    /// Whether somebody listens right now: asked before a body is kept for a report.
    pub fn heard(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|tap| tap.hops.receiver_count() > 0)
    }

    /// Listens, if this tap reports at all.
    pub fn listen(&self) -> Option<broadcast::Receiver<Arc<Hop>>> {
        self.0.as_ref().map(|tap| tap.hops.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            from: Party::Phone,
            to: Party::Weappd,
            name: "login".to_owned(),
            answer: false,
            who: None,
            detail: serde_json::Value::Null,
        }
    }

    #[tokio::test]
    async fn hops_reach_listeners_in_order() {
        let tap = Wiretap::on(Clock::manual(5).0);
        tap.hop(|| unreachable!("nobody listens yet"));
        let mut heard = tap.listen().expect("a tap that is on");
        tap.hop(report);
        tap.hop(report);
        let first = heard.recv().await.expect("a hop");
        let second = heard.recv().await.expect("a hop");
        assert_eq!((first.seq, second.seq, first.at), (0, 1, 5000));
    }

    #[test]
    fn an_off_tap_builds_nothing() {
        Wiretap::off().hop(|| unreachable!("off"));
        assert!(Wiretap::off().listen().is_none());
    }
}
