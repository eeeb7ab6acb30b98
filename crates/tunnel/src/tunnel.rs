//! One tunnel: issued -> open -> closed, what waits for its phone, what waits for its
//! business server.
//!
//! The socket on its edge thread, pushes from anywhere, the keeper and the callback lane
//! meet here under one short lock, never held over IO. Each method is one change of state; what
//! must follow it outside the lock (waking a socket, starting a lane) is in its return value.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Waker;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::business::{BusinessServer, CallbackRoute};
use crate::frame::code;
use crate::id::TunnelId;
use crate::outbox::FrameOutbox;
use crate::waker::{ThreadWaker, WakeBatch};

/// Most events waiting for a business server before its phone is no longer read.
const LANE_EVENTS: usize = 256;
/// Most bytes of them.
const LANE_BYTES: usize = 256 * 1024;
/// How much more than the queue limit may wait while only our own thread is late.
const LATE_FACTOR: usize = 16;

/// One tunnel.
#[derive(Debug)]
pub(crate) struct Tunnel {
    pub(crate) id: TunnelId,
    pub(crate) route: Arc<CallbackRoute>,
    /// When the phone was last heard, or the tunnel issued.
    seen: AtomicU32,
    state: Mutex<TunnelState>,
}

#[derive(Debug)]
struct TunnelState {
    phase: TunnelPhase,
    /// How long it may hear nothing: until its phone comes, then of its phone, as that was told.
    patience: u32,
    /// Which of the phones that opened this URL one after the other.
    epoch: u32,
    /// When the phone last took bytes.
    progress: u32,
    /// Bytes the socket holds; what may wait is far less than 4 GiB.
    in_flight: u32,
    /// Whether the phone refused bytes at the last try.
    blocked: bool,
    /// Whether the socket waits for the lane before it reads on.
    read_paused: bool,
    outbox: FrameOutbox,
    /// Present while the socket sleeps.
    waker: Option<Waker>,
    thread: Option<Arc<ThreadWaker>>,
    close_reason: Option<CloseReason>,
    /// Present while the business server has something to hear.
    lane: Option<Box<CallbackLane>>,
    /// Callbacks so far.
    seq: u32,
}

/// Where a tunnel is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TunnelPhase {
    /// Has a URL, waits for its phone.
    Issued,
    /// Has a phone.
    Open,
    /// Had one, or waited too long.
    Closed,
}

/// Why weappd ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The business server asked for it; the phone shall not come back.
    Asked,
    /// The phone does not read.
    Slow,
    /// Nothing was heard of the phone for too long.
    Silent,
    /// The business server does not keep up with this phone.
    BusinessBusy,
    /// weappd is going down.
    Draining,
    /// The phone's URL was opened again.
    Replaced,
    /// The URL's time is over.
    Expired,
    /// weappd.toml no longer names the business server.
    Removed,
}

impl CloseReason {
    /// What the close frame says.
    pub(crate) fn code_and_reason(self) -> (u16, &'static str) {
        match self {
            Self::Asked => (code::NORMAL, "closed by the business server"),
            Self::Slow => (code::TRY_AGAIN, "too slow"),
            Self::Silent => (code::GOING_AWAY, "silent for too long"),
            Self::BusinessBusy => (code::TRY_AGAIN, "business server is busy"),
            Self::Draining => (code::GOING_AWAY, "going away"),
            Self::Replaced => (code::POLICY, "opened elsewhere"),
            Self::Expired => (code::POLICY, "url expired"),
            Self::Removed => (code::GOING_AWAY, "no longer served here"),
        }
    }
}

/// Something a business server should hear.
#[derive(Debug)]
pub(crate) struct TunnelEvent {
    pub(crate) kind: EventKind,
    /// Counts the callbacks of one tunnel, from 1.
    pub(crate) seq: u32,
    /// When it happened.
    pub(crate) at: Instant,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// A phone opened the tunnel.
    Connect,
    /// It sent this.
    Message(Box<str>),
    /// It is gone.
    Close,
}

impl EventKind {
    /// What it is called on the wire.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Message(_) => "message",
            Self::Close => "close",
        }
    }
}

#[derive(Debug, Default)]
struct CallbackLane {
    waiting: VecDeque<TunnelEvent>,
    bytes: usize,
}

impl CallbackLane {
    fn has_room(&self) -> bool {
        self.waiting.len() < LANE_EVENTS && self.bytes < LANE_BYTES
    }
}

/// What times and sizes a tunnel must keep to, in milliseconds and bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TunnelLimits {
    pub(crate) ttl: u32,
    pub(crate) silence: u32,
    pub(crate) stall: u32,
    pub(crate) queue: usize,
}

/// What came of a frame offered to a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OfferResult {
    /// It is on its way or waits for the phone.
    Taken,
    /// The tunnel waits for its phone and no more fits.
    Full,
    /// The phone does not read: close it.
    Slow,
    /// The tunnel is closed.
    Dead,
}

