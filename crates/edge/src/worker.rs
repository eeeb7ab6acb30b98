//! One edge thread: its connections, its upstream pool, its part of the access log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use rustls::ServerConfig;
use tokio::sync::watch;
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks};

use crate::body::EdgeBody;
use crate::caller::client_share::ClientShares;
use crate::caller::client_trust::ClientTrust;
use crate::caller::identity::{CallHeaders, Identify};
use crate::config::Config;
use crate::conn::conn_count::ConnCount;
use crate::files::protected::ProtectedFiles;
use crate::log::access_log::LogBuffer;
use crate::log::throttled_log::ThrottledLog;
use crate::route::challenge::AcmeChallenges;
use crate::route::site_table::SiteTable;
use crate::tls::cert_resolver::CertResolver;
use crate::upstream::address::UpstreamAddr;
use crate::upstream::app_upstreams::{self, AppUpstreams};
use crate::upstream::health::UpstreamHealth;
use crate::upstream::pool::UpstreamPool;

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
    pub(crate) pool: UpstreamPool<EdgeBody>,
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
        app_upstreams::pick(ready, turn)
    }
}
