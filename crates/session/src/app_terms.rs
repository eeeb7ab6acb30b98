//! What holds for all sessions of one mini program: how long they live, and whether it is
//! served at all.
//!
//! A reload may change both. Its sessions share one of these, in memory and in logins under
//! way, so that no session goes on by what held before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::session_lifetime::SessionLifetime;

/// What holds for the sessions of one mini program.
#[derive(Debug)]
pub(crate) struct AppTerms {
    login_secs: AtomicU64,
    idle_secs: AtomicU64,
    is_served: AtomicBool,
}

impl AppTerms {
    /// Of a mini program that is served.
    pub(crate) fn of(lifetime: SessionLifetime) -> Arc<Self> {
        Arc::new(Self {
            login_secs: AtomicU64::new(lifetime.login.as_secs()),
            idle_secs: AtomicU64::new(lifetime.idle.as_secs()),
            is_served: AtomicBool::new(true),
        })
    }

    /// It is served, and its sessions live so long.
    pub(crate) fn serve(&self, lifetime: SessionLifetime) {
        self.login_secs
            .store(lifetime.login.as_secs(), Ordering::Relaxed);
        self.idle_secs
            .store(lifetime.idle.as_secs(), Ordering::Relaxed);
        self.is_served.store(true, Ordering::Release);
    }

    /// It is configured no more: its sessions are refused, and stay in the store.
    pub(crate) fn refuse(&self) {
        self.is_served.store(false, Ordering::Release);
    }

    pub(crate) fn is_served(&self) -> bool {
        self.is_served.load(Ordering::Acquire)
    }

    pub(crate) fn lifetime(&self) -> SessionLifetime {
        SessionLifetime {
            login: Duration::from_secs(self.login_secs.load(Ordering::Relaxed)),
            idle: Duration::from_secs(self.idle_secs.load(Ordering::Relaxed)),
        }
    }
}
