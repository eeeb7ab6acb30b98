//! Bytes served over HTTP, the same way for the files of a site and for uploads.
//!
//! # Map
//!
//! - [`meta`]: what is known of the bytes, made once and kept with them.
//! - [`choice`]: what answers a request: conditions first, then one range (RFC 9110, 13 and 14).
//!
//! # Invariants
//!
//! Nothing here reads a byte or allocates for a whole answer. A range is given to GET only, and
//! only one at a time: several are answered with everything, as the RFC allows.

pub mod choice;
pub mod meta;

pub use choice::ContentChoice;
pub use meta::ContentMeta;
