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
//!   `conversation`: what a user does with messages. `open_data`: steps and groups.
//! - `platform`: what WeChat's server answers to a login, and all its refusals. `api`: its
//!   other calls. `endpoints`: the paths it knows.
//! - `sealed`: calls encrypted and signed. `quota`: calls by the day.
//! - `credential`: `access_token`s. `codes`: five minutes, one use. `meter`: calls by the
//!   minute. `windows`: when customers may be answered.
//! - [`push`]: WeChat calls the server.
//! - `user`: people made of their names. `user_keys`: keys of their own. `avatar`, `png`: pictures.
//! - [`faults`]: a bad day of WeChat, on demand. [`settings`]: its limits.
//! - `calls`: the call log. `overview`: everything at a glance.
//! - [`http`]: all paths. [`page`]: the phone page of `weappd dev`.
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
mod avatar;
mod calls;
mod codes;
mod conversation;
mod credential;
mod endpoints;
pub mod error;
pub mod faults;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
mod meter;
mod open_data;
mod overview;
pub mod page;
pub mod phone;
mod platform;
mod png;
pub mod push;
mod quota;
mod sealed;
pub mod settings;
pub mod simulator;
mod user;
mod user_keys;
mod windows;

pub use error::Error;
pub use faults::{Fault, Faults};
pub use phone::Phone;
pub use push::PushSettings;
pub use sealed::ApiSecurity;
pub use settings::Settings;
pub use simulator::{MiniApp, Parts, Simulator};
