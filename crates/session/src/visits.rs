//! Visits are written behind: listed as they happen, written a few seconds later.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::Error;
use crate::session::CachedSession;
use crate::store::SessionStore;
use crate::store::write::visits::LastVisits;

/// How many visits one transaction writes.
const CHUNK: usize = 1000;
/// How many visits may wait while the store refuses to write.
const MAX_WAITING: usize = 1_000_000;

/// The sessions whose last visit is to be written.
#[derive(Default)]
pub(crate) struct PendingVisits(Mutex<Vec<Arc<CachedSession>>>);

impl PendingVisits {
    /// Lists a visit for writing.
    pub(crate) fn list(&self, session: Arc<CachedSession>) {
        self.0.lock().push(session);
    }

    /// Writes all that is listed. What cannot be written is listed again.
    pub(crate) async fn write(&self, store: &SessionStore) -> Result<(), Error> {
        let listed = std::mem::take(&mut *self.0.lock());
        let mut rest = listed.as_slice();
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(rest.len().min(CHUNK));
            let visits = chunk.iter().map(|session| session.take_visit()).collect();
            if let Err(err) = store.write(LastVisits(visits)).await {
                let mut waiting = self.0.lock();
                let unwritten = chunk.iter().filter(|session| session.relist());
                // Those after the chunk were never taken off the list.
                for session in unwritten.chain(later) {
                    if waiting.len() < MAX_WAITING {
                        waiting.push(Arc::clone(session));
                    } else {
                        // Given up: only the session's next visit lists it again.
                        session.take_visit();
                    }
                }
                return Err(err);
            }
            rest = later;
        }
        Ok(())
    }
}
