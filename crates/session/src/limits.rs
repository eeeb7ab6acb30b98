//! Login limits: how often one address may try and one user may log in.
//!
//! Each counts as a bucket that a minute fills; a bounded table holds the buckets in use,
//! and the ones longest unused leave it. Checks are never limited.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use quick_cache::sync::Cache;

use crate::config::Config;
use crate::error::Error;

/// How many addresses and how many users are counted at once.
const BUCKETS: usize = 65_536;
const MINUTE_MICROS: i64 = 60_000_000;

/// The login limits.
pub(crate) struct Limits {
    addresses: Buckets<[u8; 16]>,
    users: Buckets<(Arc<str>, Arc<str>)>,
    /// What weappd asks WeChat for a user besides.
    calls: Buckets<(Arc<str>, Arc<str>)>,
}

impl Limits {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            addresses: Buckets::new(config.logins_per_minute_per_ip),
            users: Buckets::new(config.logins_per_minute_per_user),
            calls: Buckets::new(config.logins_per_minute_per_user),
        }
    }

    /// Counts a try from an address. Loopback is not counted: a proxy stands there, or a
    /// business server.
    pub(crate) fn try_from(&self, address: Option<IpAddr>, now_millis: i64) -> Result<(), Error> {
        match address {
            Some(address) if !address.to_canonical().is_loopback() => {
                self.addresses.take(&network(address), now_millis)
            }
            _ => Ok(()),
        }
    }

    /// Counts a login of a user.
    pub(crate) fn log_in(&self, appid: &str, openid: &str, now_millis: i64) -> Result<(), Error> {
        self.users.take(&(appid.into(), openid.into()), now_millis)
    }

    /// Counts a call to WeChat on behalf of a user: as many as logins, counted apart.
    pub(crate) fn call(&self, appid: &str, openid: &str, now_millis: i64) -> Result<(), Error> {
        self.calls.take(&(appid.into(), openid.into()), now_millis)
    }
}

/// An IPv4 address, or the /64 that an IPv6 address stands in: whoever holds one address
/// of it holds them all.
fn network(address: IpAddr) -> [u8; 16] {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => {
            let mut octets = address.octets();
            octets.iter_mut().skip(8).for_each(|octet| *octet = 0);
            octets
        }
    }
}

/// Buckets that hold as much as a minute allows. Each is one number: when it would be
/// full again (the generic cell rate algorithm).
struct Buckets<K> {
    /// The microseconds one login costs; 0 for no limit.
    cost: i64,
    full_at: Cache<K, Arc<AtomicI64>>,
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    fn new(per_minute: u32) -> Self {
        Self {
            cost: MINUTE_MICROS.checked_div(per_minute.into()).unwrap_or(0),
            full_at: Cache::new(BUCKETS),
        }
    }

    fn take(&self, key: &K, now_millis: i64) -> Result<(), Error> {
        if self.cost == 0 {
            return Ok(());
        }
        let now = now_millis.saturating_mul(1000);
        let fresh = || Ok::<_, std::convert::Infallible>(Arc::new(AtomicI64::new(now)));
        let Ok(full_at) = self.full_at.get_or_insert_with(key, fresh);
        let mut short = 0;
        let taken = full_at.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at| {
            // A bucket of a clock that was set back since is no fuller than any.
            let debt = full_at.saturating_sub(now).clamp(0, MINUTE_MICROS);
            short = debt + self.cost - MINUTE_MICROS;
            (short <= 0).then_some(now + debt + self.cost)
        });
        match taken {
            Ok(_) => Ok(()),
            Err(_) => Err(Error::TooManyLogins {
                retry_secs: u64::try_from(short).unwrap_or(0).div_ceil(1_000_000).max(1),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(ip: u32, user: u32) -> Limits {
        Limits::new(&Config {
            logins_per_minute_per_ip: ip,
            logins_per_minute_per_user: user,
            ..Config::default()
        })
    }

    fn address(text: &str) -> Option<IpAddr> {
        let address = text.parse();
        assert!(address.is_ok(), "{text}");
        address.ok()
    }

    #[test]
    fn a_minute_allows_so_many_and_gives_them_back_evenly() {
        let limits = limits(0, 3);
        for _ in 0..3 {
            limits.log_in("wx1", "o1", 1000).expect("allowed");
        }
        let err = limits.log_in("wx1", "o1", 1000).expect_err("too many");
        assert!(
            matches!(err, Error::TooManyLogins { retry_secs: 20 }),
            "{err:?}"
        );
        limits.log_in("wx1", "o2", 1000).expect("another user");
        limits
            .log_in("wx2", "o1", 1000)
            .expect("another mini program");
        assert!(limits.log_in("wx1", "o1", 20_999).is_err());
        limits
            .log_in("wx1", "o1", 21_000)
            .expect("a third of a minute");
        assert!(limits.log_in("wx1", "o1", 21_000).is_err());
        limits
            .log_in("wx1", "o1", -1_000_000)
            .expect_err("still empty");
    }

    #[test]
    fn addresses_count_by_network_and_loopback_does_not() {
        let limits = limits(1, 0);
        limits.try_from(address("2001:db8::1"), 0).expect("allowed");
        assert!(limits.try_from(address("2001:db8::2"), 0).is_err());
        limits
            .try_from(address("2001:db8:0:1::1"), 0)
            .expect("another /64");
        limits.try_from(address("192.0.2.1"), 0).expect("allowed");
        assert!(limits.try_from(address("::ffff:192.0.2.1"), 0).is_err());
        limits.try_from(address("192.0.2.2"), 0).expect("another");
        for _ in 0..3 {
            for near in [address("127.0.0.1"), address("::1"), None] {
                limits.try_from(near, 0).expect("not counted");
            }
            limits.log_in("wx1", "o1", 0).expect("no limit");
        }
    }
}
