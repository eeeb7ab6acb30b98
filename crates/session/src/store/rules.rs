//! What holds for every write.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::config::Config;
use crate::vault::SecretVault;

/// The longest openid our own tables take; WeChat's have 28 characters.
pub(crate) const LONGEST_OPENID: usize = 128;

/// What holds for every write. A reload may change the numbers.
pub(crate) struct WriteRules {
    max_sessions: AtomicUsize,
    keys_kept: AtomicUsize,
    pub(crate) vault: SecretVault,
}

impl WriteRules {
    pub(crate) fn new(config: &Config, vault: SecretVault) -> Self {
        let rules = Self {
            max_sessions: AtomicUsize::new(0),
            keys_kept: AtomicUsize::new(0),
            vault,
        };
        rules.change(config);
        rules
    }

    /// Takes over what a reload may change, for writes to come.
    pub(crate) fn change(&self, config: &Config) {
        let (sessions, keys) = (config.max_sessions_per_user, config.session_keys_kept);
        self.max_sessions
            .store(sessions as usize, Ordering::Relaxed);
        self.keys_kept.store(keys as usize, Ordering::Relaxed);
    }

    /// How many sessions a user may hold.
    pub(crate) fn max_sessions(&self) -> usize {
        self.max_sessions.load(Ordering::Relaxed)
    }

    /// How many session keys of a user are kept.
    pub(crate) fn keys_kept(&self) -> usize {
        self.keys_kept.load(Ordering::Relaxed)
    }
}
