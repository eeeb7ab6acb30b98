//! What went over the wire, for the sequence diagram of `weappd dev`.
//!
//! Rooms report each message they send or receive with [`TrafficTap::record`]; nothing is built or
//! sent unless somebody listens, so production pays one branch. Whoever reports masks
//! secrets first (see [`crate::secret::mask`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use tokio::sync::broadcast;

use crate::clock::Clock;
use crate::unix_time::UnixMillis;

/// One end of an arrow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TapPeer {
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
pub struct TapEvent {
    /// Rises by one with each event.
    pub seq: u64,
    /// When it was recorded.
    pub at: UnixMillis,
    /// Where the arrow starts.
    pub from: TapPeer,
    /// Where the arrow ends.
    pub to: TapPeer,
    /// What the tutorials call it: `jscode2session`, `connect`, `skey` ...
    pub name: String,
    /// Whether this is an answer (a dashed arrow).
    pub answer: bool,
    /// Groups the events of one user or tunnel (an openid, a tunnelId), where known.
    pub who: Option<String>,
    /// The real request or answer, secrets masked.
    pub detail: serde_json::Value,
}

/// An event as a room reports it.
#[derive(Debug)]
pub struct TapReport {
    /// Where the arrow starts.
    pub from: TapPeer,
    /// Where the arrow ends.
    pub to: TapPeer,
    /// What the tutorials call it.
    pub name: String,
    /// Whether this is an answer.
    pub answer: bool,
    /// Groups the events of one user or tunnel.
    pub who: Option<String>,
    /// The real request or answer, secrets masked.
    pub detail: serde_json::Value,
}

/// Where rooms report events. Cheap to clone; silent unless made with [`TrafficTap::on`].
#[derive(Clone, Debug, Default)]
pub struct TrafficTap(Option<Arc<TapChannel>>);

#[derive(Debug)]
struct TapChannel {
    clock: Clock,
    seq: AtomicU64,
    events: broadcast::Sender<Arc<TapEvent>>,
}

impl TrafficTap {
    /// Reports nothing: production.
    pub fn off() -> Self {
        Self(None)
    }

    /// Reports to whoever listens; keeps the last 1,024 events for slow listeners.
    pub fn on(clock: Clock) -> Self {
        let (events, _) = broadcast::channel(1024);
        Self(Some(Arc::new(TapChannel {
            clock,
            seq: AtomicU64::new(0),
            events,
        })))
    }

    /// Reports an event, if somebody listens; `report` is not even called otherwise.
    pub fn record(&self, report: impl FnOnce() -> TapReport) {
        let Some(tap) = self.0.as_ref().filter(|_| self.is_watched()) else {
            return;
        };
        let report = report();
        let event = TapEvent {
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
        drop(tap.events.send(Arc::new(event)));
    }

    /// Whether somebody listens right now: asked before a body is kept for a report.
    pub fn is_watched(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|tap| tap.events.receiver_count() > 0)
    }

    /// Listens, if this tap reports at all.
    pub fn subscribe(&self) -> Option<broadcast::Receiver<Arc<TapEvent>>> {
        self.0.as_ref().map(|tap| tap.events.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> TapReport {
        TapReport {
            from: TapPeer::Phone,
            to: TapPeer::Weappd,
            name: "login".to_owned(),
            answer: false,
            who: None,
            detail: serde_json::Value::Null,
        }
    }

    #[tokio::test]
    async fn events_reach_listeners_in_order() {
        let tap = TrafficTap::on(Clock::manual(5).0);
        tap.record(|| unreachable!("nobody listens yet"));
        let mut heard = tap.subscribe().expect("a tap that is on");
        tap.record(report);
        tap.record(report);
        let first = heard.recv().await.expect("an event");
        let second = heard.recv().await.expect("an event");
        assert_eq!((first.seq, second.seq), (0, 1));
        assert_eq!(first.at, UnixMillis::new(5000));
    }

    #[test]
    fn an_off_tap_builds_nothing() {
        TrafficTap::off().record(|| unreachable!("off"));
        assert!(TrafficTap::off().subscribe().is_none());
    }
}
