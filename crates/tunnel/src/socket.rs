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

use crate::bell::Wakes;
use crate::farewell::{self, Last};
use crate::frame::{self, Decoder, Event, Violation, code};
use crate::hub::add;
use crate::id::TunnelId;
use crate::outbox::Outbox;
use crate::packet::{self, FromPhone};
use crate::tunnel::{Goodbye, Tunnel};
use crate::tunnels::Tunnels;

/// What one read takes at most.
const SCRATCH: usize = 64 * 1024;
/// How many frames one write takes at most.
const SLICES: usize = 64;
/// How often a socket turns before it lets others go on.
const TURNS: usize = 16;
/// How many bytes of answers to WebSocket pings wait at most; of more, the latest are sent.
const ECHO: usize = 8 * 1024;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

thread_local! {
    static SHARED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A phone's connection from the upgrade to the end. Every upgrade of a genuine token comes
/// here: refusing the upgrade itself would leave an old client stuck for ever.
///
/// Written as an enum, because an `async fn` would keep its arguments beside the socket for
/// as long as the phone stays.
pub(crate) enum Life {
    /// The answer to the upgrade is being written.
    Waiting(Tunnels, TunnelId, OnUpgrade),
    /// The phone is there.
    Living(Socket),
    /// Last words are being said.
    Ending(Pin<Box<dyn Future<Output = ()> + Send>>),
    /// All is said.
    Over,
}

impl Life {
    /// The life of the connection that `upgrade` becomes.
    pub(crate) fn new(tunnels: Tunnels, id: TunnelId, upgrade: OnUpgrade) -> Self {
        Self::Waiting(tunnels, id, upgrade)
    }

    /// Opens the tunnel for the upgraded connection, or says that it is too late.
    fn begin(self, io: Upgraded) -> Self {
        let Self::Waiting(tunnels, id, _) = self else {
            return self;
        };
        match tunnels.open(id) {
            Ok((tunnel, epoch)) => Self::Living(Socket::new(io, tunnels, tunnel, epoch)),
            Err(goodbye) => Self::Ending(Box::pin(refuse(tunnels, id, io, goodbye))),
        }
    }
}

impl Future for Life {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut *self {
                Self::Waiting(_, _, upgrade) => match ready!(Pin::new(upgrade).poll(cx)) {
                    Ok(io) => std::mem::replace(&mut *self, Self::Over).begin(io),
                    // The phone hung up during the upgrade.
                    Err(_) => Self::Over,
                },
                Self::Living(socket) => {
                    let ending = ready!(socket.poll_live(cx));
                    match std::mem::replace(&mut *self, Self::Over) {
                        Self::Living(socket) => Self::Ending(Box::pin(socket.end(ending))),
                        other => other,
                    }
                }
                Self::Ending(words) => {
                    ready!(words.as_mut().poll(cx));
                    Self::Over
                }
                Self::Over => return Poll::Ready(()),
            };
            *self = next;
        }
    }
}

/// Says goodbye to a phone that came too late.
async fn refuse(tunnels: Tunnels, id: TunnelId, io: Upgraded, goodbye: Goodbye) {
    let (code, reason) = goodbye.words();
    tunnels
        .tap()
        .record(|| to_phone(id, "close", json!({ "code": code, "reason": reason })));
    let mut out = Outbox::default();
    out.push(frame::close(code, reason));
    let last = Last::Close(Decoder::default(), Box::default());
    farewell::say(io, out, last, LAST_WORDS).await;
}

/// One phone's connection while it lives.
pub(crate) struct Socket {
    io: Upgraded,
    tunnels: Tunnels,
    tunnel: Arc<Tunnel>,
    decoder: Decoder,
    out: Outbox,
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
enum Ending {
    /// The phone or the network is gone.
    Gone,
    /// weappd ends it.
    Told(Goodbye),
    /// The phone said `close`.
    Left,
    /// The phone closed the WebSocket.
    Closed(Option<u16>),
    /// The phone broke the rules.
    Broke(Violation),
    /// The phone sent binary data.
    Binary,
}

/// What follows from one event.
enum Flow {
    On,
    Pause,
    End(Ending),
}

impl Socket {
    fn new(io: Upgraded, tunnels: Tunnels, tunnel: Arc<Tunnel>, epoch: u32) -> Self {
        let mut out = Outbox::default();
        let heartbeat = tunnels.config().heartbeat_secs;
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
            decoder: Decoder::default(),
            out,
            held: None,
            echo: None,
            epoch,
            owes_pong: false,
            pongs_wait: false,
            unflushed: false,
        }
    }

