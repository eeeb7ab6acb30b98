//! The way in: a genuine message is written down, acknowledged, and then delivered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_wechat::message::{Mailbox, MessageKey};

use crate::config::{AnswerWhen, InboxConfig, MiniApp};
use crate::deliver::Deliver;
use crate::error::Error;
use crate::event_rule::EventRule;
use crate::postman::{Postman, WARN_EVERY_MILLIS};
use crate::push::{Push, Reader, StampRange};
pub use crate::queue::{DeadLetter, Replay, Waiting};
use crate::queue::{NewMessage, Put, Queue};
use crate::replies::Replies;
use crate::verdict::{Verdict, Word};
use crate::warn_limit::WarnLimit;

/// What is left of WeChat's seconds for the way there and back.
const GAME_WAIT_MILLIS: u64 = 2500;

/// What an inbox is made of.
pub(crate) struct InboxParts {
    pub(crate) config: InboxConfig,
    pub(crate) file: PathBuf,
    pub(crate) mini_apps: Vec<MiniApp>,
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) clock: Clock,
    pub(crate) tokens: RandomSource,
    pub(crate) work: Work,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
    pub(crate) tap: TrafficTap,
}

/// Messages on their way in.
pub(crate) struct Inbox {
    pub(crate) config: InboxConfig,
    readers: Vec<Reader>,
    queue: Queue,
    replies: Arc<Replies>,
    bell: Arc<Notify>,
    clock: Clock,
    tokens: RandomSource,
}

impl Inbox {
    /// Opens the queue and begins to deliver what waits in it.
    pub(crate) async fn open(parts: InboxParts) -> Result<Self, Error> {
        let readers = readers(&parts.mini_apps)?;
        let (work, tasks) = (parts.work, parts.tasks);
        let queue = Queue::open(parts.file, parts.config.max_waiting, &work).await?;
        let replies = Arc::new(Replies::default());
        let bell = Arc::new(Notify::new());
        let postman = Postman {
            config: parts.config.clone(),
            queue: queue.clone(),
            deliver: parts.deliver,
            replies: Arc::clone(&replies),
            bell: Arc::clone(&bell),
            clock: parts.clock.clone(),
            tokens: parts.tokens.clone(),
            work: work.clone(),
            tasks: tasks.clone(),
            stop: parts.stop,
            tap: parts.tap,
            warnings: WarnLimit::every(WARN_EVERY_MILLIS),
        };
        tasks.spawn_on(&work, postman.run());
        Ok(Self {
            config: parts.config,
            readers,
            queue,
            replies,
            bell,
            clock: parts.clock,
            tokens: parts.tokens,
        })
    }

    /// Those who read what comes to a path: the one of a further push configuration, or the
    /// mini programs' own. `appid` comes first.
    pub(crate) fn readers(&self, appid: &str, path: Option<&str>) -> impl Iterator<Item = &Reader> {
        let readers = self.readers.iter();
        let readers = readers.filter(|reader| reader.path.as_deref() == path);
        let (first, others): (Vec<_>, Vec<_>) = readers.partition(|reader| reader.appid == appid);
        first.into_iter().chain(others)
    }

