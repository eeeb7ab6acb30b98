//! Both directions of WeChat: the tokenless API proxy and token centre (out), the message inbox
//! (in).
//!
//! On the way out, business servers call WeChat's API without an
//! access token, which the gateway fetches, shares, renews and adds. On the way in, WeChat
//! pushes messages and wants an answer within five seconds, whether the business server
//! runs or not: the gateway proves and decrypts them, writes them down, says `success`, and
//! delivers them as plain JSON until the business server has them.
//!
//! # Map
//!
//! - [`config`]: the `[gateway]` section. [`gateway`]: what the rest of weappd calls. [`http`]: its
//!   faces.
//! - Out: `proxy` makes a call, `calls` one of weappd's own; `allow` says which; `query`
//!   adds the token; `body` streams, `spool` keeps and `headers` sorts; `sealed_call` encrypts and
//!   signs it where a mini program wants that (`sealed` says which); `proxy_error` is weappd's own refusal; `api_client` connects to
//!   WeChat.
//! - `centre` keeps one token for all, `token` asks for it; `token_cluster` is what several
//!   nodes know of it, in a [`lease_store`] they share, and `token_turn` says which of them asks.
//! - In: `push` reads what WeChat sends, `xml` and `number_text` turn it into JSON; `inbox`
//!   takes it, `queue` and `writer` keep it (`queue_file` is where, `queue_writes` what is
//!   written), `dispatcher` brings it through
//!   [`deliver`]; `inbox_core` is what of them outlives a reload.
//!   `event_table` says whose each event is and what WeChat wants to hear (`event_rule`),
//!   `verdict` reads the app's answer, `replies` waits for it.
//! - [`GatewayService::prepare`] (`reload`): other settings and mini programs while it runs.
//! - `tap`: what is drawn in `weappd dev`. `gateway_counters`, `metrics`: what is counted.
//!
//! # Invariants
//!
//! No token, secret or key is logged or drawn. A call is made at most twice. A message that
//! was acknowledged is on the disk until the app has it or it is a dead letter. Where WeChat
//! takes `success` for the deed itself, nobody says it before the app did. At most one
//! request for a token is under way for each mini program, on all nodes that share a lease store.

mod allow;
mod api_client;
mod body;
mod calls;
mod centre;
pub mod config;
pub mod deliver;
mod dispatcher;
pub mod error;
mod event_rule;
mod event_table;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/gateway.rs"]
pub mod fuzzing;
pub mod gateway;
mod gateway_counters;
mod headers;
pub mod http;
mod inbox;
mod inbox_core;
pub mod lease_store;
mod message_records;
mod metrics;
mod number_text;
mod proxy;
mod proxy_error;
mod push;
mod query;
mod queue;
mod queue_file;
mod queue_write;
mod queue_writes;
mod reload;
mod replies;
mod sealed;
mod sealed_call;
mod spool;
mod tap;
#[cfg(test)]
mod tests;
mod token;
mod token_cluster;
mod token_turn;
mod verdict;
mod writer;
mod xml;

pub use config::{
    AnswerWhen, ApiSecurity, Config, GatewayApp, InboxConfig, PushChannel, TokenMode,
};
pub use deliver::{AppAnswer, DeliverMessage, DeliveryError, PushedMessage};
pub use error::Error;
pub use gateway::{GatewayParts, GatewayService, GatewaySettings};
pub use inbox::{DeadLetter, InboxStatus, ReplayScope};
pub use lease_store::{LeaseStore, LeaseStoreError, LeasedValue};
pub use reload::StagedGateway;
pub use weappd_durable::WriteCounts;
