//! WeChat's two doors: the tokenless API proxy and token centre (out), the message inbox (in).

mod allow;
pub mod config;
pub mod deliver;
pub mod error;
mod query;
mod refusal;
mod road;

pub use config::{Config, InboxConfig, MiniApp, TokenMode};
pub use deliver::{Answer, Deliver, Message, Undelivered};
pub use error::Error;
