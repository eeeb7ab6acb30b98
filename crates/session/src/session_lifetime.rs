//! How long a session lives.

use crate::config::MiniApp;

/// How long the sessions of one mini program live, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionLifetime {
    pub(crate) login_secs: i64,
    pub(crate) idle_secs: i64,
}

impl SessionLifetime {
    /// When a session ends if nobody visits again.
    pub(crate) fn end(&self, created: i64, last_visit: i64) -> i64 {
        let idle_end = last_visit.saturating_add(self.idle_secs);
        idle_end.min(created.saturating_add(self.login_secs))
    }
}

impl From<&MiniApp> for SessionLifetime {
    fn from(app: &MiniApp) -> Self {
        Self {
            login_secs: i64::from(app.login_duration_days) * 86_400,
            idle_secs: i64::try_from(app.session_duration_secs).unwrap_or(i64::MAX),
        }
    }
}
