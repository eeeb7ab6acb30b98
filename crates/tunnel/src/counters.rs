//! What is counted by its kind, for the metrics of this room.

use weappd_base::metrics::{DurationHistogram, LabelCounters, MetricLabel, QUICK_BOUNDS};

use crate::tunnel::{CloseReason, EventKind};

/// Counts and times by their labels.
#[derive(Debug)]
pub(crate) struct TunnelCounters {
    /// Tunnels that ended.
    pub(crate) closes: LabelCounters<CloseCause>,
    /// Bytes of messages.
    pub(crate) bytes: LabelCounters<MessageWay>,
    /// Tries of callbacks.
    pub(crate) callbacks: LabelCounters<(CallbackKind, CallbackEnd)>,
    /// How long a try took.
    pub(crate) callback_time: DurationHistogram,
}

impl Default for TunnelCounters {
    fn default() -> Self {
        Self {
            closes: LabelCounters::default(),
            bytes: LabelCounters::default(),
            callbacks: LabelCounters::default(),
            callback_time: DurationHistogram::new(QUICK_BOUNDS),
        }
    }
}

/// Why a tunnel ended.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CloseCause {
    /// Its phone left, or is gone.
    Phone,
    Asked,
    Slow,
    Silent,
    BusinessBusy,
    Draining,
    Expired,
    Removed,
}

impl CloseCause {
    pub(crate) fn of(reason: Option<CloseReason>) -> Self {
        match reason {
            // A connection that another one replaces ends no tunnel.
            None | Some(CloseReason::Replaced) => Self::Phone,
            Some(CloseReason::Asked) => Self::Asked,
            Some(CloseReason::Slow) => Self::Slow,
            Some(CloseReason::Silent) => Self::Silent,
            Some(CloseReason::BusinessBusy) => Self::BusinessBusy,
            Some(CloseReason::Draining) => Self::Draining,
            Some(CloseReason::Expired) => Self::Expired,
            Some(CloseReason::Removed) => Self::Removed,
        }
    }
}

impl MetricLabel for CloseCause {
    const NAME: &'static str = "cause";
    const VALUES: &'static [&'static str] = &[
        "phone",
        "asked",
        "slow",
        "silent",
        "business_busy",
        "draining",
        "expired",
        "removed",
    ];

    fn index(self) -> usize {
        self as usize
    }
}

/// From phones, or to phones.
#[derive(Clone, Copy, Debug)]
pub(crate) enum MessageWay {
    In,
    Out,
}

impl MetricLabel for MessageWay {
    const NAME: &'static str = "way";
    const VALUES: &'static [&'static str] = &["in", "out"];

    fn index(self) -> usize {
        self as usize
    }
}

/// What a callback tells.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CallbackKind {
    Connect,
    Message,
    Close,
}

impl CallbackKind {
    pub(crate) fn of(event: &EventKind) -> Self {
        match event {
            EventKind::Connect => Self::Connect,
            EventKind::Message(_) => Self::Message,
            EventKind::Close => Self::Close,
        }
    }
}

impl MetricLabel for CallbackKind {
    const NAME: &'static str = "kind";
    const VALUES: &'static [&'static str] = &["connect", "message", "close"];

    fn index(self) -> usize {
        self as usize
    }
}

/// What came of a try.
#[derive(Clone, Copy, Debug)]
pub(crate) enum CallbackEnd {
    Taken,
    Refused,
    Lost,
}

impl MetricLabel for CallbackEnd {
    const NAME: &'static str = "outcome";
    const VALUES: &'static [&'static str] = &["taken", "refused", "lost"];

    fn index(self) -> usize {
        self as usize
    }
}
