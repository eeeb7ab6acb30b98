//! One client connection from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Request};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client_share::ClientLoad;
use crate::gate;
use crate::listener::Arrival;
use crate::site::Kind;
use crate::stream::{Deadlines, Stream, Wire};
use crate::stream_tasks::StreamTasks;
use crate::tls_stream::TlsStream;
use crate::traffic::{Seat, Traffic};
use crate::trust::PeerRole;
use crate::worker::Worker;

/// How long a connection without a request is waited for once the house is closing.
const LAST_CALL: Duration = Duration::from_millis(250);

/// The most hyper reads ahead of a client's body, and about the most it holds of an answer
/// that its client is slow to take. A head must fit in too.
const BUFFER: usize = 32 * 1024;
/// The same for the answers of HTTP/2, each.
const SEND_BUFFER: usize = 32 * 1024;

/// What all requests of a connection share.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) peer: SocketAddr,
    /// The client's address as headers tell it.
    pub(crate) peer_text: HeaderValue,
    /// The connection is TLS.
    pub(crate) secure: bool,
    /// How the client came: `https` or `http`. A proxy may have taken its TLS off.
    pub(crate) proto: &'static str,
    pub(crate) http1: bool,
    /// The host the client asked for in the TLS handshake.
    pub(crate) sni: Option<Box<str>>,
    pub(crate) traffic: Arc<Traffic>,
    /// What the peer's word is believed in.
    pub(crate) role: PeerRole,
    /// The requests under way of this client, on all its connections.
    pub(crate) load: Arc<ClientLoad>,
}

impl Visit {
    fn new(peer: SocketAddr, stream: &Stream, worker: &Worker) -> Self {
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        let (secure, http2, sni) = match stream {
            Stream::Plain(_) => (false, false, None),
            Stream::Tls(tls) => (true, tls.is_http2(), tls.sni().map(Into::into)),
        };
        Self {
            peer,
            peer_text: text_of(peer),
            role: worker.trust().role(peer.ip()),
            load: worker.clients().of_client(peer.ip()),
            secure,
            proto: if secure { "https" } else { "http" },
            http1: !http2,
            sni,
            traffic: Arc::new(Traffic::new()),
        }
    }

    /// The same connection as another client's, who came by another scheme where one is told.
    pub(crate) fn seen_from(
        &self,
        (peer, load): (SocketAddr, Arc<ClientLoad>),
        is_https: Option<bool>,
    ) -> Self {
        let proto = match is_https {
            Some(true) => "https",
            Some(false) => "http",
            None => self.proto,
        };
        Self {
            peer,
            peer_text: text_of(peer),
            secure: self.secure,
            proto,
            http1: self.http1,
            sni: self.sni.clone(),
            traffic: Arc::clone(&self.traffic),
            role: self.role,
            load,
        }
    }
}

fn text_of(peer: SocketAddr) -> HeaderValue {
    HeaderValue::try_from(peer.ip().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Serves a connection until it ends or the house closes.
pub(crate) async fn serve(worker: Arc<Worker>, arrival: Arrival) {
    let Arrival {
        tcp,
        peer,
        kind,
        seat,
    } = arrival;
    let seats = [seat, Seat::take(&worker.seats)];
    // Ends of connections are the client's affair: nothing to tell anybody who did not ask.
    let stream = tokio::select! {
        () = closing(&worker) => return,
        stream = open(&worker, (tcp, peer), kind) => match stream {
            Ok(stream) => stream,
            Err(_) => return,
        },
    };
    let visit = Arc::new(Visit::new(peer, &stream, &worker));
    let traffic = Arc::clone(&visit.traffic);
    let deadlines = Deadlines::of(worker.config());
    let ledger = worker.ledger().cloned();
    let wire = Wire::new(stream, visit.http1, traffic, (deadlines, ledger), seats);
    if visit.http1 {
        speak_http1(worker, visit, wire).await;
    } else {
        speak_http2(worker, visit, wire).await;
    }
}

/// Whoever connected just before the stop still gets a moment to speak.
async fn closing(worker: &Worker) {
    worker.stop.asked().await;
    tokio::time::sleep(LAST_CALL).await;
}

/// Waits for the first bytes, then shakes hands: who never speaks costs next to nothing.
async fn open(
    worker: &Worker,
    (tcp, peer): (std::net::TcpStream, SocketAddr),
    kind: Kind,
) -> io::Result<Stream> {
    let tcp = TcpStream::from_std(tcp)?;
    timeout(worker.config().head_timeout(), tcp.readable()).await??;
    match kind {
        Kind::Http => Ok(Stream::Plain(tcp)),
        Kind::Https => {
            let limit = Duration::from_secs(worker.config().handshake_timeout_secs);
            let config = worker.tls().ok_or(io::ErrorKind::ConnectionRefused)?;
            let tls = timeout(limit, TlsStream::accept(tcp, config)).await?;
            let tls = tls.inspect_err(|error| {
                // Anybody can cause it at will, so it is for those who ask.
                tracing::debug!(%peer, %error, "no TLS connection came about");
            })?;
            Ok(Stream::Tls(Box::new(tls)))
        }
    }
}

/// hyper goes on waiting for a first request, which may never come.
async fn unused(traffic: &Traffic) {
    loop {
        tokio::time::sleep(LAST_CALL).await;
        if traffic.quiet() >= LAST_CALL {
            return;
        }
    }
}

async fn speak_http1(worker: Arc<Worker>, visit: Arc<Visit>, wire: Wire) {
    let stop = worker.stop.clone();
    let config = worker.config();
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(config.max_head_bytes)
        .max_headers(config.max_headers)
        .max_buf_size(BUFFER.max(config.max_head_bytes.saturating_add(1024)))
        // The wire has its own deadlines, one timer for all of them. Flushing less often
        // for pipelined requests (`pipeline_flush`) would swallow the 400 to a bad head.
        .header_read_timeout(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, visit) = (Arc::clone(&worker), Arc::clone(&visit));
        async move { Ok::<_, Infallible>(gate::answer(&worker, &visit, request).await) }
    });
    let connection = builder
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    tokio::pin!(connection);
    tokio::select! {
        biased;
        _ended = connection.as_mut() => return,
        () = stop.asked() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ended = connection.as_mut() => {}
        () = unused(&visit.traffic) => {}
        () = stop.forced() => {}
    }
}

async fn speak_http2(worker: Arc<Worker>, visit: Arc<Visit>, wire: Wire) {
    let stop = worker.stop.clone();
    let head_bytes = u32::try_from(worker.config().max_head_bytes).unwrap_or(u32::MAX);
    let streams = StreamTasks::new(worker.tasks.clone());
    let mut builder = http2::Builder::new(streams.clone());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(128)
        .max_header_list_size(head_bytes)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(256)
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, visit) = (Arc::clone(&worker), Arc::clone(&visit));
        let watch = streams.watch(worker.config().answer_rate());
        async move {
            let response = gate::answer(&worker, &visit, request).await;
            Ok::<_, Infallible>(response.map(|body| body.watched(watch)))
        }
    });
    let connection = builder.serve_connection(TokioIo::new(wire), service);
    tokio::pin!(connection);
    tokio::select! {
        biased;
        _ended = connection.as_mut() => return,
        () = stop.asked() => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        biased;
        _ended = connection.as_mut() => {}
        () = stop.forced() => {}
    }
}
