//! The token centre (中控) of one mini program: one token for everybody who asks.
//!
//! However many ask, one question goes to WeChat; all wait for its answer. A token near
//! its end is renewed in the background while it is still handed out. A failure is
//! remembered for a moment, so that a wrong secret does not become a flood of questions.
//!
//! When WeChat rejects a token, it is asked once in the mode that disturbs nobody. Only if
//! it names the very token it rejected is a new one forced, within WeChat's limits: at most
//! 20 a day, at least 30 seconds apart.
//!
//! Nodes that share a database are one in all of this: see `token_cluster`.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Tasks, Work};
use weappd_base::unix_time::UnixMillis;
use weappd_outbound::{SharedFlight, read_limited};
use weappd_wechat::{AppCredential, errcode};

use crate::api_client::ApiClient;
use crate::config::TokenMode;
use crate::proxy_error::ProxyError;
use crate::tap;
use crate::token::{self, AccessToken};
use crate::token_cluster::TokenCluster;

/// WeChat's limits for `force_refresh`.
const FORCED_A_DAY: usize = 20;
const FORCE_PAUSE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_hours(24);
/// Nodes and threads differ by so much about what time it is.
const DISORDER: Duration = Duration::from_secs(3);
/// How long WeChat's word that a rejected token is the current one holds: it doubles each time
/// it is given again, up to the pause after which a new one may be forced.
const CONFIRMED: Duration = Duration::from_secs(1);
const LONGEST_CONFIRMED: Duration = Duration::from_secs(30);
/// A classic token ends the one before: two programs that fetch them must not race.
pub(crate) const CLASSIC_PAUSE: Duration = Duration::from_secs(10);
/// How long a path whose calls fail with a fresh token too is not tried twice; it doubles too.
const HOPELESS: Duration = Duration::from_secs(2);
const LONGEST_HOPELESS: Duration = Duration::from_mins(1);
const MAX_HOPELESS: usize = 256;
/// How long a failure is remembered: WeChat's no, and everything else.
const REFUSED: Duration = Duration::from_secs(10);
const FAILED: Duration = Duration::from_secs(1);
/// One question, and the pause before it is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 * 1024;

pub(crate) type TokenResult = Result<Arc<AccessToken>, ProxyError>;
type TokenFlight = SharedFlight<TokenResult>;

/// What a centre is made of.
pub(crate) struct TokenCentreParts {
    pub(crate) credential: AppCredential,
    pub(crate) mode: TokenMode,
    pub(crate) api: Arc<ApiClient>,
    /// What other nodes know, if there may be any.
    pub(crate) cluster: Option<TokenCluster>,
    pub(crate) clock: Clock,
    pub(crate) work: Work,
    pub(crate) tasks: Tasks,
    pub(crate) tap: TrafficTap,
}

/// The token of one mini program.
pub(crate) struct TokenCentre {
    pub(crate) parts: TokenCentreParts,
    /// Never held over an await.
    state: Mutex<CentreState>,
}

#[derive(Default)]
struct CentreState {
    current: Option<Arc<AccessToken>>,
    flight: Option<TokenFlight>,
    failed: Option<(UnixMillis, ProxyError)>,
    forced: VecDeque<UnixMillis>,
    confirmed: Option<RetryPause>,
    asked_at: Option<UnixMillis>,
    hopeless: HashMap<String, RetryPause>,
}

/// Something that is not asked again for a while, each time for longer.
#[derive(Clone, Copy)]
struct RetryPause {
    until: UnixMillis,
    pause: Duration,
}

impl RetryPause {
    /// From now on, after `before`.
    fn after(
        before: Option<Self>,
        now: UnixMillis,
        (first, longest): (Duration, Duration),
    ) -> Self {
        let again = before.filter(|before| now < before.until + longest);
        let pause = again.map_or(first, |before| (before.pause * 2).min(longest));
        Self {
            until: now + pause,
            pause,
        }
    }

    /// Whether it rests still.
    fn holds(self, now: UnixMillis) -> bool {
        rests(now, self.until, self.pause)
    }
}

