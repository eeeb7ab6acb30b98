//! How much of the house one client may have at a time.
//!
//! A request costs descriptors here and a connection at a business server for as long as it
//! lasts, and HTTP/2 has many of them on one connection. So the requests under way are counted
//! for each client's address, and one client gets a share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

/// One client may have this part of all descriptors.
const PART: u64 = 4;
/// Enough for everybody, where the system names no limit.
const PLENTY: u64 = 100_000;

/// The requests under way of each client.
#[derive(Debug)]
pub(crate) struct ClientShares {
    limit: usize,
    counts: Mutex<HashMap<IpAddr, usize>>,
}

/// One request under way, counted until dropped.
#[derive(Debug)]
pub(crate) struct ClientShare {
    of: Arc<ClientShares>,
    client: IpAddr,
}

impl ClientShares {
    /// Of at most `limit` requests; 0 stands for a part of the descriptors this process may
    /// have.
    pub(crate) fn new(limit: usize) -> Arc<Self> {
        let limit = match limit {
            0 => {
                let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(PLENTY * PART);
                usize::try_from(descriptors / PART)
                    .unwrap_or(usize::MAX)
                    .max(1)
            }
            limit => limit,
        };
        Arc::new(Self {
            limit,
            counts: Mutex::default(),
        })
    }

    /// Counts one more request of `client`, unless it has its share.
    pub(crate) fn take(self: &Arc<Self>, client: IpAddr) -> Option<ClientShare> {
        let client = subscriber(client);
        let mut counts = self.counts.lock();
        let count = counts.entry(client).or_default();
        if *count >= self.limit {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(ClientShare {
            of: Arc::clone(self),
            client,
        })
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        if let Entry::Occupied(mut count) = self.of.counts.lock().entry(self.client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Whoever has one IPv6 address has the whole /64.
fn subscriber(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let net = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(net))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_share_and_leaves_nothing_behind() {
        let shares = ClientShares::new(2);
        let [one, other, v6, near, far] = [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2001:db8::ffff:1",
            "2001:db8:0:1::1",
        ]
        .map(|text| text.parse().expect("an address"));
        let held = [shares.take(one), shares.take(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(shares.take(one).is_none());
        assert!(
            shares
                .take("::ffff:192.0.2.1".parse().expect("mapped"))
                .is_none()
        );
        assert!(shares.take(other).is_some());
        let held6 = [shares.take(v6), shares.take(near)];
        assert!(shares.take(v6).is_none());
        assert!(shares.take(far).is_some());
        drop((held, held6));
        assert!(shares.take(one).is_some());
        assert!(shares.counts.lock().is_empty());
    }

    #[test]
    fn the_default_is_a_part_of_the_descriptors() {
        let shares = ClientShares::new(0);
        assert!(shares.limit >= 1);
    }
}
