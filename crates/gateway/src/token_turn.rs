//! Who asks WeChat for a token where several nodes share it: the first in turn, for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use weappd_base::unix_time::UnixMillis;

use crate::centre::{CLASSIC_PAUSE, TokenCentre, TokenNeed, TokenResult};
use crate::config::TokenMode;
use crate::token_cluster::{ClusterToken, TokenCluster, TokenLease, TokenUpdate};

/// How often it is looked whether another node has its answer.
const LOOK_PAUSE: Duration = Duration::from_millis(60);
/// How long another node is waited for. Two may ask for a stable token; a second classic one
/// would end the first, so there a dead node's lease is waited out.
const PATIENCE_STABLE: Duration = Duration::from_secs(4);
const PATIENCE_CLASSIC: Duration = Duration::from_secs(30);

/// How a question stands among the nodes.
enum TokenTurn {
    /// Another node has asked.
    Answered(TokenResult),
    /// This one asks.
    Mine(TokenLease),
    /// There are no turns: the shared place cannot be used, or another node takes too long.
    NotShared,
}

impl TokenCentre {
    /// The answer of WeChat, asked by this node or by another one.
    pub(crate) async fn answer(&self, ask: &TokenNeed) -> TokenResult {
        let cluster = self.parts.cluster.as_ref();
        let Some(cluster) = cluster.filter(|cluster| cluster.may_answer(self.now())) else {
            return self.ask_wechat(ask).await;
        };
        match self.wait_for_turn(cluster, ask).await {
            TokenTurn::Answered(outcome) => outcome,
            TokenTurn::Mine(lease) => self.ask_for_all(cluster, lease, ask).await,
            TokenTurn::NotShared => self.ask_wechat(ask).await,
        }
    }

    /// Waits until the nodes know the answer, or until it is this one that asks.
    async fn wait_for_turn(&self, cluster: &TokenCluster, ask: &TokenNeed) -> TokenTurn {
        let mode = self.parts.mode;
        let patience = match mode {
            TokenMode::Stable => PATIENCE_STABLE,
            TokenMode::Classic => PATIENCE_CLASSIC,
        };
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let Some(known) = cluster.read(|| self.now()).await else {
                return TokenTurn::NotShared;
            };
            if let Some(outcome) = ask.answered_by(&known, self.now(), mode) {
                return TokenTurn::Answered(outcome);
            }
            match (cluster.lease(|| self.now()).await, ask, known.token) {
                (None, ..) => return TokenTurn::NotShared,
                (Some(Some(lease)), ..) => {
                    let Some(outcome) = ask.answered_by(&lease.known, self.now(), mode) else {
                        return TokenTurn::Mine(lease);
                    };
                    cluster.release(lease).await;
                    return TokenTurn::Answered(outcome);
                }
                // Another node renews it, and it is still good. The next call looks again: not
                // sooner than whoever waits.
                (Some(None), TokenNeed::Need, Some(token)) => {
                    sleep(LOOK_PAUSE).await;
                    return TokenTurn::Answered(Ok(token));
                }
                (Some(None), ..) => sleep(LOOK_PAUSE).await,
            }
        }
        TokenTurn::NotShared
    }

    /// Asks while the other nodes wait, and tells them. A no is this node's own: its address
    /// or its `AppSecret` may be what is wrong.
    async fn ask_for_all(
        &self,
        cluster: &TokenCluster,
        lease: TokenLease,
        ask: &TokenNeed,
    ) -> TokenResult {
        self.add_forced(&lease.known.forced);
        let before = lease.known.token.clone();
        let outcome = self.ask_wechat(ask).await;
        let (forced, asked_at) = self.asked();
        let update = TokenUpdate {
            token: outcome.as_deref().ok().or(before.as_deref()),
            forced,
            asked_at: asked_at.unwrap_or_else(|| self.now()),
        };
        cluster.publish(lease, update).await;
        outcome
    }
}

impl TokenNeed {
    /// The answer, if the nodes know it.
    fn answered_by(
        &self,
        known: &ClusterToken,
        now: UnixMillis,
        mode: TokenMode,
    ) -> Option<TokenResult> {
        let token = known.token.as_ref()?;
        let is_answer = match self {
            Self::Need => !token.is_due(now),
            Self::Rejected(rejected) => {
                // Asked anew at once, WeChat would end the classic token another node has.
                let just_asked = now.since(known.asked_at) < CLASSIC_PAUSE;
                let is_other = token.text != rejected.text && !token.is_older_than(rejected);
                is_other || (mode == TokenMode::Classic && just_asked)
            }
        };
        is_answer.then(|| Ok(Arc::clone(token)))
    }
}
