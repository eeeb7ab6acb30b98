//! Whose session keys are meant.

use std::sync::Arc;

use crate::identity::UserIdentity;
use crate::session::CachedSession;

/// A user whose session keys are meant.
#[derive(Clone)]
pub(crate) struct KeyOwner {
    /// The user's row.
    pub(crate) user: i64,
    pub(crate) who: Arc<UserIdentity>,
}

impl KeyOwner {
    pub(crate) fn of(session: &CachedSession) -> Self {
        Self {
            user: session.user,
            who: Arc::clone(&session.identity),
        }
    }
}
