//! Connections to business servers, kept by each edge thread for itself.
//!
//! A connection serves one request at a time. It comes back when the answer's body has
//! been read to its end, never earlier, so no answer can be taken for another's.
//!
//! A business server may close a kept connection at any moment, also at the one in which a
//! request is on its way. Whether it acted on that request cannot be known, so only a
//! request that may be repeated (RFC 9110, 9.2.2) goes out again, once and on a new
//! connection. For the others it is looked first whether the connection still lives, and a
//! connection that rested for long is not used.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use foldhash::fast::RandomState;
use http::{Method, Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpStream;
use weappd_base::tasks::Tasks;

use crate::body_error::EdgeBodyError;
use crate::config::Config;
use crate::upstream::address::UpstreamAddr;
use crate::upstream::stream::{ReplySeen, UpstreamStream};

/// The most that is read ahead of an answer, or held of a request; an answer's head must fit
/// in.
const BUFFER_BYTES: usize = 64 * 1024;
/// What the system keeps of a local app's answer that its client is slow to take. Left to
/// itself it keeps megabytes, which only a long way to the app makes use of.
const LOCAL_BUFFER_BYTES: usize = 64 * 1024;

/// The longest rest of a connection that carries a request which cannot be repeated. No
/// server in common use closes sooner.
const UNREPEATABLE_IDLE_MAX: Duration = Duration::from_millis(900);

/// The idle connections of one edge thread.
#[derive(Debug)]
pub(crate) struct UpstreamPool<B>(Arc<Shared<B>>);

#[derive(Debug)]
struct Shared<B> {
    /// Addresses are the configuration's and the supervisor's: nobody chooses them to collide.
    idle: Mutex<HashMap<UpstreamAddr, Vec<IdleConn<B>>, RandomState>>,
    tasks: Tasks,
}

/// By what connections are made and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UpstreamPoolLimits {
    /// Idle connections to each server.
    pub(crate) keep: usize,
    pub(crate) max_idle: Duration,
    pub(crate) connect_timeout: Duration,
}

impl UpstreamPoolLimits {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            keep: config.upstream_idle,
            max_idle: config.upstream_idle(),
            connect_timeout: config.connect_timeout(),
        }
    }
}

#[derive(Debug)]
struct IdleConn<B> {
    sender: SendRequest<B>,
    reply_seen: ReplySeen,
    since: Instant,
}

