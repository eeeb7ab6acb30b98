//! A fake WeChat and a fake phone: the tests' only fake, and a tool we ship.
//!
//! A server that speaks WeChat's wire and a phone that gets from it what a real one gets:
//! codes, session keys, encrypted and signed user data. No `AppID`, domain or network is
//! needed, and nothing on the server under test knows the difference.
//!
//! # Map
//!
//! - [`simulator`]: the head; mini programs, users, time and chance.
//! - [`phone`]: what `wx.*` calls get (`wx.login`, `wx.getUserInfo`, ...);
//!   `conversation`: what a user does with messages. `open_data`: steps, groups and keys.
//! - `platform`: what WeChat's server answers to a login. `api`: its other calls. `endpoints`: the
//!   paths it knows. `wechat_refusal`: why it refuses, with WeChat's numbers.
//! - `sealed_calls`: calls encrypted and signed; `app_seals`: who speaks so. `call_quota`: calls by the
//!   day.
//! - `token_book`: `access_token`s. `code_table`: five minutes, one use. `minute_meter`: calls by the
//!   minute. `reply_windows`: when customers may be answered.
//! - `push`: WeChat calls the server. `push_target`: where, and how it is written there.
//! - `user_name`: people made of their names. `user_keys`: keys of their own. `avatar`, `png`: pictures.
//! - [`faults`]: a bad day of WeChat, on demand. [`settings`]: its limits.
//! - `call_log`: the call log. `state_view`: everything at a glance.
//! - [`http`]: all paths. [`page`]: the phone page of `weappd dev`; `wire_feed`: what it hears,
//!   `wire_history`: also of what was before, `server_news`: and of the business server.
//! - [`error`]: what is refused.
//!
//! # Invariants
//!
//! It never starts unless asked for, and binds nothing itself. It speaks WeChat's words
//! where WeChat is asked and the phone's words where the phone is; pages of other machines
//! get nothing. It calls nobody but the push address it was given. It logs no code and no
//! key. The same name is the same user after every restart. Users, codes, tokens, calls
//! and bodies are bounded.

mod api;
mod app_seals;
mod avatar;
mod call_log;
mod call_quota;
mod code_table;
mod conversation;
mod endpoints;
pub mod error;
pub mod faults;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/simulator.rs"]
pub mod fuzzing;
pub mod http;
mod minute_meter;
mod open_data;
pub mod page;
pub mod phone;
mod platform;
mod png;
mod push;
mod push_target;
mod reply_windows;
mod sealed_calls;
mod server_news;
pub mod settings;
pub mod simulator;
mod state_view;
mod token_book;
mod user_keys;
mod user_name;
mod wechat_refusal;
mod wire_feed;
mod wire_history;

pub use app_seals::SecuritySettings;
pub use error::Error;
pub use faults::{FaultSettings, SimulatedFault};
pub use phone::Phone;
pub use push_target::{PushBodyFormat, PushEncryption, PushSettings};
pub use server_news::ServerNews;
pub use settings::SimulatorSettings;
pub use simulator::{SimulatedApp, Simulator, SimulatorParts};
