//! Sessions in memory: bounded, and never wiser than the store.
//!
//! A session read from the store may be logged out while it is on its way here. So a
//! reader takes a [`CacheTicket`] before it asks the store, and what it read is kept only if
//! nothing was forgotten meanwhile in the same part of the key space.

use std::sync::Arc;

use parking_lot::Mutex;
use quick_cache::sync::{Cache as QuickCache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, Weighter};

use crate::session::CachedSession;
use crate::skey::{BuildSkeyHasher, SkeyHash};

/// How many parts of the key space count their forgettings apart.
const PARTS: usize = 64;

#[derive(Clone)]
struct SessionWeighter;

impl Weighter<SkeyHash, Arc<CachedSession>> for SessionWeighter {
    fn weight(&self, _: &SkeyHash, session: &Arc<CachedSession>) -> u64 {
        session.weight()
    }
}

/// Permission to keep what is read from the store from now on.
pub(crate) struct CacheTicket {
    hash: SkeyHash,
    forgotten: u64,
}

/// The sessions remembered.
pub(crate) struct SessionCache {
    sessions: QuickCache<SkeyHash, Arc<CachedSession>, SessionWeighter, BuildSkeyHasher>,
    /// How often something was forgotten, by part of the key space.
    forgotten: [Mutex<u64>; PARTS],
}

impl SessionCache {
    /// Remembers sessions of about `bytes` in total.
    pub(crate) fn new(bytes: u64) -> Self {
        let options = OptionsBuilder::new()
            .estimated_items_capacity(usize::try_from(bytes / 2048).unwrap_or(usize::MAX))
            .weight_capacity(bytes)
            .build()
            .unwrap_or_else(|_| unreachable!("both capacities are given"));
        Self {
            sessions: QuickCache::with_options(
                options,
                SessionWeighter,
                BuildSkeyHasher::default(),
                DefaultLifecycle::default(),
            ),
            forgotten: std::array::from_fn(|_| Mutex::new(0)),
        }
    }

    /// How many sessions are remembered.
    pub(crate) fn count(&self) -> u64 {
        self.sessions.len() as u64
    }

    /// About how many bytes they take.
    pub(crate) fn weight(&self) -> u64 {
        self.sessions.weight()
    }

    /// Remembers sessions of about `bytes` from now on.
    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.sessions.set_capacity(bytes);
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> u64 {
        self.sessions.capacity()
    }

    pub(crate) fn get(&self, hash: &SkeyHash) -> Option<Arc<CachedSession>> {
        self.sessions.get(hash)
    }

    /// Must be called before the store is asked.
    pub(crate) fn ticket(&self, hash: SkeyHash) -> CacheTicket {
        CacheTicket {
            hash,
            forgotten: *self.part(&hash).lock(),
        }
    }

    /// Keeps a session that was read from the store, unless it may have ended meanwhile.
    pub(crate) fn keep(&self, ticket: &CacheTicket, session: Arc<CachedSession>) {
        let forgotten = self.part(&ticket.hash).lock();
        if *forgotten == ticket.forgotten {
            self.sessions.insert(ticket.hash, session);
        }
    }

    /// Keeps a session the store has just opened. Only the store's one writer may call
    /// this, in the order of its transactions.
    pub(crate) fn opened(&self, session: Arc<CachedSession>) {
        let _in_order = self.part(&session.hash).lock();
        self.sessions.insert(session.hash, session);
    }

    /// Forgets a session that ended or whose user changed. On return nobody finds it here.
    pub(crate) fn forget(&self, hash: &SkeyHash) {
        let mut forgotten = self.part(hash).lock();
        *forgotten += 1;
        self.sessions.remove(hash);
    }

    /// Forgets all sessions.
    pub(crate) fn forget_all(&self) {
        for part in &self.forgotten {
            *part.lock() += 1;
        }
        self.sessions.clear();
        // What was opened between the two is found in the store.
        for part in &self.forgotten {
            *part.lock() += 1;
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "only the lowest bits are wanted"
    )]
    fn part(&self, hash: &SkeyHash) -> &Mutex<u64> {
        &self.forgotten[hash.word() as usize % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::session;

    #[test]
    fn what_was_forgotten_while_it_was_read_is_not_kept() {
        let cache = SessionCache::new(1 << 20);
        let hash = SkeyHash([7; 32]);
        let late = cache.ticket(hash);
        cache.forget(&hash);
        cache.keep(&late, Arc::new(session(hash)));
        assert!(cache.get(&hash).is_none());
        cache.keep(&cache.ticket(hash), Arc::new(session(hash)));
        assert!(cache.get(&hash).is_some());
        cache.forget(&hash);
        assert!(cache.get(&hash).is_none());
    }

    #[test]
    fn the_memory_is_bounded() {
        let cache = SessionCache::new(100_000);
        for n in 0..10_000_u32 {
            let hash = SkeyHash::of(&n.to_string());
            cache.opened(Arc::new(session(hash)));
        }
        let kept = (0..10_000_u32)
            .filter(|n| cache.get(&SkeyHash::of(&n.to_string())).is_some())
            .count();
        assert!(
            (1..=170).contains(&kept),
            "{kept} sessions of about 600 bytes"
        );
    }
}
