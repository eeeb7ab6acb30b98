//! One exchange per code: a code works once, but requests are sent twice.
//!
//! A phone that repeats its login (a double tap, a lost answer, a retry) would be told
//! 40163 by WeChat, though nothing went wrong. So the exchange of a code is flown once,
//! everybody who brings the code meanwhile waits for it, and for a few seconds afterwards
//! it still gives the same session. A failed exchange is told to all who waited for it,
//! and forgotten. Who brings the code of somebody else's flight is told what WeChat would
//! tell: that the code is used.
//!
//! An exchange that takes too long goes on when nobody waits any more: WeChat may have used
//! the code up, and its late answer is the only one there will be. It is kept until somebody
//! brings the code again.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use weappd_base::secret::Secret;
use weappd_wechat::Login;

use crate::asker::Asker;
use crate::error::Error;
use crate::skey::SkeyHash;

/// How long after its exchange a code still gives the same session.
const REPEAT_MILLIS: i64 = 10_000;
/// How long a late answer waits for the phone to ask again: as long as a code lives.
const LATE_MILLIS: i64 = 300_000;
/// How many codes are remembered at most; beyond it a code is exchanged but not kept.
const MAX_FLIGHTS: usize = 65_536;
/// How many flights are looked at for clearing away whenever one boards: more than board.
const SWEEP: usize = 4;

/// The exchange of a code with WeChat.
pub(crate) type Exchange<T = Login> = BoxFuture<'static, Result<Arc<T>, Error>>;

/// The codes that are being exchanged for `T` or were just now, and what each led to.
pub(crate) struct Flights<T = Login, M = Made>(Mutex<State<T, M>>);

struct State<T, M> {
    flights: HashMap<[u8; 32], Arc<Flight<T, M>>>,
    /// The same by age, with the time each was last looked at; failed ones among them.
    by_age: VecDeque<(i64, Arc<Flight<T, M>>)>,
}

/// A code on its way to a session.
pub(crate) struct Flight<T = Login, M = Made> {
    key: [u8; 32],
    exchange: Shared<Exchange<T>>,
    /// When WeChat had answered, in milliseconds; far in the future until then.
    landed_at: AtomicI64,
    /// Whether nobody waited any more when WeChat answered, and nobody has asked since.
    is_late: AtomicBool,
    /// Who brought the code.
    asker: Asker,
    /// The session this code has led to.
    pub(crate) made: tokio::sync::Mutex<Option<M>>,
}

impl<T, M> Default for Flights<T, M> {
    fn default() -> Self {
        Self(Mutex::new(State {
            flights: HashMap::new(),
            by_age: VecDeque::new(),
        }))
    }
}

/// The session a code has led to.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) skey: Secret,
    pub(crate) hash: SkeyHash,
    pub(crate) is_new_user: bool,
    /// SHA-256 of the encrypted user data that came with the code.
    pub(crate) data: Option<[u8; 32]>,
}

impl<T, M> Flights<T, M> {
    /// The flight of this code: the one in the air or just landed, or a new one.
    pub(crate) fn board(
        &self,
        appid: &str,
        code: &str,
        (asker, now_millis): (Asker, i64),
        exchange: impl FnOnce() -> Exchange<T>,
    ) -> Arc<Flight<T, M>> {
        let key = key(appid, code);
        let mut state = self.0.lock();
        state.sweep(now_millis);
        if let Some(flight) = state.flights.get(&key)
            && flight.is_good(now_millis)
        {
            return Arc::clone(flight);
        }
        let flight = Arc::new(Flight {
            key,
            exchange: exchange().shared(),
            landed_at: AtomicI64::new(i64::MAX),
            is_late: AtomicBool::new(false),
            asker,
            made: tokio::sync::Mutex::new(None),
        });
        if state.by_age.len() < MAX_FLIGHTS {
            state.flights.insert(key, Arc::clone(&flight));
            state.by_age.push_back((now_millis, Arc::clone(&flight)));
        }
        flight
    }

