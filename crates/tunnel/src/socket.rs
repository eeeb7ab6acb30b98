//! One phone's connection, on its edge thread, from the upgrade to the last byte.
//!
//! An idle socket is this struct and nothing else: it reads into a buffer its thread
//! shares, keeps bytes only of frames that came in part, and has no timer (the keeper
//! tells it when its time is over). What happens once at the end is boxed.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use hyper::rt::{Read as _, ReadBuf, Write as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use serde_json::{Value, json};
use weappd_base::tap::{TapPeer, TapReport};

use crate::close_handshake::{self, LastRead};
use crate::frame::{self, FrameDecoder, FrameError, FrameEvent, code};
use crate::hub::add;
use crate::id::TunnelId;
use crate::outbox::FrameOutbox;
use crate::packet::{self, FromPhone};
use crate::tunnel::{CloseReason, Tunnel};
use crate::tunnels::TunnelServer;
use crate::waker::WakeBatch;

/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// How many frames one write takes at most.
const WRITE_FRAMES: usize = 64;
/// How many rounds of reading and writing a socket does before others may go on.
const POLL_ROUNDS: usize = 16;
/// How many bytes of answers to WebSocket pings wait at most; of more, the latest are sent.
const ECHO_MAX_BYTES: usize = 8 * 1024;
/// How long the close handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A phone's connection from the upgrade to the end. Every upgrade of a genuine token comes
/// here: refusing the upgrade itself would leave an old client stuck for ever.
///
/// Written as an enum, because an `async fn` would keep its arguments beside the socket for
/// as long as the phone stays.
pub(crate) enum SocketTask {
    /// The answer to the upgrade is being written.
    Waiting(TunnelServer, TunnelId, OnUpgrade),
    /// The phone is there.
    Serving(PhoneSocket),
    /// The close handshake is under way.
    Ending(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// It is over.
    Done,
}

impl SocketTask {
    /// The connection that `upgrade` becomes.
    pub(crate) fn new(tunnels: TunnelServer, id: TunnelId, upgrade: OnUpgrade) -> Self {
        Self::Waiting(tunnels, id, upgrade)
    }

    /// Opens the tunnel for the upgraded connection, or says that it is too late.
    fn begin(self, io: Upgraded) -> Self {
        let Self::Waiting(tunnels, id, _) = self else {
            return self;
        };
        match tunnels.open(id) {
            Ok((tunnel, epoch)) => Self::Serving(PhoneSocket::new(io, tunnels, tunnel, epoch)),
            Err(close_reason) => Self::Ending(Box::pin(refuse(tunnels, id, io, close_reason))),
        }
    }
}

impl Future for SocketTask {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut *self {
                Self::Waiting(_, _, upgrade) => match ready!(Pin::new(upgrade).poll(cx)) {
                    Ok(io) => std::mem::replace(&mut *self, Self::Done).begin(io),
                    // The phone hung up during the upgrade.
                    Err(_) => Self::Done,
                },
                Self::Serving(socket) => {
                    let ending = ready!(socket.poll_live(cx));
                    match std::mem::replace(&mut *self, Self::Done) {
                        Self::Serving(socket) => Self::Ending(Box::pin(socket.end(ending))),
                        other => other,
                    }
                }
                Self::Ending(code_and_reason) => {
                    ready!(code_and_reason.as_mut().poll(cx));
                    Self::Done
                }
                Self::Done => return Poll::Ready(()),
            };
            *self = next;
        }
    }
}

/// Closes the connection of a phone that came too late.
async fn refuse(tunnels: TunnelServer, id: TunnelId, io: Upgraded, close_reason: CloseReason) {
    let (code, reason) = close_reason.code_and_reason();
    tunnels
        .tap()
        .record(|| to_phone(id, "close", json!({ "code": code, "reason": reason })));
    let mut out = FrameOutbox::default();
    out.push(frame::close(code, reason));
    let last = LastRead::Close(FrameDecoder::default(), Box::default());
    close_handshake::run(io, out, last, CLOSE_TIMEOUT).await;
}

/// One phone's connection while it lives.
pub(crate) struct PhoneSocket {
    io: Upgraded,
    tunnels: TunnelServer,
    tunnel: Arc<Tunnel>,
    decoder: FrameDecoder,
    out: FrameOutbox,
    /// Bytes read but not looked at: the business server does not keep up, or this is the end.
    held: Option<Box<[u8]>>,
    /// The answers to WebSocket pings.
    echo: Option<Box<BytesMut>>,
    epoch: u32,
    /// Whether the latest `ping` is unanswered.
    owes_pong: bool,
    /// Whether answers wait in `out`: further pings share the next ones.
    pongs_wait: bool,
    unflushed: bool,
}

/// Why a connection ends.
enum CloseCause {
    /// The phone or the network is gone.
    Gone,
    /// weappd ends it.
    Told(CloseReason),
    /// The phone said `close`.
    Left,
    /// The phone closed the WebSocket.
    Closed(Option<u16>),
    /// The phone broke the rules.
    Broke(FrameError),
    /// The phone sent binary data.
    Binary,
}

