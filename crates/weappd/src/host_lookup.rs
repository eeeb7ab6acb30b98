//! Which addresses a host name has, as the machine's own programs see it: hosts file first,
//! then DNS.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// A DNS server that is out of reach holds nothing up for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The addresses of `host`; none if nobody says any soon.
pub(crate) fn addresses(host: &str) -> Vec<IpAddr> {
    let (answer, heard) = mpsc::channel();
    let host = host.to_owned();
    // The system's question cannot be taken back, so its thread is left to itself.
    thread::spawn(move || {
        let found = (host.as_str(), 0).to_socket_addrs();
        let found = found.map(|all| all.map(|address| address.ip()).collect());
        drop(answer.send(found.unwrap_or_default()));
    });
    heard.recv_timeout(PATIENCE).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_is_found() {
        assert!(addresses("localhost").iter().any(IpAddr::is_loopback));
        assert_eq!(addresses("no name at all"), Vec::<IpAddr>::new());
    }
}