/// Whether it is before `until`, a pause that began when it was `pause` away. A clock set back
/// makes no pause longer.
fn rests(now: UnixMillis, until: UnixMillis, pause: Duration) -> bool {
    now < until && until.since(now) <= pause + DISORDER
}

/// Why WeChat is asked.
pub(crate) enum TokenNeed {
    /// There is no token, or it ends soon.
    Need,
    /// This one was rejected.
    Rejected(Arc<AccessToken>),
}

impl TokenCentre {
    pub(crate) fn new(parts: TokenCentreParts) -> Arc<Self> {
        Arc::new(Self {
            parts,
            state: Mutex::new(CentreState::default()),
        })
    }

    /// The mini program.
    pub(crate) fn credential(&self) -> &AppCredential {
        &self.parts.credential
    }

    pub(crate) fn now(&self) -> UnixMillis {
        self.parts.clock.unix_millis()
    }

    /// A good token.
    pub(crate) async fn get(self: &Arc<Self>) -> TokenResult {
        let flight = {
            let now = self.now();
            let mut state = self.state.lock();
            let blocked = state.blocked(now);
            if let Some(token) = state.good(now) {
                if token.is_due(now) && blocked.is_none() && state.in_air().is_none() {
                    drop(self.launch(&mut state, TokenNeed::Need));
                }
                return Ok(token);
            }
            match (state.in_air(), blocked) {
                (Some(flight), _) => flight,
                (None, Some(refusal)) => return Err(refusal),
                (None, None) => self.launch(&mut state, TokenNeed::Need),
            }
        };
        flight.wait().await
    }

    /// Another token than the rejected one; none if there is no other to be had.
    pub(crate) async fn instead_of(
        self: &Arc<Self>,
        rejected: &Arc<AccessToken>,
    ) -> Result<Option<Arc<AccessToken>>, ProxyError> {
        // A request that was under way already may bring the rejected one once more.
        for _ in 0..2 {
            let flight = {
                let now = self.now();
                let mut state = self.state.lock();
                match state.good(now) {
                    Some(token) if token.text != rejected.text => return Ok(Some(token)),
                    _ => {}
                }
                match state.in_air() {
                    Some(flight) => flight,
                    None if !self.may_ask(&state, now) => return Ok(None),
                    None => self.launch(&mut state, TokenNeed::Rejected(Arc::clone(rejected))),
                }
            };
            let token = flight.wait().await?;
            if token.text != rejected.text {
                return Ok(Some(token));
            }
        }
        Ok(None)
    }

    /// The current token, for somebody who only knows the text of one that was rejected.
    pub(crate) async fn instead_of_text(
        self: &Arc<Self>,
        rejected: &str,
    ) -> Result<Arc<AccessToken>, ProxyError> {
        let current = self.get().await?;
        if !current.text.is(rejected) {
            return Ok(current);
        }
        Ok(self.instead_of(&current).await?.unwrap_or(current))
    }

    /// Whether calls of `path` lately failed with a fresh token too: then it is not the
    /// token's fault.
    pub(crate) fn is_hopeless(&self, path: &str) -> bool {
        let rest = self.state.lock().hopeless.get(path).copied();
        rest.is_some_and(|rest| rest.holds(self.now()))
    }

    pub(crate) fn note_hopeless(&self, path: &str) {
        let now = self.now();
        let mut state = self.state.lock();
        let pauses = (HOPELESS, LONGEST_HOPELESS);
        let rest = RetryPause::after(state.hopeless.get(path).copied(), now, pauses);
        state
            .hopeless
            .retain(|_, rest| rests(now, rest.until + LONGEST_HOPELESS, 2 * LONGEST_HOPELESS));
        if state.hopeless.len() < MAX_HOPELESS {
            state.hopeless.insert(path.to_owned(), rest);
        }
    }

