//! Accepts connections and deals them to the edge threads.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::watch;
use weappd_base::tasks::Stop;

use crate::conn::conn_count::ConnCount;
use crate::conn::conn_count::ConnGuard;
use crate::error::Error;
use crate::site::ListenerKind;

/// How long to wait when the system has no room for one more connection.
const RETRY_INTERVAL: Duration = Duration::from_millis(100);
/// How long after a complaint the next one comes.
const LOG_INTERVAL: Duration = Duration::from_secs(30);
/// How many connections are accepted before the stop is looked at again.
const ACCEPT_BATCH: usize = 256;

/// Bytes of an answer that may wait in the system for the client's turn to take them.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT_MAX_BYTES: u32 = 32 * 1024;

/// A connection on its way to an edge thread.
#[derive(Debug)]
pub(crate) struct AcceptedConn {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) kind: ListenerKind,
    pub(crate) conn_guard: ConnGuard,
}

/// Gives connections to the edge threads in turn.
#[derive(Clone, Debug)]
pub(crate) struct ConnDealer {
    threads: Vec<UnboundedSender<AcceptedConn>>,
    next: Arc<AtomicUsize>,
}

impl ConnDealer {
    pub(crate) fn new(threads: Vec<UnboundedSender<AcceptedConn>>) -> Self {
        Self {
            threads,
            next: Arc::default(),
        }
    }

    fn deal(&self, arrival: AcceptedConn) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let Some(at) = turn.checked_rem(self.threads.len()) else {
            return;
        };
        if let Some(thread) = self.threads.get(at) {
            // A thread that is gone has been told to stop: the connection is closed.
            drop(thread.send(arrival));
        }
    }
}

/// What a listener goes by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ListenerState {
    pub(crate) kind: ListenerKind,
    /// How many connections it holds at a time.
    pub(crate) limit: usize,
}

/// A listening socket that is ready to accept.
#[derive(Debug)]
pub(crate) struct OpenListener {
    socket: AsyncFd<TcpListener>,
    /// Once its sender is dropped, the listener is closed.
    state: watch::Receiver<ListenerState>,
}

impl OpenListener {
    /// Sets the socket's options. Linux hands them on to accepted connections.
    #[expect(
        deprecated,
        reason = "its successor is an unsafe fn for types that may lie about their descriptor; TcpListener does not"
    )]
    pub(crate) fn new(
        socket: TcpListener,
        state: watch::Receiver<ListenerState>,
    ) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(Duration::from_mins(1))
            .with_interval(Duration::from_secs(15));
        options.set_tcp_keepalive(&keepalive)?;
        // What is on its way may be as much as the path to the client holds, what waits here
        // may not: it is memory for as long as the client is slow.
        #[cfg(any(target_os = "android", target_os = "linux"))]
        options.set_tcp_notsent_lowat(UNSENT_MAX_BYTES)?;
        Ok(Self {
            socket: AsyncFd::new(socket)?,
            state,
        })
    }
}

/// Accepts until stopped or closed, then takes those who are in the queue and closes the
/// socket.
pub(crate) async fn accept(
    listener: OpenListener,
    dealer: ConnDealer,
    stop: Stop,
) -> Result<(), Error> {
    let OpenListener { socket, mut state } = listener;
    let mut acceptor = Acceptor {
        state: *state.borrow_and_update(),
        dealer,
        conn_count: Arc::default(),
        logged_at: None,
    };
    while !stop.is_asked() {
        tokio::select! {
            () = stop.asked() => break,
            changed = state.changed() => match changed {
                Ok(()) => acceptor.state = *state.borrow_and_update(),
                Err(_) => break,
            },
            ready = acceptor.wait(&socket) => {
                let mut ready = ready.map_err(Error::Listener)?;
                let batch = ready.try_io(|socket| acceptor.accept_batch(socket.get_ref()));
                if let Ok(Err(error)) = batch {
                    acceptor.log_starved(&error);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            }
        }
    }
    // A client that finds no place here finds the port closed in a moment.
    drop(acceptor.accept_batch(socket.get_ref()));
    Ok(())
}

struct Acceptor {
    state: ListenerState,
    dealer: ConnDealer,
    conn_count: Arc<ConnCount>,
    logged_at: Option<Instant>,
}

impl Acceptor {
    /// Waits until a connection may be taken, and there is one.
    async fn wait<'a>(
        &self,
        socket: &'a AsyncFd<TcpListener>,
    ) -> io::Result<AsyncFdReadyGuard<'a, TcpListener>> {
        self.conn_count.below(self.state.limit).await;
        socket.readable().await
    }

    /// Accepts what waits, at most [`ACCEPT_BATCH`]; ends with `WouldBlock` when nothing does.
    fn accept_batch(&mut self, socket: &TcpListener) -> io::Result<()> {
        for _ in 0..ACCEPT_BATCH {
            if self.conn_count.count() >= self.state.limit {
                break;
            }
            match socket.accept() {
                Ok((tcp, peer)) => {
                    let conn_guard = ConnGuard::take(&self.conn_count);
                    if tcp.set_nonblocking(true).is_ok() {
                        let kind = self.state.kind;
                        self.dealer.deal(AcceptedConn {
                            tcp,
                            peer,
                            kind,
                            conn_guard,
                        });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock || is_starved(&error) => {
                    return Err(error);
                }
                // The client left before its turn.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Seldom: in a flood of connections it would fill the log.
    fn log_starved(&mut self, error: &io::Error) {
        let now = Instant::now();
        let is_due = |last| now.duration_since(last) >= LOG_INTERVAL;
        if self.logged_at.is_none_or(is_due) {
            self.logged_at = Some(now);
            tracing::error!(%error, "no room for more connections; trying again until there is");
        }
    }
}

/// Out of file descriptors or memory: the connection stays in the queue.
fn is_starved(error: &io::Error) -> bool {
    use rustix::io::Errno;
    error.raw_os_error().is_some_and(|code| {
        [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
            .map(Errno::raw_os_error)
            .contains(&code)
    })
}
