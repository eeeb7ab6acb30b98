//! The bytes of one client connection: plain or TLS, watched and under deadlines.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

use crate::config::Config;
use crate::conn::conn_count::ConnGuard;
use crate::conn::framing::{AwaitedPart, FramingFault, HttpFraming};
use crate::conn::head_answer;
use crate::conn::linger::Linger;
use crate::conn::pace::{LeastRate, RateTimer};
use crate::conn::traffic::ConnTraffic;
use crate::log::access_log::LogBuffer;
use crate::tls::stream::TlsStream;

/// No head with a NUL in it is ever accepted, and the empty line says that it is whole.
const BAD_HEAD_BYTES: &[u8] = b"\0\r\n\r\n";

/// A client connection, plain or TLS.
#[derive(Debug)]
pub(crate) enum ClientStream {
    Plain(TcpStream),
    Tls(Box<TlsStream>),
}

/// The deadlines of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnDeadlines {
    head: Duration,
    idle: Duration,
    upload: LeastRate,
    answer: LeastRate,
}

impl ConnDeadlines {
    pub(crate) fn of(config: &Config) -> Self {
        Self {
            head: config.head_timeout(),
            idle: config.keep_alive(),
            upload: config.upload_rate(),
            answer: config.answer_rate(),
        }
    }
}

/// A deadline that costs nothing while no wait is on.
#[derive(Debug, Default)]
struct ReadAlarm {
    sleep: Option<Pin<Box<Sleep>>>,
    armed: Option<AwaitedPart>,
    since: Option<Instant>,
}

