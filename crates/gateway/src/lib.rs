//! WeChat's two doors: the tokenless API proxy and token centre (out), the message inbox
//! (in).
//!
//! On the way out, business servers call WeChat's API as if it stood next door: without an
//! access token, which the gateway fetches, shares, renews and adds. On the way in, WeChat
//! pushes messages and wants an answer within five seconds, whether the business server
//! runs or not: the gateway proves and decrypts them, writes them down, says `success`, and
//! delivers them as plain JSON until the business server has them.
//!
//! # Map
//!
//! - [`config`]: the `[gateway]` section. [`gateway`]: the head of the room. [`http`]: its
//!   faces.
//! - Out: `proxy` makes a call, `calls` one of weappd's own; `allow` says which; `query`
//!   adds the token; `body` streams, `spool` keeps and `headers` sorts; `sealed` encrypts and signs it where
//!   a mini program wants that; `refusal` is our own no; `road` leads to WeChat.
//! - `centre` keeps one token for all, `token` asks for it; `nodes` is what several nodes know
//!   of it, on a [`shelf`] they share, and `line` says which of them asks.
//! - In: `push` reads what WeChat sends, `xml` and `number_text` turn it into JSON; `inbox`
//!   takes it, `queue` and `writer` keep it, `postman` brings it through [`deliver`].
//!   `event_table` says whose each event is and what WeChat wants to hear (`event_rule`),
//!   `verdict` reads the app's answer, `replies` waits for it, `warn_limit` keeps one trouble
//!   from filling the log.
//! - `tap`: what is drawn in `weappd dev`.
//!
//! # Invariants
//!
//! No token, secret or key is logged or drawn. A call is made at most twice. A message that
//! was acknowledged is on the disk until the app has it or it is a dead letter. Where WeChat
//! takes `success` for the deed itself, nobody says it before the app did. At most one
//! question for a token is in the air for each mini program, on all nodes that share a shelf.

mod allow;
mod body;
mod calls;
mod centre;
pub mod config;
pub mod deliver;
pub mod error;
mod event_rule;
mod event_table;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod gateway;
mod headers;
pub mod http;
mod inbox;
mod line;
mod nodes;
mod number_text;
mod postman;
mod proxy;
mod push;
mod query;
mod queue;
mod refusal;
mod replies;
mod road;
mod sealed;
pub mod shelf;
mod spool;
mod tap;
#[cfg(test)]
mod tests;
mod token;
mod verdict;
mod warn_limit;
mod writer;
mod xml;

pub use config::{AnswerWhen, ApiSecurity, Config, InboxConfig, MiniApp, PushChannel, TokenMode};
pub use deliver::{Answer, Deliver, Message, Undelivered};
pub use error::Error;
pub use gateway::{Gateway, GatewayParts};
pub use inbox::{DeadLetter, Replay, Waiting};
pub use shelf::{Kept, Shelf, Unshared};
