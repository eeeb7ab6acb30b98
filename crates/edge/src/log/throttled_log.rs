//! Log lines that any client can cause again and again: each is written once in a while.

use std::io;
use std::time::Duration;

use weappd_base::rate_limit::LogLimit;

use crate::conn::conn_info::ConnInfo;
use crate::upstream::address::UpstreamAddr;
use crate::upstream::health::UpstreamFailure;

/// How often the log names one host that is no site; scanners ask for many.
const HOST_INTERVAL: Duration = Duration::from_mins(10);
const HOSTS_MAX: usize = 8;
/// How often the log names one business server that cannot be reached.
const UPSTREAM_INTERVAL: Duration = Duration::from_secs(30);
const UPSTREAMS_MAX: usize = 256;

/// The log lines of all edge threads that are written once in a while.
#[derive(Debug)]
pub(crate) struct ThrottledLog {
    hosts: LogLimit,
    upstreams: LogLimit,
    silences: LogLimit,
}

impl ThrottledLog {
    pub(crate) fn new() -> Self {
        Self {
            hosts: LogLimit::new(HOST_INTERVAL, HOSTS_MAX),
            upstreams: LogLimit::new(UPSTREAM_INTERVAL, UPSTREAMS_MAX),
            silences: LogLimit::new(UPSTREAM_INTERVAL, UPSTREAMS_MAX),
        }
    }

    /// A request for a host that is no site. `host` is a checked host name.
    pub(crate) fn log_unknown_host(
        &self,
        conn: &ConnInfo,
        host: &str,
        sites: impl FnOnce() -> String,
    ) {
        if let Some(untold) = self.hosts.permit(host) {
            let sites = sites();
            tracing::warn!(
                host,
                sites,
                peer = %conn.peer.ip(),
                untold,
                "a request for {host} is answered 421: no site has this name; there are {sites}"
            );
        }
    }

    /// A business server that began an answer and does not go on.
    pub(crate) fn log_silent(&self, to: &UpstreamAddr, limit: Duration) {
        let upstream = to.to_string();
        if let Some(untold) = self.silences.permit(&upstream) {
            let secs = limit.as_secs();
            tracing::warn!(
                upstream,
                secs,
                untold,
                "an answer fell silent and was broken off"
            );
        }
    }

    /// A business server that cannot be reached.
    pub(crate) fn log_unreached(&self, to: &UpstreamAddr, error: &io::Error) {
        let upstream = to.to_string();
        if let Some(untold) = self.upstreams.permit(&upstream) {
            tracing::warn!(
                upstream,
                %error,
                untold,
                "the business server cannot be reached: does it run, and listen there?"
            );
        }
    }
}

/// A business server of a list begins a rest; logged each time.
pub(crate) fn log_rest(to: &UpstreamAddr, how: UpstreamFailure, rest: Duration) {
    let what = match how {
        UpstreamFailure::Unreached => "cannot be reached",
        UpstreamFailure::NoAnswer => "gave no answer several times",
    };
    let secs = rest.as_secs();
    tracing::warn!(
        upstream = %to,
        secs,
        "the business server {to} {what}: it rests, and the others of its list are asked; \
         it is tried again in {secs} s, then more seldom"
    );
}

/// One that rested answers again.
pub(crate) fn log_recovery(to: &UpstreamAddr) {
    tracing::info!(upstream = %to, "the business server {to} answers again");
}
