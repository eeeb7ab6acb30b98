//! Who asks WeChat for a token where several nodes share it: the first in line, for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::centre::{Ask, CLASSIC_PAUSE_MILLIS, Centre, Outcome};
use crate::config::TokenMode;
use crate::nodes::{Held, Known, Learned, Nodes};

/// How often it is looked whether another node has its answer.
const LOOK_PAUSE: Duration = Duration::from_millis(60);
/// How long another node is waited for. Two may ask for a stable token; a second classic one
/// would end the first, so there a dead node's hold is waited out.
const PATIENCE_STABLE: Duration = Duration::from_secs(4);
const PATIENCE_CLASSIC: Duration = Duration::from_secs(30);

/// How a question stands among the nodes.
enum Line {
    /// Another node has asked.
    Told(Outcome),
    /// This one asks.
    First(Held),
    /// There is no line: the shared place cannot be used, or another node takes too long.
    Gone,
}

impl Centre {
    /// The answer of WeChat, asked by this node or by another one.
    pub(crate) async fn answer(&self, ask: &Ask) -> Outcome {
        let nodes = self.parts.nodes.as_ref();
        let Some(nodes) = nodes.filter(|nodes| nodes.may_answer(self.now())) else {
            return self.ask_wechat(ask).await;
        };
        match self.line_up(nodes, ask).await {
            Line::Told(outcome) => outcome,
            Line::First(held) => self.ask_for_all(nodes, held, ask).await,
            Line::Gone => self.ask_wechat(ask).await,
        }
    }

    /// Waits until the nodes know the answer, or until it is this one that asks.
    async fn line_up(&self, nodes: &Nodes, ask: &Ask) -> Line {
        let mode = self.parts.mode;
        let patience = match mode {
            TokenMode::Stable => PATIENCE_STABLE,
            TokenMode::Classic => PATIENCE_CLASSIC,
        };
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            let Some(known) = nodes.look(|| self.now()).await else {
                return Line::Gone;
            };
            if let Some(outcome) = ask.answered_by(&known, self.now(), mode) {
                return Line::Told(outcome);
            }
            match (nodes.hold(|| self.now()).await, ask, known.token) {
                (None, ..) => return Line::Gone,
                (Some(Some(held)), ..) => {
                    let Some(outcome) = ask.answered_by(&held.known, self.now(), mode) else {
                        return Line::First(held);
                    };
                    nodes.let_go(held).await;
                    return Line::Told(outcome);
                }
                // Another node renews it, and it is still good. The next call looks again: not
                // sooner than whoever waits.
                (Some(None), Ask::Need, Some(token)) => {
                    sleep(LOOK_PAUSE).await;
                    return Line::Told(Ok(token));
                }
                (Some(None), ..) => sleep(LOOK_PAUSE).await,
            }
        }
        Line::Gone
    }

    /// Asks while the other nodes wait, and tells them. A no is this node's own: its address
    /// or its `AppSecret` may be what is wrong.
    async fn ask_for_all(&self, nodes: &Nodes, held: Held, ask: &Ask) -> Outcome {
        self.hear_of_forced(&held.known.forced);
        let before = held.known.token.clone();
        let outcome = self.ask_wechat(ask).await;
        let (forced, asked_at) = self.asked();
        let learned = Learned {
            token: outcome.as_deref().ok().or(before.as_deref()),
            forced,
            asked_at: asked_at.unwrap_or_else(|| self.now()),
        };
        nodes.tell(held, learned).await;
        outcome
    }
}

impl Ask {
    /// The answer, if the nodes know it.
    fn answered_by(&self, known: &Known, now: i64, mode: TokenMode) -> Option<Outcome> {
        let token = known.token.as_ref()?;
        let is_answer = match self {
            Self::Need => !token.is_due(now),
            Self::Rejected(rejected) => {
                // Asked anew at once, WeChat would end the classic token another node has.
                let just_asked = now - known.asked_at < CLASSIC_PAUSE_MILLIS;
                let is_other = token.text != rejected.text && !token.is_older_than(rejected);
                is_other || (mode == TokenMode::Classic && just_asked)
            }
        };
        is_answer.then(|| Ok(Arc::clone(token)))
    }
}
