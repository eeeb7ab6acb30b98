//! Speaks WeChat's contract and holds no server: calls, open data, pushed messages.
//!
//! A mini program logs in with a code that only WeChat can read; user data reaches the
//! server encrypted under a key that only WeChat hands out; messages arrive signed and
//! encrypted. This room knows those formats and nothing about users, sessions or routes.
//!
//! # Map
//!
//! - [`config`]: where WeChat is and how long to wait.
//! - [`client`]: calls WeChat's server; [`wire`] reads the answers; `reload` makes the next client.
//! - [`calls`]: a call that needs an `access_token`, for whoever holds it.
//! - [`errcode`]: WeChat's error numbers, and what a person can do.
//! - [`open_data`]: what the phone carries encrypted; its signatures.
//! - [`message`]: what WeChat pushes; [`envelope`] is its wrapping.
//! - [`withdrawal`]: what a user takes back of what they told.
//! - [`lenient`]: JSON as WeChat writes it.
//! - [`api_sign`]: calls encrypted and signed, where a mini program asks for it.
//! - [`error`]: all of this room's failures.
//!
//! # Invariants
//!
//! This room keeps no user and no key. No error, log line or tap report of it holds a
//! secret, a code or a session key. Every signature is compared in constant time. No
//! input, however broken, makes it panic.

pub mod api_sign;
pub mod calls;
pub mod client;
pub mod config;
pub mod envelope;
pub mod errcode;
pub mod error;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/wechat.rs"]
pub mod fuzzing;
pub mod lenient;
mod lenient_base64;
pub mod message;
pub mod open_data;
mod reload;
#[cfg(test)]
mod vectors;
pub mod wire;
pub mod withdrawal;

pub use calls::{CallError, WechatCall, WechatCalls};
pub use client::{AppCredential, WechatClient};
pub use config::{API_HOSTS, Config, is_api_host};
pub use error::Error;
pub use lenient::{lenient_json, mend_json};
pub use wire::WechatLogin;
pub use withdrawal::{ConsentWithdrawal, WithdrawnData};
