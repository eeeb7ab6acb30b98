//! One edge thread: its connections, its upstream pool, its part of the access log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use rustls::ServerConfig;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks};

use crate::access_log::Ledger;
use crate::certs::Resolver;
use crate::challenge::Challenges;
use crate::client_share::ClientShares;
use crate::config::Config;
use crate::connection;
use crate::health::Health;
use crate::house::House;
use crate::identity::{Herald, Identify};
use crate::listener::Arrival;
use crate::notices::Notices;
use crate::pool::{Pool, Upstream};
use crate::protected::Protected;
use crate::proxy;
use crate::server::Upstreams;
use crate::traffic::Seats;
use crate::trust::Trust;

/// How often idle upstream connections and access log lines are looked after.
const TICK: Duration = Duration::from_millis(250);

/// What all edge threads share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) house: ArcSwap<House>,
    pub(crate) resolver: Arc<Resolver>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) upstreams: watch::Receiver<Upstreams>,
    pub(crate) identify: Arc<dyn Identify>,
    pub(crate) tap: TrafficTap,
    pub(crate) clock: Clock,
    pub(crate) quiet_paths: Vec<String>,
    pub(crate) challenges: Challenges,
    pub(crate) protected: Protected,
    pub(crate) trust: Trust,
    pub(crate) notices: Arc<Notices>,
    pub(crate) health: Health,
    pub(crate) inside: bool,
    pub(crate) clients: Arc<ClientShares>,
}

/// One edge thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pub(crate) pool: Pool,
    pub(crate) tasks: Tasks,
    /// The edge's own copy of the house's stop: asking it wakes this thread only.
    pub(crate) stop: Stop,
    /// Connections alive on this thread, tunnels too.
    pub(crate) seats: Arc<Seats>,
    ledger: Option<Arc<Ledger>>,
    herald: Herald,
    turn: AtomicUsize,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, ledger: Option<Ledger>) -> Self {
        let tasks = Tasks::new();
        Self {
            pool: Pool::new(&shared.config, tasks.clone()),
            herald: Herald::new(&shared.config.env_id),
            shared,
            tasks,
            stop: Stop::new(),
            seats: Arc::default(),
            ledger: ledger.map(Arc::new),
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn house(&self) -> Guard<Arc<House>> {
        self.shared.house.load()
    }

    /// The TLS settings, if any site has a certificate.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        let any = !self.shared.resolver.0.load().is_empty();
        any.then(|| Arc::clone(&self.shared.tls))
    }

    pub(crate) fn identify(&self) -> &dyn Identify {
        &*self.shared.identify
    }

    pub(crate) fn herald(&self) -> &Herald {
        &self.herald
    }

    pub(crate) fn tap(&self) -> &TrafficTap {
        &self.shared.tap
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    pub(crate) fn quiet_paths(&self) -> &[String] {
        &self.shared.quiet_paths
    }

    /// The requests under way of each client, on all threads.
    pub(crate) fn clients(&self) -> &Arc<ClientShares> {
        &self.shared.clients
    }

    /// Whose word about clients is believed.
    pub(crate) fn trust(&self) -> &Trust {
        &self.shared.trust
    }

    /// What the log is told of what anybody can cause.
    pub(crate) fn notices(&self) -> &Arc<Notices> {
        &self.shared.notices
    }

    /// Which business servers rest, on all threads.
    pub(crate) fn health(&self) -> &Health {
        &self.shared.health
    }

    /// Whether only weappd's own rooms reach this door.
    pub(crate) fn inside(&self) -> bool {
        self.shared.inside
    }

    pub(crate) fn challenges(&self) -> &Challenges {
        &self.shared.challenges
    }

    pub(crate) fn upstreams(&self) -> watch::Receiver<Upstreams> {
        self.shared.upstreams.clone()
    }

    /// The ledger, if there is an access log.
    pub(crate) fn ledger(&self) -> Option<&Arc<Ledger>> {
        self.ledger.as_ref()
    }

    /// The next ready instance of an app.
    pub(crate) fn pick(&self, app: &str) -> Option<Upstream> {
        let upstreams = self.shared.upstreams.borrow();
        let ready = upstreams.get(app)?;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        proxy::pick(ready, turn)
    }
}

/// Runs an edge thread until it is stopped and its connections are gone.
pub(crate) fn run(
    worker: Worker,
    arrivals: UnboundedReceiver<Arrival>,
    stop: Stop,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(16)
        .build()?;
    runtime.block_on(work(Arc::new(worker), arrivals, stop));
    // Whoever still runs was asked, waited for, and is over time.
    runtime.shutdown_background();
    Ok(())
}

async fn work(worker: Arc<Worker>, mut arrivals: UnboundedReceiver<Arrival>, stop: Stop) {
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut active = false;
    loop {
        tokio::select! {
            arrival = arrivals.recv() => match arrival {
                Some(arrival) => {
                    active = true;
                    worker.tasks.spawn(connection::serve(Arc::clone(&worker), arrival));
                }
                None => break,
            },
            // Nothing ticks while nobody is here.
            _ = tick.tick(), if active => active = look_after(&worker),
            () = stop.asked() => break,
        }
    }
    drain(&worker, arrivals, stop).await;
    look_after(&worker);
}

/// Says whether there will be something to look after again.
fn look_after(worker: &Worker) -> bool {
    let noted = worker.ledger.as_ref().is_some_and(|ledger| ledger.flush());
    let pooled = worker.pool.sweep();
    // A connection that was just dealt has no seat yet, and its stream may end after it.
    noted || pooled || worker.seats.taken() > 0 || !worker.tasks.is_empty()
}

/// Finishes what was begun: connections that were dealt but not begun, requests under
/// way, tunnels; until the grace period is over.
async fn drain(worker: &Arc<Worker>, mut arrivals: UnboundedReceiver<Arrival>, stop: Stop) {
    // Ends when the acceptors, who are stopping too, have let go.
    while let Some(arrival) = arrivals.recv().await {
        worker
            .tasks
            .spawn(connection::serve(Arc::clone(worker), arrival));
    }
    worker.stop.ask();
    tokio::select! {
        () = worker.seats.below(1) => {}
        () = stop.forced() => worker.stop.force(),
    }
    // Answers are out; the last writes of tasks that just ended their connection.
    tokio::task::yield_now().await;
}
