//! Accepts connections and deals them to the edge threads.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc::UnboundedSender;
use weappd_base::tasks::Stop;

use crate::error::Error;
use crate::site::{Bound, Kind};
use crate::traffic::{Seat, Seats};

/// How long to wait when the system has no room for one more connection.
const BREATH: Duration = Duration::from_millis(100);
/// How long after a complaint the next one comes.
const SILENCE: Duration = Duration::from_secs(30);
/// How many connections are accepted before the stop is looked at again.
const ROUND: usize = 256;

/// Bytes of an answer that may wait in the system for the client's turn to take them.
#[cfg(any(target_os = "android", target_os = "linux"))]
const UNSENT: u32 = 32 * 1024;

/// A connection on its way to an edge thread.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) kind: Kind,
    pub(crate) seat: Seat,
}

/// Gives connections to the edge threads in turn.
#[derive(Clone, Debug)]
pub(crate) struct Dealer {
    threads: Vec<UnboundedSender<Arrival>>,
    next: Arc<AtomicUsize>,
}

impl Dealer {
    pub(crate) fn new(threads: Vec<UnboundedSender<Arrival>>) -> Self {
        Self {
            threads,
            next: Arc::default(),
        }
    }

    fn deal(&self, arrival: Arrival) {
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

/// Makes a listening socket ready. Linux hands its options on to accepted connections.
#[expect(
    deprecated,
    reason = "its successor is an unsafe fn for types that may lie about their descriptor; TcpListener does not"
)]
fn prepare(socket: TcpListener) -> io::Result<AsyncFd<TcpListener>> {
    socket.set_nonblocking(true)?;
    let options = SockRef::from(&socket);
    options.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_mins(1))
        .with_interval(Duration::from_secs(15));
    options.set_tcp_keepalive(&keepalive)?;
    // What is on its way may be as much as the path to the client holds, what waits here may
    // not: it is memory for as long as the client is slow.
    #[cfg(any(target_os = "android", target_os = "linux"))]
    options.set_tcp_notsent_lowat(UNSENT)?;
    AsyncFd::new(socket)
}

/// Accepts until stopped, then takes those who already knocked and closes the socket.
pub(crate) async fn accept(
    bound: Bound,
    dealer: Dealer,
    limit: usize,
    stop: Stop,
) -> Result<(), Error> {
    let mut door = Door {
        kind: bound.kind,
        dealer,
        limit,
        seats: Arc::default(),
        complained: None,
    };
    let socket = prepare(bound.socket).map_err(Error::Listener)?;
    while !stop.is_asked() {
        tokio::select! {
            () = stop.asked() => break,
            () = door.seats.below(limit) => {}
        }
        let mut ready = tokio::select! {
            () = stop.asked() => break,
            ready = socket.readable() => ready.map_err(Error::Listener)?,
        };
        let round = ready.try_io(|socket| door.accept_round(socket.get_ref()));
        if let Ok(Err(error)) = round {
            door.complain(&error);
            tokio::time::sleep(BREATH).await;
        }
    }
    // Who still has to be refused here finds the port closed in a moment.
    drop(door.accept_round(socket.get_ref()));
    Ok(())
}

struct Door {
    kind: Kind,
    dealer: Dealer,
    limit: usize,
    seats: Arc<Seats>,
    complained: Option<Instant>,
}

impl Door {
    /// Accepts what waits, at most [`ROUND`]; ends with `WouldBlock` when nothing does.
    fn accept_round(&mut self, socket: &TcpListener) -> io::Result<()> {
        for _ in 0..ROUND {
            if self.seats.taken() >= self.limit {
                break;
            }
            match socket.accept() {
                Ok((tcp, peer)) => {
                    let seat = Seat::take(&self.seats);
                    if tcp.set_nonblocking(true).is_ok() {
                        let kind = self.kind;
                        self.dealer.deal(Arrival {
                            tcp,
                            peer,
                            kind,
                            seat,
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

    /// Seldom: in a flood a descriptor is free now and then, and a full log helps nobody.
    fn complain(&mut self, error: &io::Error) {
        let now = Instant::now();
        let is_due = |last| now.duration_since(last) >= SILENCE;
        if self.complained.is_none_or(is_due) {
            self.complained = Some(now);
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
