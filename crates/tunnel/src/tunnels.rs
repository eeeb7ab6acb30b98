//! The room's head: what other rooms hold of it, and what its own parts share.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde::Serialize;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::bell::{Bell, Wakes};
use crate::business::{Businesses, Route};
use crate::callback::{Courier, CourierParts};
use crate::config::Config;
use crate::error::Error;
use crate::hub::{Hub, add};
use crate::id::{Gatekeeper, SHARDS, TunnelId};
use crate::keeper;
use crate::tunnel::{Goodbye, Limits, Phase, Said, Tunnel};

/// How often the end of callbacks is looked for while weappd goes down.
const LOOK: Duration = Duration::from_millis(100);

/// Where tunnels are opened, under the site's root.
pub const WS_PATH: &str = "/weapp/ws";

/// What the room is built from.
#[derive(Debug)]
pub struct TunnelsParts {
    /// The `[tunnel]` section.
    pub config: Config,
    /// Dates callbacks.
    pub clock: Clock,
    /// Makes ids and keys.
    pub tokens: RandomSource,
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
pub struct Tunnels(Arc<Shared>);

struct Shared {
    config: Config,
    limits: Limits,
    hub: Arc<Hub>,
    gatekeeper: Gatekeeper,
    businesses: Businesses,
    courier: Arc<Courier>,
    tokens: RandomSource,
    work: Work,
    tasks: Tasks,
    /// The callbacks' tasks, which the keeper waits for at the end.
    lanes: Tasks,
    /// Ends them.
    last_call: Stop,
    tap: TrafficTap,
    stop: Stop,
}

/// A tunnel that waits for its phone.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Issued {
    /// What the business server calls it.
    pub tunnel_id: String,
    /// What the phone opens, once and soon. Whoever has it is that phone.
    pub connect_url: String,
}

/// What the operator sees of one tunnel.
#[derive(Clone, Debug, Serialize)]
pub struct TunnelView {
    /// Its tunnelId.
    pub tunnel_id: String,
    /// The host of its business server.
    pub business: String,
    /// `issued` or `open`.
    pub state: &'static str,
    /// Seconds since its phone was heard, or since it was issued.
    pub silent_secs: u32,
    /// Bytes waiting for the phone.
    pub queued_bytes: usize,
    /// Callbacks waiting for the business server.
    pub waiting_callbacks: usize,
}

/// What the room did since the start, and holds now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Tunnels issued or open now.
    pub tunnels: u64,
    /// Tunnels issued.
    pub issued: u64,
    /// Tunnels a phone opened.
    pub opened: u64,
    /// Opened tunnels that closed.
    pub closed: u64,
    /// Issued tunnels no phone opened in time.
    pub expired: u64,
    /// Closed because the phone did not read.
    pub closed_slow: u64,
    /// Closed because the phone fell silent.
    pub closed_silent: u64,
    /// Closed because the phone broke the WebSocket rules.
    pub violations: u64,
    /// Messages phones sent.
    pub messages: u64,
    /// Packets business servers pushed.
    pub pushes: u64,
    /// Deliveries those packets made.
    pub deliveries: u64,
    /// Deliveries that could not be made to tunnels that live.
    pub undelivered: u64,
    /// Callbacks tried.
    pub callbacks: u64,
    /// Of these, tried again.
    pub callback_retries: u64,
    /// Callbacks given up.
    pub callback_failures: u64,
    /// How the business servers take their callbacks.
    pub businesses: Vec<BusinessStats>,
}

/// How a business server takes its callbacks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BusinessStats {
    /// Its host.
    pub host: String,
    /// Callbacks that failed and wait to go again.
    pub waiting: u64,
    /// Callbacks tried again since the start.
    pub retries: u64,
    /// Callbacks given up since the start.
    pub given_up: u64,
    /// What went wrong last, while it does not take its callbacks.
    pub trouble: Option<String>,
}

impl Tunnels {
    /// Builds the room and starts its keeper on the work runtime.
    pub fn build(parts: TunnelsParts) -> Result<Self, Error> {
        let config = parts.config;
        if let Some((field, message, _)) = config.problems().into_iter().next() {
            return Err(Error::Setting { field, message });
        }
        let hub = Arc::new(Hub::new(config.node, config.max_tunnels));
        let last_call = Stop::new();
        let courier = Courier::new(
            &config,
            CourierParts {
                clock: parts.clock,
                tokens: parts.tokens.clone(),
                stop: last_call.clone(),
                tap: parts.tap.clone(),
                hub: Arc::clone(&hub),
            },
        )?;
        let tunnels = Self(Arc::new(Shared {
            limits: limits(&config),
            gatekeeper: Gatekeeper::new(&config.token_key, &parts.tokens),
            businesses: Businesses::new(&config),
            config,
            hub,
            courier: Arc::new(courier),
            tokens: parts.tokens,
            work: parts.work,
            tasks: parts.tasks,
            lanes: Tasks::new(),
            last_call,
            tap: parts.tap,
            stop: parts.stop,
        }));
        let keeper = keeper::keep(tunnels.clone());
        tunnels.0.tasks.spawn_on(&tunnels.0.work, keeper);
        Ok(tunnels)
    }

    /// Issues a tunnel whose callbacks go to `business` (its host as configured): to its
    /// `receive` URL, or else to `path` of the host. `public_ws_base` is `wss://host` as the
    /// phone knows this server.
    pub fn issue(&self, business: &str, path: &str, public_ws_base: &str) -> Result<Issued, Error> {
        let business = self
            .0
            .businesses
            .by_host(business)
            .ok_or_else(|| Error::UnknownBusiness(business.to_owned()))?;
        self.issue_on(business.own_route(path)?, public_ws_base)
    }

