//! What the operator should know and anybody can cause again and again: told once in a while.

use std::io;
use std::time::Duration;

use weappd_base::log_limit::LogLimit;

use crate::connection::Visit;
use crate::health::Failure;
use crate::house::House;
use crate::pool::Upstream;

/// How often one host that is no site is told; scanners ask for many.
const HOST_INTERVAL: Duration = Duration::from_mins(10);
const MOST_HOSTS: usize = 8;
/// How often one business server that cannot be reached is told.
const UPSTREAM_INTERVAL: Duration = Duration::from_secs(30);
const MOST_UPSTREAMS: usize = 256;

/// The log lines of all edge threads that are told once in a while.
#[derive(Debug)]
pub(crate) struct Notices {
    hosts: LogLimit,
    upstreams: LogLimit,
    silences: LogLimit,
}

impl Notices {
    pub(crate) fn new() -> Self {
        Self {
            hosts: LogLimit::new(HOST_INTERVAL, MOST_HOSTS),
            upstreams: LogLimit::new(UPSTREAM_INTERVAL, MOST_UPSTREAMS),
            silences: LogLimit::new(UPSTREAM_INTERVAL, MOST_UPSTREAMS),
        }
    }

    /// A request for a host that is no site. `host` is a checked host name.
    pub(crate) fn unknown_host(&self, visit: &Visit, host: &str, house: &House) {
        if let Some(untold) = self.hosts.permit(host) {
            let sites = house.names();
            tracing::warn!(
                host,
                sites,
                peer = %visit.peer.ip(),
                untold,
                "a request for {host} is answered 421: no site has this name; there are {sites}"
            );
        }
    }

    /// A business server that began an answer and does not go on.
    pub(crate) fn fell_silent(&self, to: &Upstream, limit: Duration) {
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
    pub(crate) fn unreached(&self, to: &Upstream, error: &io::Error) {
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

/// A business server of a list begins a rest, which is told each time.
pub(crate) fn rests(to: &Upstream, how: Failure, rest: Duration) {
    let what = match how {
        Failure::Unreached => "cannot be reached",
        Failure::NoAnswer => "gave no answer several times",
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
pub(crate) fn is_back(to: &Upstream) {
    tracing::info!(upstream = %to, "the business server {to} answers again");
}
