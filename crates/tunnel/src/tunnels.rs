//! The room's head: what other rooms hold of it, and what its own parts share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::business::CallbackRoute;
use crate::callback::{CallbackSender, SenderParts};
use crate::config::Config;
use crate::counters::{CloseCause, MessageWay};
use crate::error::Error;
use crate::hub::{TunnelHub, add};
use crate::id::{SHARDS, TunnelId};
use crate::stats::{IssuedTunnel, TunnelStats, TunnelView};
use crate::table::TunnelTable;
use crate::tunnel::{CloseReason, MessageOutcome, Tunnel, TunnelPhase};
use crate::waker::{ThreadWaker, WakeBatch};

/// How often the end of callbacks is looked for while weappd goes down.
const DRAIN_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// Where tunnels are opened, under the site's root.
pub const WS_PATH: &str = "/weapp/ws";

/// What the room is built from.
#[derive(Debug)]
pub struct TunnelServerParts {
    /// The `[tunnel]` section.
    pub config: Config,
    /// Dates callbacks.
    pub clock: Clock,
    /// Makes ids and keys.
    pub random: RandomSource,
    /// Where callbacks run.
    pub work: Work,
    /// Owns every task of the room.
    pub tasks: Tasks,
    /// Hears every packet, callback and push.
    pub tap: TrafficTap,
    /// Asked: tunnels are let go over `drain_secs`. Forced: what is left ends.
    pub stop: Stop,
}

/// All tunnels of this node. Cheap to clone.
#[derive(Clone)]
pub struct TunnelServer(Arc<Shared>);

struct Shared {
    table: ArcSwap<TunnelTable>,
    /// Held while a reload changes the table.
    changes: Mutex<()>,
    hub: Arc<TunnelHub>,
    sender: Arc<CallbackSender>,
    random: RandomSource,
    work: Work,
    tasks: Tasks,
    /// The callbacks' tasks, which the keeper waits for at the end.
    lanes: Tasks,
    /// Ends them.
    last_call: Stop,
    tap: TrafficTap,
    stop: Stop,
}

impl TunnelServer {
    /// The room without its keeper.
    pub(crate) fn new(parts: TunnelServerParts) -> Result<Self, Error> {
        let config = parts.config;
        if let Some(problem) = config.problems().into_iter().next() {
            return Err(Error::Setting {
                field: problem.field.into_owned(),
                message: problem.message,
            });
        }
        let hub = Arc::new(TunnelHub::new(config.node, config.max_tunnels));
        let last_call = Stop::new();
        let sender = CallbackSender::new(
            &config,
            SenderParts {
                clock: parts.clock,
                random: parts.random.clone(),
                stop: last_call.clone(),
                tap: parts.tap.clone(),
                hub: Arc::clone(&hub),
            },
        )?;
        Ok(Self(Arc::new(Shared {
            table: ArcSwap::from_pointee(TunnelTable::new(config, &parts.random)),
            changes: Mutex::new(()),
            hub,
            sender: Arc::new(sender),
            random: parts.random,
            work: parts.work,
            tasks: parts.tasks,
            lanes: Tasks::new(),
            last_call,
            tap: parts.tap,
            stop: parts.stop,
        })))
    }

    /// Issues a tunnel whose callbacks go to `business` (its host as configured): to its
    /// `receive` URL, or else to `path` of the host. `public_ws_base` is `wss://host` as the
    /// phone knows this server.
    pub fn issue(
        &self,
        business: &str,
        path: &str,
        public_ws_base: &str,
    ) -> Result<IssuedTunnel, Error> {
        let table = self.table();
        let business = table
            .businesses
            .by_host(business)
            .ok_or_else(|| Error::UnknownBusiness(business.to_owned()))?;
        self.issue_on(business.own_route(path)?, public_ws_base)
    }