    /// Lives until something ends it.
    fn poll_live(&mut self, cx: &mut Context<'_>) -> Poll<Ending> {
        for turn in 0..TURNS {
            if self.poll_out(cx).is_err() {
                return Poll::Ready(Ending::Gone);
            }
            let now = self.tunnels.hub().now();
            let held = self.out.bytes();
            let orders = self.tunnel.look(self.epoch, held, now, cx.waker());
            let fresh = !orders.frames.is_empty();
            self.out.append(orders.frames);
            if let Some(goodbye) = orders.goodbye {
                return Poll::Ready(Ending::Told(goodbye));
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
    fn poll_in(&mut self, cx: &mut Context<'_>) -> Poll<Option<Ending>> {
        if let Some(mut held) = self.held.take() {
            return Poll::Ready(self.take_in(&mut held));
        }
        SHARED.with_borrow_mut(|shared| {
            if shared.is_empty() {
                shared.resize(SCRATCH, 0);
            }
            let mut buffer = ReadBuf::new(shared);
            match Pin::new(&mut self.io).poll_read(cx, buffer.unfilled()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(_)) => return Poll::Ready(Some(Ending::Gone)),
                Poll::Ready(Ok(())) => {}
            }
            let count = buffer.filled().len();
            if count == 0 {
                return Poll::Ready(Some(Ending::Gone));
            }
            self.tunnel.heard(self.tunnels.hub().now());
            let input = &mut shared[..count];
            Poll::Ready(self.take_in(input))
        })
    }

    /// Acts on bytes that came, until the business server must catch up first.
    fn take_in(&mut self, mut input: &mut [u8]) -> Option<Ending> {
        let most = self.tunnels.config().max_message_bytes;
        // `message:` is ours, not the phone's.
        let most = most.saturating_add("message:".len());
        while !input.is_empty() {
            let mut decoder = std::mem::take(&mut self.decoder);
            let step = decoder.step(input, most);
            self.decoder = decoder;
            let (used, flow) = match step {
                Ok(step) => (
                    step.used,
                    step.event.map_or(Flow::On, |event| self.act(&event)),
                ),
                Err(violation) => return Some(Ending::Broke(violation)),
            };
            input = &mut input[used..];
            if let Flow::On = flow {
                continue;
            }
            self.held = (!input.is_empty()).then(|| Box::from(&*input));
            return match flow {
                Flow::End(ending) => Some(ending),
                Flow::On | Flow::Pause => None,
            };
        }
        None
    }

    /// Acts on one event.
    fn act(&mut self, event: &Event<'_>) -> Flow {
        match event {
            Event::Text(text) => self.act_on_packet(text),
            Event::Binary => Flow::End(Ending::Binary),
            Event::Ping(payload) => {
                let pong = frame::pong(payload);
                let echo = self.echo.get_or_insert_default();
                if echo.len() + pong.len() > ECHO {
                    echo.clear();
                }
                echo.extend_from_slice(&pong);
                Flow::On
            }
            Event::Pong => Flow::On,
            Event::Close(code) => Flow::End(Ending::Closed(*code)),
        }
    }

    fn act_on_packet(&mut self, text: &str) -> Flow {
        let packet = FromPhone::parse(text);
        let id = self.tunnel.id;
        self.tunnels.tap().record(|| from_phone(id, &packet, text));
        match packet {
            FromPhone::Ping => {
                self.owes_pong = true;
                self.tunnels
                    .tap()
                    .record(|| to_phone(id, "pong", json!({ "packet": "pong" })));
                Flow::On
            }
            FromPhone::Message(content) => {
                match self.tunnels.said(&self.tunnel, self.epoch, content) {
                    Some(said) if !said.room => Flow::Pause,
                    // A phone that no longer speaks for its tunnel is told so next.
                    Some(_) | None => Flow::On,
                }
            }
            FromPhone::Close => Flow::End(Ending::Left),
            FromPhone::Unknown => Flow::On,
        }
    }

    /// Closes the tunnel, if nobody did, and says what is left to say.
    async fn end(mut self, ending: Ending) {
        let told = match ending {
            Ending::Told(goodbye) => Some(goodbye),
            _ => None,
        };
        if told.is_none() {
            let mut wakes = Wakes::default();
            self.tunnels
                .close(&self.tunnel, Some(self.epoch), None, &mut wakes);
        }
        let id = self.tunnel.id;
        let (code, reason) = match ending {
            Ending::Gone => return,
            Ending::Told(goodbye) => goodbye.words(),
            Ending::Left => (code::NORMAL, "bye"),
            Ending::Closed(code) => (code.unwrap_or(code::NORMAL), ""),
            Ending::Binary => (code::UNSUPPORTED, "text only"),
            Ending::Broke(violation) => {
                add(&self.tunnels.hub().counts.violations, 1);
                tracing::debug!(tunnel.id = %id, ?violation, "phone broke the WebSocket rules");
                (violation.code(), violation.reason())
            }
        };
        // The phone may have asked in the same breath.
        self.answer_pings();
        if told == Some(Goodbye::Asked) {
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
            Ending::Closed(_) => Last::Answered,
            Ending::Broke(_) => Last::Nonsense,
            _ => Last::Close(decoder, held.unwrap_or_default()),
        };
        farewell::say(io, out, last, LAST_WORDS).await;
    }
}

/// Writes once.
fn write_some(io: &mut Upgraded, cx: &mut Context<'_>, out: &Outbox) -> Poll<io::Result<usize>> {
    let io = Pin::new(io);
    if let Some(single) = out.single() {
        return io.poll_write(cx, single);
    }
    let mut slices = [IoSlice::new(&[]); SLICES];
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
        assert!(size_of::<Life>() <= 192, "{}", size_of::<Life>());
        assert!(size_of::<Tunnel>() <= 176, "{}", size_of::<Tunnel>());
    }
}
