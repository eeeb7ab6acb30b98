//! How many requests one client may have under way at a time.
//!
//! A request costs descriptors here and a connection at a business server for as long as it
//! lasts, and HTTP/2 has many of them on one connection. So the requests under way are counted
//! for each client's address, and one client gets a share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use rustix::process::{Resource, getrlimit};

/// One client may have this part of all descriptors.
const DESCRIPTOR_DIVISOR: u64 = 4;
/// Where the system names no limit.
const DESCRIPTORS_FALLBACK: u64 = 100_000;

/// The clients that are here.
#[derive(Debug)]
pub(crate) struct ClientShares {
    clients: Mutex<HashMap<IpAddr, Weak<ClientLoad>>>,
}

/// The requests under way of one client. Each of its connections has it at hand: a request
/// costs no look-up.
#[derive(Debug)]
pub(crate) struct ClientLoad {
    of: Arc<ClientShares>,
    client: IpAddr,
    under_way: AtomicUsize,
}

/// One request under way, counted until dropped.
#[derive(Debug)]
pub(crate) struct ClientShare(Arc<ClientLoad>);

/// How many requests a client may have under way, by the setting; 0 stands for a part of the
/// descriptors this process may have.
pub(crate) fn limit_of(setting: usize) -> usize {
    if setting > 0 {
        return setting;
    }
    let most = DESCRIPTORS_FALLBACK * DESCRIPTOR_DIVISOR;
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(most);
    usize::try_from(descriptors / DESCRIPTOR_DIVISOR)
        .unwrap_or(usize::MAX)
        .max(1)
}

impl ClientShares {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            clients: Mutex::default(),
        })
    }

    /// The load of the client at `address`.
    pub(crate) fn of_client(self: &Arc<Self>, address: IpAddr) -> Arc<ClientLoad> {
        let client = subscriber(address);
        let mut clients = self.clients.lock();
        let known = clients.get(&client).and_then(Weak::upgrade);
        known.unwrap_or_else(|| {
            let load = Arc::new(ClientLoad {
                of: Arc::clone(self),
                client,
                under_way: AtomicUsize::new(0),
            });
            clients.insert(client, Arc::downgrade(&load));
            load
        })
    }
}

impl ClientLoad {
    /// Counts one more request, unless this client has `limit` under way.
    pub(crate) fn take(self: &Arc<Self>, limit: usize) -> Option<ClientShare> {
        // Counted first: two threads cannot both take the last one.
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        let share = ClientShare(Arc::clone(self));
        (before < limit).then_some(share)
    }
}

impl Drop for ClientShare {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ClientLoad {
    fn drop(&mut self) {
        // The same client may have come again meanwhile.
        if let Entry::Occupied(entry) = self.of.clients.lock().entry(self.client)
            && entry.get().strong_count() == 0
        {
            entry.remove();
        }
    }
}

/// A client with one IPv6 address usually has the whole /64.
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
        let shares = ClientShares::new();
        let [one, other, v6, near, far] = [
            "192.0.2.1",
            "192.0.2.2",
            "2001:db8::1",
            "2001:db8::ffff:1",
            "2001:db8:0:1::1",
        ]
        .map(|text| text.parse().expect("an address"));
        let take = |address| shares.of_client(address).take(2);
        let held = [take(one), take(one)];
        assert!(held.iter().all(Option::is_some));
        assert!(take(one).is_none());
        assert!(take("::ffff:192.0.2.1".parse().expect("mapped")).is_none());
        assert!(take(other).is_some());
        let held6 = [take(v6), take(near)];
        assert!(take(v6).is_none());
        assert!(take(far).is_some());
        drop((held, held6));
        // A refused request took nothing.
        let again = [take(one), take(one)];
        assert!(again.iter().all(Option::is_some));
        drop(again);
        assert!(shares.clients.lock().is_empty());
    }

    #[test]
    fn the_default_is_a_part_of_the_descriptors() {
        assert!(limit_of(0) >= 1);
        assert_eq!(limit_of(7), 7);
    }
}