/// What follows from one event.
enum EventOutcome {
    Continue,
    Pause,
    End(CloseCause),
}

impl PhoneSocket {
    fn new(io: Upgraded, tunnels: TunnelServer, tunnel: Arc<Tunnel>, epoch: u32) -> Self {
        let mut out = FrameOutbox::default();
        let heartbeat = tunnels.table().config.heartbeat_secs;
        out.push(packet::timeout(heartbeat));
        tunnels.tap().record(|| {
            to_phone(
                tunnel.id,
                "timeout",
                json!({ "packet": format!("timeout:{heartbeat}") }),
            )
        });
        Self {
            io,
            tunnels,
            tunnel,
            decoder: FrameDecoder::default(),
            out,
            held: None,
            echo: None,
            epoch,
            owes_pong: false,
            pongs_wait: false,
            unflushed: false,
        }
    }

    /// Reads and writes until something ends the connection.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<CloseCause> {
        for turn in 0..POLL_ROUNDS {
            if self.poll_out(cx).is_err() {
                return Poll::Ready(CloseCause::Gone);
            }
            let now = self.tunnels.hub().now();
            let held = self.out.bytes();
            let orders = self.tunnel.look(self.epoch, held, now, cx.waker());
            let fresh = !orders.frames.is_empty();
            self.out.append(orders.frames);
            if let Some(close_reason) = orders.close_reason {
                return Poll::Ready(CloseCause::Told(close_reason));
            }
            if fresh && turn == 0 {
                continue;
            }
            let read = if orders.read {
                self.poll_in(cx)
            } else {
                Poll::Pending
            };
            match read {
                Poll::Ready(Some(ending)) => return Poll::Ready(ending),
                Poll::Ready(None) => {}
                Poll::Pending if fresh => {}
                Poll::Pending => return Poll::Pending,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Writes what there is to write, answers to pings first, as far as the phone takes it.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            if !self.pongs_wait {
                self.answer_pings();
            }
            if self.out.is_empty() {
                break;
            }
            let written = match write_some(&mut self.io, cx, &self.out) {
                Poll::Ready(written) => written?,
                Poll::Pending => break,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.out.advance(written);
            self.unflushed = true;
            if self.out.is_empty() {
                self.pongs_wait = false;
            }
        }
        if self.unflushed
            && let Poll::Ready(flushed) = Pin::new(&mut self.io).poll_flush(cx)
        {
            flushed?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Puts the answers to pings before all that waits.
    fn answer_pings(&mut self) {
        if std::mem::take(&mut self.owes_pong) {
            self.out.push_ahead(packet::PONG);
            self.pongs_wait = true;
        }
        if let Some(echo) = self.echo.take() {
            self.out.push_ahead(echo.freeze());
            self.pongs_wait = true;
        }
    }

    /// Reads once and acts on it: `Ready(None)` when there may be more.
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Option<CloseCause>> {
        if let Some(mut held) = self.held.take() {
            return Poll::Ready(self.take_in(&mut held));
        }
        READ_BUFFER.with_borrow_mut(|shared| {
            if shared.is_empty() {
                shared.resize(READ_BYTES, 0);
            }
            let mut buffer = ReadBuf::new(shared);
            match Pin::new(&mut self.io).poll_read(cx, buffer.unfilled()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Some(CloseCause::Gone)),
                Poll::Ready(Ok(())) => {}
            }
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Some(CloseCause::Gone));
            }
            self.tunnel.mark_seen(self.tunnels.hub().now());
            let input = &mut shared[..count];
            Poll::Ready(self.take_in(input))
        })
    }

    /// Acts on bytes that came, until the business server must catch up first.
    fn take_in(&mut self, mut input: &mut [u8]) -> Option<CloseCause> {
        let most = self.tunnels.table().config.max_message_bytes;
        // `message:` is ours, not the phone's.
        let most = most.saturating_add("message:".len());
        while !input.is_empty() {
            let mut decoder = std::mem::take(&mut self.decoder);
            let step = decoder.step(input, most);
            self.decoder = decoder;
            let (used, flow) = match step {
                Ok(step) => (
                    step.used,
                    step.event
                        .map_or(EventOutcome::Continue, |event| self.act(&event)),
                ),
                Err(violation) => return Some(CloseCause::Broke(violation)),
            };
            input = &mut input[used..];
            if let EventOutcome::Continue = flow {
                continue;
            }
            self.held = (!input.is_empty()).then(|| Box::from(&*input));
            return match flow {
                EventOutcome::End(ending) => Some(ending),
                EventOutcome::Continue | EventOutcome::Pause => None,
            };
        }
        None
    }

