//! One change of a user's profile at a time.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// How many users change their profiles at once without waiting for each other.
const LANES: usize = 64;

/// One change of a user's profile after the other: each begins with what the one before
/// left, so that none is lost, and of two pictures one goes.
pub(crate) struct ProfileLocks([Arc<Mutex<()>>; LANES]);

impl Default for ProfileLocks {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Arc::default()))
    }
}

impl ProfileLocks {
    pub(crate) async fn take(&self, user: i64) -> Option<OwnedMutexGuard<()>> {
        // The low bits of the user's number, which grows by one.
        let lane = usize::from(user.to_le_bytes()[0]) % LANES;
        let lane = self.0.get(lane)?;
        Some(Arc::clone(lane).lock_owned().await)
    }
}