    fn may_ask(&self, state: &CentreState, now: UnixMillis) -> bool {
        let past =
            |at: Option<UnixMillis>, pause| at.is_none_or(|at| !rests(now, at + pause, pause));
        state.blocked(now).is_none()
            && !state.confirmed.is_some_and(|rest| rest.holds(now))
            && (self.parts.mode == TokenMode::Stable || past(state.asked_at, CLASSIC_PAUSE))
    }

    fn launch(self: &Arc<Self>, state: &mut CentreState, ask: TokenNeed) -> TokenFlight {
        let (tell, told) = oneshot::channel();
        let centre = Arc::clone(self);
        self.parts.tasks.spawn_on(&self.parts.work, async move {
            let outcome = centre.answer(&ask).await;
            centre.land(&outcome);
            // Nobody waiting is no loss: the token is kept.
            drop(tell.send(outcome));
        });
        let answer = async move { told.await.unwrap_or(Err(ProxyError::Closing)) };
        let flight = SharedFlight::new(answer.boxed());
        state.flight = Some(flight.clone());
        flight
    }

    /// Asks WeChat itself.
    pub(crate) async fn ask_wechat(&self, ask: &TokenNeed) -> TokenResult {
        let token = self.ask_twice(false).await?;
        let TokenNeed::Rejected(rejected) = ask else {
            return Ok(token);
        };
        if token.text != rejected.text {
            return Ok(token);
        }
        let now = self.now();
        if !self.state.lock().take_force(now) {
            self.note_confirmed();
            return Ok(token);
        }
        tracing::info!(
            appid = self.credential().appid,
            "WeChat rejects the access_token it calls current: a new one is forced"
        );
        let forced = self.ask_twice(true).await?;
        if forced.text == rejected.text {
            self.note_confirmed();
        }
        Ok(forced)
    }

    /// WeChat says that the token it rejects is the current one.
    fn note_confirmed(&self) {
        let now = self.now();
        let mut state = self.state.lock();
        let pauses = (CONFIRMED, LONGEST_CONFIRMED);
        state.confirmed = Some(RetryPause::after(state.confirmed, now, pauses));
    }

    /// Asks, and once more if WeChat is busy or the connection broke.
    async fn ask_twice(&self, force: bool) -> TokenResult {
        match self.ask(force).await {
            Err(ProxyError::TokenRefused { errcode: -1, .. } | ProxyError::Unreachable) => {
                tokio::time::sleep(BUSY_PAUSE).await;
                self.ask(force).await
            }
            outcome => outcome,
        }
    }

    async fn ask(&self, force: bool) -> TokenResult {
        let TokenCentreParts {
            credential,
            mode,
            api,
            tap,
            ..
        } = &self.parts;
        let request =
            token::question(api, credential, *mode, force).ok_or(ProxyError::Unreachable)?;
        self.state.lock().asked_at = Some(self.now());
        tap::token_asked(tap, credential, *mode, force);
        let asked = async {
            let answer = api.send(request).await.map_err(|problem| {
                tracing::debug!(%problem, "no answer to the question for an access_token");
                ProxyError::Unreachable
            })?;
            let body = read_limited(answer.into_body(), MAX_ANSWER).await;
            body.map_err(|_| ProxyError::Unreachable)
        };
        let body = tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or(Err(ProxyError::Unreachable));
        tap::token_answered(tap, *mode, body.as_deref().ok());
        let token = token::read(&body?, self.now());
        token
            .map(Arc::new)
            .map_err(|refusal| self.without_secret(refusal))
    }

    /// WeChat's text is not known to repeat what it was sent, but a relay's might.
    fn without_secret(&self, refusal: ProxyError) -> ProxyError {
        let secret = self.credential().secret.expose();
        match refusal {
            ProxyError::TokenRefused { errcode, errmsg } if !secret.is_empty() => {
                ProxyError::TokenRefused {
                    errcode,
                    errmsg: errmsg.replace(secret, "***"),
                }
            }
            other => other,
        }
    }

    /// When new tokens were forced, and when WeChat was last asked.
    pub(crate) fn asked(&self) -> (Vec<UnixMillis>, Option<UnixMillis>) {
        let state = self.state.lock();
        (state.forced.iter().copied().collect(), state.asked_at)
    }

