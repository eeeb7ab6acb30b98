//! The front door as one value: built from settings, run until stopped.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Stop;

use crate::caller::client_share::ClientShares;
use crate::caller::client_trust::ClientTrust;
use crate::caller::identity::Identify;
use crate::config::Config;
use crate::conn::listener::{self, ConnDealer};
use crate::error::Error;
use crate::files::protected::ProtectedFiles;
use crate::log::access_log::LogBuffer;
use crate::log::log_format::{self, AccessLog};
use crate::log::throttled_log::ThrottledLog;
use crate::route::challenge::AcmeChallenges;
use crate::route::site_table::SiteTable;
use crate::site::{BoundListener, Site};
use crate::thread_loop;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::settings;
use crate::upstream::app_upstreams::AppUpstreams;
use crate::upstream::health::UpstreamHealth;
use crate::worker::{Shared, Worker};

/// What the front door is built from.
pub struct EdgeParts {
    /// The `[edge]` section.
    pub config: Config,
    /// The sites; the first one's certificate answers unknown names.
    pub sites: Vec<Site>,
    /// What no site serves.
    pub protected: ProtectedFiles,
    /// The ready instances of each app, as the supervisor tells them.
    pub upstreams: watch::Receiver<AppUpstreams>,
    /// Says who is calling.
    pub identify: Arc<dyn Identify>,
    /// The clock.
    pub clock: Clock,
    /// Where requests and answers are shown.
    pub tap: TrafficTap,
    /// Paths that begin with one of these are not shown to the tap.
    pub quiet_paths: Vec<String>,
    /// Where every request's line goes, if it is to be written and `config` allows it.
    pub access: Option<AccessLog>,
    /// Only weappd itself reaches these listeners: its `X-Weappd-*` headers are passed
    /// on. Everybody else's are dropped.
    pub inside: bool,
}

/// The front door.
pub struct Edge {
    shared: Arc<Shared>,
    access: Option<AccessLog>,
}

/// Changes a running front door. Cheap to clone.
#[derive(Clone)]
pub struct EdgeControl {
    shared: Arc<Shared>,
}

impl Edge {
    /// Reads certificates and checks routes.
    pub fn build(parts: EdgeParts) -> Result<Self, Error> {
        let sites = SiteTable::build(parts.sites, &parts.protected, parts.clock.unix_secs())?;
        let resolver = Arc::new(CertResolver(ArcSwap::new(Arc::clone(&sites.certs))));
        let trust = ClientTrust::of(&parts.config)?;
        let tls = settings::settings(Arc::clone(&resolver), parts.config.http2)?;
        let health = UpstreamHealth::new(parts.config.upstream_rest());
        let clients = ClientShares::new(parts.config.max_requests_per_client);
        Ok(Self {
            access: parts.access.filter(|_| parts.config.access_log),
            shared: Arc::new(Shared {
                config: parts.config,
                sites: ArcSwap::from_pointee(sites),
                resolver,
                tls,
                upstreams: parts.upstreams,
                identify: parts.identify,
                tap: parts.tap,
                clock: parts.clock,
                quiet_paths: parts.quiet_paths,
                challenges: AcmeChallenges::default(),
                protected: parts.protected,
                trust,
                notices: Arc::new(ThrottledLog::new()),
                health,
                inside: parts.inside,
                clients,
            }),
        })
    }

    /// A handle for reloads while the edge runs.
    pub fn control(&self) -> EdgeControl {
        EdgeControl {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Answers to a certificate authority's questions.
    pub fn challenges(&self) -> AcmeChallenges {
        self.shared.challenges.clone()
    }

    /// Serves `listeners` until stopped: softly, requests under way are finished and
    /// nothing new is taken; hard, everything ends.
    pub async fn run(self, listeners: Vec<BoundListener>, stop: Stop) -> Result<(), Error> {
        let mut log_thread = None;
        let mut writer = None;
        let threads = self.threads();
        if let Some(log) = self.access {
            let (sender, batches) = sync_channel(64);
            let thread = thread::Builder::new()
                .name("edge-log".to_owned())
                .spawn(move || log_format::write(&batches, log))
                .map_err(Error::Thread)?;
            log_thread = Some(thread);
            writer = Some(sender);
        }
        let mut senders = Vec::new();
        let mut ended = Vec::new();
        for index in 0..threads {
            let (deal, arrivals) = mpsc::unbounded_channel();
            let log_buffer = writer
                .clone()
                .map(|to| LogBuffer::new(to, self.shared.clock.clone()));
            let worker = Worker::new(Arc::clone(&self.shared), log_buffer);
            let (end, ended_worker) = oneshot::channel();
            let thread_stop = stop.clone();
            thread::Builder::new()
                .name(format!("edge-{index}"))
                .spawn(move || end.send(thread_loop::run(worker, arrivals, thread_stop)))
                .map_err(Error::Thread)?;
            senders.push(deal);
            ended.push(ended_worker);
        }
        drop(writer);
        let dealer = ConnDealer::new(senders);
        let limit = self.shared.config.max_connections;
        let accepting = listeners
            .into_iter()
            .map(|bound| listener::accept(bound, dealer.clone(), limit, stop.clone()));
        let accepted = futures_util::future::try_join_all(accepting).await;
        drop(dealer);
        for ended_worker in ended {
            // A thread that panicked dropped its end of the channel.
            if let Ok(Err(error)) = ended_worker.await {
                return Err(Error::Thread(error));
            }
        }
        // The last lines: the log thread ends when the last log buffer is gone.
        let join = move || log_thread.is_none_or(|log_thread| log_thread.join().is_ok());
        let written = tokio::task::spawn_blocking(join).await;
        if !written.unwrap_or(false) {
            tracing::error!("the access log's writer died");
        }
        accepted.map(drop)
    }

    fn threads(&self) -> usize {
        match self.shared.config.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            count => count,
        }
    }
}

impl EdgeControl {
    /// Replaces sites, routes and certificates, all or nothing. Connections stay open,
    /// and requests under way finish on the routes they began with.
    pub fn reload(&self, sites: Vec<Site>) -> Result<(), Error> {
        let sites = SiteTable::build(sites, &self.shared.protected, self.shared.clock.unix_secs())?;
        self.shared.resolver.0.store(Arc::clone(&sites.certs));
        self.shared.sites.store(Arc::new(sites));
        Ok(())
    }
}
