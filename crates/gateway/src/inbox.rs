//! The way in: a genuine message is written down, acknowledged, and then delivered.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;
use weappd_base::clock::Clock;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_base::token::Tokens;
use weappd_base::wiretap::Wiretap;
use weappd_wechat::envelope::Format;
use weappd_wechat::message::{Mailbox, MessageKey};

use crate::config::{InboxConfig, MiniApp};
use crate::deliver::Deliver;
use crate::error::Error;
use crate::postman::Postman;
use crate::push::{Push, Reader};
pub use crate::queue::{DeadLetter, Replay, Waiting};
use crate::queue::{NewMessage, Queue};
use crate::replies::Replies;
use crate::xml;

/// The word that acknowledges a push.
pub(crate) const SUCCESS: &str = "success";
/// The longest answer of an app that is given to WeChat.
const MAX_REPLY: usize = 64 * 1024;

/// What an inbox is made of.
pub(crate) struct InboxParts {
    pub(crate) config: InboxConfig,
    pub(crate) file: PathBuf,
    pub(crate) mini_apps: Vec<MiniApp>,
    pub(crate) deliver: Arc<dyn Deliver>,
    pub(crate) clock: Clock,
    pub(crate) tokens: Tokens,
    pub(crate) work: Work,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
    pub(crate) wiretap: Wiretap,
}

/// Messages on their way in.
pub(crate) struct Inbox {
    pub(crate) config: InboxConfig,
    readers: Vec<Reader>,
    queue: Queue,
    replies: Arc<Replies>,
    bell: Arc<Notify>,
    clock: Clock,
    tokens: Tokens,
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
            wiretap: parts.wiretap,
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

    /// The mini programs that take messages, `appid` first.
    pub(crate) fn readers(&self, appid: &str) -> impl Iterator<Item = &Reader> {
        let (first, others): (Vec<_>, Vec<_>) = self
            .readers
            .iter()
            .partition(|reader| reader.appid == appid);
        first.into_iter().chain(others)
    }

    /// Takes a message; on return it is on the disk. Gives the answer to the push.
    pub(crate) async fn take(&self, push: &Push, deadline: Instant) -> Result<String, Error> {
        let wants_reply = self.config.reply_to.contains(&push.kind);
        let reply = wants_reply
            .then(|| self.replies.wait(&push.appid, &push.key))
            .flatten();
        let message = NewMessage {
            appid: push.appid.clone(),
            key: push.key.clone(),
            openid: push.openid.clone(),
            kind: push.kind.clone(),
            body: push.body.clone(),
            now: self.clock.unix_millis(),
        };
        let put = self.queue.put(message).await;
        if matches!(put, Ok(true)) {
            self.bell.notify_one();
        } else if reply.is_some() {
            self.replies.give(&push.appid, &push.key, None);
        }
        put?;
        let reply = match reply {
            Some(reply) => tokio::time::timeout_at(deadline, reply).await.ok(),
            None => None,
        };
        let reply = reply.and_then(Result::ok);
        Ok(reply.map_or_else(|| SUCCESS.to_owned(), |reply| self.word(push, &reply)))
    }

    /// When a push that arrives now must be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.config.reply_wait_ms)
    }

    /// The app's answer as WeChat wants it: in the push's format, encrypted if it was.
    fn word(&self, push: &Push, reply: &Bytes) -> String {
        let text = match std::str::from_utf8(reply) {
            Ok(text) if text.len() <= MAX_REPLY => text.trim(),
            _ => SUCCESS,
        };
        if text.is_empty() || text == SUCCESS {
            return SUCCESS.to_owned();
        }
        let object = serde_json::from_str(text).ok();
        let text = match (push.format, object) {
            (Format::Xml, Some(fields)) => xml::from_json(&fields),
            _ => text.to_owned(),
        };
        match &push.mailbox {
            None => text,
            Some(mailbox) => {
                let nonce = u64::from(u32::from_be_bytes(self.tokens.bytes())).to_string();
                let stamp = (self.clock.unix_secs(), nonce.as_str());
                mailbox.seal(push.format, &text, stamp, self.tokens.bytes())
            }
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
    let with_token = mini_apps.iter().filter_map(|app| {
        let token = app.token.clone().filter(|token| !token.is_empty())?;
        Some((app, token))
    });
    with_token
        .map(|(app, token)| {
            let appid = app.credential.appid.clone();
            let key = app.encoding_aes_key.as_ref().map(MessageKey::parse);
            let key = key.transpose().map_err(|source| Error::EncodingAesKey {
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
            })
        })
        .collect()
}
