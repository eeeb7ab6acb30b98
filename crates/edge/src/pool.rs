//! Connections to business servers, kept by each edge thread for itself.
//!
//! A connection serves one request at a time. It comes back when the answer's body has
//! been read to its end, never earlier, so no answer can be taken for another's.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::net::TcpStream;
use weappd_base::tasks::Tasks;

use crate::body::Body;
use crate::config::Config;
use crate::upstream_reads::UpstreamStream;

/// The most that is read ahead of an answer, or held of a request; an answer's head must fit
/// in.
const BUFFER: usize = 64 * 1024;

/// The address of a business server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Upstream {
    Addr(SocketAddr),
    /// `host:port`, looked up for each new connection.
    Name(Arc<str>),
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addr(addr) => addr.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// The idle connections of one edge thread.
#[derive(Clone, Debug)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    idle: Mutex<HashMap<Upstream, Vec<Idle>>>,
    keep: usize,
    max_idle: Duration,
    connect_timeout: Duration,
    tasks: Tasks,
}

#[derive(Debug)]
struct Idle {
    sender: SendRequest<Body>,
    since: Instant,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct Lent {
    sender: SendRequest<Body>,
    to: Upstream,
    pool: Pool,
    reused: bool,
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nothing was sent: the request may go elsewhere.
    Unsent(Box<Request<Body>>, io::Error),
    /// The request was under way.
    Lost(hyper::Error),
}

impl Pool {
    pub(crate) fn new(config: &Config, tasks: Tasks) -> Self {
        Self(Arc::new(Shared {
            idle: Mutex::default(),
            keep: config.upstream_idle,
            max_idle: Duration::from_secs(config.upstream_idle_secs),
            connect_timeout: Duration::from_millis(config.connect_timeout_ms),
            tasks,
        }))
    }

    /// Sends a request on a kept connection or a new one. A kept one that turns out to be
    /// closed before anything was sent is replaced.
    pub(crate) async fn send(
        &self,
        to: &Upstream,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Failed> {
        loop {
            let mut lent = match self.take(to) {
                Some(lent) => lent,
                None => match self.connect(to, false).await {
                    Ok(lent) => lent,
                    Err(error) => return Err(Failed::Unsent(Box::new(request), error)),
                },
            };
            match lent.sender.try_send_request(request).await {
                Ok(response) => {
                    return Ok(response.map(|body| Body::upstream(body, Some(lent))));
                }
                Err(mut error) => match error.take_message() {
                    Some(unsent) if lent.reused => request = unsent,
                    Some(unsent) => {
                        let error = io::Error::other(error.into_error());
                        return Err(Failed::Unsent(Box::new(unsent), error));
                    }
                    None => return Err(Failed::Lost(error.into_error())),
                },
            }
        }
    }

    /// Sends a request that may turn its connection into a tunnel: always a new one.
    pub(crate) async fn send_upgrade(
        &self,
        to: &Upstream,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, Failed> {
        let mut lent = match self.connect(to, true).await {
            Ok(lent) => lent,
            Err(error) => return Err(Failed::Unsent(Box::new(request), error)),
        };
        let sent = lent.sender.try_send_request(request).await;
        sent.map_err(|error| Failed::Lost(error.into_error()))
    }

    fn take(&self, to: &Upstream) -> Option<Lent> {
        let mut all = self.0.idle.lock();
        let idle = all.get_mut(to)?;
        // The youngest first, so that a quiet hour lets the others go.
        let at = idle
            .iter()
            .rposition(|one| one.sender.is_ready() && one.since.elapsed() < self.0.max_idle)?;
        let sender = idle.remove(at).sender;
        drop(all);
        Some(Lent {
            sender,
            to: to.clone(),
            pool: self.clone(),
            reused: true,
        })
    }

    async fn connect(&self, to: &Upstream, upgrades: bool) -> io::Result<Lent> {
        let connecting = async {
            match to {
                Upstream::Addr(addr) => TcpStream::connect(addr).await,
                Upstream::Name(name) => TcpStream::connect(&**name).await,
            }
        };
        let tcp = tokio::time::timeout(self.0.connect_timeout, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        tcp.set_nodelay(true)?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(TokioIo::new(UpstreamStream::new(tcp)))
            .await
            .map_err(io::Error::other)?;
        // How a connection ends is told to the request that uses it.
        if upgrades {
            self.0
                .tasks
                .spawn(async { drop(connection.with_upgrades().await) });
        } else {
            self.0.tasks.spawn(async { drop(connection.await) });
        }
        Ok(Lent {
            sender,
            to: to.clone(),
            pool: self.clone(),
            reused: false,
        })
    }

    /// Lets connections go that are closed or were idle for long; says whether any stay.
    pub(crate) fn sweep(&self) -> bool {
        let mut all = self.0.idle.lock();
        all.retain(|_, idle| {
            idle.retain(|one| !one.sender.is_closed() && one.since.elapsed() < self.0.max_idle);
            !idle.is_empty()
        });
        !all.is_empty()
    }
}

impl Lent {
    /// The answer was read to its end: the connection is free for the next request.
    pub(crate) fn give_back(self) {
        let Self {
            sender, to, pool, ..
        } = self;
        if sender.is_closed() {
            return;
        }
        let since = Instant::now();
        let mut all = pool.0.idle.lock();
        let idle = all.entry(to).or_default();
        if idle.len() >= pool.0.keep {
            drop(idle.drain(..1));
        }
        idle.push(Idle { sender, since });
    }
}
