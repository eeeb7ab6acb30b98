//! One token for all nodes that share a database: who asks WeChat, and what it said.
//!
//! The nodes share one record a mini program: the token, and when new ones were forced. Who finds the record wanting takes hold of it and asks; the others wait for
//! what comes of it. Where the database is gone a node goes its own way: a stable token is the
//! same for whoever asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use weappd_base::secret::Secret;
use weappd_wechat::Credential;

use crate::config::TokenMode;
use crate::shelf::{Kept, Shelf, Unshared};
use crate::token::Token;

/// How long a hold lasts if its node dies: two questions asked twice, and a little.
const HOLD: Duration = Duration::from_secs(25);
/// How long a shared place that failed is left alone.
const REST_MILLIS: i64 = 3000;

/// What the nodes share of one mini program.
pub(crate) struct Nodes {
    shelf: Arc<dyn Shelf>,
    name: String,
    rests_until: AtomicI64,
    is_down: AtomicBool,
}

/// The shared record. Times are milliseconds by the clock of the shared place.
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    token: Option<Shared>,
    /// When new tokens were forced, the oldest first.
    forced: Vec<i64>,
    /// When WeChat was last asked.
    asked_at: i64,
}

#[derive(Serialize, Deserialize)]
struct Shared {
    text: String,
    renew_at: i64,
    expires_at: i64,
}

/// What the nodes know, by this node's clock.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) token: Option<Arc<Token>>,
    pub(crate) forced: Vec<i64>,
    pub(crate) asked_at: i64,
}

/// A hold on the record.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) known: Known,
    fence: i64,
    /// What this node's clock is ahead of the shared one.
    ahead: i64,
}

/// What this node learned under its hold, by its own clock.
pub(crate) struct Learned<'a> {
    pub(crate) token: Option<&'a Token>,
    pub(crate) forced: Vec<i64>,
    pub(crate) asked_at: i64,
}

impl Nodes {
    pub(crate) fn new(
        shelf: Arc<dyn Shelf>,
        wechat: &str,
        credential: &Credential,
        mode: TokenMode,
    ) -> Self {
        let mode = match mode {
            TokenMode::Stable => "stable",
            TokenMode::Classic => "classic",
        };
        // A simulated WeChat's tokens are not the real one's.
        let name = format!("{mode} access_token of {} at {wechat}", credential.appid);
        Self {
            shelf,
            name: name.chars().filter(char::is_ascii).take(250).collect(),
            rests_until: AtomicI64::new(0),
            is_down: AtomicBool::new(false),
        }
    }

    /// Whether it makes sense to look there now.
    pub(crate) fn may_answer(&self, now: i64) -> bool {
        now >= self.rests_until.load(Ordering::Acquire)
    }

    /// What the nodes know.
    pub(crate) async fn look(&self, now: impl Fn() -> i64) -> Option<Known> {
        let kept = self.told(self.shelf.look(&self.name).await, now())?;
        Some(known(&kept, now()).0)
    }

    /// Takes hold of the record: `Some(None)` if another node holds it, none if the shared
    /// place cannot be used.
    pub(crate) async fn hold(&self, now: impl Fn() -> i64) -> Option<Option<Held>> {
        let held = self.told(self.shelf.hold(&self.name, HOLD).await, now())?;
        Some(held.map(|(fence, kept)| {
            let (known, ahead) = known(&kept, now());
            Held {
                known,
                fence,
                ahead,
            }
        }))
    }

    /// Ends the hold with what was learned. A failure is no harm: the hold ends by itself, and
    /// this node keeps what it has.
    pub(crate) async fn tell(&self, held: Held, learned: Learned<'_>) {
        let there = |here: i64| here - held.ahead;
        let record = Record {
            token: learned.token.map(|token| Shared {
                text: token.text.expose().to_owned(),
                renew_at: there(token.renew_at()),
                expires_at: there(token.expires_at()),
            }),
            forced: learned.forced.into_iter().map(there).collect(),
            asked_at: there(learned.asked_at),
        };
        let Ok(text) = serde_json::to_string(&record).map(Secret::new) else {
            return;
        };
        match self.shelf.put(&self.name, held.fence, &text).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::debug!("another node has taken over the shared access_token");
            }
            Err(problem) => tracing::debug!(%problem, "an access_token was not shared"),
        }
    }

    /// Ends the hold; nothing was learned.
    pub(crate) async fn let_go(&self, held: Held) {
        if let Err(problem) = self.shelf.let_go(&self.name, held.fence).await {
            tracing::debug!(%problem, "the hold on an access_token ends by itself");
        }
    }

    /// Leaves a place that failed alone for a while, and says so once.
    fn told<T>(&self, answer: Result<T, Unshared>, now: i64) -> Option<T> {
        match answer {
            Ok(answer) => {
                if self.is_down.swap(false, Ordering::AcqRel) {
                    tracing::info!("the nodes share access_tokens again");
                }
                Some(answer)
            }
            Err(problem) => {
                self.rests_until.store(now + REST_MILLIS, Ordering::Release);
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

/// The record in this node's time, and what its clock is ahead.
fn known(kept: &Kept, now: i64) -> (Known, i64) {
    // Whatever another version of weappd may have put there, it is no reason to fail.
    let record: Record = kept
        .value
        .as_ref()
        .and_then(|value| serde_json::from_str(value.expose()).ok())
        .unwrap_or_default();
    let ahead = now.saturating_sub(kept.now);
    let here = |there: i64| there.saturating_add(ahead);
    let token = record.token.map(|token| {
        let (renew_at, expires_at) = (here(token.renew_at), here(token.expires_at));
        Arc::new(Token::known(Secret::new(token.text), renew_at, expires_at))
    });
    let known = Known {
        token: token.filter(|token| token.is_good(now)),
        forced: record.forced.into_iter().map(here).collect(),
        asked_at: here(record.asked_at),
    };
    (known, ahead)
}
