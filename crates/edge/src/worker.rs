//! One edge thread: its connections, its upstream pool, its part of the access log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::server::ProducesTickets;
use tokio::sync::watch;
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks};

use crate::body::EdgeBody;
use crate::caller::client_share::ClientShares;
use crate::conn::conn_count::ConnCount;
use crate::conn::listener_registry::ListenerRegistry;
use crate::log::access_log::LogBuffer;
use crate::log::log_switch::LogSwitch;
use crate::log::throttled_log::ThrottledLog;
use crate::route::challenge::AcmeChallenges;
use crate::tables::{EdgeTables, TableSlot, ThreadTables};
use crate::thread_counters::ThreadCounters;
use crate::upstream::address::UpstreamAddr;
use crate::upstream::app_upstreams::{self, AppUpstreams};
use crate::upstream::health::UpstreamHealth;
use crate::upstream::pool::UpstreamPool;

/// What all edge threads share, and no reload replaces.
pub(crate) struct Shared {
    /// One for each edge thread.
    pub(crate) slots: Vec<Arc<TableSlot>>,
    /// One for each edge thread.
    pub(crate) counters: Vec<Arc<ThreadCounters>>,
    /// What all of them hold.
    pub(crate) tables: ArcSwap<EdgeTables>,
    /// Held while a reload is committed.
    pub(crate) commits: Mutex<()>,
    pub(crate) ticketer: Arc<dyn ProducesTickets>,
    pub(crate) upstreams: watch::Receiver<AppUpstreams>,
    pub(crate) tap: TrafficTap,
    pub(crate) clock: Clock,
    pub(crate) challenges: AcmeChallenges,
    pub(crate) throttled_log: Arc<ThrottledLog>,
    pub(crate) health: UpstreamHealth,
    pub(crate) inside: bool,
    pub(crate) clients: Arc<ClientShares>,
    pub(crate) listeners: ListenerRegistry,
    pub(crate) log_switch: Arc<LogSwitch>,
}

impl Shared {
    /// What all threads go by.
    pub(crate) fn tables(&self) -> Arc<EdgeTables> {
        self.tables.load_full()
    }
}

/// One edge thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    slot: Arc<TableSlot>,
    pub(crate) counters: Arc<ThreadCounters>,
    pub(crate) pool: UpstreamPool<EdgeBody>,
    pub(crate) tasks: Tasks,
    /// This thread's own stop: asking it wakes this thread only.
    pub(crate) stop: Stop,
    /// Connections alive on this thread, tunnels too.
    pub(crate) conn_count: Arc<ConnCount>,
    log_buffer: Option<Arc<LogBuffer>>,
    turn: AtomicUsize,
}

impl Worker {
    pub(crate) fn new(
        shared: Arc<Shared>,
        (slot, counters): (Arc<TableSlot>, Arc<ThreadCounters>),
        log_buffer: Option<LogBuffer>,
    ) -> Self {
        let tasks = Tasks::new();
        Self {
            pool: UpstreamPool::new(tasks.clone()),
            shared,
            slot,
            tasks,
            stop: Stop::new(),
            conn_count: Arc::clone(&counters.conn_count),
            counters,
            log_buffer: log_buffer.map(Arc::new),
            turn: AtomicUsize::new(0),
        }
    }

    /// What this thread goes by now. A request takes it once; nothing that lives longer keeps it.
    pub(crate) fn tables(&self) -> Arc<ThreadTables> {
        self.slot.load_full()
    }

    pub(crate) fn tap(&self) -> &TrafficTap {
        &self.shared.tap
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// The requests under way of each client, on all threads.
    pub(crate) fn clients(&self) -> &Arc<ClientShares> {
        &self.shared.clients
    }

    /// Log lines that any client can cause.
    pub(crate) fn throttled_log(&self) -> &Arc<ThrottledLog> {
        &self.shared.throttled_log
    }

    /// Which business servers rest, on all threads.
    pub(crate) fn health(&self) -> &UpstreamHealth {
        &self.shared.health
    }

    /// Whether only weappd itself reaches these listeners.
    pub(crate) fn inside(&self) -> bool {
        self.shared.inside
    }

    pub(crate) fn challenges(&self) -> &AcmeChallenges {
        &self.shared.challenges
    }

    pub(crate) fn upstreams(&self) -> watch::Receiver<AppUpstreams> {
        self.shared.upstreams.clone()
    }

    /// The log buffer, if there is an access log.
    pub(crate) fn log_buffer(&self) -> Option<&Arc<LogBuffer>> {
        self.log_buffer.as_ref()
    }

    /// The next ready instance of an app.
    pub(crate) fn pick(&self, app: &str) -> Option<UpstreamAddr> {
        let upstreams = self.shared.upstreams.borrow();
        let ready = upstreams.get(app)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        app_upstreams::pick(ready, turn)
    }
}
