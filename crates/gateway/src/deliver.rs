//! How a message reaches the app: the one thing that weappd hands in.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::StatusCode;

/// A message on its way to the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PushedMessage {
    /// Stays the same over repeated deliveries.
    pub id: String,
    /// The mini program it was pushed to.
    pub appid: String,
    /// Whom it is about, where the message says so: mostly who sent it (`FromUserName`), and
    /// the buyer of an order.
    pub openid: Option<String>,
    /// `MsgType`, or `event/` and the `Event`; empty if the message has none.
    pub kind: String,
    /// The message as plain JSON.
    pub body: String,
    /// How often it was tried before.
    pub tries: u32,
}

impl PushedMessage {
    /// What this try is called in logs and in `X-Request-Id`.
    pub fn request_id(&self) -> String {
        format!("message-{}-{}", self.id, self.tries.saturating_add(1))
    }
}

/// What the app answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppAnswer {
    /// 2xx takes the message, unless it is one that wants more; everything else has it
    /// delivered again.
    pub status: StatusCode,
    /// The body, for pushes that are answered with it.
    pub body: Bytes,
    /// False if the body was too long or broke off: then it says nothing.
    pub is_whole: bool,
}

/// Why a message did not reach the app, in words for the dead letter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DeliveryError(pub String);

/// Brings messages to the app.
pub trait DeliverMessage: Send + Sync {
    /// Delivers one message once. The gateway bounds the time and tries again.
    fn deliver<'a>(
        &'a self,
        message: &'a PushedMessage,
    ) -> BoxFuture<'a, Result<AppAnswer, DeliveryError>>;
}
