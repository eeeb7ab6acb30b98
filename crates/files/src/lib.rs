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
//! - [`files`]: the open room. `store`: its directory; `upload_draft`: an upload on its way in.
//! - `file_name`, `file_type`: what a file is called, what it is; `picture`: one that a user
//!   shows of themselves, `picture_owner`: how its name tells whose it is.
//! - `file_settings`: what `[files]` says now; `reload`: how it changes. `transfer_counters`, `metrics`:
//!   what is counted.
//! - `chunk_gate`: keeps the parser from reading a body whole.
//! - `upload`, `download`: the two deeds.
//! - [`http`]: the two URLs and the status of each failure.
//!
//! # Invariants
//!
//! A name from outside is used only after it fits the grammar of names this room gives,
//! and no link is ever followed below the root. An upload holds at most a few hundred
//! kilobytes of memory, whatever the phone sends, and leaves no file unless it succeeded.
//! Nothing that can carry a script is shown in place. The disk is touched on `Work` only.

mod chunk_gate;
pub mod config;
mod download;
pub mod error;
mod file_name;
mod file_settings;
mod file_type;
pub mod files;
#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/files.rs"]
pub mod fuzzing;
pub mod http;
mod metrics;
mod picture;
mod picture_owner;
mod reload;
mod store;
#[cfg(test)]
mod tests;
mod transfer_counters;
mod upload;
mod upload_draft;

pub use config::Config;
pub use error::Error;
pub use files::{Files, FilesParts};
pub use picture_owner::PictureOwner;
pub use reload::StagedFiles;
