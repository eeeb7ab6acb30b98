//! The front door as one value: built from settings, run until stopped.

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use arc_swap::ArcSwap;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use weappd_base::clock::Clock;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Stop;

use crate::caller::client_share::ClientShares;
use crate::caller::identity::Identify;
use crate::config::Config;
use crate::conn::listener::{self, ConnDealer};
use crate::conn::listener_registry::ListenerRegistry;
use crate::error::Error;
use crate::files::protected::ProtectedFiles;
use crate::log::access_log::{LogBatch, LogBuffer};
use crate::log::access_sink::AccessLog;
use crate::log::log_format;
use crate::log::log_switch::LogSwitch;
use crate::log::throttled_log::ThrottledLog;
use crate::reload::EdgeControl;
use crate::route::challenge::AcmeChallenges;
use crate::site::{BoundListener, Site};
use crate::tables::{EdgeTables, TableParts, TableSlot, ThreadTables};
use crate::thread_loop;
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
    /// Answers who is calling.
    pub identify: Arc<dyn Identify>,
    /// The clock.
    pub clock: Clock,
    /// Where requests and answers are shown.
    pub tap: TrafficTap,
    /// Paths that begin with one of these are not shown to the tap.
    pub quiet_paths: Vec<String>,
    /// Where every request's line goes, while `config` has it written.
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

impl Edge {
    /// Reads certificates and checks routes.
    pub fn build(parts: EdgeParts) -> Result<Self, Error> {
        let ticketer = settings::ticketer()?;
        let clock = parts.clock;
        let tables = TableParts {
            config: parts.config,
            sites: parts.sites,
            protected: parts.protected,
            identify: parts.identify,
            quiet_paths: parts.quiet_paths,
        };
        let tables = Arc::new(EdgeTables::build(
            tables,
            &ticketer,
            None,
            clock.unix_secs(),
        )?);
        let config = &tables.config;
        let slot = |_| {
            Arc::new(TableSlot::from_pointee(ThreadTables::new(Arc::clone(
                &tables,
            ))))
        };
        let threads = thread_count(config);
        Ok(Self {
            access: parts.access,
            shared: Arc::new(Shared {
                slots: (0..threads).map(slot).collect(),
                counters: (0..threads).map(|_| Arc::default()).collect(),
                tables: ArcSwap::new(Arc::clone(&tables)),
                commits: Mutex::default(),
                ticketer,
                upstreams: parts.upstreams,
                tap: parts.tap,
                clock,
                challenges: AcmeChallenges::default(),
                throttled_log: Arc::new(ThrottledLog::new()),
                health: UpstreamHealth::new(config.upstream_rest()),
                inside: parts.inside,
                clients: ClientShares::new(),
                listeners: ListenerRegistry::default(),
                log_switch: Arc::new(LogSwitch::new(config.access_log)),
            }),
        })
    }

    /// A handle for reloads, before the edge runs and while it does.
    pub fn control(&self) -> EdgeControl {
        EdgeControl::new(Arc::clone(&self.shared))
    }

    /// Answers to a certificate authority's questions.
    pub fn challenges(&self) -> AcmeChallenges {
        self.shared.challenges.clone()
    }

    /// Serves `listeners` until stopped: softly, requests under way are finished and
    /// nothing new is taken; hard, everything ends.
    pub async fn run(self, listeners: Vec<BoundListener>, stop: Stop) -> Result<(), Error> {
        let shared = self.shared;
        let (log_thread, writer) = match self.access {
            Some(log) => start_log(log, Arc::clone(&shared.log_switch))?,
            None => (None, None),
        };
        let mut senders = Vec::new();
        let mut ended = Vec::new();
        let threads = shared
            .slots
            .iter()
            .cloned()
            .zip(shared.counters.iter().cloned());
        for (index, of_thread) in threads.enumerate() {
            let (deal, arrivals) = mpsc::unbounded_channel();
            let log_buffer = writer
                .clone()
                .map(|to| LogBuffer::new(to, Arc::clone(&shared.log_switch), shared.clock.clone()));
            let worker = Worker::new(Arc::clone(&shared), of_thread, log_buffer);
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
        let accepted = accept_all(&shared, listeners, ConnDealer::new(senders), stop).await;
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
        accepted
    }
}

fn thread_count(config: &Config) -> usize {
    match config.threads {
        0 => thread::available_parallelism().map_or(1, usize::from),
        count => count,
    }
}

/// The log's thread, and where edge threads send their lines.
type StartedLog = (Option<JoinHandle<()>>, Option<SyncSender<LogBatch>>);

fn start_log(log: AccessLog, switch: Arc<LogSwitch>) -> Result<StartedLog, Error> {
    let (sender, batches) = sync_channel(64);
    let thread = thread::Builder::new()
        .name("edge-log".to_owned())
        .spawn(move || log_format::write(&batches, log, &switch))
        .map_err(Error::Thread)?;
    Ok((Some(thread), Some(sender)))
}

/// Accepts on the first listeners, and on those that reloads add, until stopped.
async fn accept_all(
    shared: &Shared,
    listeners: Vec<BoundListener>,
    dealer: ConnDealer,
    stop: Stop,
) -> Result<(), Error> {
    let limit = shared.tables().config.max_connections;
    let mut opened = shared.listeners.start(listeners, limit)?;
    let mut accepting = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            Some(listener) = opened.recv() => {
                accepting.push(listener::accept(listener, dealer.clone(), stop.clone()));
            }
            Some(ended) = accepting.next() => ended?,
            () = stop.asked() => break,
        }
    }
    while let Some(ended) = accepting.next().await {
        ended?;
    }
    Ok(())
}
