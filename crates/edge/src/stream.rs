//! The bytes of one client connection: plain or TLS, watched and under deadlines.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use crate::config::Config;
use crate::framing::{Fault, Framing, Waiting};
use crate::tls_stream::TlsStream;

/// No head with a NUL in it is ever accepted, and the empty line says that it is whole.
const SPOIL: &[u8] = b"\0\r\n\r\n";

/// A client connection, plain or TLS.
#[derive(Debug)]
pub(crate) enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// What the gate tells the wire about the connection's requests.
#[derive(Debug)]
pub(crate) struct Traffic {
    /// Requests whose answers are not wholly sent.
    in_flight: AtomicUsize,
    begun: Instant,
    /// Milliseconds from `begun` to the end of the last answer.
    last_end: AtomicU64,
    /// The connection became a tunnel: its bytes are no longer HTTP.
    tunnel: AtomicBool,
}

impl Traffic {
    pub(crate) fn new() -> Self {
        Self {
            in_flight: AtomicUsize::new(0),
            begun: Instant::now(),
            last_end: AtomicU64::new(0),
            tunnel: AtomicBool::new(false),
        }
    }

    pub(crate) fn request_begins(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn request_ends(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last_end.store(now, Ordering::Relaxed);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// From here on the bytes are no longer HTTP.
    pub(crate) fn becomes_tunnel(&self) {
        self.tunnel.store(true, Ordering::Relaxed);
    }

    /// How long there has been nothing to do.
    pub(crate) fn quiet(&self) -> Duration {
        if self.in_flight.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last_end = Duration::from_millis(self.last_end.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(last_end)
    }
}

/// Counts what is alive, and tells when nothing is.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    taken: AtomicUsize,
    left: Notify,
}

impl Seats {
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire)
    }

    /// Waits until fewer than `limit` seats are taken.
    pub(crate) async fn below(&self, limit: usize) {
        loop {
            let left = self.left.notified();
            if self.taken() < limit {
                return;
            }
            left.await;
        }
    }
}

/// One taken seat, given back when dropped.
#[derive(Debug)]
pub(crate) struct Seat(Arc<Seats>);

impl Seat {
    pub(crate) fn take(seats: &Arc<Seats>) -> Self {
        seats.taken.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(seats))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
        self.0.left.notify_waiters();
    }
}

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Deadlines {
    head: Duration,
    idle: Duration,
    body: Duration,
    send: Duration,
    min_rate: u64,
}

impl Deadlines {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            head: config.head_timeout(),
            idle: config.keep_alive(),
            body: Duration::from_secs(config.body_timeout_secs),
            send: Duration::from_secs(config.send_timeout_secs),
            min_rate: config.min_upload_rate,
        }
    }
}

/// A deadline that costs nothing while nobody waits.
#[derive(Debug, Default)]
struct Alarm {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<Waiting>,
    since: Option<Instant>,
}

impl Alarm {
    /// Waits for the deadline that began when `what` was first waited for.
    fn poll(&mut self, cx: &mut Context<'_>, what: Waiting, after: Duration) -> Poll<()> {
        if self.armed != Some(what) {
            let now = Instant::now();
            self.armed = Some(what);
            self.since = Some(now);
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(now + after),
                None => self.sleep = Some(Box::pin(tokio::time::sleep(after))),
            }
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }

    fn disarm(&mut self) {
        self.armed = None;
    }
}

/// A [`Stream`] that refuses doubtful framing and gives up on clients that stall.
#[derive(Debug)]
pub(crate) struct Wire {
    io: Stream,
    /// `None` for HTTP/2, whose framing cannot be doubted.
    framing: Option<Framing>,
    traffic: Arc<Traffic>,
    deadlines: Deadlines,
    reading: Alarm,
    writing: Alarm,
    /// What hyper is still to be given instead of a refused head.
    spoil: &'static [u8],
    /// The framing of a body is broken: nothing more is read.
    broken: bool,
    /// Time spent waiting for a body, and what came in that time.
    waited: Duration,
    brought: u64,
    _seats: [Seat; 2],
}

impl Wire {
    pub(crate) fn new(
        io: Stream,
        http1: bool,
        traffic: Arc<Traffic>,
        deadlines: Deadlines,
        seats: [Seat; 2],
    ) -> Self {
        Self {
            io,
            framing: http1.then(Framing::default),
            traffic,
            deadlines,
            reading: Alarm::default(),
            writing: Alarm::default(),
            spoil: &[],
            broken: false,
            waited: Duration::ZERO,
            brought: 0,
            _seats: seats,
        }
    }

