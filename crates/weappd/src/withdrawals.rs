//! Where two rooms meet: a message that a user takes something back is seen on its way to the
//! app, and the session room forgets it first.
//!
//! The message waits on the disk until both have heard it, so nothing that was withdrawn is
//! kept because a database was away for a while.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use futures_util::future::BoxFuture;
use weappd_base::causes::chain;
use weappd_gateway::{AppAnswer, DeliverMessage, DeliveryError, PushedMessage};
use weappd_session::SessionService;
use weappd_wechat::ConsentWithdrawal;

/// The session room, once it is open: the gateway is built first.
pub(crate) type LateSessions = Arc<OnceLock<SessionService>>;

/// Has the session room forget, then brings the message on.
pub(crate) struct ForgetWithdrawn<D> {
    sessions: LateSessions,
    /// Messages that go again though the session room has heard them: what a user tells anew
    /// meanwhile stays.
    heard: Mutex<HashSet<String>>,
    next: D,
}

impl<D: DeliverMessage> ForgetWithdrawn<D> {
    pub(crate) fn new(sessions: LateSessions, next: D) -> Self {
        Self {
            sessions,
            heard: Mutex::default(),
            next,
        }
    }

    async fn forget(&self, message: &PushedMessage) -> Result<bool, DeliveryError> {
        let is_consent = message
            .kind
            .to_ascii_lowercase()
            .contains("user_authorization_");
        let Some(withdrawal) = is_consent
            .then(|| ConsentWithdrawal::read(&message.body))
            .flatten()
        else {
            return Ok(false);
        };
        if self.heard().contains(&message.id) {
            return Ok(true);
        }
        let sessions = self
            .sessions
            .get()
            .ok_or_else(|| DeliveryError("the session database is not open yet".to_owned()))?;
        sessions
            .withdraw(&message.appid, &withdrawal)
            .await
            .map_err(|error| {
                tracing::error!(
                    openid = withdrawal.openid,
                    error = chain(&error),
                    "what a user withdrew is not deleted yet; it is tried again"
                );
                DeliveryError("what the user withdrew could not be deleted yet".to_owned())
            })?;
        self.heard().insert(message.id.clone());
        Ok(true)
    }

    fn heard(&self) -> std::sync::MutexGuard<'_, HashSet<String>> {
        // No code that could panic runs under the lock.
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: DeliverMessage> DeliverMessage for ForgetWithdrawn<D> {
    fn deliver<'a>(
        &'a self,
        message: &'a PushedMessage,
    ) -> BoxFuture<'a, Result<AppAnswer, DeliveryError>> {
        Box::pin(async move {
            let is_noted = self.forget(message).await?;
            let answer = self.next.deliver(message).await;
            if is_noted
                && answer
                    .as_ref()
                    .is_ok_and(|answer| answer.status.is_success())
            {
                self.heard().remove(&message.id);
            }
            answer
        })
    }
}
