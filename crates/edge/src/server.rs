//! The front door as one value: built from settings, run until stopped.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Stop;

use crate::access_lines::{self, AccessLog};
use crate::access_log::Ledger;
use crate::certs::Resolver;
use crate::challenge::Challenges;
use crate::client_share::ClientShares;
use crate::config::Config;
use crate::error::Error;
use crate::health::Health;
use crate::house::House;
use crate::identity::Identify;
use crate::listener::{self, Dealer};
use crate::notices::Notices;
use crate::protected::Protected;
use crate::site::{Bound, Site};
use crate::tls;
use crate::trust::Trust;
use crate::worker::{self, Shared, Worker};

/// The ready instances of each app.
pub type Upstreams = Arc<HashMap<String, Vec<SocketAddr>>>;

/// What the front door is built from.
pub struct EdgeParts {
    /// The `[edge]` section.
    pub config: Config,
    /// The sites; the first one's certificate answers unknown names.
    pub sites: Vec<Site>,
    /// What no site serves.
    pub protected: Protected,
    /// The ready instances of each app, as the supervisor tells them.
    pub upstreams: watch::Receiver<Upstreams>,
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
    /// Only weappd's own rooms reach these listeners: their `X-Weappd-*` headers are passed
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
pub struct Control {
    shared: Arc<Shared>,
}

impl Edge {
    /// Reads certificates and checks routes.
    pub fn build(parts: EdgeParts) -> Result<Self, Error> {
        let house = House::build(parts.sites, &parts.protected, parts.clock.unix_secs())?;
        let resolver = Arc::new(Resolver(ArcSwap::new(Arc::clone(&house.certs))));
        let trust = Trust::of(&parts.config)?;
        let tls = tls::settings(Arc::clone(&resolver), parts.config.http2)?;
        let health = Health::new(parts.config.upstream_rest());
        let clients = ClientShares::new(parts.config.max_requests_per_client);
        Ok(Self {
            access: parts.access.filter(|_| parts.config.access_log),
            shared: Arc::new(Shared {
                config: parts.config,
                house: ArcSwap::from_pointee(house),
                resolver,
                tls,
                upstreams: parts.upstreams,
                identify: parts.identify,
                tap: parts.tap,
                clock: parts.clock,
                quiet_paths: parts.quiet_paths,
                challenges: Challenges::default(),
                protected: parts.protected,
                trust,
                notices: Arc::new(Notices::new()),
                health,
                inside: parts.inside,
                clients,
            }),
        })
    }

    /// A handle for reloads while the door is open.
    pub fn control(&self) -> Control {
        Control {
            shared: Arc::clone(&self.shared),
        }
    }

    /// Answers to a certificate authority's questions.
    pub fn challenges(&self) -> Challenges {
        self.shared.challenges.clone()
    }

    /// Serves `listeners` until stopped: softly, requests under way are finished and
    /// nothing new is taken; hard, everything ends.
    pub async fn run(self, listeners: Vec<Bound>, stop: Stop) -> Result<(), Error> {
        let mut scribe = None;
        let mut writer = None;
        let threads = self.threads();
        if let Some(log) = self.access {
            let (sender, batches) = sync_channel(64);
            let thread = thread::Builder::new()
                .name("edge-log".to_owned())
                .spawn(move || access_lines::write(&batches, log))
                .map_err(Error::Thread)?;
            scribe = Some(thread);
            writer = Some(sender);
        }
        let mut dealt = Vec::new();
        let mut ended = Vec::new();
        for index in 0..threads {
            let (deal, arrivals) = mpsc::unbounded_channel();
            let ledger = writer
                .clone()
                .map(|to| Ledger::new(to, self.shared.clock.clone()));
            let worker = Worker::new(Arc::clone(&self.shared), ledger);
            let (end, over) = oneshot::channel();
            let thread_stop = stop.clone();
            thread::Builder::new()
                .name(format!("edge-{index}"))
                .spawn(move || end.send(worker::run(worker, arrivals, thread_stop)))
                .map_err(Error::Thread)?;
            dealt.push(deal);
            ended.push(over);
        }
        drop(writer);
        let dealer = Dealer::new(dealt);
        let limit = self.shared.config.max_connections;
        let accepting = listeners
            .into_iter()
            .map(|bound| listener::accept(bound, dealer.clone(), limit, stop.clone()));
        let accepted = futures_util::future::try_join_all(accepting).await;
        drop(dealer);
        for over in ended {
            // A thread that panicked dropped its end of the channel.
            if let Ok(Err(error)) = over.await {
                return Err(Error::Thread(error));
            }
        }
        // The last lines: the writer ends when the last ledger is gone.
        let join = move || scribe.is_none_or(|scribe| scribe.join().is_ok());
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

impl Control {
    /// Replaces sites, routes and certificates, all or nothing. Connections stay open,
    /// and requests under way finish on the routes they began with.
    pub fn reload(&self, sites: Vec<Site>) -> Result<(), Error> {
        let house = House::build(sites, &self.shared.protected, self.shared.clock.unix_secs())?;
        self.shared.resolver.0.store(Arc::clone(&house.certs));
        self.shared.house.store(Arc::new(house));
        Ok(())
    }
}
