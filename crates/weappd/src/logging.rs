//! Where log lines go: standard error, one line each, for people or for programs.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Starts logging. `directives` is a filter such as `info` or `info,weappd_tunnel=debug`;
/// a wrong one falls back to `info`.
pub(crate) fn start(directives: &str, json: bool) {
    let filter = EnvFilter::try_new(directives).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // A second start in one process (tests) keeps the first.
    drop(if json {
        lines.json().try_init()
    } else {
        lines.compact().try_init()
    });
}
