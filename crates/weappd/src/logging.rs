//! Where log lines go: standard error, one line each, for people or for programs.

use std::io::{IsTerminal as _, Write as _};
use std::sync::OnceLock;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, fmt, reload};
use weappd_edge::AccessLog;

use crate::exit::ExitFailure;

/// What the running filter is changed by; there is one subscriber in a process.
static RUNNING_FILTER: OnceLock<reload::Handle<Targets, Registry>> = OnceLock::new();

/// Which lines are written.
pub(crate) struct LogFilter(Targets);

impl LogFilter {
    /// `directives` is a filter such as `info` or `info,weappd_tunnel=debug`.
    pub(crate) fn parse(directives: &str) -> Result<Self, ExitFailure> {
        let parsed = directives.parse().map_err(|error| {
            ExitFailure::say(
                format_args!("`{directives}` is no log filter: {error}"),
                "write warn, info or debug, or a list such as info,weappd_tunnel=debug",
            )
        });
        parsed.map(Self)
    }

    /// Takes the place of the one that holds.
    pub(crate) fn apply(self) {
        // Only a subscriber that is gone refuses.
        if let Some(running) = RUNNING_FILTER.get() {
            drop(running.reload(self.0));
        }
    }
}

/// Starts logging.
pub(crate) fn start(directives: &str, json: bool) -> Result<(), ExitFailure> {
    let LogFilter(filter) = LogFilter::parse(directives)?;
    let (filter, handle) = reload::Layer::new(filter);
    let lines = fmt::layer()
        .with_writer(std::io::stderr)
        // A terminal that was closed takes no line: to complain there would be a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = if json {
        lines.json().boxed()
    } else {
        lines.compact().boxed()
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines)
        .try_init();
    // A second start in one process (tests) keeps the first.
    if started.is_ok() {
        let _first = RUNNING_FILTER.set(handle);
    }
    Ok(())
}

/// The access log, if the filter lets `access` through: many lines with one write, which a
/// subscriber that is told of each line by itself cannot do.
pub(crate) fn access_log(json: bool) -> Option<AccessLog> {
    tracing::enabled!(target: "access", tracing::Level::INFO).then(|| AccessLog {
        json,
        // Nobody reads the log any more: that is no reason to stop serving.
        write: Box::new(|lines| drop(std::io::stderr().lock().write_all(lines))),
    })
}