/// A connection in use.
#[derive(Debug)]
pub(crate) struct PooledConn<B> {
    sender: SendRequest<B>,
    reply_seen: ReplySeen,
    to: UpstreamAddr,
    /// Idle connections beside which it is kept.
    keep: usize,
    pool: UpstreamPool<B>,
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum SendFailure<B> {
    /// Nothing was sent: the request may go elsewhere.
    Unsent(Box<Request<B>>, io::Error),
    /// The server went away when it got the request, which may be repeated elsewhere: it may
    /// have been the request's doing.
    Gone(Box<Request<B>>, io::Error),
    /// The request was under way.
    Lost(hyper::Error),
}

/// The answer's body, and the connection it comes on.
pub(crate) type PooledAnswer<B> = (Response<Incoming>, PooledConn<B>);

impl<B> Clone for UpstreamPool<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> UpstreamPool<B>
where
    B: Body<Data = Bytes, Error = EdgeBodyError> + Default + Send + 'static,
{
    pub(crate) fn new(tasks: Tasks) -> Self {
        Self(Arc::new(Shared {
            idle: Mutex::default(),
            tasks,
        }))
    }

    /// Sends a request on a kept connection or a new one. A kept one that turns out to be
    /// closed is replaced, if nothing was sent or the request may be repeated.
    pub(crate) async fn send(
        &self,
        to: &UpstreamAddr,
        mut request: Box<Request<B>>,
        limits: &UpstreamPoolLimits,
    ) -> Result<PooledAnswer<B>, SendFailure<B>> {
        let repeats = may_be_repeated(&request);
        loop {
            let Some(pooled) = self.take(to, repeats, limits).await else {
                // Boxed, as the next: what is rare does not make every call's future large.
                return Box::pin(self.send_on_new(to, request, limits)).await;
            };
            let copy = repeats.then(|| Box::new(copy(&request)));
            match pooled.send(request).await {
                Err((Some(unsent), _, _)) => request = unsent,
                Err((None, error, pooled)) => match copy {
                    // Closed without an answer: at the moment of the request, or because of it.
                    Some(copy) if !pooled.reply_seen.any() => {
                        return Box::pin(self.repeat(to, copy, limits)).await;
                    }
                    _ => return Err(SendFailure::Lost(error)),
                },
                Ok(response) => return Ok(response),
            }
        }
    }

    async fn repeat(
        &self,
        to: &UpstreamAddr,
        request: Box<Request<B>>,
        limits: &UpstreamPoolLimits,
    ) -> Result<PooledAnswer<B>, SendFailure<B>> {
        match self.send_on_new(to, request, limits).await {
            Err(SendFailure::Unsent(unsent, error)) => Err(SendFailure::Gone(unsent, error)),
            sent => sent,
        }
    }

    /// Sends a request on a new connection.
    async fn send_on_new(
        &self,
        to: &UpstreamAddr,
        request: Box<Request<B>>,
        limits: &UpstreamPoolLimits,
    ) -> Result<PooledAnswer<B>, SendFailure<B>> {
        let pooled = match self.connect(to, limits, false).await {
            Ok(pooled) => pooled,
            Err(error) => return Err(SendFailure::Unsent(request, error)),
        };
        pooled
            .send(request)
            .await
            .map_err(|(unsent, error, _)| match unsent {
                Some(unsent) => SendFailure::Unsent(unsent, io::Error::other(error)),
                None => SendFailure::Lost(error),
            })
    }

    /// Sends a request that may turn its connection into a tunnel: always a new one.
    pub(crate) async fn send_upgrade(
        &self,
        to: &UpstreamAddr,
        request: Box<Request<B>>,
        limits: &UpstreamPoolLimits,
    ) -> Result<Response<Incoming>, SendFailure<B>> {
        let mut pooled = match self.connect(to, limits, true).await {
            Ok(pooled) => pooled,
            Err(error) => return Err(SendFailure::Unsent(request, error)),
        };
        let sent = pooled.sender.try_send_request(*request).await;
        sent.map_err(|error| SendFailure::Lost(error.into_error()))
    }

    /// A kept connection that is alive as far as can be known.
    async fn take(
        &self,
        to: &UpstreamAddr,
        repeats: bool,
        limits: &UpstreamPoolLimits,
    ) -> Option<PooledConn<B>> {
        if repeats {
            return self.take_idle(to, limits, limits.max_idle);
        }
        if !self.0.idle.lock().contains_key(to) {
            return None;
        }
        // Lets the connections' own tasks see what came meanwhile: the end, it may be.
        tokio::task::yield_now().await;
        self.take_idle(to, limits, limits.max_idle.min(UNREPEATABLE_IDLE_MAX))
    }

    fn take_idle(
        &self,
        to: &UpstreamAddr,
        limits: &UpstreamPoolLimits,
        max_idle: Duration,
    ) -> Option<PooledConn<B>> {
        let mut all = self.0.idle.lock();
        let idle = all.get_mut(to)?;
        // The youngest first, so that a quiet hour lets the others go.
        let at = idle
            .iter()
            .rposition(|one| one.sender.is_ready() && one.since.elapsed() < max_idle)?;
        let IdleConn {
            sender, reply_seen, ..
        } = idle.remove(at);
        drop(all);
        Some(PooledConn {
            sender,
            reply_seen,
            to: to.clone(),
            keep: limits.keep,
            pool: self.clone(),
        })
    }

    async fn connect(
        &self,
        to: &UpstreamAddr,
        limits: &UpstreamPoolLimits,
        upgrades: bool,
    ) -> io::Result<PooledConn<B>> {
        let connecting = async {
            match to {
                UpstreamAddr::Addr(addr) => TcpStream::connect(addr).await,
                UpstreamAddr::Name(name) => TcpStream::connect(&**name).await,
            }
        };
        let tcp = tokio::time::timeout(limits.connect_timeout, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        tcp.set_nodelay(true)?;
        if tcp.peer_addr()?.ip().is_loopback() {
            SockRef::from(&tcp).set_recv_buffer_size(LOCAL_BUFFER_BYTES)?;
        }
        let reply_seen = ReplySeen::default();
        let stream = UpstreamStream::new(tcp, reply_seen.clone());
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // The request that uses a connection learns how it ends.
        if upgrades {
            self.0
                .tasks
                .spawn(async { drop(connection.with_upgrades().await) });
        } else {
            self.0.tasks.spawn(async { drop(connection.await) });
        }
        Ok(PooledConn {
            sender,
            reply_seen,
            to: to.clone(),
            keep: limits.keep,
            pool: self.clone(),
        })
    }

    /// Drops connections that are closed or were idle for long; says whether any stay.
    pub(crate) fn sweep(&self, limits: &UpstreamPoolLimits) -> bool {
        let mut all = self.0.idle.lock();
        all.retain(|_, idle| {
            idle.retain(|one| !one.sender.is_closed() && one.since.elapsed() < limits.max_idle);
            !idle.is_empty()
        });
        !all.is_empty()
    }
}

/// Whether doing it twice is doing it once, and all of it is at hand.
fn may_be_repeated<B: Body>(request: &Request<B>) -> bool {
    let method = request.method();
    let idempotent = *method == Method::GET
        || *method == Method::HEAD
        || *method == Method::OPTIONS
        || *method == Method::PUT
        || *method == Method::DELETE;
    idempotent && request.body().is_end_stream()
}

/// The same request; it has no body.
fn copy<B: Default>(request: &Request<B>) -> Request<B> {
    let mut copy = Request::new(B::default());
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    copy.headers_mut().clone_from(request.headers());
    copy
}

/// Why a connection brought no answer; with the request if nothing of it was sent.
type FailedAttempt<B> = (Option<Box<Request<B>>>, hyper::Error, PooledConn<B>);

impl<B> PooledConn<B>
where
    B: Body<Data = Bytes, Error = EdgeBodyError> + Default + Send + 'static,
{
    async fn send(mut self, request: Box<Request<B>>) -> Result<PooledAnswer<B>, FailedAttempt<B>> {
        self.reply_seen.forget();
        match self.sender.try_send_request(*request).await {
            Ok(response) => Ok((response, self)),
            Err(mut error) => {
                let unsent = error.take_message().map(Box::new);
                Err((unsent, error.into_error(), self))
            }
        }
    }

    /// The answer was read to its end: the connection is free for the next request.
    pub(crate) fn give_back(self) {
        let Self {
            sender,
            reply_seen,
            to,
            keep,
            pool,
        } = self;
        if sender.is_closed() {
            return;
        }
        let since = Instant::now();
        let mut all = pool.0.idle.lock();
        let idle = all.entry(to).or_default();
        if idle.len() >= keep {
            drop(idle.drain(..1));
        }
        idle.push(IdleConn {
            sender,
            reply_seen,
            since,
        });
    }
}
