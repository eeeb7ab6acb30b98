//! How long a session lives.

use std::time::Duration;

use weappd_base::unix_time::UnixSecs;

use crate::config::MiniApp;

/// How long the sessions of one mini program live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SessionLifetime {
    pub(crate) login: Duration,
    pub(crate) idle: Duration,
}

impl SessionLifetime {
    /// When a session ends if nobody visits again.
    pub(crate) fn end(&self, created: UnixSecs, last_visit: UnixSecs) -> UnixSecs {
        (last_visit + self.idle).min(created + self.login)
    }
}

impl From<&MiniApp> for SessionLifetime {
    fn from(app: &MiniApp) -> Self {
        Self {
            login: Duration::from_hours(24 * u64::from(app.login_duration_days)),
            idle: Duration::from_secs(app.session_duration_secs),
        }
    }
}