    fn is_tunnel(&self) -> bool {
        self.traffic.tunnel.load(Ordering::Relaxed)
    }

    /// A tunnel holds nothing that only requests need.
    fn rest_as_tunnel(&mut self) {
        if self.framing.take().is_some() {
            self.reading = Alarm::default();
            self.writing = Alarm::default();
        }
    }

    /// Looks at what was read. A bad head is spoilt on purpose: hyper then answers 400
    /// in its turn, after the answers to earlier requests, and closes.
    fn look(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(framing) = &mut self.framing else {
            return Ok(());
        };
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if framing.waiting() == Waiting::Body {
            self.brought += u64::try_from(fresh.len()).unwrap_or_default();
        }
        match framing.follow(fresh) {
            Ok(()) => Ok(()),
            Err(Fault::Head(at)) => {
                buf.set_filled(before + at);
                self.spoil = SPOIL;
                self.put_spoil(buf);
                Ok(())
            }
            // What came before it may hold a whole head, which wants an answer.
            Err(Fault::Body(at)) => {
                buf.set_filled(before + at);
                self.broken = true;
                if at == 0 { Err(broken_body()) } else { Ok(()) }
            }
        }
    }

    fn put_spoil(&mut self, buf: &mut ReadBuf<'_>) {
        let (now, later) = self.spoil.split_at(self.spoil.len().min(buf.remaining()));
        buf.put_slice(now);
        self.spoil = later;
    }

    /// Time ran while a body was awaited: is it coming too slowly?
    fn check_rate(&mut self) -> io::Result<()> {
        let since = self.reading.since.take();
        if self.reading.armed != Some(Waiting::Body) {
            return Ok(());
        }
        self.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
        if self.waited < self.deadlines.body {
            return Ok(());
        }
        let enough = self
            .waited
            .as_secs()
            .saturating_mul(self.deadlines.min_rate);
        if self.brought < enough {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.waited = Duration::ZERO;
        self.brought = 0;
        Ok(())
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let what = match &self.framing {
            Some(framing) => framing.waiting(),
            None => Waiting::Request,
        };
        let after = match what {
            Waiting::Request => return self.poll_idle(cx),
            Waiting::Head => self.deadlines.head,
            Waiting::Body => self.deadlines.body,
        };
        match self.reading.poll(cx, what, after) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }

    /// hyper does not come back to the wire when an answer is sent, so the alarm of an
    /// idle connection goes on ringing through its requests and is put off when it rings.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = self.deadlines.idle;
        let mut after = limit;
        loop {
            if self.reading.poll(cx, Waiting::Request, after).is_pending() {
                return Poll::Pending;
            }
            let quiet = self.traffic.quiet();
            if quiet >= limit {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            after = limit.saturating_sub(quiet).max(Duration::from_millis(1));
            self.reading.disarm();
        }
    }

    /// Puts the send deadline around a write's outcome.
    fn under_deadline<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.writing.disarm();
            return outcome;
        }
        if self.is_tunnel() {
            return Poll::Pending;
        }
        match self.writing.poll(cx, Waiting::Body, self.deadlines.send) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn broken_body() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the body's framing is broken")
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.broken {
            return Poll::Ready(Err(broken_body()));
        }
        if !this.spoil.is_empty() {
            this.put_spoil(buf);
            return Poll::Ready(Ok(()));
        }
        let before = buf.filled().len();
        let read = match &mut this.io {
            Stream::Plain(io) => Pin::new(io).poll_read(cx, buf),
            Stream::Tls(io) => Pin::new(io).poll_read(cx, buf),
        };
        if this.is_tunnel() {
            this.rest_as_tunnel();
            return read;
        }
        match read {
            Poll::Pending => this.poll_stalled(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) => {
                this.check_rate()?;
                let looked = this.look(buf, before);
                // The deadline of a head runs on while the head drips in.
                if this.reading.armed == Some(Waiting::Body) {
                    this.reading.disarm();
                }
                Poll::Ready(looked)
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.io {
            Stream::Plain(io) => Pin::new(io).poll_write(cx, data),
            Stream::Tls(io) => Pin::new(io).poll_write(cx, data),
        };
        self.under_deadline(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = match &mut self.io {
            Stream::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            Stream::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        };
        self.under_deadline(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = match &mut self.io {
            Stream::Plain(io) => Pin::new(io).poll_flush(cx),
            Stream::Tls(io) => Pin::new(io).poll_flush(cx),
        };
        self.under_deadline(cx, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.io {
            Stream::Plain(io) => Pin::new(io).poll_shutdown(cx),
            Stream::Tls(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}
