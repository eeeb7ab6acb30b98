//! Where a plan is read, at the start and at each reload.

use std::path::Path;

use crate::config::WrittenKeys;
use crate::exit::ExitFailure;
use crate::plan::{ListenAddrs, ServerPlan};

/// Where a plan comes from, again and again.
pub(crate) trait PlanSource: Send + Sync + 'static {
    /// Reads and checks everything anew. May block.
    fn read(&self) -> Result<ReadPlan, ExitFailure>;

    /// The file it is read from.
    fn file(&self) -> &Path;
}

/// A plan as it was read.
pub(crate) struct ReadPlan {
    pub(crate) plan: ServerPlan,
    /// Where it wants to be reached.
    pub(crate) listen: ListenAddrs,
    /// What is logged, as a filter.
    pub(crate) log_level: String,
    /// The keys that the file sets.
    pub(crate) keys: WrittenKeys,
    /// Warnings, as `weappd check` shows them.
    pub(crate) warnings: String,
}
