//! One writer for many callers (group commit).
//!
//! What arrives while a transaction is on its way to the disk goes into the next one, and each
//! caller is answered after its COMMIT: one disk flush serves as many as were waiting.
//!
//! # Map
//!
//! - [`target`]: what the writer needs of a database.
//! - [`writer`]: the queue in front of it, and the task that empties it.
//! - [`reply`]: the way back, with one wake-up for all callers of a thread.
//! - [`counts`]: what it has done, in numbers.
//!
//! # Invariants
//!
//! Jobs are written in the order they came. An answer that says "written" means on the disk. A job
//! that the database does not take for what is in it takes no other along: the rest of its batch is
//! written without it. The queue is bounded: who finds it full waits. This room opens no database.

pub mod counts;
pub mod reply;
pub mod target;
pub mod writer;

pub use counts::WriteCounts;
pub use reply::{ReplyBatch, WriteReply};
pub use target::{Committed, WriteTarget};
pub use writer::{DurableWriter, WriterClosed};
