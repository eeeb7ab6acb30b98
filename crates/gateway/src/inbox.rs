//! The way in: a genuine message is written down, acknowledged, and then delivered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_wechat::message::{MessageCodec, MessageKey};

use crate::config::{AnswerWhen, GatewayApp, InboxConfig};
use crate::error::Error;
use crate::event_rule::EventRule;
use crate::inbox_core::InboxCore;
pub use crate::message_records::{DeadLetter, InboxStatus, ReplayScope};
use crate::message_records::{NewMessage, PutOutcome};
use crate::push::{PushReader, PushTimeRange, VerifiedPush};
use crate::verdict::{AppVerdict, ReplyWord};

/// What is left of WeChat's seconds for the way there and back.
const GAME_WAIT_MILLIS: u64 = 2500;

/// Messages on their way in.
pub(crate) struct MessageInbox {
    pub(crate) config: InboxConfig,
    readers: Vec<PushReader>,
    core: Arc<InboxCore>,
    clock: Clock,
    tokens: RandomSource,
}

impl MessageInbox {
    /// An inbox for the messages of these mini programs.
    pub(crate) fn build(
        config: InboxConfig,
        mini_apps: &[GatewayApp],
        core: Arc<InboxCore>,
        (clock, tokens): (Clock, RandomSource),
    ) -> Result<Self, Error> {
        Ok(Self {
            config,
            readers: readers(mini_apps)?,
            core,
            clock,
            tokens,
        })
    }

    /// What outlives this inbox.
    pub(crate) fn core(&self) -> &Arc<InboxCore> {
        &self.core
    }

    /// Whether any mini program takes messages.
    pub(crate) fn is_open(&self) -> bool {
        !self.readers.is_empty()
    }

    /// Those who read what comes to a path: the one of a further push configuration, or the
    /// mini programs' own. `appid` comes first.
    pub(crate) fn readers(
        &self,
        appid: &str,
        path: Option<&str>,
    ) -> impl Iterator<Item = &PushReader> {
        let readers = self.readers.iter();
        let readers = readers.filter(|reader| reader.path.as_deref() == path);
        let (first, others): (Vec<_>, Vec<_>) = readers.partition(|reader| reader.appid == appid);
        first.into_iter().chain(others)
    }

    /// Takes a message; on return it is on the disk. Gives the answer to the push.
    pub(crate) async fn take(
        &self,
        push: &VerifiedPush,
        came: Instant,
    ) -> Result<ReplyWord, Error> {
        let deed = push.rule.filter(EventRule::is_deed);
        let wants_reply = deed.is_some() || self.config.reply_to.contains(&push.kind);
        let says_at_once = push.is_stored_enough && deed.is_some_and(|rule| rule.may_be_stored());
        // Before it is on the disk, lest the answer come sooner.
        let wait =
            (wants_reply && !says_at_once).then(|| self.core.replies.wait(&push.appid, &push.key));
        let message = NewMessage {
            appid: push.appid.clone(),
            key: push.key.clone(),
            openid: push.openid.clone(),
            kind: push.kind.clone(),
            body: push.body.clone(),
            is_deed: deed.is_some(),
            now: self.clock.unix_millis(),
        };
        let put = self.core.queue.put(message).await?;
        if put == PutOutcome::New || (put == PutOutcome::Waiting && deed.is_some()) {
            self.core.wake.notify_one();
        }
        let verdict = match (put, wait) {
            (PutOutcome::Done(Some(words)), _) => Some(AppVerdict::Taken(words)),
            // Delivered by a weappd that did not keep answers, or needed none: it is done.
            (PutOutcome::Done(None), _) => Some(AppVerdict::Taken(String::new())),
            (_, Some(wait)) => wait.until(came + self.patience(push)).await,
            (_, None) if says_at_once => Some(AppVerdict::Taken(String::new())),
            (_, None) => None,
        };
        Ok(match (deed, verdict) {
            (Some(rule), verdict) => ReplyWord::of(&rule, push.format, verdict.as_ref()),
            (None, Some(AppVerdict::Taken(words))) => ReplyWord::reply(push.format, &words),
            (None, _) => ReplyWord::success(),
        })
    }

    /// How long a push may wait for the app.
    fn patience(&self, push: &VerifiedPush) -> Duration {
        let wait = self.config.reply_wait_ms;
        let is_quick = push.rule.is_some_and(|rule| rule.seconds <= 3) || push.is_game;
        Duration::from_millis(if is_quick {
            wait.min(GAME_WAIT_MILLIS)
        } else {
            wait
        })
    }

    /// How far from now the time of a push may be.
    pub(crate) fn stamp_range(&self) -> PushTimeRange {
        PushTimeRange {
            now: self.clock.unix_secs(),
            hours: Some(self.config.signature_hours).filter(|hours| *hours > 0),
        }
    }

    /// When the body of a push that arrives now must be here.
    pub(crate) fn deadline(&self, came: Instant) -> Instant {
        came + Duration::from_millis(self.config.reply_wait_ms)
    }

    /// The answer as it goes out: encrypted if the push was, and the answer may be.
    pub(crate) fn sealed(&self, push: &VerifiedPush, word: ReplyWord) -> ReplyWord {
        let mailbox = push
            .mailbox
            .as_ref()
            .filter(|_| word.may_seal && !push.is_game);
        let Some(mailbox) = mailbox else {
            return word;
        };
        let nonce = u64::from(u32::from_be_bytes(self.tokens.bytes())).to_string();
        let stamp = (self.clock.unix_secs(), nonce.as_str());
        ReplyWord {
            text: mailbox.seal(push.format, &word.text, stamp, self.tokens.bytes()),
            ..word
        }
    }

    pub(crate) async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, Error> {
        self.core.queue.dead_letters(most).await
    }

    pub(crate) async fn replay(&self, which: ReplayScope) -> Result<u64, Error> {
        let replayed = self
            .core
            .queue
            .replay(which, self.clock.unix_millis())
            .await?;
        self.core.wake.notify_one();
        Ok(replayed)
    }

    pub(crate) async fn waiting(&self) -> Result<InboxStatus, Error> {
        self.core.queue.status().await
    }

    pub(crate) async fn close(&self) {
        self.core.queue.close().await;
    }
}

fn readers(mini_apps: &[GatewayApp]) -> Result<Vec<PushReader>, Error> {
    let mut readers = Vec::new();
    for app in mini_apps {
        let own = app.token.clone().filter(|token| !token.is_empty());
        let own = own.map(|token| (None, token, app.encoding_aes_key.as_ref()));
        let further = app.pushes.iter().map(|push| {
            let path = Some(push.path.clone());
            (path, push.token.clone(), push.encoding_aes_key.as_ref())
        });
        for (path, token, key) in own.into_iter().chain(further) {
            readers.push(reader(app, path, token, key)?);
        }
    }
    Ok(readers)
}

fn reader(
    app: &GatewayApp,
    path: Option<String>,
    token: Secret,
    key: Option<&Secret>,
) -> Result<PushReader, Error> {
    let appid = app.credential.appid.clone();
    let key = key.map(MessageKey::parse).transpose();
    let key = key.map_err(|source| Error::EncodingAesKey {
        appid: appid.clone(),
        source: Arc::new(source),
    })?;
    let mailbox = key.map(|key| MessageCodec {
        appid: appid.clone(),
        token: token.clone(),
        key,
    });
    Ok(PushReader {
        appid,
        token,
        mailbox,
        path,
        is_stored_enough: app.answer == AnswerWhen::Stored,
    })
}
