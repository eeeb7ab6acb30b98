//! One token for all nodes that share a database: who asks WeChat, and what it said.
//!
//! The nodes share one record a mini program: the token, and when new ones were forced. Who
//! finds the record wanting takes a lease of it and asks; the others wait for what comes of it.
//! Where the database is gone a node goes its own way: a stable token is the same for whoever
//! asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixMillis;
use weappd_wechat::AppCredential;

use crate::config::TokenMode;
use crate::lease_store::{LeaseStore, LeaseStoreError, LeasedValue};
use crate::token::AccessToken;

/// How long a lease lasts if its node dies: two questions asked twice, and a little.
const LEASE_TIME: Duration = Duration::from_secs(25);
/// How long a shared place that failed is left alone.
const REST: Duration = Duration::from_secs(3);
const WEEK: Duration = Duration::from_hours(7 * 24);

/// What the nodes share of one mini program.
pub(crate) struct TokenCluster {
    leases: Arc<dyn LeaseStore>,
    name: String,
    /// In milliseconds since 1970.
    rests_until: AtomicI64,
    is_down: AtomicBool,
}

/// The shared record. Times are by the clock of the shared place.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct TokenRecord {
    token: Option<StoredToken>,
    /// When new tokens were forced, the oldest first.
    forced: Vec<UnixMillis>,
    /// When WeChat was last asked.
    asked_at: UnixMillis,
}

#[derive(Serialize, Deserialize)]
struct StoredToken {
    text: String,
    renew_at: UnixMillis,
    expires_at: UnixMillis,
}

/// What the nodes know, by this node's clock.
#[derive(Debug)]
pub(crate) struct ClusterToken {
    pub(crate) token: Option<Arc<AccessToken>>,
    pub(crate) forced: Vec<UnixMillis>,
    pub(crate) asked_at: UnixMillis,
}

/// A lease of the record.
#[derive(Debug)]
pub(crate) struct TokenLease {
    pub(crate) known: ClusterToken,
    fence: i64,
    clocks: ClockPair,
}

/// One moment by this node's clock and by the shared one.
#[derive(Clone, Copy, Debug)]
struct ClockPair {
    here: UnixMillis,
    there: UnixMillis,
}

impl ClockPair {
    /// A time of the shared clock, by this node's.
    fn to_here(self, time: UnixMillis) -> UnixMillis {
        self.here + time.since(self.there) - self.there.since(time)
    }

    /// A time of this node's clock, by the shared one.
    fn to_there(self, time: UnixMillis) -> UnixMillis {
        self.there + time.since(self.here) - self.here.since(time)
    }
}

/// What this node learned under its lease, by its own clock.
pub(crate) struct TokenUpdate<'a> {
    pub(crate) token: Option<&'a AccessToken>,
    pub(crate) forced: Vec<UnixMillis>,
    pub(crate) asked_at: UnixMillis,
}

impl TokenCluster {
    pub(crate) fn new(
        leases: Arc<dyn LeaseStore>,
        wechat: &str,
        credential: &AppCredential,
        mode: TokenMode,
    ) -> Self {
        let mode = match mode {
            TokenMode::Stable => "stable",
            TokenMode::Classic => "classic",
        };
        // A simulated WeChat's tokens are not the real one's.
        let name = format!("{mode} access_token of {} at {wechat}", credential.appid);
        Self {
            leases,
            name: name.chars().filter(char::is_ascii).take(250).collect(),
            rests_until: AtomicI64::new(0),
            is_down: AtomicBool::new(false),
        }
    }

    /// Whether it makes sense to look there now.
    pub(crate) fn may_answer(&self, now: UnixMillis) -> bool {
        let until = UnixMillis::new(self.rests_until.load(Ordering::Acquire));
        // A clock set back makes no rest longer.
        now >= until || until.since(now) > REST
    }

    /// What the nodes know.
    pub(crate) async fn read(&self, now: impl Fn() -> UnixMillis) -> Option<ClusterToken> {
        let looked = self.leases.read(&self.name).await;
        let is_empty = looked.as_ref().is_ok_and(|kept| kept.value.is_none());
        let kept = if is_empty {
            // That nothing is there may be read where nothing can be put: no sign of health.
            looked.ok()?
        } else {
            self.told(looked, now())?
        };
        Some(known(&kept, now()).0)
    }

    /// Takes a lease of the record: `Some(None)` if another node has it, none if the shared
    /// place cannot be used.
    pub(crate) async fn lease(&self, now: impl Fn() -> UnixMillis) -> Option<Option<TokenLease>> {
        let lease = self.told(self.leases.lease(&self.name, LEASE_TIME).await, now())?;
        Some(lease.map(|(fence, kept)| {
            let (known, clocks) = known(&kept, now());
            TokenLease {
                known,
                fence,
                clocks,
            }
        }))
    }