    /// Issues a tunnel whose callbacks take `route`.
    pub(crate) fn issue_on(
        &self,
        route: Arc<CallbackRoute>,
        base: &str,
    ) -> Result<IssuedTunnel, Error> {
        if self.0.stop.is_asked() {
            return Err(Error::Full);
        }
        let table = self.table();
        let issued = self.0.hub.issue(route, table.limits.ttl, &self.0.random);
        let tunnel = issued.ok_or(Error::Full)?;
        if tunnel.route.business.is_removed() {
            // Its other tunnels were closed before this one was there.
            let removed = Some(CloseReason::Removed);
            self.close(&tunnel, None, removed, &mut WakeBatch::default());
            let host = tunnel.route.business.host.clone();
            return Err(Error::UnknownBusiness(host));
        }
        let token = table.tokens.token(tunnel.id);
        Ok(IssuedTunnel {
            tunnel_id: tunnel.id.to_string(),
            connect_url: format!("{}{WS_PATH}/{token}", base.trim_end_matches('/')),
        })
    }

    /// At most `most` tunnels, for the operator.
    pub fn list(&self, most: usize) -> Vec<TunnelView> {
        let now = self.0.hub.now();
        let mut views = Vec::new();
        for shard in 0..SHARDS {
            let left = most - views.len();
            let mut taken = 0;
            let some = self.0.hub.sweep(shard, |_| {
                taken += 1;
                taken <= left
            });
            views.extend(some.iter().map(|tunnel| view(tunnel, now)));
        }
        views
    }

    /// What happened since the start, and how many tunnels there are.
    pub fn stats(&self) -> TunnelStats {
        let counts = &self.0.hub.counts;
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        TunnelStats {
            tunnels: self.0.hub.len() as u64,
            issued: read(&counts.issued),
            opened: read(&counts.opened),
            closed: read(&counts.closed),
            expired: read(&counts.expired),
            closed_slow: read(&counts.closed_slow),
            closed_silent: read(&counts.closed_silent),
            violations: read(&counts.violations),
            messages: read(&counts.messages),
            pushes: read(&counts.pushes),
            deliveries: read(&counts.deliveries),
            undelivered: read(&counts.undelivered),
            callbacks: read(&counts.callbacks),
            callback_retries: read(&counts.callback_retries),
            callback_failures: read(&counts.callback_failures),
            businesses: self.table().businesses.all().map(|b| b.stats()).collect(),
        }
    }

    /// Waits until all callbacks are delivered, as long as some are: not longer than `patience`
    /// without one that was taken.
    pub(crate) async fn last_callbacks(&self, patience: Duration) {
        let Shared {
            lanes,
            last_call,
            stop,
            ..
        } = &*self.0;
        let heard = || self.0.hub.counts.callbacks_taken.load(Ordering::Relaxed);
        let mut before = heard();
        // Silence is counted in looks: time in which weappd itself found no processor is not
        // the business servers'.
        let mut silence = Duration::ZERO;
        while silence < patience
            && tokio::select! {
                all = lanes.finish(DRAIN_CHECK_INTERVAL) => !all,
                () = stop.forced() => false,
            }
        {
            let now = heard();
            silence = if now == before {
                silence + DRAIN_CHECK_INTERVAL
            } else {
                Duration::ZERO
            };
            before = now;
        }
        last_call.force();
        // What is left has nothing more to wait for.
        lanes.finish(Duration::from_secs(1)).await;
        for business in self.table().businesses.all() {
            business.tell_losses();
        }
    }

    /// Opens a tunnel for a phone on this thread: the tunnel and the phone's epoch.
    pub(crate) fn open(&self, id: TunnelId) -> Result<(Arc<Tunnel>, u32), CloseReason> {
        if self.0.stop.is_asked() {
            return Err(CloseReason::Draining);
        }
        let tunnel = self.0.hub.find(id).ok_or(CloseReason::Expired)?;
        let thread = ThreadWaker::current(&self.0.tasks);
        let (epoch, first) = tunnel
            .open(thread, self.0.hub.now(), self.table().limits.silence)
            .ok_or(CloseReason::Expired)?;
        if first {
            add(&self.0.hub.counts.opened, 1);
            self.start_lane(&tunnel);
        }
        Ok((tunnel, epoch))
    }