    /// Takes what all nodes forced as its own.
    pub(crate) fn add_forced(&self, forced: &[UnixMillis]) {
        let mut state = self.state.lock();
        for at in forced {
            // Its own, gone to the shared place and back, may differ a little.
            let is_known = |known: &UnixMillis| known.distance(*at) < FORCE_PAUSE / 2;
            if !state.forced.iter().any(is_known) {
                state.forced.push_back(*at);
            }
        }
        state.forced.make_contiguous().sort_unstable();
    }

    /// Keeps what came of a flight.
    fn land(&self, outcome: &TokenResult) {
        let now = self.now();
        let mut state = self.state.lock();
        state.flight = None;
        match outcome {
            Ok(token) => {
                let is_other = |current: &Arc<AccessToken>| current.text != token.text;
                if state.current.as_ref().is_some_and(is_other) {
                    state.confirmed = None;
                }
                state.current = Some(Arc::clone(token));
                state.failed = None;
            }
            Err(refusal) => {
                let pause = match refusal {
                    ProxyError::TokenRefused { .. } => REFUSED,
                    _ => FAILED,
                };
                state.failed = Some((now + pause, refusal.clone()));
                let advice = errcode::explain(refusal.errcode()).map(|known| known.advice);
                tracing::warn!(
                    appid = self.credential().appid,
                    errcode = refusal.errcode(),
                    errmsg = refusal.errmsg(),
                    advice,
                    "no access_token"
                );
            }
        }
    }
}

impl CentreState {
    fn good(&self, now: UnixMillis) -> Option<Arc<AccessToken>> {
        self.current.clone().filter(|token| token.is_good(now))
    }

    /// The request that is still under way. One whose task was lost counts as over.
    fn in_air(&self) -> Option<TokenFlight> {
        let flight = self.flight.as_ref()?;
        (!flight.is_over()).then(|| flight.clone())
    }

    fn blocked(&self, now: UnixMillis) -> Option<ProxyError> {
        let (until, refusal) = self.failed.as_ref()?;
        rests(now, *until, REFUSED).then(|| refusal.clone())
    }

    /// Whether a new token may be forced now; if so, it counts.
    fn take_force(&mut self, now: UnixMillis) -> bool {
        self.forced.retain(|at| rests(now, *at + DAY, DAY));
        let rested = self
            .forced
            .back()
            .is_none_or(|at| now.since(*at) >= FORCE_PAUSE);
        let may = rested && self.forced.len() < FORCED_A_DAY;
        if may {
            self.forced.push_back(now);
        }
        may
    }
}

impl std::fmt::Debug for TokenCentre {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Centre({})", self.credential().appid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> UnixMillis {
        UnixMillis::new(millis)
    }

    #[test]
    fn forcing_keeps_to_wechats_limits() {
        let mut state = CentreState::default();
        assert!(state.take_force(at(0)));
        assert!(!state.take_force(at(29_999)));
        let forced = (1..100)
            .filter(|n| state.take_force(at(n * 30_000)))
            .count();
        assert_eq!(forced, 19);
        assert!(state.take_force(at(0) + DAY));
    }

    #[test]
    fn a_clock_set_back_makes_no_pause_longer() {
        let fast = at(1_800_003_600_000);
        let moment = Duration::from_millis(900);
        for back in [10, 90, 3600].map(Duration::from_secs) {
            let mut state = CentreState {
                failed: Some((fast + REFUSED, ProxyError::Unreachable)),
                ..CentreState::default()
            };
            assert!(state.blocked(fast).is_some() && state.blocked(fast - moment).is_some());
            assert!(state.blocked(fast - back).is_none(), "{back:?} back");
            let rest = RetryPause::after(None, fast, (HOPELESS, LONGEST_HOPELESS));
            assert!(rest.holds(fast) && !rest.holds(fast - back));
            assert!(state.take_force(fast) && !state.take_force(fast + Duration::from_secs(1)));
            assert!(state.take_force(fast - back), "{back:?} back");
        }
    }
}
