//! The state machine of a tunnel, by hand and by chance.

use std::sync::Arc;
use std::task::Waker;

use proptest::prelude::*;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tasks::Tasks;

use super::*;
use crate::business::BusinessRegistry;
use crate::config::{self, Config};
use crate::hub::TunnelHub;

const LIMITS: TunnelLimits = TunnelLimits {
    ttl: 120_000,
    silence: 36_000,
    stall: 10_000,
    queue: 100,
};

fn route() -> Arc<CallbackRoute> {
    let config = Config {
        businesses: vec![config::BusinessConfig {
            host: "www.example.com".to_owned(),
            key: Secret::new("key"),
            ..config::BusinessConfig::default()
        }],
        ..Config::default()
    };
    let business = BusinessRegistry::new(&config, &BusinessRegistry::default());
    let business = business.by_host("www.example.com").expect("configured");
    business.own_route("/weapp/tunnel").expect("its own host")
}

fn tunnel() -> Arc<Tunnel> {
    let hub = TunnelHub::new(0, 10);
    hub.issue(route(), LIMITS.ttl, &RandomSource::system())
        .expect("room")
}

fn kinds(tunnel: &Tunnel) -> Vec<EventKind> {
    let mut wakes = WakeBatch::default();
    std::iter::from_fn(|| tunnel.next_event(&mut wakes))
        .map(|event| event.kind)
        .collect()
}

fn look(tunnel: &Tunnel, epoch: u32, held: usize, now: u32) -> SocketOrders {
    tunnel.look(epoch, held, now, Waker::noop())
}

fn offer(tunnel: &Tunnel, len: usize) -> OfferResult {
    let frame = Bytes::from(vec![b'x'; len]);
    tunnel.offer(&frame, LIMITS.queue, &mut WakeBatch::default())
}

fn close(
    tunnel: &Tunnel,
    by: Option<u32>,
    close_reason: Option<CloseReason>,
) -> Option<CloseOutcome> {
    tunnel.close(by, close_reason, &mut WakeBatch::default())
}

#[tokio::test]
async fn the_usual_life() {
    let (tunnel, thread) = (tunnel(), ThreadWaker::current(&Tasks::new()));
    assert_eq!(offer(&tunnel, 10), OfferResult::Taken, "before its phone");
    let (epoch, starts) = tunnel.open(thread, 0, LIMITS.silence).expect("in time");
    assert!(starts);
    assert_eq!(look(&tunnel, epoch, 0, 0).frames.bytes(), 10);
    let outcome = tunnel.take_message(epoch, "a").expect("open");
    assert_eq!((outcome.start_lane, outcome.room), (false, true));
    let closed = close(&tunnel, Some(epoch), None).expect("open");
    assert_eq!((closed.was, closed.start_lane), (TunnelPhase::Open, false));
    let told = kinds(&tunnel);
    assert_eq!(
        told,
        [
            EventKind::Connect,
            EventKind::Message("a".into()),
            EventKind::Close
        ]
    );
    assert_eq!(tunnel.take_message(epoch, "late"), None);
    assert_eq!(offer(&tunnel, 1), OfferResult::Dead);
    assert_eq!(close(&tunnel, None, Some(CloseReason::Draining)), None);
    assert_eq!(kinds(&tunnel), []);
}

#[tokio::test]
async fn a_tunnel_never_opened_tells_nobody() {
    let (tunnel, thread) = (tunnel(), ThreadWaker::current(&Tasks::new()));
    assert_eq!(tunnel.check(LIMITS.ttl, LIMITS.stall), ClockCheck::Fine);
    let late = LIMITS.ttl + 1;
    assert_eq!(
        tunnel.check(late, LIMITS.stall),
        ClockCheck::End(CloseReason::Expired)
    );
    assert_eq!(tunnel.open(thread, late, LIMITS.silence), None);
    let closed = close(&tunnel, None, Some(CloseReason::Expired)).expect("issued");
    assert_eq!(
        (closed.was, closed.start_lane),
        (TunnelPhase::Issued, false)
    );
    assert_eq!(kinds(&tunnel), []);
}

