//! What is counted of all apps together, for the metrics of this room.

use weappd_base::metrics::{DurationHistogram, LabelCounters, MetricLabel, SLOW_BOUNDS};

use crate::app::ExitReason;

/// Counts and times.
#[derive(Debug)]
pub(crate) struct AppCounters {
    /// Starts that follow an ending.
    pub(crate) restarts: LabelCounters<RestartCause>,
    /// How long programs need until they are ready.
    pub(crate) ready_time: DurationHistogram,
}

impl Default for AppCounters {
    fn default() -> Self {
        Self {
            restarts: LabelCounters::default(),
            ready_time: DurationHistogram::new(SLOW_BOUNDS),
        }
    }
}

/// Why a program is started again.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RestartCause {
    NeverStarted,
    Exited,
    Signalled,
    HungAtStart,
    /// `weappd app restart`.
    Command,
    /// Its settings changed.
    Reload,
}

impl RestartCause {
    /// Of an ending that nobody asked for.
    pub(crate) fn of(ending: &ExitReason) -> Self {
        match ending {
            ExitReason::NeverStarted { .. } => Self::NeverStarted,
            ExitReason::Exited { .. } => Self::Exited,
            ExitReason::Signalled { .. } | ExitReason::Stopped | ExitReason::Killed => {
                Self::Signalled
            }
            ExitReason::HungAtStart { .. } => Self::HungAtStart,
        }
    }
}

impl MetricLabel for RestartCause {
    const NAME: &'static str = "cause";
    const VALUES: &'static [&'static str] = &[
        "never_started",
        "exited",
        "signalled",
        "hung_at_start",
        "command",
        "reload",
    ];

    fn index(self) -> usize {
        self as usize
    }
}
