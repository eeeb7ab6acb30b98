//! Pushes that wait for the app's answer to give it to WeChat.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::verdict::AppVerdict;

/// A mini program and what a message is known by.
type ReplyKey = (String, String);

/// Who waits for which message's answer: WeChat may push one message several times at once.
#[derive(Default)]
pub(crate) struct ReplyTable(Mutex<HashMap<ReplyKey, Vec<oneshot::Sender<AppVerdict>>>>);

/// One that waits.
pub(crate) struct ReplyWait<'a> {
    replies: &'a ReplyTable,
    place: ReplyKey,
    given: Option<oneshot::Receiver<AppVerdict>>,
}

impl ReplyTable {
    /// Waits for what the app says to a message.
    pub(crate) fn wait(&self, appid: &str, key: &str) -> ReplyWait<'_> {
        let place = (appid.to_owned(), key.to_owned());
        let (give, given) = oneshot::channel();
        self.0.lock().entry(place.clone()).or_default().push(give);
        ReplyWait {
            replies: self,
            place,
            given: Some(given),
        }
    }

    /// The message was tried: what the app says to it.
    pub(crate) fn give(&self, appid: &str, key: &str, verdict: &AppVerdict) {
        let place = (appid.to_owned(), key.to_owned());
        let waiting = self.0.lock().remove(&place);
        for waiting in waiting.unwrap_or_default() {
            // Whoever waited too long has gone.
            drop(waiting.send(verdict.clone()));
        }
    }
}

impl ReplyWait<'_> {
    /// What the app said, if it did in time.
    pub(crate) async fn until(mut self, deadline: Instant) -> Option<AppVerdict> {
        let given = self.given.take()?;
        let given = tokio::time::timeout_at(deadline, given).await;
        given.ok()?.ok()
    }
}

impl Drop for ReplyWait<'_> {
    fn drop(&mut self) {
        // Closed, if it was not given: then it is tidied away here.
        drop(self.given.take());
        let mut waiting = self.replies.0.lock();
        if let Some(others) = waiting.get_mut(&self.place) {
            others.retain(|other| !other.is_closed());
            if others.is_empty() {
                waiting.remove(&self.place);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn all_who_wait_are_told_and_nobody_is_left() {
        let replies = ReplyTable::default();
        let said = AppVerdict::Taken(String::new());
        let (one, two) = (replies.wait("wx1", "k"), replies.wait("wx1", "k"));
        let gone = replies.wait("wx1", "k");
        drop(gone);
        let other = replies.wait("wx2", "k");
        replies.give("wx1", "k", &said);
        let now = Instant::now();
        assert_eq!(one.until(now).await, Some(said.clone()));
        assert_eq!(two.until(now).await, Some(said));
        assert_eq!(other.until(now).await, None);
        assert!(replies.0.lock().is_empty());
    }
}
