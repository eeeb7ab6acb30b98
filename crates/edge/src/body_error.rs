//! Why a body could not be read to its end.

/// Why a body could not be read to its end.
pub(crate) type EdgeBodyError = Box<dyn std::error::Error + Send + Sync>;
