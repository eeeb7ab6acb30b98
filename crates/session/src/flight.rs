//! One exchange per code: a code works once, but requests are sent twice.
//!
//! A phone that repeats its login (a double tap, a lost answer, a retry) would be told
//! 40163 by WeChat, though nothing went wrong. So a code is exchanged once (single flight),
//! everybody who brings the code meanwhile waits for it, and for a few seconds afterwards
//! it still gives the same session. A failed exchange is told to all who waited for it,
//! and forgotten. Who brings a code that somebody else brought first is told what WeChat
//! would tell: that the code is used.
//!
//! An exchange that takes too long goes on when nobody waits any more: WeChat may have used
//! the code up, and its late answer is the only one there will be. It is kept until somebody
//! brings the code again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixMillis;
use weappd_outbound::SharedFlight;
use weappd_wechat::WechatLogin;

use crate::client_fingerprint::ClientFingerprint;
use crate::error::Error;
use crate::skey::SkeyHash;

/// How long after its exchange a code still gives the same session.
const REPEAT: Duration = Duration::from_secs(10);
/// How long a late answer waits for the phone to ask again: as long as a code lives.
const LATE: Duration = Duration::from_mins(5);
/// How many codes are remembered at most; beyond it a code is exchanged but not kept.
const MAX_FLIGHTS: usize = 65_536;
/// How many exchanges are looked at for clearing away whenever one begins: more than begin.
const SWEEP: usize = 4;

/// The exchange of a code with WeChat.
pub(crate) type CodeExchange<T = WechatLogin> = BoxFuture<'static, Result<Arc<T>, Error>>;

/// The codes that are being exchanged for `T` or were just now, and what each led to.
pub(crate) struct CodeFlights<T = WechatLogin, M = IssuedSession>(Mutex<FlightTable<T, M>>);

struct FlightTable<T, M> {
    flights: HashMap<[u8; 32], Arc<CodeFlight<T, M>>>,
    /// The same by age, with the time each was last looked at; failed ones among them.
    by_age: VecDeque<(UnixMillis, Arc<CodeFlight<T, M>>)>,
}

/// A code on its way to a session.
pub(crate) struct CodeFlight<T = WechatLogin, M = IssuedSession> {
    key: [u8; 32],
    exchange: SharedFlight<Result<Arc<T>, Error>>,
    /// When WeChat had answered, in milliseconds since 1970; far in the future until then.
    answered_at: AtomicI64,
    /// Whether nobody waited any more when WeChat answered, and nobody has asked since.
    is_late: AtomicBool,
    /// Who brought the code.
    client: ClientFingerprint,
    /// The session this code has led to.
    pub(crate) issued: tokio::sync::Mutex<Option<M>>,
}

impl<T, M> Default for CodeFlights<T, M> {
    fn default() -> Self {
        Self(Mutex::new(FlightTable {
            flights: HashMap::new(),
            by_age: VecDeque::new(),
        }))
    }
}

/// The session a code has led to.
#[derive(Clone)]
pub(crate) struct IssuedSession {
    pub(crate) skey: Secret,
    pub(crate) hash: SkeyHash,
    pub(crate) is_new_user: bool,
    /// SHA-256 of the encrypted user data that came with the code.
    pub(crate) data: Option<[u8; 32]>,
}

impl<T, M> CodeFlights<T, M> {
    /// The exchange of this code: the one under way or just answered, or a new one.
    pub(crate) fn join(
        &self,
        appid: &str,
        code: &str,
        (client, now): (ClientFingerprint, UnixMillis),
        exchange: impl FnOnce() -> CodeExchange<T>,
    ) -> Arc<CodeFlight<T, M>> {
        let key = key(appid, code);
        let mut state = self.0.lock();
        state.sweep(now);
        if let Some(flight) = state.flights.get(&key)
            && flight.is_good(now)
        {
            return Arc::clone(flight);
        }
        let flight = Arc::new(CodeFlight {
            key,
            exchange: SharedFlight::new(exchange()),
            answered_at: AtomicI64::new(i64::MAX),
            is_late: AtomicBool::new(false),
            client,
            issued: tokio::sync::Mutex::new(None),
        });
        if state.by_age.len() < MAX_FLIGHTS {
            state.flights.insert(key, Arc::clone(&flight));
            state.by_age.push_back((now, Arc::clone(&flight)));
        }
        flight
    }