    /// Ends the lease with what was learned. A failure is no harm: the lease ends by itself, and
    /// this node keeps what it has.
    pub(crate) async fn publish(&self, lease: TokenLease, update: TokenUpdate<'_>) {
        let there = |here| lease.clocks.to_there(here);
        let record = TokenRecord {
            token: update.token.map(|token| StoredToken {
                text: token.text.expose().to_owned(),
                renew_at: there(token.renew_at()),
                expires_at: there(token.expires_at()),
            }),
            forced: update.forced.into_iter().map(there).collect(),
            asked_at: there(update.asked_at),
        };
        let Ok(text) = serde_json::to_string(&record).map(Secret::new) else {
            return;
        };
        match self.leases.put(&self.name, lease.fence, &text).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!("another node has taken over the shared access_token");
            }
            Err(problem) => tracing::debug!(%problem, "an access_token was not shared"),
        }
    }

    /// Ends the lease; nothing was learned.
    pub(crate) async fn release(&self, lease: TokenLease) {
        if let Err(problem) = self.leases.release(&self.name, lease.fence).await {
            tracing::debug!(%problem, "the hold on an access_token ends by itself");
        }
    }

    /// Leaves a place that failed alone for a while, and says so once.
    fn told<T>(&self, answer: Result<T, LeaseStoreError>, now: UnixMillis) -> Option<T> {
        match answer {
            Ok(answer) => {
                if self.is_down.swap(false, Ordering::AcqRel) {
                    tracing::info!("the nodes share access_tokens again");
                }
                Some(answer)
            }
            Err(problem) => {
                let until = (now + REST).get();
                self.rests_until.store(until, Ordering::Release);
                if !self.is_down.swap(true, Ordering::AcqRel) {
                    tracing::warn!(
                        %problem,
                        "access_tokens are not shared with other nodes for now; this node asks WeChat itself"
                    );
                }
                None
            }
        }
    }
}

/// The record in this node's time, and how the clocks stand.
fn known(kept: &LeasedValue, now: UnixMillis) -> (ClusterToken, ClockPair) {
    // Whatever another version of weappd may have put there, it is no reason to fail.
    let record: TokenRecord = kept
        .value
        .as_ref()
        .and_then(|value| serde_json::from_str(value.expose()).ok())
        .unwrap_or_default();
    let clocks = ClockPair {
        here: now,
        there: kept.now,
    };
    let here = |there| clocks.to_here(there);
    let token = record.token.map(|token| {
        let (renew_at, expires_at) = (here(token.renew_at), here(token.expires_at));
        Arc::new(AccessToken::known(
            Secret::new(token.text),
            renew_at,
            expires_at,
        ))
    });
    let forced = record.forced.into_iter().map(here);
    let epoch = UnixMillis::default();
    let known = ClusterToken {
        token: token.filter(|token| token.is_good(now)),
        // What is not of these days cannot count.
        forced: forced.filter(|at| now.distance(*at) < WEEK).collect(),
        asked_at: here(record.asked_at).clamp(epoch, now.max(epoch)),
    };
    (known, clocks)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use futures_util::future::{BoxFuture, ready};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    /// A place that can be read, and where nothing can be put: the table was never made.
    #[derive(Debug)]
    struct ReadOnly;

    impl LeaseStore for ReadOnly {
        fn read<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<LeasedValue, LeaseStoreError>> {
            let (value, now) = (None, UnixMillis::default());
            ready(Ok(LeasedValue { value, now })).boxed()
        }

        fn lease<'a>(
            &'a self,
            _: &'a str,
            _: Duration,
        ) -> BoxFuture<'a, Result<Option<(i64, LeasedValue)>, LeaseStoreError>> {
            ready(Err(LeaseStoreError("may not be written".to_owned()))).boxed()
        }

        fn put<'a>(
            &'a self,
            _: &'a str,
            _: i64,
            _: &'a Secret,
        ) -> BoxFuture<'a, Result<bool, LeaseStoreError>> {
            ready(Err(LeaseStoreError("may not be written".to_owned()))).boxed()
        }

        fn release<'a>(&'a self, _: &'a str, _: i64) -> BoxFuture<'a, Result<(), LeaseStoreError>> {
            ready(Ok(())).boxed()
        }
    }

    #[tokio::test]
    async fn a_place_that_cannot_be_written_is_not_called_well_for_being_read() {
        let credential = AppCredential {
            appid: "wx1".to_owned(),
            secret: Secret::new("s"),
        };
        let at = "http://127.0.0.1:1";
        let nodes = TokenCluster::new(Arc::new(ReadOnly), at, &credential, TokenMode::Stable);
        let now = UnixMillis::default;
        for _ in 0..2 {
            assert!(nodes.read(now).await.is_some());
            assert!(nodes.lease(now).await.is_none());
            assert!(nodes.is_down.load(Ordering::Acquire), "said once, not anew");
            let rested = now() + REST;
            assert!(!nodes.may_answer(rested - Duration::from_millis(1)));
            assert!(nodes.may_answer(rested));
            assert!(nodes.read(now).await.is_some());
            assert!(nodes.is_down.load(Ordering::Acquire));
        }
    }

    proptest! {
        #[test]
        fn no_record_panics(times: [i64; 4], there: i64, now in 0_i64..1 << 50) {
            let [renew_at, expires_at, forced, asked_at] = times;
            let record = json!({
                "token": {"text": "t", "renew_at": renew_at, "expires_at": expires_at},
                "forced": [forced],
                "asked_at": asked_at,
            });
            let value = Some(Secret::new(record.to_string()));
            let (now, there) = (UnixMillis::new(now), UnixMillis::new(there));
            let (known, _) = known(&LeasedValue { value, now: there }, now);
            prop_assert!((UnixMillis::default()..=now).contains(&known.asked_at));
            prop_assert!(known.token.is_none_or(|token| token.is_good(now)));
            prop_assert!(known.forced.iter().all(|at| now.distance(*at) < WEEK));
        }
    }
}