/// What a socket is told when it looks.
#[derive(Debug)]
pub(crate) struct SocketOrders {
    /// To be written.
    pub(crate) frames: FrameOutbox,
    /// Why the connection is to end, if it is.
    pub(crate) close_reason: Option<CloseReason>,
    /// Whether the phone may be read.
    pub(crate) read: bool,
}

/// What came of a phone's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MessageOutcome {
    /// Whether a lane must be started.
    pub(crate) start_lane: bool,
    /// Whether the phone may say more.
    pub(crate) room: bool,
}

/// What a look at a tunnel's clocks tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClockCheck {
    /// All is well.
    Fine,
    /// Close it, saying this.
    End(CloseReason),
}

impl Tunnel {
    /// A tunnel that waits for its phone from `now`, at most `ttl`.
    pub(crate) fn new(id: TunnelId, route: Arc<CallbackRoute>, now: u32, ttl: u32) -> Self {
        Self {
            id,
            route,
            seen: AtomicU32::new(now),
            state: Mutex::new(TunnelState {
                phase: TunnelPhase::Issued,
                patience: ttl,
                epoch: 0,
                progress: now,
                in_flight: 0,
                blocked: false,
                read_paused: false,
                outbox: FrameOutbox::default(),
                waker: None,
                thread: None,
                close_reason: None,
                lane: None,
                seq: 0,
            }),
        }
    }

    /// Whether callbacks go to this business server: to its host, whichever settings it had.
    pub(crate) fn is_of(&self, business: &Arc<BusinessServer>) -> bool {
        Arc::ptr_eq(&self.route.business, business) || self.route.business.host == business.host
    }

    /// The phone was heard.
    pub(crate) fn mark_seen(&self, now: u32) {
        self.seen.store(now, Ordering::Relaxed);
    }

    /// How long nothing was heard.
    fn silence(&self, now: u32) -> u32 {
        now.wrapping_sub(self.seen.load(Ordering::Relaxed))
    }

    /// A phone that may be silent for `silence` opens the tunnel: which epoch it is, and whether
    /// it is the first, for whom a lane must be started. An earlier phone is told to go. `None`
    /// if it is too late.
    pub(crate) fn open(
        &self,
        thread: Arc<ThreadWaker>,
        now: u32,
        silence: u32,
    ) -> Option<(u32, bool)> {
        let mut wakes = WakeBatch::default();
        let mut state = self.state.lock();
        let first = match state.phase {
            TunnelPhase::Closed => return None,
            TunnelPhase::Issued if self.silence(now) > state.patience => return None,
            TunnelPhase::Issued => true,
            TunnelPhase::Open => false,
        };
        state.wake(&mut wakes);
        state.phase = TunnelPhase::Open;
        state.patience = silence;
        state.epoch += 1;
        state.progress = now;
        state.in_flight = 0;
        state.blocked = false;
        state.thread = Some(thread);
        self.mark_seen(now);
        let epoch = state.epoch;
        let start_lane = first && state.queue_event(EventKind::Connect);
        drop(state);
        Some((epoch, start_lane))
    }

    /// Gives a frame to the phone, now or as soon as it opens.
    pub(crate) fn offer(&self, frame: &Bytes, queue: usize, wakes: &mut WakeBatch) -> OfferResult {
        let mut state = self.state.lock();
        let total = state.queued_bytes() + frame.len();
        match state.phase {
            TunnelPhase::Closed => return OfferResult::Dead,
            TunnelPhase::Issued if total > queue => return OfferResult::Full,
            TunnelPhase::Open
                if total > queue
                    && (state.blocked || total > queue.saturating_mul(LATE_FACTOR)) =>
            {
                return OfferResult::Slow;
            }
            TunnelPhase::Issued | TunnelPhase::Open => {}
        }
        state.outbox.push(frame.clone());
        // A blocked socket is woken by its phone.
        if !state.blocked {
            state.wake(wakes);
        }
        OfferResult::Taken
    }

