//! One client connection from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Config;
use crate::conn::client_wire::{ClientStream, ClientWire, ConnDeadlines};
use crate::conn::conn_count::ConnGuard;
use crate::conn::conn_info::{ConnInfo, ConnProtocol};
use crate::conn::listener::AcceptedConn;
use crate::conn::pace::LeastRate;
use crate::conn::stream_tasks::StreamTasks;
use crate::conn::traffic::ConnTraffic;
use crate::gate;
use crate::site::ListenerKind;
use crate::tls::stream::TlsStream;
use crate::worker::Worker;

/// How long weappd waits at a stop for a connection without a request.
const CLOSE_GRACE: Duration = Duration::from_millis(250);

/// The most hyper reads ahead of a client's body, and about the most it holds of an answer
/// that its client is slow to take. A head must fit in too.
const READ_BUFFER_BYTES: usize = 32 * 1024;
/// The same for the answers of HTTP/2, each.
const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// No map of headers holds more, and hyper makes room for as many as it is told.
const HEADERS_MAX: usize = 32_768;

/// What a connection goes by from its beginning to its end.
#[derive(Clone, Copy, Debug)]
struct ConnLimits {
    deadlines: ConnDeadlines,
    answer_rate: LeastRate,
    head_bytes: usize,
    headers: usize,
}

impl ConnLimits {
    fn of(config: &Config) -> Self {
        Self {
            deadlines: ConnDeadlines::of(config),
            answer_rate: config.answer_rate(),
            head_bytes: config.max_head_bytes,
            headers: config.max_headers.min(HEADERS_MAX),
        }
    }
}

/// Serves a connection until it ends or weappd stops.
pub(crate) async fn serve(worker: Arc<Worker>, arrival: AcceptedConn) {
    let AcceptedConn {
        tcp,
        peer,
        kind,
        conn_guard,
    } = arrival;
    worker.counters.accepted.inc();
    let conn_count = [conn_guard, ConnGuard::take(&worker.conn_count)];
    // How a connection ends is not logged: clients close as they like.
    let stream = tokio::select! {
        () = wait_for_close(&worker) => return,
        stream = open_stream(&worker, (tcp, peer), kind) => match stream {
            Ok(stream) => stream,
            Err(_) => return,
        },
    };
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let (limits, role) = {
        // Not kept: a connection outlives many reloads.
        let tables = worker.tables();
        (ConnLimits::of(&tables.config), tables.trust.role(peer.ip()))
    };
    let conn = Arc::new(ConnInfo::new(
        peer,
        protocol_of(&stream),
        role,
        (
            worker.clients().of_client(peer.ip()),
            Arc::clone(&worker.counters),
        ),
    ));
    let traffic = Arc::clone(&conn.traffic);
    let log_buffer = worker.log_buffer().cloned();
    let wire = ClientWire::new(
        stream,
        conn.http1,
        traffic,
        (limits.deadlines, log_buffer),
        conn_count,
    );
    if conn.http1 {
        serve_http1(worker, conn, wire, limits).await;
    } else {
        serve_http2(worker, conn, wire, limits).await;
    }
}

fn protocol_of(stream: &ClientStream) -> ConnProtocol {
    match stream {
        ClientStream::Plain(_) => ConnProtocol {
            secure: false,
            http1: true,
            sni: None,
        },
        ClientStream::Tls(tls) => ConnProtocol {
            secure: true,
            http1: !tls.is_http2(),
            sni: tls.sni().map(Into::into),
        },
    }
}

/// A client that connected just before the stop still has a moment to send its request.
async fn wait_for_close(worker: &Worker) {
    worker.stop.asked().await;
    tokio::time::sleep(CLOSE_GRACE).await;
}

/// Waits for the first bytes, then shakes hands: a silent client costs next to nothing.
async fn open_stream(
    worker: &Worker,
    (tcp, peer): (std::net::TcpStream, SocketAddr),
    kind: ListenerKind,
) -> io::Result<ClientStream> {
    let tcp = TcpStream::from_std(tcp)?;
    let head_timeout = worker.tables().config.head_timeout();
    timeout(head_timeout, tcp.readable()).await??;
    match kind {
        ListenerKind::Http => Ok(ClientStream::Plain(tcp)),
        ListenerKind::Https => {
            let (limit, config) = {
                let tables = worker.tables();
                (tables.config.handshake_timeout(), tables.tls.clone())
            };
            let config = config.ok_or(io::ErrorKind::ConnectionRefused)?;
            let tls = timeout(limit, TlsStream::accept(tcp, config)).await;
            if !matches!(tls, Ok(Ok(_))) {
                worker.counters.handshake_failures.inc();
            }
            let tls = tls?.inspect_err(|error| {
                // Any client can cause it, so it is logged at the debug level only.
                tracing::debug!(%peer, %error, "no TLS connection came about");
            })?;
            Ok(ClientStream::Tls(Box::new(tls)))
        }
    }
}

/// hyper goes on waiting for a first request, which may never come.
async fn wait_until_quiet(traffic: &ConnTraffic) {
    loop {
        tokio::time::sleep(CLOSE_GRACE).await;
        if traffic.quiet() >= CLOSE_GRACE {
            return;
        }
    }
}

async fn serve_http1(
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    wire: ClientWire,
    limits: ConnLimits,
) {
    let stop = worker.stop.clone();
    let mut builder = http1::Builder::new();
    builder
        .max_header_size(limits.head_bytes)
        .max_headers(limits.headers)
        .max_buf_size(READ_BUFFER_BYTES.max(limits.head_bytes.saturating_add(1024)))
        // The wire has its own deadlines, one timer for all of them. Flushing less often
        // for pipelined requests (`pipeline_flush`) would swallow the 400 to a bad head.
        .header_read_timeout(None);
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, conn) = (Arc::clone(&worker), Arc::clone(&conn));
        async move { Ok::<_, Infallible>(gate::answer(&worker, &conn, request).await) }
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
        () = wait_until_quiet(&conn.traffic) => {}
        () = stop.forced() => {}
    }
}

async fn serve_http2(
    worker: Arc<Worker>,
    conn: Arc<ConnInfo>,
    wire: ClientWire,
    limits: ConnLimits,
) {
    let stop = worker.stop.clone();
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
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
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    let service = service_fn(|request: Request<Incoming>| {
        let (worker, conn) = (Arc::clone(&worker), Arc::clone(&conn));
        let watch = streams.watch(limits.answer_rate);
        async move {
            let response = gate::answer(&worker, &conn, request).await;
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
