//! Who is connected: all tunnels of this node, found by what their id says.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use parking_lot::RwLock;
use slab::Slab;
use weappd_base::random::RandomSource;

use crate::business::CallbackRoute;
use crate::counters::TunnelCounters;
use crate::id::{SHARDS, TunnelId, TunnelPlace};
use crate::tunnel::Tunnel;

/// All tunnels of this node.
pub(crate) struct TunnelHub {
    node: u16,
    /// How many there may be.
    most: AtomicUsize,
    count: AtomicUsize,
    turn: AtomicUsize,
    /// The keeper's clock: milliseconds since the start, wrapping. Only ages are told by it.
    now: AtomicU32,
    shards: [RwLock<Slab<Arc<Tunnel>>>; SHARDS],
    pub(crate) counts: HubCounts,
    pub(crate) counters: TunnelCounters,
}

/// What happened since the start.
#[derive(Debug, Default)]
pub(crate) struct HubCounts {
    pub(crate) issued: AtomicU64,
    pub(crate) opened: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) closed_slow: AtomicU64,
    pub(crate) closed_silent: AtomicU64,
    pub(crate) violations: AtomicU64,
    pub(crate) messages: AtomicU64,
    pub(crate) pushes: AtomicU64,
    pub(crate) deliveries: AtomicU64,
    pub(crate) undelivered: AtomicU64,
    pub(crate) callbacks: AtomicU64,
    pub(crate) callbacks_taken: AtomicU64,
    pub(crate) callback_retries: AtomicU64,
    pub(crate) callback_failures: AtomicU64,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, more: u64) {
    count.fetch_add(more, Ordering::Relaxed);
}

impl TunnelHub {
    /// No tunnel yet, at most `most`.
    pub(crate) fn new(node: u16, most: usize) -> Self {
        Self {
            node,
            most: AtomicUsize::new(most),
            count: AtomicUsize::new(0),
            turn: AtomicUsize::new(0),
            now: AtomicU32::new(0),
            shards: std::array::from_fn(|_| RwLock::default()),
            counts: HubCounts::default(),
            counters: TunnelCounters::default(),
        }
    }

    /// The keeper's clock.
    pub(crate) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }

    /// Sets the keeper's clock.
    pub(crate) fn set_now(&self, now: u32) {
        self.now.store(now, Ordering::Relaxed);
    }

    /// Allows at most `most` tunnels; who is there stays.
    pub(crate) fn set_most(&self, most: usize) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// Issues a tunnel that waits at most `ttl` for its phone; `None` if there are as many as
    /// allowed.
    pub(crate) fn issue(
        &self,
        route: Arc<CallbackRoute>,
        ttl: u32,
        random: &RandomSource,
    ) -> Option<Arc<Tunnel>> {
        if self.count.fetch_add(1, Ordering::Relaxed) >= self.most.load(Ordering::Relaxed) {
            self.count.fetch_sub(1, Ordering::Relaxed);
            return None;
        }
        let shard = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let mut tunnels = self.shards[shard].write();
        let entry = tunnels.vacant_entry();
        let place = TunnelPlace {
            shard,
            slot: entry.key(),
        };
        let id = TunnelId::mint(self.node, place, random);
        let tunnel = Arc::new(Tunnel::new(id, route, self.now(), ttl));
        entry.insert(Arc::clone(&tunnel));
        add(&self.counts.issued, 1);
        Some(tunnel)
    }

    /// Whether `id` was minted by this node, now or before a restart.
    pub(crate) fn is_ours(&self, id: TunnelId) -> bool {
        id.node() == self.node
    }

    /// Looks at a tunnel where it lies, without taking hold of it.
    pub(crate) fn with<T>(&self, id: TunnelId, look: impl FnOnce(&Arc<Tunnel>) -> T) -> Option<T> {
        let place = id.place();
        let tunnels = self.shards[place.shard].read();
        let tunnel = tunnels.get(place.slot)?;
        (tunnel.id == id).then(|| look(tunnel))
    }

    /// Takes hold of a tunnel.
    pub(crate) fn find(&self, id: TunnelId) -> Option<Arc<Tunnel>> {
        self.with(id, Arc::clone)
    }

    /// Forgets a closed tunnel.
    pub(crate) fn remove(&self, tunnel: &Tunnel) {
        let place = tunnel.id.place();
        let mut tunnels = self.shards[place.shard].write();
        if tunnels
            .get(place.slot)
            .is_some_and(|there| there.id == tunnel.id)
        {
            tunnels.remove(place.slot);
            // What many tunnels took is given back once they are gone.
            if tunnels.is_empty() && tunnels.capacity() > 1024 {
                tunnels.shrink_to_fit();
            }
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// The tunnels of one shard that `choose` chooses.
    pub(crate) fn sweep(
        &self,
        shard: usize,
        mut choose: impl FnMut(&Tunnel) -> bool,
    ) -> Vec<Arc<Tunnel>> {
        let tunnels = self.shards[shard % SHARDS].read();
        let all = tunnels.iter().map(|(_, tunnel)| tunnel);
        all.filter(|tunnel| choose(tunnel)).cloned().collect()
    }

    /// How many tunnels are issued or open.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for TunnelHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelHub({} tunnels)", self.len())
    }
}