#[tokio::test]
async fn the_newest_phone_wins_and_nobody_is_told() {
    let (tunnel, thread) = (tunnel(), ThreadWaker::current(&Tasks::new()));
    let (old, _) = tunnel
        .open(Arc::clone(&thread), 0, LIMITS.silence)
        .expect("in time");
    let (new, starts) = tunnel.open(thread, 500_000, LIMITS.silence).expect("open");
    assert!(!starts && new != old);
    assert_eq!(
        look(&tunnel, old, 0, 0).close_reason,
        Some(CloseReason::Replaced)
    );
    assert_eq!(tunnel.take_message(old, "x"), None);
    assert_eq!(close(&tunnel, Some(old), None), None);
    assert_eq!(look(&tunnel, new, 0, 0).close_reason, None);
    assert_eq!(kinds(&tunnel), [EventKind::Connect]);
}

#[tokio::test]
async fn a_phone_that_does_not_read_is_slow_but_a_late_thread_is_not() {
    let (tunnel, thread) = (tunnel(), ThreadWaker::current(&Tasks::new()));
    assert_eq!(offer(&tunnel, 100), OfferResult::Taken);
    assert_eq!(offer(&tunnel, 1), OfferResult::Full, "nobody reads yet");
    let (epoch, _) = tunnel.open(thread, 0, LIMITS.silence).expect("in time");
    assert_eq!(
        offer(&tunnel, 1400),
        OfferResult::Taken,
        "our thread is late"
    );
    assert_eq!(
        offer(&tunnel, 101),
        OfferResult::Slow,
        "but not without bound"
    );
    assert_eq!(look(&tunnel, epoch, 0, 0).frames.bytes(), 1500);
    let blocked = look(&tunnel, epoch, 60, 0);
    assert!(blocked.frames.is_empty() && blocked.close_reason.is_none());
    assert_eq!(offer(&tunnel, 40), OfferResult::Taken);
    assert_eq!(offer(&tunnel, 1), OfferResult::Slow);
    assert_eq!(tunnel.check(9_999, LIMITS.stall), ClockCheck::Fine);
    assert_eq!(
        tunnel.check(10_000, LIMITS.stall),
        ClockCheck::End(CloseReason::Slow)
    );
    assert!(look(&tunnel, epoch, 50, 9_000).frames.is_empty());
    assert_eq!(
        tunnel.check(10_000, LIMITS.stall),
        ClockCheck::Fine,
        "it moved"
    );
    assert_eq!(look(&tunnel, epoch, 0, 9_500).frames.bytes(), 40);
}

#[tokio::test]
async fn a_business_server_that_lags_stops_the_reading() {
    let (tunnel, thread) = (tunnel(), ThreadWaker::current(&Tasks::new()));
    let (epoch, _) = tunnel.open(thread, 0, LIMITS.silence).expect("in time");
    for n in 2..=LANE_EVENTS {
        let outcome = tunnel.take_message(epoch, "m").expect("open");
        assert_eq!(outcome.room, n < LANE_EVENTS, "{n}");
    }
    assert!(!look(&tunnel, epoch, 0, 0).read);
    assert_eq!(
        tunnel.check(LIMITS.silence, LIMITS.stall),
        ClockCheck::End(CloseReason::BusinessBusy)
    );
    assert!(tunnel.next_event(&mut WakeBatch::default()).is_some());
    assert!(look(&tunnel, epoch, 0, 0).read);
    let big = "x".repeat(LANE_BYTES);
    assert_eq!(
        tunnel.take_message(epoch, &big).map(|outcome| outcome.room),
        Some(false)
    );
    assert!(
        close(&tunnel, None, Some(CloseReason::Silent)).is_some(),
        "close always fits"
    );
    assert_eq!(kinds(&tunnel).last(), Some(&EventKind::Close));
}

#[tokio::test]
async fn a_close_that_was_asked_for_keeps_what_was_pushed_before() {
    let (tunnel, thread) = (tunnel(), ThreadWaker::current(&Tasks::new()));
    let (epoch, _) = tunnel.open(thread, 0, LIMITS.silence).expect("in time");
    assert_eq!(offer(&tunnel, 7), OfferResult::Taken);
    assert!(close(&tunnel, None, Some(CloseReason::Asked)).is_some());
    let orders = look(&tunnel, epoch, 3, 0);
    assert_eq!(orders.close_reason, Some(CloseReason::Asked));
    assert_eq!(orders.frames.bytes(), 7);
}

