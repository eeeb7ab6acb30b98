//! A fake WeChat and a fake phone: the tests' only fake, and a tool we ship.
//!
//! A server that speaks WeChat's wire and a phone that gets from it what a real one gets:
//! codes, session keys, encrypted and signed user data. No `AppID`, domain or network is
//! needed, and nothing on the server under test knows the difference.
//!
//! # Map
//!
//! - [`simulator`]: the head; mini programs, users, time and chance.
//! - [`phone`]: what `wx.*` calls get (`wx.login`, `wx.getUserInfo`, ...).
//! - `platform`: what WeChat's server answers (`jscode2session`).
//! - `codes`: five minutes, one use. `user`: people made of their names. `avatar`: their
//!   pictures.
//! - [`faults`]: a bad day of WeChat, on demand.
//! - [`http`]: all paths. [`page`]: the phone page of `weappd dev`.
//! - [`error`]: what is refused.
//!
//! # Invariants
//!
//! It never starts unless asked for, and binds nothing itself. It speaks WeChat's words
//! where WeChat is asked and the phone's words where the phone is; pages of other machines
//! get nothing. It logs no code and no key. The same name is the same user after every
//! restart. Users, codes and bodies are bounded.

mod avatar;
mod codes;
pub mod error;
pub mod faults;
pub mod http;
pub mod page;
pub mod phone;
mod platform;
pub mod simulator;
mod user;

pub use error::Error;
pub use faults::{Fault, Faults};
pub use phone::Phone;
pub use simulator::{MiniApp, Parts, Simulator};