    /// The socket of `epoch` looks what to do, still holding `held` bytes unwritten; it
    /// will be woken through `waker` when that changes.
    pub(crate) fn look(&self, epoch: u32, held: usize, now: u32, waker: &Waker) -> SocketOrders {
        let mut state = self.state.lock();
        if state.epoch != epoch {
            return SocketOrders {
                frames: FrameOutbox::default(),
                close_reason: Some(CloseReason::Replaced),
                read: false,
            };
        }
        if held == 0 || held < state.in_flight as usize {
            state.progress = now;
        }
        state.blocked = held > 0;
        state.set_in_flight(held);
        let mut frames = FrameOutbox::default();
        if held == 0 || state.close_reason.is_some() {
            frames = std::mem::take(&mut state.outbox);
            state.set_in_flight(held + frames.bytes());
        }
        let read = state.lane.as_ref().is_none_or(|lane| lane.has_room());
        state.read_paused = !read;
        // A socket with something to write will look again before it sleeps.
        let sleeps = frames.is_empty() && state.close_reason.is_none();
        if sleeps && !state.waker.as_ref().is_some_and(|old| old.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        SocketOrders {
            frames,
            close_reason: state.close_reason,
            read,
        }
    }

    /// The phone of `epoch` sent a message. `None` if it no longer speaks for the tunnel.
    pub(crate) fn take_message(&self, epoch: u32, content: &str) -> Option<MessageOutcome> {
        let mut state = self.state.lock();
        if state.phase != TunnelPhase::Open || state.epoch != epoch {
            return None;
        }
        let start_lane = state.queue_event(EventKind::Message(content.into()));
        let room = state.lane.as_ref().is_none_or(|lane| lane.has_room());
        Some(MessageOutcome { start_lane, room })
    }

    /// Closes the tunnel, if it was not closed and `by` (the epoch of a socket, or nobody's)
    /// may; says whether a lane must be started.
    pub(crate) fn close(
        &self,
        by: Option<u32>,
        close_reason: Option<CloseReason>,
        wakes: &mut WakeBatch,
    ) -> Option<CloseOutcome> {
        let mut state = self.state.lock();
        if state.phase == TunnelPhase::Closed || by.is_some_and(|epoch| epoch != state.epoch) {
            return None;
        }
        let was = std::mem::replace(&mut state.phase, TunnelPhase::Closed);
        state.close_reason = close_reason;
        if close_reason != Some(CloseReason::Asked) {
            state.outbox = FrameOutbox::default();
        }
        let start_lane = was == TunnelPhase::Open && state.queue_event(EventKind::Close);
        state.wake(wakes);
        state.thread = None;
        Some(CloseOutcome { was, start_lane })
    }

    /// The next thing the business server should hear. `None` ends the lane.
    pub(crate) fn next_event(&self, wakes: &mut WakeBatch) -> Option<TunnelEvent> {
        let mut state = self.state.lock();
        let lane = state.lane.as_mut()?;
        let Some(event) = lane.waiting.pop_front() else {
            state.lane = None;
            return None;
        };
        if let EventKind::Message(content) = &event.kind {
            lane.bytes = lane.bytes.saturating_sub(content.len());
        }
        if lane.has_room() && std::mem::take(&mut state.read_paused) {
            state.wake(wakes);
        }
        Some(event)
    }

    /// Looks at the tunnel's clocks; `stall` is how long its phone may take no bytes.
    pub(crate) fn check(&self, now: u32, stall: u32) -> ClockCheck {
        let silence = self.silence(now);
        let state = self.state.lock();
        match state.phase {
            TunnelPhase::Issued if silence > state.patience => {
                ClockCheck::End(CloseReason::Expired)
            }
            TunnelPhase::Open if silence >= state.patience && state.read_paused => {
                ClockCheck::End(CloseReason::BusinessBusy)
            }
            TunnelPhase::Open if silence >= state.patience => ClockCheck::End(CloseReason::Silent),
            TunnelPhase::Open if state.blocked && now.wrapping_sub(state.progress) >= stall => {
                ClockCheck::End(CloseReason::Slow)
            }
            TunnelPhase::Issued | TunnelPhase::Open | TunnelPhase::Closed => ClockCheck::Fine,
        }
    }

    /// What the operator sees of it: phase, silence, bytes for the phone, events for the
    /// business server.
    pub(crate) fn snapshot(&self, now: u32) -> TunnelSnapshot {
        let silence_ms = self.silence(now);
        let state = self.state.lock();
        TunnelSnapshot {
            phase: state.phase,
            silence_ms,
            queued_bytes: state.queued_bytes(),
            waiting_callbacks: state.lane.as_ref().map_or(0, |lane| lane.waiting.len()),
        }
    }
}

/// What came of closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CloseOutcome {
    /// What it was before.
    pub(crate) was: TunnelPhase,
    /// Whether a lane must be started.
    pub(crate) start_lane: bool,
}

/// What the operator sees of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TunnelSnapshot {
    pub(crate) phase: TunnelPhase,
    pub(crate) silence_ms: u32,
    pub(crate) queued_bytes: usize,
    pub(crate) waiting_callbacks: usize,
}

impl TunnelState {
    /// Bytes that wait for the phone, here and in its socket.
    fn queued_bytes(&self) -> usize {
        self.outbox.bytes() + self.in_flight as usize
    }

    fn set_in_flight(&mut self, bytes: usize) {
        self.in_flight = u32::try_from(bytes).unwrap_or(u32::MAX);
    }

    /// Hands the sleeping socket over to be woken.
    fn wake(&mut self, wakes: &mut WakeBatch) {
        if let (Some(thread), Some(waker)) = (&self.thread, self.waker.take()) {
            wakes.add(thread, waker);
        }
    }

    /// Lines up something for the business server; says whether a lane must be started.
    fn queue_event(&mut self, kind: EventKind) -> bool {
        self.seq += 1;
        let start = self.lane.is_none();
        let lane = self.lane.get_or_insert_default();
        if let EventKind::Message(content) = &kind {
            lane.bytes += content.len();
        }
        lane.waiting.push_back(TunnelEvent {
            kind,
            seq: self.seq,
            at: Instant::now(),
        });
        start
    }
}

#[cfg(test)]
#[path = "tunnel_tests.rs"]
mod tests;
