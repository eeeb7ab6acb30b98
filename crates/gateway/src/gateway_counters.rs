//! What the room counts.

use weappd_base::metrics::{
    DurationHistogram, LabelCounters, MetricCounter, MetricLabel, QUICK_BOUNDS,
};

/// How a call of WeChat's API ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    /// WeChat did it.
    Done,
    /// WeChat answered with an errcode.
    Refused,
    /// weappd refused it: a path, a size, a mini program that is not there.
    NotMade,
    /// WeChat could not be reached, or gave no proper answer in time.
    Failed,
}

impl MetricLabel for CallEnd {
    const NAME: &'static str = "end";
    const VALUES: &'static [&'static str] = &["done", "refused", "not_made", "failed"];

    fn index(self) -> usize {
        self as usize
    }
}

/// How WeChat's push of a message was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PushEnd {
    /// It is stored, or answered by the app.
    Taken,
    /// Nobody proved that WeChat sent it, or it could not be read.
    Refused,
    /// weappd could not take it: WeChat pushes it again.
    Failed,
}

impl MetricLabel for PushEnd {
    const NAME: &'static str = "end";
    const VALUES: &'static [&'static str] = &["taken", "refused", "failed"];

    fn index(self) -> usize {
        self as usize
    }
}

/// How one try to deliver a message to its app ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeliveryResult {
    /// The app took it.
    Taken,
    /// The app said no.
    Refused,
    /// The app was not there, or did not answer in time.
    Absent,
}

impl MetricLabel for DeliveryResult {
    const NAME: &'static str = "end";
    const VALUES: &'static [&'static str] = &["taken", "refused", "absent"];

    fn index(self) -> usize {
        self as usize
    }
}

/// What the room counts, over all reloads. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub(crate) struct GatewayCounters {
    pub(crate) calls: LabelCounters<CallEnd>,
    /// Until the head of WeChat's answer, or the error.
    pub(crate) call_time: DurationHistogram,
    pub(crate) pushes: LabelCounters<PushEnd>,
    pub(crate) deliveries: LabelCounters<DeliveryResult>,
    pub(crate) delivery_time: DurationHistogram,
    pub(crate) given_up: MetricCounter,
}

impl Default for GatewayCounters {
    fn default() -> Self {
        Self {
            calls: LabelCounters::default(),
            call_time: DurationHistogram::new(QUICK_BOUNDS),
            pushes: LabelCounters::default(),
            deliveries: LabelCounters::default(),
            delivery_time: DurationHistogram::new(QUICK_BOUNDS),
            given_up: MetricCounter::default(),
        }
    }
}