    /// The phone of `epoch` sent a message; see [`Tunnel::outcome`].
    pub(crate) fn take_message(
        &self,
        tunnel: &Arc<Tunnel>,
        epoch: u32,
        content: &str,
    ) -> Option<MessageOutcome> {
        let outcome = tunnel.take_message(epoch, content)?;
        let hub = &self.0.hub;
        add(&hub.counts.messages, 1);
        hub.counters.bytes.add(MessageWay::In, content.len() as u64);
        if outcome.start_lane {
            self.start_lane(tunnel);
        }
        Some(outcome)
    }

    /// Closes a tunnel once, whoever comes first: `by` is a socket's epoch, or nobody's.
    pub(crate) fn close(
        &self,
        tunnel: &Arc<Tunnel>,
        by: Option<u32>,
        close_reason: Option<CloseReason>,
        wakes: &mut WakeBatch,
    ) -> bool {
        let Some(closed) = tunnel.close(by, close_reason, wakes) else {
            return false;
        };
        self.0.hub.remove(tunnel);
        let counts = &self.0.hub.counts;
        let cause = CloseCause::of(close_reason);
        self.0.hub.counters.closes.inc(cause);
        if closed.was == TunnelPhase::Open {
            add(&counts.closed, 1);
        }
        match close_reason {
            Some(CloseReason::Slow) => add(&counts.closed_slow, 1),
            Some(CloseReason::Silent) => add(&counts.closed_silent, 1),
            Some(CloseReason::Expired) => add(&counts.expired, 1),
            _ => {}
        }
        if closed.start_lane {
            self.start_lane(tunnel);
        }
        true
    }

    fn start_lane(&self, tunnel: &Arc<Tunnel>) {
        let sender = Arc::clone(&self.0.sender);
        let tunnel = Arc::clone(tunnel);
        self.0
            .lanes
            .spawn_on(&self.0.work, async move { sender.serve(&tunnel).await });
    }

    /// What holds now: for a look, not across a wait.
    pub(crate) fn table(&self) -> Guard<Arc<TunnelTable>> {
        self.0.table.load()
    }

    /// Puts what `change` makes of the table in its place; gives the one before and after.
    pub(crate) fn change_table(
        &self,
        change: impl FnOnce(&TunnelTable, &RandomSource) -> TunnelTable,
    ) -> (Arc<TunnelTable>, Arc<TunnelTable>) {
        let _one_at_a_time = self.0.changes.lock();
        let before = self.0.table.load_full();
        let after = Arc::new(change(&before, &self.0.random));
        self.0.table.store(Arc::clone(&after));
        (before, after)
    }

    pub(crate) fn hub(&self) -> &TunnelHub {
        &self.0.hub
    }

    pub(crate) fn sender(&self) -> &CallbackSender {
        &self.0.sender
    }

    pub(crate) fn tap(&self) -> &TrafficTap {
        &self.0.tap
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn work(&self) -> &Work {
        &self.0.work
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.0.stop
    }
}

impl fmt::Debug for TunnelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TunnelServer({:?})", self.0.hub)
    }
}

fn view(tunnel: &Tunnel, now: u32) -> TunnelView {
    let snapshot = tunnel.snapshot(now);
    TunnelView {
        tunnel_id: tunnel.id.to_string(),
        business: tunnel.route.business.host.clone(),
        state: match snapshot.phase {
            TunnelPhase::Issued => "issued",
            TunnelPhase::Open => "open",
            TunnelPhase::Closed => "closed",
        },
        silent_secs: snapshot.silence_ms / 1000,
        queued_bytes: snapshot.queued_bytes,
        waiting_callbacks: snapshot.waiting_callbacks,
    }
}