    /// Waits for WeChat's answer. A failure is forgotten: the code may still be good.
    pub(crate) async fn wait(
        &self,
        flight: &Arc<CodeFlight<T, M>>,
        now: impl Fn() -> UnixMillis,
    ) -> Result<Arc<T>, Error> {
        let answer = flight.exchange.wait().await;
        if answer.is_ok() {
            // The first to land sets the time; all others find it set.
            let _first = flight.answered_at.compare_exchange(
                i64::MAX,
                now().get(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        } else {
            self.forget(flight);
        }
        answer
    }

    /// The next who brings the code begins anew.
    pub(crate) fn forget(&self, flight: &Arc<CodeFlight<T, M>>) {
        let mut state = self.0.lock();
        let is_this = |kept: &Arc<CodeFlight<T, M>>| Arc::ptr_eq(kept, flight);
        if state.flights.get(&flight.key).is_some_and(is_this) {
            state.flights.remove(&flight.key);
        }
    }
}

impl<T, M> FlightTable<T, M> {
    /// Clears the oldest answered exchanges away: a few at a time, so that nobody waits for many.
    fn sweep(&mut self, now: UnixMillis) {
        for _ in 0..SWEEP {
            let aged = |(seen, _): &(UnixMillis, _)| now.distance(*seen) > REPEAT;
            if !self.by_age.front().is_some_and(aged) {
                return;
            }
            let Some((_, flight)) = self.by_age.pop_front() else {
                return;
            };
            if flight.is_good(now) {
                self.by_age.push_back((now, flight));
                continue;
            }
            let kept = self.flights.get(&flight.key);
            if kept.is_some_and(|kept| Arc::ptr_eq(kept, &flight)) {
                self.flights.remove(&flight.key);
            }
        }
    }
}

impl<T, M> CodeFlight<T, M> {
    /// Whether the exchange is under way or was answered just now.
    fn is_good(&self, now: UnixMillis) -> bool {
        let answered_at = self.answered_at.load(Ordering::Acquire);
        // A clock set back makes no code good for longer.
        let kept = if self.is_late.load(Ordering::Acquire) {
            LATE
        } else {
            REPEAT
        };
        answered_at == i64::MAX || now.distance(UnixMillis::new(answered_at)) <= kept
    }

    /// Whether the code was brought by the same phone, as far as one can tell.
    pub(crate) fn is_of(&self, client: &ClientFingerprint) -> bool {
        self.client.is_same(client)
    }

    /// Nobody waits any more; says whether it was so already.
    pub(crate) fn abandon(&self) -> bool {
        self.is_late.swap(true, Ordering::AcqRel)
    }

    /// Somebody has the answer: from now on only a repetition gets it again.
    pub(crate) fn deliver(&self, now: UnixMillis) {
        if self.is_late.swap(false, Ordering::AcqRel) {
            self.answered_at.store(now.get(), Ordering::Release);
        }
    }
}

fn key(appid: &str, code: &str) -> [u8; 32] {
    let mut sha = Sha256::new();
    sha.update(appid.as_bytes());
    sha.update([0]);
    sha.update(code.as_bytes());
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use std::sync::atomic::AtomicUsize;

    use super::*;

    const fn at(millis: i64) -> UnixMillis {
        UnixMillis::new(millis)
    }

    fn login() -> Arc<WechatLogin> {
        Arc::new(WechatLogin {
            openid: "o".to_owned(),
            session_key: Secret::new("k"),
            unionid: None,
            expires_in: None,
        })
    }

    #[tokio::test]
    async fn a_code_flies_once_and_is_remembered_for_ten_seconds() {
        let flights = CodeFlights::<WechatLogin, IssuedSession>::default();
        let flown = Arc::new(AtomicUsize::new(0));
        let fly = |now| {
            let flown = Arc::clone(&flown);
            flights.join(
                "wx",
                "code",
                (ClientFingerprint::default(), at(now)),
                move || {
                    async move {
                        flown.fetch_add(1, Ordering::SeqCst);
                        Ok(login())
                    }
                    .boxed()
                },
            )
        };
        let (a, b) = (fly(0), fly(0));
        assert!(Arc::ptr_eq(&a, &b), "one exchange for two callers");
        flights.wait(&a, || at(5000)).await.expect("a login");
        flights.wait(&b, || at(6000)).await.expect("a login");
        assert!(Arc::ptr_eq(&a, &fly(15_000)), "still remembered");
        let later = fly(15_001);
        assert!(!Arc::ptr_eq(&a, &later), "forgotten");
        flights.wait(&later, || at(15_001)).await.expect("a login");
        assert_eq!(flown.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_clock_set_back_remembers_no_code_for_longer() {
        for back in [10_001, 60_000, 3_600_000] {
            let flights = CodeFlights::<WechatLogin, IssuedSession>::default();
            let fly = |now| {
                flights.join(
                    "wx",
                    "code",
                    (ClientFingerprint::default(), at(now)),
                    || async { Ok(login()) }.boxed(),
                )
            };
            let fast = 1_800_003_600_000;
            let flight = fly(fast);
            assert!(Arc::ptr_eq(&flight, &fly(fast - back)), "under way");
            flights.wait(&flight, || at(fast)).await.expect("a login");
            assert!(Arc::ptr_eq(&flight, &fly(fast - 900)), "threads differ");
            assert!(!Arc::ptr_eq(&flight, &fly(fast - back)), "{back} ms back");
        }
    }

    #[tokio::test]
    async fn a_failed_flight_is_told_to_all_and_forgotten() {
        let flights = CodeFlights::<WechatLogin, IssuedSession>::default();
        let crash = || async { Err(Error::Closed) }.boxed();
        let (a, b) = (
            flights.join("wx", "code", (ClientFingerprint::default(), at(0)), crash),
            flights.join("wx", "code", (ClientFingerprint::default(), at(0)), crash),
        );
        assert!(Arc::ptr_eq(&a, &b));
        assert!(flights.wait(&a, || at(0)).await.is_err());
        assert!(flights.wait(&b, || at(0)).await.is_err());
        let again = flights.join("wx", "code", (ClientFingerprint::default(), at(0)), || {
            async { Ok(login()) }.boxed()
        });
        assert!(flights.wait(&again, || at(0)).await.is_ok());
    }

    #[test]
    fn codes_of_two_mini_programs_do_not_meet() {
        assert_ne!(key("wx1", "2"), key("wx", "12"));
        let flights = CodeFlights::<WechatLogin, IssuedSession>::default();
        let fly = || async { Err(Error::Closed) }.boxed();
        let (a, b) = (
            flights.join("wx1", "c", (ClientFingerprint::default(), at(0)), fly),
            flights.join("wx2", "c", (ClientFingerprint::default(), at(0)), fly),
        );
        assert!(!Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn landed_flights_are_cleared_away() {
        let flights = CodeFlights::<WechatLogin, IssuedSession>::default();
        for n in 0..100 {
            let fly = || async { Err(Error::Closed) }.boxed();
            let flight = flights.join(
                "wx",
                &n.to_string(),
                (ClientFingerprint::default(), at(0)),
                fly,
            );
            flight.answered_at.store(0, Ordering::Relaxed);
        }
        // Each that joins clears more away than itself.
        for n in 0..25 {
            let fly = || async { Err(Error::Closed) }.boxed();
            flights.join(
                "wx",
                &format!("later {n}"),
                (ClientFingerprint::default(), at(10_001)),
                fly,
            );
        }
        let state = flights.0.lock();
        assert_eq!((state.flights.len(), state.by_age.len()), (25, 25));
    }

    #[tokio::test]
    async fn a_late_answer_waits_for_somebody_to_ask_again() {
        let flights = CodeFlights::<WechatLogin, IssuedSession>::default();
        let fly = |now| {
            let who = (ClientFingerprint::default(), at(now));
            flights.join("wx", "code", who, || async { Ok(login()) }.boxed())
        };
        let flight = fly(0);
        assert!(!flight.abandon() && flight.abandon(), "abandoned once");
        flights.wait(&flight, || at(20_000)).await.expect("a login");
        assert!(Arc::ptr_eq(&flight, &fly(200_000)), "minutes later");
        flight.deliver(at(200_000));
        assert!(Arc::ptr_eq(&flight, &fly(210_000)), "a repetition");
        assert!(!Arc::ptr_eq(&flight, &fly(210_001)), "once is enough");
        let other = fly(300_000);
        other.abandon();
        flights.wait(&other, || at(320_000)).await.expect("a login");
        assert!(!Arc::ptr_eq(&other, &fly(620_001)), "the code is too old");
    }
}
