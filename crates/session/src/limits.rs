//! Limits: how often one address may try and one user may log in, and how often either may
//! bring data that does not open.
//!
//! Each counts as a bucket that a minute, or an hour, fills; a bounded table holds the
//! buckets in use, and the ones longest unused leave it. Checks are never limited. When the
//! clock is set back all limits begin anew: what was counted by a wrong clock says nothing.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use weappd_base::rate_limit::RateBuckets;
use weappd_base::unix_time::UnixMillis;

use crate::config::Config;
use crate::error::Error;

/// How many addresses and how many users are counted at once.
const BUCKETS: usize = 65_536;
const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);
/// Threads read the clock at nearly the same time, and tell it in any order.
const DISORDER: Duration = Duration::from_secs(1);

/// The limits of logins and of what comes with them.
pub(crate) struct LoginLimits {
    addresses: RateBuckets<[u8; 16]>,
    users: RateBuckets<UserKey>,
    /// What weappd asks WeChat for a user besides.
    calls: RateBuckets<UserKey>,
    /// What a user brought that did not open, and the same by address.
    failures: RateBuckets<UserKey>,
    failures_from: RateBuckets<[u8; 16]>,
    /// The latest time that was told, in milliseconds since 1970.
    latest: AtomicI64,
}

/// A mini program and an openid.
type UserKey = (Arc<str>, Arc<str>);

/// Who brings data that may not open.
#[derive(Clone, Copy)]
pub(crate) struct DataSender<'a> {
    pub(crate) appid: &'a str,
    pub(crate) openid: &'a str,
    pub(crate) address: Option<IpAddr>,
}

impl DataSender<'_> {
    fn user(&self) -> UserKey {
        (self.appid.into(), self.openid.into())
    }
}

impl LoginLimits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            addresses: RateBuckets::new(config.logins_per_minute_per_ip, MINUTE, BUCKETS),
            users: RateBuckets::new(config.logins_per_minute_per_user, MINUTE, BUCKETS),
            calls: RateBuckets::new(config.logins_per_minute_per_user, MINUTE, BUCKETS),
            failures: RateBuckets::new(config.decrypt_failures_per_hour_per_user, HOUR, BUCKETS),
            failures_from: RateBuckets::new(config.decrypt_failures_per_hour_per_ip, HOUR, BUCKETS),
            latest: AtomicI64::new(i64::MIN),
        }
    }

    /// Other limits from now on; what was counted still counts.
    pub(crate) fn change(&self, config: &Config) {
        self.addresses.allow(config.logins_per_minute_per_ip);
        self.users.allow(config.logins_per_minute_per_user);
        self.calls.allow(config.logins_per_minute_per_user);
        self.failures
            .allow(config.decrypt_failures_per_hour_per_user);
        self.failures_from
            .allow(config.decrypt_failures_per_hour_per_ip);
    }

    /// Counts a try from an address. Loopback is not counted: a proxy stands there, or a
    /// business server.
    pub(crate) fn try_from(&self, address: Option<IpAddr>, now: UnixMillis) -> Result<(), Error> {
        self.reset_if_clock_went_back(now);
        match counted(address) {
            Some(network) => self.addresses.take(&network, now).map_err(too_many),
            None => Ok(()),
        }
    }

    /// Counts a login of a user.
    pub(crate) fn log_in(&self, appid: &str, openid: &str, now: UnixMillis) -> Result<(), Error> {
        self.reset_if_clock_went_back(now);
        let user = (appid.into(), openid.into());
        self.users.take(&user, now).map_err(too_many)
    }

    /// Counts a call to WeChat on behalf of a user: as many as logins, counted apart.
    pub(crate) fn call(&self, appid: &str, openid: &str, now: UnixMillis) -> Result<(), Error> {
        self.reset_if_clock_went_back(now);
        let user = (appid.into(), openid.into());
        self.calls.take(&user, now).map_err(too_many)
    }

    /// Counts data that is about to be opened as if it would not: many at once are too many
    /// too.
    pub(crate) fn open(&self, bringer: DataSender<'_>, now: UnixMillis) -> Result<(), Error> {
        self.reset_if_clock_went_back(now);
        let too_many = |retry_secs| Error::TooManyFailures { retry_secs };
        self.failures.take(&bringer.user(), now).map_err(too_many)?;
        let Some(network) = counted(bringer.address) else {
            return Ok(());
        };
        self.failures_from
            .take(&network, now)
            .inspect_err(|_| self.failures.give_back(&bringer.user()))
            .map_err(too_many)
    }

    /// It opened, and does not count.
    pub(crate) fn opened(&self, bringer: DataSender<'_>) {
        self.failures.give_back(&bringer.user());
        if let Some(network) = counted(bringer.address) {
            self.failures_from.give_back(&network);
        }
    }

    /// Forgets everything when the clock was set back.
    fn reset_if_clock_went_back(&self, now: UnixMillis) {
        let latest = UnixMillis::new(self.latest.fetch_max(now.get(), Ordering::AcqRel));
        if now < latest - DISORDER {
            self.addresses.forget();
            self.users.forget();
            self.calls.forget();
            self.failures.forget();
            self.failures_from.forget();
            self.latest.store(now.get(), Ordering::Release);
        }
    }
}

fn too_many(retry_secs: u64) -> Error {
    Error::TooManyLogins { retry_secs }
}

/// The network of an address that is counted.
fn counted(address: Option<IpAddr>) -> Option<[u8; 16]> {
    let address = address.filter(|address| !address.to_canonical().is_loopback())?;
    Some(network(address))
}

/// An IPv4 address, or the /64 that an IPv6 address stands in: whoever holds one address
/// of it holds them all.
pub(crate) fn network(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets.iter_mut().skip(8).for_each(|octet| *octet = 0);
            octets
        }
    }
}

#[cfg(test)]
#[path = "limits_tests.rs"]
mod tests;