impl ReadAlarm {
    /// Waits for the deadline that began when `what` was first waited for.
    fn poll(&mut self, cx: &mut Context<'_>, what: AwaitedPart, after: Duration) -> Poll<()> {
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

/// A [`ClientStream`] that refuses doubtful framing and gives up on clients that stall.
#[derive(Debug)]
pub(crate) struct ClientWire {
    io: ClientStream,
    /// `None` for HTTP/2, whose framing has one reading only.
    framing: Option<HttpFraming>,
    traffic: Arc<ConnTraffic>,
    deadlines: ConnDeadlines,
    reading: ReadAlarm,
    writing: RateTimer,
    /// Bytes that were rewritten on their way and are not taken yet.
    held: Option<Box<RewrittenBytes>>,
    /// How many requests there were when all answers had left; what is written next without
    /// another one is hyper's own answer to a head that it cannot read.
    settled: Option<u64>,
    log_buffer: Option<Arc<LogBuffer>>,
    /// The framing of a body is broken: nothing more is read.
    broken: bool,
    /// A head was refused: its client may go on sending.
    refused: bool,
    /// The client had its time: nothing more is waited for.
    late: bool,
    linger: Option<Box<Linger>>,
    /// Time spent waiting for a body, and what came in that time.
    waited: Duration,
    brought: u64,
    _conn_guards: [ConnGuard; 2],
}

/// Bytes that were rewritten on their way.
#[derive(Debug, Default)]
struct RewrittenBytes {
    /// What hyper is still to be given of what was read.
    input: Vec<u8>,
    /// What is still to be written in place of hyper's answer to a bad head.
    answer: Vec<u8>,
}

impl ClientWire {
    pub(crate) fn new(
        io: ClientStream,
        http1: bool,
        traffic: Arc<ConnTraffic>,
        (deadlines, log_buffer): (ConnDeadlines, Option<Arc<LogBuffer>>),
        conn_count: [ConnGuard; 2],
    ) -> Self {
        Self {
            io,
            framing: http1.then(HttpFraming::default),
            traffic,
            deadlines,
            reading: ReadAlarm::default(),
            writing: RateTimer::new(deadlines.answer),
            held: None,
            settled: Some(0),
            log_buffer,
            broken: false,
            refused: false,
            late: false,
            linger: None,
            waited: Duration::ZERO,
            brought: 0,
            _conn_guards: conn_count,
        }
    }

    fn is_tunnel(&self) -> bool {
        self.traffic.is_tunnel()
    }

    /// A tunnel holds nothing that only requests need.
    fn rest_as_tunnel(&mut self) {
        if self.framing.take().is_some() {
            self.reading = ReadAlarm::default();
            self.writing = RateTimer::new(self.deadlines.answer);
        }
    }

    /// Looks at what was read. A bad head is spoilt on purpose: hyper then answers 400
    /// in its turn, after the answers to earlier requests, and closes. What a URI has only
    /// escaped is escaped.
    fn inspect(&mut self, buf: &mut ReadBuf<'_>, before: usize) -> io::Result<()> {
        let Some(framing) = &mut self.framing else {
            return Ok(());
        };
        let fresh = buf.filled().get(before..).unwrap_or_default();
        if framing.waiting() == AwaitedPart::Body {
            self.brought += u64::try_from(fresh.len()).unwrap_or_default();
        }
        let mut raw = Vec::new();
        let verdict = framing.follow(fresh, &mut raw);
        if verdict.is_ok() && raw.is_empty() {
            return Ok(());
        }
        let whole = match verdict {
            Ok(()) => fresh.len(),
            Err(FramingFault::Head(at) | FramingFault::Body(at)) => at,
        };
        let mut input = head_answer::escape(fresh.get(..whole).unwrap_or_default(), &raw);
        match verdict {
            Ok(()) => {}
            Err(FramingFault::Head(_)) => {
                input.extend_from_slice(BAD_HEAD_BYTES);
                self.refused = true;
            }
            Err(FramingFault::Body(_)) => self.broken = true,
        }
        buf.set_filled(before);
        // What came before a broken body may hold a whole head, which wants an answer.
        if input.is_empty() && self.broken {
            return Err(broken_body());
        }
        self.held.get_or_insert_default().input = input;
        self.hand_over_held(buf);
        Ok(())
    }

    /// Gives hyper what is held for it. Says whether there was anything.
    fn hand_over_held(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let Some(held) = self.held.as_mut().filter(|held| !held.input.is_empty()) else {
            return false;
        };
        let count = held.input.len().min(buf.remaining());
        buf.put_slice(held.input.get(..count).unwrap_or_default());
        drop(held.input.drain(..count));
        if held.input.is_empty() && held.answer.is_empty() {
            self.held = None;
        }
        true
    }

    /// Takes hyper's answer to a head that it cannot read, to write a full one in its place.
    /// Returns how much was taken.
    fn complete(&mut self, bare: &[u8]) -> Option<usize> {
        let is_hypers = self.settled.is_some() && self.settled == self.traffic.answered();
        if !is_hypers || self.framing.is_none() || self.is_tunnel() {
            return None;
        }
        let answer = head_answer::complete(bare)?;
        self.settled = None;
        self.refused = true;
        self.traffic.counters.refused_heads.inc();
        let peer = self.tcp().peer_addr().ok();
        if let Some(log_buffer) = &self.log_buffer {
            log_buffer.refused_head(peer, &answer);
        }
        self.held.get_or_insert_default().answer = answer.bytes;
        Some(bare.len())
    }

    /// The connection below.
    fn tcp(&mut self) -> &mut TcpStream {
        match &mut self.io {
            ClientStream::Plain(io) => io,
            ClientStream::Tls(io) => io.tcp(),
        }
    }

    /// Writes what is written in the place of hyper's answer.
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(held) = self.held.as_mut().filter(|held| !held.answer.is_empty()) {
            let outcome = match &mut self.io {
                ClientStream::Plain(io) => Pin::new(io).poll_write(cx, &held.answer),
                ClientStream::Tls(io) => Pin::new(io).poll_write(cx, &held.answer),
            };
            if let Poll::Ready(Ok(taken)) = outcome {
                drop(held.answer.drain(..taken));
            }
            let taken = ready!(self.under_deadline(cx, outcome, |taken| *taken))?;
            if taken == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Time ran while a body was awaited: is it coming too slowly?
    fn check_rate(&mut self) -> io::Result<()> {
        let since = self.reading.since.take();
        if self.reading.armed != Some(AwaitedPart::Body) {
            return Ok(());
        }
        self.waited += since.map_or(Duration::ZERO, |since| since.elapsed());
        if self.waited < self.deadlines.upload.within {
            return Ok(());
        }
        let enough = self
            .waited
            .as_secs()
            .saturating_mul(self.deadlines.upload.per_second);
        if self.brought < enough {
            self.late = true;
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.waited = Duration::ZERO;
        self.brought = 0;
        Ok(())
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let what = match &self.framing {
            Some(framing) => framing.waiting(),
            None => AwaitedPart::Request,
        };
        let after = match what {
            AwaitedPart::Request => return self.poll_idle(cx),
            AwaitedPart::Head => self.deadlines.head,
            AwaitedPart::Body => self.deadlines.upload.within,
        };
        ready!(self.reading.poll(cx, what, after));
        self.late = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// hyper does not come back to the wire when an answer is sent, so the alarm of an
    /// idle connection goes on ringing through its requests and is put off when it rings.
    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let limit = self.deadlines.idle;
        let mut after = limit;
        loop {
            if self
                .reading
                .poll(cx, AwaitedPart::Request, after)
                .is_pending()
            {
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

    /// Puts the client's deadlines around a write's outcome: how many bytes it took.
    fn under_deadline<T>(
        &mut self,
        cx: &mut Context<'_>,
        outcome: Poll<io::Result<T>>,
        bytes: impl FnOnce(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        let slow = match &outcome {
            Poll::Ready(Ok(taken)) => self.writing.moved(bytes(taken)).is_err(),
            Poll::Ready(Err(_)) => false,
            Poll::Pending if self.is_tunnel() => false,
            Poll::Pending => self.writing.poll_wait(cx).is_ready(),
        };
        if slow {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        outcome
    }
}

fn broken_body() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the body's framing is broken")
}

impl AsyncRead for ClientWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.hand_over_held(buf) {
            return Poll::Ready(Ok(()));
        }
        if this.broken {
            return Poll::Ready(Err(broken_body()));
        }
        let before = buf.filled().len();
        let read = match &mut this.io {
            ClientStream::Plain(io) => Pin::new(io).poll_read(cx, buf),
            ClientStream::Tls(io) => Pin::new(io).poll_read(cx, buf),
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
                let looked = this.inspect(buf, before);
                // The deadline of a head runs on while the head drips in.
                if this.reading.armed == Some(AwaitedPart::Body) {
                    this.reading.disarm();
                }
                Poll::Ready(looked)
            }
        }
    }
}

impl AsyncWrite for ClientWire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        if let Some(taken) = self.complete(data) {
            return Poll::Ready(Ok(taken));
        }
        let outcome = match &mut self.io {
            ClientStream::Plain(io) => Pin::new(io).poll_write(cx, data),
            ClientStream::Tls(io) => Pin::new(io).poll_write(cx, data),
        };
        self.under_deadline(cx, outcome, |taken| *taken)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [only] = bufs
            && let Some(taken) = self.complete(only)
        {
            return Poll::Ready(Ok(taken));
        }
        let outcome = match &mut self.io {
            ClientStream::Plain(io) => Pin::new(io).poll_write_vectored(cx, bufs),
            ClientStream::Tls(io) => Pin::new(io).poll_write_vectored(cx, bufs),
        };
        self.under_deadline(cx, outcome, |taken| *taken)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_answer(cx))?;
        let outcome = match &mut self.io {
            ClientStream::Plain(io) => Pin::new(io).poll_flush(cx),
            ClientStream::Tls(io) => Pin::new(io).poll_flush(cx),
        };
        if outcome.is_ready() {
            // hyper flushes when it has written all it has.
            self.settled = self.traffic.answered();
        }
        self.under_deadline(cx, outcome, |()| 0)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            ready!(this.poll_answer(cx))?;
            ready!(match &mut this.io {
                ClientStream::Plain(io) => Pin::new(io).poll_shutdown(cx),
                ClientStream::Tls(io) => Pin::new(io).poll_shutdown(cx),
            })?;
            let mut framing = this.framing.iter();
            let is_cut = framing.any(|framing| framing.waiting() != AwaitedPart::Request);
            if this.late || !(is_cut || this.refused) {
                return Poll::Ready(Ok(()));
            }
        }
        let linger = this.linger.get_or_insert_with(|| Box::new(Linger::new()));
        let tcp = match &mut this.io {
            ClientStream::Plain(io) => io,
            ClientStream::Tls(io) => io.tcp(),
        };
        linger.poll(cx, tcp).map(Ok)
    }
}
