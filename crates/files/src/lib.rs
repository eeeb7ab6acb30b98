//! Uploads and downloads on a local directory.
//!
//! A phone sends a picture with `wx.uploadFile`; it streams through the multipart parser
//! to a file of its own under `.incoming`, is judged by its first bytes, and once complete
//! is moved to its place under an unguessable name. The answer holds the URL it can be
//! fetched from, whole or in part, by anyone who was told the name.
//!
//! # Map
//!
//! - [`config`]: the `[files]` section.
//! - `store`: the directory; a `Draft` is an upload on its way in.
//! - `name`, `kind`: what a file is called, what it is; `picture`: one that has an owner.
//! - `sip`: keeps the parser from swallowing a body whole.
//! - `upload`, `download`: the two deeds.
//! - [`http`]: the two URLs and the status of each failure.
//!
//! # Invariants
//!
//! A name from outside is used only after it fits the grammar of names this room gives,
//! and no link is ever followed below the root. An upload holds at most a few hundred
//! kilobytes of memory, whatever the phone sends, and leaves no file unless it succeeded.
//! Nothing that can carry a script is shown in place. The disk is touched on `Work` only.

pub mod config;
mod download;
pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod http;
mod kind;
mod name;
mod picture;
mod sip;
mod store;
#[cfg(test)]
mod tests;
mod upload;

pub use config::Config;
pub use error::Error;
pub use picture::Owner;
pub use store::{Files, FilesParts};