    /// Waits for WeChat's answer. A failure is forgotten: the code may still be good.
    pub(crate) async fn land(
        &self,
        flight: &Arc<Flight<T, M>>,
        now_millis: impl Fn() -> i64,
    ) -> Result<Arc<T>, Error> {
        let answer = flight.exchange.clone().await;
        if answer.is_ok() {
            // The first to land sets the time; all others find it set.
            let _first = flight.landed_at.compare_exchange(
                i64::MAX,
                now_millis(),
                Ordering::AcqRel,
                Ordering::Relaxed,
            );
        } else {
            self.forget(flight);
        }
        answer
    }

    /// The next who brings the code begins anew.
    pub(crate) fn forget(&self, flight: &Arc<Flight<T, M>>) {
        let mut state = self.0.lock();
        let is_this = |kept: &Arc<Flight<T, M>>| Arc::ptr_eq(kept, flight);
        if state.flights.get(&flight.key).is_some_and(is_this) {
            state.flights.remove(&flight.key);
        }
    }
}

impl<T, M> State<T, M> {
    /// Clears the oldest landed flights away: a few at a time, so that nobody waits for many.
    fn sweep(&mut self, now_millis: i64) {
        for _ in 0..SWEEP {
            let aged = |(seen, _): &(i64, _)| (now_millis - seen).abs() > REPEAT_MILLIS;
            if !self.by_age.front().is_some_and(aged) {
                return;
            }
            let Some((_, flight)) = self.by_age.pop_front() else {
                return;
            };
            if flight.is_good(now_millis) {
                self.by_age.push_back((now_millis, flight));
                continue;
            }
            let kept = self.flights.get(&flight.key);
            if kept.is_some_and(|kept| Arc::ptr_eq(kept, &flight)) {
                self.flights.remove(&flight.key);
            }
        }
    }
}

impl<T, M> Flight<T, M> {
    /// Whether the flight is in the air or landed just now.
    fn is_good(&self, now_millis: i64) -> bool {
        let landed_at = self.landed_at.load(Ordering::Acquire);
        // A clock set back makes no code good for longer.
        let kept = if self.is_late.load(Ordering::Acquire) {
            LATE_MILLIS
        } else {
            REPEAT_MILLIS
        };
        landed_at == i64::MAX || now_millis.abs_diff(landed_at) <= kept.unsigned_abs()
    }

    /// Whether the code was brought by the same phone, as far as one can tell.
    pub(crate) fn is_of(&self, asker: &Asker) -> bool {
        self.asker.is_same(asker)
    }

    /// Nobody waits any more; says whether it was so already.
    pub(crate) fn left(&self) -> bool {
        self.is_late.swap(true, Ordering::AcqRel)
    }