    /// Acts on one event.
    fn act(&mut self, event: &FrameEvent<'_>) -> EventOutcome {
        match event {
            FrameEvent::Text(text) => self.act_on_packet(text),
            FrameEvent::Binary => EventOutcome::End(CloseCause::Binary),
            FrameEvent::Ping(payload) => {
                let pong = frame::pong(payload);
                let echo = self.echo.get_or_insert_default();
                if echo.len() + pong.len() > ECHO_MAX_BYTES {
                    echo.clear();
                }
                echo.extend_from_slice(&pong);
                EventOutcome::Continue
            }
            FrameEvent::Pong => EventOutcome::Continue,
            FrameEvent::Close(code) => EventOutcome::End(CloseCause::Closed(*code)),
        }
    }

    fn act_on_packet(&mut self, text: &str) -> EventOutcome {
        let packet = FromPhone::parse(text);
        let id = self.tunnel.id;
        self.tunnels.tap().record(|| from_phone(id, &packet, text));
        match packet {
            FromPhone::Ping => {
                self.owes_pong = true;
                self.tunnels
                    .tap()
                    .record(|| to_phone(id, "pong", json!({ "packet": "pong" })));
                EventOutcome::Continue
            }
            FromPhone::Message(content) => {
                match self.tunnels.take_message(&self.tunnel, self.epoch, content) {
                    Some(outcome) if !outcome.room => EventOutcome::Pause,
                    // A phone that no longer speaks for its tunnel is told so next.
                    Some(_) | None => EventOutcome::Continue,
                }
            }
            FromPhone::Close => EventOutcome::End(CloseCause::Left),
            FromPhone::Unknown => EventOutcome::Continue,
        }
    }

    /// Closes the tunnel, if nobody did, and ends the connection.
    async fn end(mut self, ending: CloseCause) {
        let told = match ending {
            CloseCause::Told(close_reason) => Some(close_reason),
            _ => None,
        };
        if told.is_none() {
            let mut wakes = WakeBatch::default();
            self.tunnels
                .close(&self.tunnel, Some(self.epoch), None, &mut wakes);
        }
        let id = self.tunnel.id;
        let (code, reason) = match ending {
            CloseCause::Gone => return,
            CloseCause::Told(close_reason) => close_reason.code_and_reason(),
            CloseCause::Left => (code::NORMAL, "bye"),
            CloseCause::Closed(code) => (code.unwrap_or(code::NORMAL), ""),
            CloseCause::Binary => (code::UNSUPPORTED, "text only"),
            CloseCause::Broke(violation) => {
                add(&self.tunnels.hub().counts.violations, 1);
                tracing::debug!(tunnel.id = %id, ?violation, "phone broke the WebSocket rules");
                (violation.code(), violation.reason())
            }
        };
        // The phone may have asked in the same breath.
        self.answer_pings();
        if told == Some(CloseReason::Asked) {
            self.out.push(packet::CLOSE);
            self.tunnels
                .tap()
                .record(|| to_phone(id, "close", json!({ "packet": "close" })));
        }
        let closing = json!({ "code": code, "reason": reason });
        self.tunnels
            .tap()
            .record(|| to_phone(id, "websocket close", closing));
        self.out.push(frame::close(code, reason));
        let Self {
            io,
            out,
            decoder,
            held,
            ..
        } = self;
        let last = match ending {
            CloseCause::Closed(_) => LastRead::Answered,
            CloseCause::Broke(_) => LastRead::Nonsense,
            _ => LastRead::Close(decoder, held.unwrap_or_default()),
        };
        close_handshake::run(io, out, last, CLOSE_TIMEOUT).await;
    }
}

/// Writes once.
fn write_some(
    io: &mut Upgraded,
    cx: &mut Context<'_>,
    out: &FrameOutbox,
) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    if let Some(single) = out.single() {
        return io.poll_write(cx, single);
    }
    let mut slices = [IoSlice::new(&[]); WRITE_FRAMES];
    let filled = out.fill(&mut slices);
    io.poll_write_vectored(cx, &slices[..filled])
}

fn from_phone(id: TunnelId, packet: &FromPhone<'_>, text: &str) -> TapReport {
    TapReport {
        from: TapPeer::Phone,
        to: TapPeer::Weappd,
        name: packet.name().to_owned(),
        answer: false,
        who: Some(id.to_string()),
        detail: json!({ "packet": text }),
    }
}

/// A packet to the phone, for the sequence diagram.
pub(crate) fn to_phone(id: TunnelId, name: &str, detail: Value) -> TapReport {
    TapReport {
        from: TapPeer::Weappd,
        to: TapPeer::Phone,
        name: name.to_owned(),
        answer: name == "pong",
        who: Some(id.to_string()),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of a future is what every idle tunnel costs for ever.
    #[test]
    fn an_idle_socket_is_small() {
        assert!(
            size_of::<SocketTask>() <= 192,
            "{}",
            size_of::<SocketTask>()
        );
        assert!(size_of::<Tunnel>() <= 176, "{}", size_of::<Tunnel>());
    }
}
