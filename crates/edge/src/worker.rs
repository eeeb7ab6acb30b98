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

use crate::caller::client_share::ClientShares;
use crate::caller::client_trust::ClientTrust;
use crate::caller::identity::{CallHeaders, Identify};
use crate::certs::CertResolver;
use crate::config::Config;
use crate::conn::connection;
use crate::conn::listener::AcceptedConn;
use crate::conn::traffic::ConnCount;
use crate::files::protected::ProtectedFiles;
use crate::log::access_log::LogBuffer;
use crate::log::throttled_log::ThrottledLog;
use crate::route::challenge::AcmeChallenges;
use crate::route::site_table::SiteTable;
use crate::server::AppUpstreams;
use crate::upstream::health::UpstreamHealth;
use crate::upstream::pool::{UpstreamAddr, UpstreamPool};
use crate::upstream::proxy;

/// How often idle upstream connections and access log lines are looked after.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(250);

/// What all edge threads share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) sites: ArcSwap<SiteTable>,
    pub(crate) resolver: Arc<CertResolver>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) upstreams: watch::Receiver<AppUpstreams>,
    pub(crate) identify: Arc<dyn Identify>,
    pub(crate) tap: TrafficTap,
    pub(crate) clock: Clock,
    pub(crate) quiet_paths: Vec<String>,
    pub(crate) challenges: AcmeChallenges,
    pub(crate) protected: ProtectedFiles,
    pub(crate) trust: ClientTrust,
    pub(crate) notices: Arc<ThrottledLog>,
    pub(crate) health: UpstreamHealth,
    pub(crate) inside: bool,
    pub(crate) clients: Arc<ClientShares>,
}

/// One edge thread.
pub(crate) struct Worker {
    shared: Arc<Shared>,
    pub(crate) pool: UpstreamPool,
    pub(crate) tasks: Tasks,
    /// This thread's own stop: asking it wakes this thread only.
    pub(crate) stop: Stop,
    /// Connections alive on this thread, tunnels too.
    pub(crate) conn_count: Arc<ConnCount>,
    log_buffer: Option<Arc<LogBuffer>>,
    call_headers: CallHeaders,
    turn: AtomicUsize,
}

impl Worker {
    pub(crate) fn new(shared: Arc<Shared>, log_buffer: Option<LogBuffer>) -> Self {
        let tasks = Tasks::new();
        Self {
            pool: UpstreamPool::new(&shared.config, tasks.clone()),
            call_headers: CallHeaders::new(&shared.config.env_id),
            shared,
            tasks,
            stop: Stop::new(),
            conn_count: Arc::default(),
            log_buffer: log_buffer.map(Arc::new),
            turn: AtomicUsize::new(0),
        }
    }

    pub(crate) fn config(&self) -> &Config {
        &self.shared.config
    }

    pub(crate) fn sites(&self) -> Guard<Arc<SiteTable>> {
        self.shared.sites.load()
    }

    /// The TLS settings, if any site has a certificate.
    pub(crate) fn tls(&self) -> Option<Arc<ServerConfig>> {
        let any = !self.shared.resolver.0.load().is_empty();
        any.then(|| Arc::clone(&self.shared.tls))
    }

    pub(crate) fn identify(&self) -> &dyn Identify {
        &*self.shared.identify
    }

    pub(crate) fn call_headers(&self) -> &CallHeaders {
        &self.call_headers
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
    pub(crate) fn trust(&self) -> &ClientTrust {
        &self.shared.trust
    }

    /// What the log is told of what anybody can cause.
    pub(crate) fn notices(&self) -> &Arc<ThrottledLog> {
        &self.shared.notices
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
        proxy::pick(ready, turn)
    }
}

/// Runs an edge thread until it is stopped and its connections are gone.
pub(crate) fn run(
    worker: Worker,
    arrivals: UnboundedReceiver<AcceptedConn>,
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

async fn work(worker: Arc<Worker>, mut arrivals: UnboundedReceiver<AcceptedConn>, stop: Stop) {
    let mut tick = tokio::time::interval(HOUSEKEEPING_INTERVAL);
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
            _ = tick.tick(), if active => active = do_housekeeping(&worker),
            () = stop.asked() => break,
        }
    }
    drain(&worker, arrivals, stop).await;
    do_housekeeping(&worker);
}

/// Says whether there will be something to do again.
fn do_housekeeping(worker: &Worker) -> bool {
    let noted = worker
        .log_buffer
        .as_ref()
        .is_some_and(|log_buffer| log_buffer.flush());
    let pooled = worker.pool.sweep();
    // A connection that was just dealt is not counted yet, and its stream may end after it.
    noted || pooled || worker.conn_count.count() > 0 || !worker.tasks.is_empty()
}

/// Finishes what was begun: connections that were dealt but not begun, requests under
/// way, tunnels; until the grace period is over.
async fn drain(worker: &Arc<Worker>, mut arrivals: UnboundedReceiver<AcceptedConn>, stop: Stop) {
    // Ends when the acceptors, who are stopping too, have let go.
    while let Some(arrival) = arrivals.recv().await {
        worker
            .tasks
            .spawn(connection::serve(Arc::clone(worker), arrival));
    }
    worker.stop.ask();
    tokio::select! {
        () = worker.conn_count.below(1) => {}
        () = stop.forced() => worker.stop.force(),
    }
    // Answers are out; the last writes of tasks that just ended their connection.
    tokio::task::yield_now().await;
}