    /// The further paths at which a site with these mini programs takes messages.
    pub(crate) fn further_paths(&self, appids: &[String]) -> Vec<String> {
        let readers = self.readers.iter();
        let theirs = readers.filter(|reader| appids.contains(&reader.appid));
        let mut paths: Vec<String> = theirs.filter_map(|reader| reader.path.clone()).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Takes a message; on return it is on the disk. Gives the answer to the push.
    pub(crate) async fn take(&self, push: &Push, came: Instant) -> Result<Word, Error> {
        let deed = push.rule.filter(EventRule::is_deed);
        let wants_reply = deed.is_some() || self.config.reply_to.contains(&push.kind);
        let says_at_once = push.is_stored_enough && deed.is_some_and(|rule| rule.may_be_stored());
        // Before it is on the disk, lest the answer come sooner.
        let wait =
            (wants_reply && !says_at_once).then(|| self.replies.wait(&push.appid, &push.key));
        let message = NewMessage {
            appid: push.appid.clone(),
            key: push.key.clone(),
            openid: push.openid.clone(),
            kind: push.kind.clone(),
            body: push.body.clone(),
            is_deed: deed.is_some(),
            now: self.clock.unix_millis(),
        };
        let put = self.queue.put(message).await?;
        if put == Put::New || (put == Put::Waiting && deed.is_some()) {
            self.bell.notify_one();
        }
        let verdict = match (put, wait) {
            (Put::Done(Some(words)), _) => Some(Verdict::Taken(words)),
            // Delivered by a weappd that did not keep answers, or needed none: it is done.
            (Put::Done(None), _) => Some(Verdict::Taken(String::new())),
            (_, Some(wait)) => wait.until(came + self.patience(push)).await,
            (_, None) if says_at_once => Some(Verdict::Taken(String::new())),
            (_, None) => None,
        };
        Ok(match (deed, verdict) {
            (Some(rule), verdict) => Word::of(&rule, push.format, verdict.as_ref()),
            (None, Some(Verdict::Taken(words))) => Word::reply(push.format, &words),
            (None, _) => Word::success(),
        })
    }

    /// How long a push may wait for the app.
    fn patience(&self, push: &Push) -> Duration {
        let wait = self.config.reply_wait_ms;
        let is_quick = push.rule.is_some_and(|rule| rule.seconds <= 3) || push.is_game;
        Duration::from_millis(if is_quick {
            wait.min(GAME_WAIT_MILLIS)
        } else {
            wait
        })
    }

    /// How far from now the time of a push may be.
    pub(crate) fn stamp_range(&self) -> StampRange {
        StampRange {
            now: self.clock.unix_secs(),
            hours: Some(self.config.signature_hours).filter(|hours| *hours > 0),
        }
    }

    /// When the body of a push that arrives now must be here.
    pub(crate) fn deadline(&self, came: Instant) -> Instant {
        came + Duration::from_millis(self.config.reply_wait_ms)
    }

    /// The answer as it goes out: encrypted if the push was, and the answer may be.
    pub(crate) fn sealed(&self, push: &Push, word: Word) -> Word {
        let mailbox = push
            .mailbox
            .as_ref()
            .filter(|_| word.may_seal && !push.is_game);
        let Some(mailbox) = mailbox else {
            return word;
        };
        let nonce = u64::from(u32::from_be_bytes(self.tokens.bytes())).to_string();
        let stamp = (self.clock.unix_secs(), nonce.as_str());
        Word {
            text: mailbox.seal(push.format, &word.text, stamp, self.tokens.bytes()),
            ..word
        }
    }

    pub(crate) async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, Error> {
        self.queue.dead_letters(most).await
    }

    pub(crate) async fn replay(&self, which: Replay) -> Result<u64, Error> {
        let replayed = self.queue.replay(which, self.clock.unix_millis()).await?;
        self.bell.notify_one();
        Ok(replayed)
    }

    pub(crate) async fn waiting(&self) -> Result<Waiting, Error> {
        self.queue.waiting().await
    }

    pub(crate) async fn close(&self) {
        self.queue.close().await;
    }
}

fn readers(mini_apps: &[MiniApp]) -> Result<Vec<Reader>, Error> {
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
    app: &MiniApp,
    path: Option<String>,
    token: Secret,
    key: Option<&Secret>,
) -> Result<Reader, Error> {
    let appid = app.credential.appid.clone();
    let key = key.map(MessageKey::parse).transpose();
    let key = key.map_err(|source| Error::EncodingAesKey {
        appid: appid.clone(),
        source: Arc::new(source),
    })?;
    let mailbox = key.map(|key| Mailbox {
        appid: appid.clone(),
        token: token.clone(),
        key,
    });
    Ok(Reader {
        appid,
        token,
        mailbox,
        path,
        is_stored_enough: app.answer == AnswerWhen::Stored,
    })
}