#[test]
fn a_full_hub_issues_no_more_until_one_is_gone() {
    let (hub, random, route) = (TunnelHub::new(7, 2), RandomSource::system(), route());
    let first = hub
        .issue(Arc::clone(&route), LIMITS.ttl, &random)
        .expect("room");
    let second = hub
        .issue(Arc::clone(&route), LIMITS.ttl, &random)
        .expect("room");
    assert!(hub.issue(Arc::clone(&route), LIMITS.ttl, &random).is_none());
    hub.remove(&first);
    hub.remove(&first);
    assert!(hub.find(first.id).is_none());
    let third = hub.issue(route, LIMITS.ttl, &random).expect("room");
    assert_eq!(hub.len(), 2);
    for tunnel in [&second, &third] {
        assert!(hub.is_ours(tunnel.id));
        assert_eq!(hub.find(tunnel.id).map(|t| t.id), Some(tunnel.id));
    }
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Open,
    Say(bool),
    Push,
    Look(bool),
    Leave(bool),
    Let(CloseReason),
    Tell,
    Tick(u32),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        Just(Move::Open),
        any::<bool>().prop_map(Move::Say),
        Just(Move::Push),
        any::<bool>().prop_map(Move::Look),
        any::<bool>().prop_map(Move::Leave),
        prop_oneof![
            Just(CloseReason::Asked),
            Just(CloseReason::Slow),
            Just(CloseReason::Draining),
        ]
        .prop_map(Move::Let),
        Just(Move::Tell),
        (0..50_000u32).prop_map(Move::Tick),
    ];
    prop::collection::vec(one, 0..40)
}

proptest! {
    /// Whatever happens in whatever order: one connect first, messages, one close last;
    /// a lane is started exactly when none runs; nothing goes to a closed tunnel.
    #[test]
    fn a_business_server_hears_each_life_once(moves in moves()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let _inside = runtime.enter();
        let (tunnel, thread) = (tunnel(), ThreadWaker::current(&Tasks::new()));
        let (mut now, mut epochs, mut heard) = (0, Vec::new(), Vec::new());
        let (mut lanes, mut opened, mut closed, mut outcome) = (0, false, false, 0);
        for step in moves {
            match step {
                Move::Open => if let Some((epoch, starts)) = tunnel.open(Arc::clone(&thread), now, LIMITS.silence) {
                    prop_assert!(!closed);
                    prop_assert_eq!(starts, !opened);
                    opened = true;
                    lanes += usize::from(starts);
                    epochs.push(epoch);
                },
                Move::Say(old) => {
                    let epoch = if old { epochs.first() } else { epochs.last() };
                    if let Some(&epoch) = epoch && let Some(answer) = tunnel.take_message(epoch, "m") {
                        prop_assert!(!closed && Some(&epoch) == epochs.last());
                        lanes += usize::from(answer.start_lane);
                        outcome += 1;
                    }
                }
                Move::Push => prop_assert_eq!(offer(&tunnel, 9) == OfferResult::Dead, closed),
                Move::Look(stuck) => if let Some(&epoch) = epochs.last() {
                    let orders = look(&tunnel, epoch, usize::from(stuck) * 5, now);
                    prop_assert!(closed || orders.close_reason.is_none());
                },
                Move::Leave(old) => {
                    let epoch = if old { epochs.first() } else { epochs.last() };
                    if let Some(&epoch) = epoch && let Some(end) = close(&tunnel, Some(epoch), None) {
                        prop_assert!(!closed && Some(&epoch) == epochs.last());
                        closed = true;
                        lanes += usize::from(end.start_lane);
                    }
                }
                Move::Let(close_reason) => if let Some(end) = close(&tunnel, None, Some(close_reason)) {
                    prop_assert!(!closed);
                    closed = true;
                    lanes += usize::from(end.start_lane);
                },
                Move::Tell => if lanes > 0 {
                    match tunnel.next_event(&mut WakeBatch::default()) {
                        Some(event) => {
                            prop_assert_eq!(event.seq as usize, heard.len() + 1);
                            heard.push(event.kind);
                        }
                        None => lanes -= 1,
                    }
                },
                Move::Tick(more) => now += more,
            }
            prop_assert!(lanes <= 1, "two lanes at once");
        }
        if lanes > 0 {
            heard.extend(kinds(&tunnel));
        }
        let mut expected = Vec::new();
        if opened {
            expected.push(EventKind::Connect);
            expected.extend((0..outcome).map(|_| EventKind::Message("m".into())));
            expected.extend(closed.then_some(EventKind::Close));
        }
        prop_assert_eq!(heard, expected);
    }
}