    /// Somebody has the answer: from now on only a repetition gets it again.
    pub(crate) fn taken(&self, now_millis: i64) {
        if self.is_late.swap(false, Ordering::AcqRel) {
            self.landed_at.store(now_millis, Ordering::Release);
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
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn login() -> Arc<Login> {
        Arc::new(Login {
            openid: "o".to_owned(),
            session_key: Secret::new("k"),
            unionid: None,
            expires_in: None,
        })
    }

    #[tokio::test]
    async fn a_code_flies_once_and_is_remembered_for_ten_seconds() {
        let flights = Flights::<Login, Made>::default();
        let flown = Arc::new(AtomicUsize::new(0));
        let fly = |now: i64| {
            let flown = Arc::clone(&flown);
            flights.board("wx", "code", (Asker::default(), now), move || {
                async move {
                    flown.fetch_add(1, Ordering::SeqCst);
                    Ok(login())
                }
                .boxed()
            })
        };
        let (a, b) = (fly(0), fly(0));
        assert!(Arc::ptr_eq(&a, &b), "one flight for two passengers");
        flights.land(&a, || 5000).await.expect("a login");
        flights.land(&b, || 6000).await.expect("a login");
        assert!(Arc::ptr_eq(&a, &fly(15_000)), "still remembered");
        let later = fly(15_001);
        assert!(!Arc::ptr_eq(&a, &later), "forgotten");
        flights.land(&later, || 15_001).await.expect("a login");
        assert_eq!(flown.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn a_clock_set_back_remembers_no_code_for_longer() {
        for back in [10_001, 60_000, 3_600_000] {
            let flights = Flights::<Login, Made>::default();
            let fly = |now| {
                flights.board("wx", "code", (Asker::default(), now), || {
                    async { Ok(login()) }.boxed()
                })
            };
            let fast = 1_800_003_600_000;
            let flight = fly(fast);
            assert!(Arc::ptr_eq(&flight, &fly(fast - back)), "in the air");
            flights.land(&flight, || fast).await.expect("a login");
            assert!(Arc::ptr_eq(&flight, &fly(fast - 900)), "threads differ");
            assert!(!Arc::ptr_eq(&flight, &fly(fast - back)), "{back} ms back");
        }
    }

    #[tokio::test]
    async fn a_failed_flight_is_told_to_all_and_forgotten() {
        let flights = Flights::<Login, Made>::default();
        let crash = || async { Err(Error::Closed) }.boxed();
        let (a, b) = (
            flights.board("wx", "code", (Asker::default(), 0), crash),
            flights.board("wx", "code", (Asker::default(), 0), crash),
        );
        assert!(Arc::ptr_eq(&a, &b));
        assert!(flights.land(&a, || 0).await.is_err());
        assert!(flights.land(&b, || 0).await.is_err());
        let again = flights.board("wx", "code", (Asker::default(), 0), || {
            async { Ok(login()) }.boxed()
        });
        assert!(flights.land(&again, || 0).await.is_ok());
    }

    #[test]
    fn codes_of_two_mini_programs_do_not_meet() {
        assert_ne!(key("wx1", "2"), key("wx", "12"));
        let flights = Flights::<Login, Made>::default();
        let fly = || async { Err(Error::Closed) }.boxed();
        let (a, b) = (
            flights.board("wx1", "c", (Asker::default(), 0), fly),
            flights.board("wx2", "c", (Asker::default(), 0), fly),
        );
        assert!(!Arc::ptr_eq(&a, &b));
    }

    #[test]
    fn landed_flights_are_cleared_away() {
        let flights = Flights::<Login, Made>::default();
        for n in 0..100 {
            let fly = || async { Err(Error::Closed) }.boxed();
            let flight = flights.board("wx", &n.to_string(), (Asker::default(), 0), fly);
            flight.landed_at.store(0, Ordering::Relaxed);
        }
        // Each that boards clears more away than itself.
        for n in 0..25 {
            let fly = || async { Err(Error::Closed) }.boxed();
            flights.board("wx", &format!("later {n}"), (Asker::default(), 10_001), fly);
        }
        let state = flights.0.lock();
        assert_eq!((state.flights.len(), state.by_age.len()), (25, 25));
    }

    #[tokio::test]
    async fn a_late_answer_waits_for_somebody_to_ask_again() {
        let flights = Flights::<Login, Made>::default();
        let fly = |now| {
            let who = (Asker::default(), now);
            flights.board("wx", "code", who, || async { Ok(login()) }.boxed())
        };
        let flight = fly(0);
        assert!(!flight.left() && flight.left(), "left once");
        flights.land(&flight, || 20_000).await.expect("a login");
        assert!(Arc::ptr_eq(&flight, &fly(200_000)), "minutes later");
        flight.taken(200_000);
        assert!(Arc::ptr_eq(&flight, &fly(210_000)), "a repetition");
        assert!(!Arc::ptr_eq(&flight, &fly(210_001)), "once is enough");
        let other = fly(300_000);
        other.left();
        flights.land(&other, || 320_000).await.expect("a login");
        assert!(!Arc::ptr_eq(&other, &fly(620_001)), "the code is too old");
    }
}
