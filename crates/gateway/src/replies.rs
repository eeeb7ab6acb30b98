//! Pushes that wait for the app's answer to give it to WeChat.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Who waits for which message's answer.
#[derive(Default)]
pub(crate) struct Replies(Mutex<HashMap<(String, String), oneshot::Sender<Bytes>>>);

impl Replies {
    /// Waits for the answer to a message; nothing if somebody does already.
    pub(crate) fn wait(&self, appid: &str, key: &str) -> Option<oneshot::Receiver<Bytes>> {
        let mut waiting = self.0.lock();
        let place = (appid.to_owned(), key.to_owned());
        if waiting.contains_key(&place) {
            return None;
        }
        let (give, given) = oneshot::channel();
        waiting.insert(place, give);
        Some(given)
    }

    /// The message was tried: its answer, if the app took it.
    pub(crate) fn give(&self, appid: &str, key: &str, reply: Option<Bytes>) {
        let place = (appid.to_owned(), key.to_owned());
        let waiting = self.0.lock().remove(&place);
        if let (Some(waiting), Some(reply)) = (waiting, reply) {
            // Whoever waited too long has gone.
            drop(waiting.send(reply));
        }
    }
}