    /// Issues a tunnel whose callbacks take `route`.
    pub(crate) fn issue_on(&self, route: Arc<Route>, base: &str) -> Result<Issued, Error> {
        if self.0.stop.is_asked() {
            return Err(Error::Full);
        }
        let tunnel = self.0.hub.issue(route, &self.0.tokens).ok_or(Error::Full)?;
        let token = self.0.gatekeeper.token(tunnel.id);
        Ok(Issued {
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
    pub fn stats(&self) -> Stats {
        let counts = &self.0.hub.counts;
        let read = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
        Stats {
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
            businesses: self.0.businesses.all().map(|b| b.stats()).collect(),
        }
    }

    /// Waits until business servers have heard what there is to tell, as long as they go on
    /// listening: not longer than `patience` without a callback heard.
    pub(crate) async fn last_callbacks(&self, patience: Duration) {
        let Shared {
            lanes,
            last_call,
            stop,
            ..
        } = &*self.0;
        let heard = || self.0.hub.counts.callbacks_heard.load(Ordering::Relaxed);
        let mut before = heard();
        // Silence is counted in looks: time in which weappd itself found no processor is not
        // the business servers'.
        let mut silence = Duration::ZERO;
        while silence < patience
            && tokio::select! {
                all = lanes.finish(LOOK) => !all,
                () = stop.forced() => false,
            }
        {
            let now = heard();
            silence = if now == before {
                silence + LOOK
            } else {
                Duration::ZERO
            };
            before = now;
        }
        last_call.force();
        // What is left has nothing more to wait for.
        lanes.finish(Duration::from_secs(1)).await;
        for business in self.0.businesses.all() {
            business.tell_losses();
        }
    }

    /// Opens a tunnel for a phone on this thread: the tunnel and the phone's epoch.
    pub(crate) fn open(&self, id: TunnelId) -> Result<(Arc<Tunnel>, u32), Goodbye> {
        if self.0.stop.is_asked() {
            return Err(Goodbye::Draining);
        }
        let tunnel = self.0.hub.find(id).ok_or(Goodbye::Expired)?;
        let bell = Bell::here(&self.0.tasks);
        let (epoch, first) = tunnel
            .open(bell, self.0.hub.now(), self.0.limits.ttl)
            .ok_or(Goodbye::Expired)?;
        if first {
            add(&self.0.hub.counts.opened, 1);
            self.start_lane(&tunnel);
        }
        Ok((tunnel, epoch))
    }

    /// The phone of `epoch` sent a message; see [`Tunnel::said`].
    pub(crate) fn said(&self, tunnel: &Arc<Tunnel>, epoch: u32, content: &str) -> Option<Said> {
        let said = tunnel.said(epoch, content)?;
        add(&self.0.hub.counts.messages, 1);
        if said.start_lane {
            self.start_lane(tunnel);
        }
        Some(said)
    }

    /// Closes a tunnel once, whoever comes first: `by` is a socket's epoch, or nobody's.
    pub(crate) fn close(
        &self,
        tunnel: &Arc<Tunnel>,
        by: Option<u32>,
        goodbye: Option<Goodbye>,
        wakes: &mut Wakes,
    ) -> bool {
        let Some(closed) = tunnel.close(by, goodbye, wakes) else {
            return false;
        };
        self.0.hub.remove(tunnel);
        let counts = &self.0.hub.counts;
        if closed.was == Phase::Open {
            add(&counts.closed, 1);
        }
        match goodbye {
            Some(Goodbye::Slow) => add(&counts.closed_slow, 1),
            Some(Goodbye::Silent) => add(&counts.closed_silent, 1),
            Some(Goodbye::Expired) => add(&counts.expired, 1),
            _ => {}
        }
        if closed.start_lane {
            self.start_lane(tunnel);
        }
        true
    }

    fn start_lane(&self, tunnel: &Arc<Tunnel>) {
        let courier = Arc::clone(&self.0.courier);
        let tunnel = Arc::clone(tunnel);
        self.0
            .lanes
            .spawn_on(&self.0.work, async move { courier.serve(&tunnel).await });
    }

    pub(crate) fn config(&self) -> &Config {
        &self.0.config
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn hub(&self) -> &Hub {
        &self.0.hub
    }

    pub(crate) fn businesses(&self) -> &Businesses {
        &self.0.businesses
    }

    pub(crate) fn gatekeeper(&self) -> &Gatekeeper {
        &self.0.gatekeeper
    }

    pub(crate) fn tap(&self) -> &TrafficTap {
        &self.0.tap
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    pub(crate) fn stop(&self) -> &Stop {
        &self.0.stop
    }
}

impl fmt::Debug for Tunnels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tunnels({:?})", self.0.hub)
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        ttl: config.connect_ttl_secs.saturating_mul(1000),
        // The keeper comes by every tenth of a heartbeat: 2.4 here is at most 2.5 there.
        silence: config.heartbeat_secs.saturating_mul(2400),
        stall: 10_000,
        queue: config.max_queue_bytes,
    }
}

fn view(tunnel: &Tunnel, now: u32) -> TunnelView {
    let glance = tunnel.glance(now);
    TunnelView {
        tunnel_id: tunnel.id.to_string(),
        business: tunnel.route.business.host.clone(),
        state: match glance.phase {
            Phase::Issued => "issued",
            Phase::Open => "open",
            Phase::Closed => "closed",
        },
        silent_secs: glance.silence_ms / 1000,
        queued_bytes: glance.queued_bytes,
        waiting_callbacks: glance.waiting_callbacks,
    }
}
