//! What went over the wire lately, so that a page that was reloaded, or opened late, shows it too.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use weappd_base::tap::{TapEvent, TrafficTap};
use weappd_base::tasks::{Stop, Tasks};

/// The most hops kept.
const MAX_HOPS: usize = 600;
/// The most bytes of JSON kept.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// Hops on the way to each listener.
const CHANNEL_HOPS: usize = 1024;

/// One hop as JSON.
#[derive(Clone, Debug)]
pub(crate) struct WireHop {
    pub(crate) seq: u64,
    pub(crate) json: Arc<str>,
}

/// The last hops of a tap. A cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct WireHistory(Arc<Mutex<KeptHops>>);

#[derive(Debug)]
struct KeptHops {
    hops: VecDeque<WireHop>,
    bytes: usize,
    news: broadcast::Sender<WireHop>,
}

/// The hops until now, and those to come.
pub(crate) type HeardHops = (Vec<WireHop>, broadcast::Receiver<WireHop>);

impl WireHistory {
    /// Keeps what `tap` reports from now on, if it reports at all.
    pub(crate) fn keep(tap: &TrafficTap, tasks: &Tasks, stop: Stop) -> Option<Self> {
        let mut heard = tap.subscribe()?;
        let (news, _) = broadcast::channel(CHANNEL_HOPS);
        let history = Self(Arc::new(Mutex::new(KeptHops {
            hops: VecDeque::new(),
            bytes: 0,
            news,
        })));
        let kept = history.clone();
        tasks.spawn(async move {
            loop {
                let hop = tokio::select! {
                    hop = heard.recv() => hop,
                    () = stop.asked() => return,
                };
                match hop {
                    Ok(hop) => kept.add(&hop),
                    Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return,
                }
            }
        });
        Some(history)
    }

    fn add(&self, hop: &TapEvent) {
        // Heartbeats would push everything else out, and are not drawn.
        if matches!(hop.name.as_str(), "ping" | "pong") {
            return;
        }
        // A hop is plain JSON.
        let Ok(json) = serde_json::to_string(hop) else {
            return;
        };
        let hop = WireHop {
            seq: hop.seq,
            json: json.into(),
        };
        let mut kept = self.0.lock();
        kept.bytes += hop.json.len();
        kept.hops.push_back(hop.clone());
        while kept.hops.len() > MAX_HOPS || kept.bytes > MAX_BYTES {
            let Some(gone) = kept.hops.pop_front() else {
                break;
            };
            kept.bytes -= gone.json.len();
        }
        // Nobody may listen.
        drop(kept.news.send(hop));
    }

    /// The hops after number `after`, and those to come: none twice, none left out.
    pub(crate) fn listen(&self, after: Option<u64>) -> HeardHops {
        let kept = self.0.lock();
        let is_new = |hop: &&WireHop| after.is_none_or(|after| hop.seq > after);
        let before = kept.hops.iter().filter(is_new).cloned().collect();
        (before, kept.news.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use weappd_base::clock::Clock;
    use weappd_base::tap::{TapPeer, TapReport};

    use super::*;

    fn report(name: &str, detail: serde_json::Value) -> TapReport {
        TapReport {
            from: TapPeer::Phone,
            to: TapPeer::Weappd,
            name: name.to_owned(),
            answer: false,
            who: None,
            detail,
        }
    }

    async fn kept(count: u64, detail: serde_json::Value) -> (WireHistory, TrafficTap) {
        let tap = TrafficTap::on(Clock::manual(5).0);
        let history =
            WireHistory::keep(&tap, &Tasks::new(), Stop::new()).expect("a tap that is on");
        let (_, mut news) = history.listen(None);
        for _ in 0..count {
            tap.record(|| report("ping", json!(null)));
            tap.record(|| report("code", detail.clone()));
            drop(news.recv().await.expect("a hop"));
        }
        (history, tap)
    }

    #[tokio::test]
    async fn the_last_hops_are_kept_and_heartbeats_are_not() {
        let (history, tap) = kept(700, json!({"a": 1})).await;
        let (hops, mut news) = history.listen(None);
        assert_eq!(hops.len(), MAX_HOPS);
        assert_eq!(hops.last().map(|hop| hop.seq), Some(1399));
        let (later, _) = history.listen(Some(1395));
        let later: Vec<u64> = later.iter().map(|hop| hop.seq).collect();
        assert_eq!(later, [1397, 1399]);
        tap.record(|| report("skey", json!({})));
        assert_eq!(news.recv().await.expect("a hop").seq, 1400);
    }

    #[tokio::test]
    async fn large_hops_do_not_fill_the_memory() {
        let (history, _tap) = kept(100, json!("x".repeat(100_000))).await;
        let (hops, _) = history.listen(None);
        let bytes: usize = hops.iter().map(|hop| hop.json.len()).sum();
        assert!(bytes <= MAX_BYTES && hops.len() > 30, "{bytes}");
    }

    #[test]
    fn nothing_is_kept_of_a_tap_that_is_off() {
        let none = WireHistory::keep(&TrafficTap::off(), &Tasks::new(), Stop::new());
        assert!(none.is_none());
    }
}
