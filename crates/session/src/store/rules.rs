//! What holds for every write.

use crate::vault::SecretVault;

/// The longest openid our own tables take; WeChat's have 28 characters.
pub(crate) const LONGEST_OPENID: usize = 128;

/// What holds for every write.
pub(crate) struct WriteRules {
    pub(crate) max_sessions: usize,
    /// How many session keys of a user are kept.
    pub(crate) keys_kept: usize,
    pub(crate) vault: SecretVault,
}
