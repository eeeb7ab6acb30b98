//! The names by which programs may call a listener of this machine.
//!
//! A page that somebody visits can make his browser call any address, and its own name can
//! be made to lead to this machine. So a listener that is for programs answers only to
//! names that no page can have: loopback, and those the operator names.

use std::net::IpAddr;

/// The hosts a listener answers to.
#[derive(Clone, Debug, Default)]
pub struct LocalHosts(Vec<String>);

impl LocalHosts {
    /// Loopback and `more`, names or addresses without ports.
    pub fn new(more: &[String]) -> Self {
        let names = more.iter().map(|name| plain(name));
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether a `Host`, with or without a port, is one of them.
    pub fn allow(&self, host: &str) -> bool {
        let name = plain(host);
        match name.parse::<IpAddr>() {
            Ok(address) if address.to_canonical().is_loopback() => true,
            _ => name == "localhost" || self.0.contains(&name),
        }
    }
}

/// A host without brackets, port and last dot, in lower case.
fn plain(host: &str) -> String {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        // An IPv6 address without brackets has no port.
        None if host.parse::<IpAddr>().is_ok() => host,
        None => host.split(':').next().unwrap_or_default(),
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_named_hosts_are_local() {
        let none = LocalHosts::default();
        for host in [
            "127.0.0.1:8081",
            "127.9.9.9",
            "[::1]:8081",
            "::1",
            "[::ffff:127.0.0.1]",
            "localhost",
            "LOCALHOST.:8081",
        ] {
            assert!(none.allow(host), "{host}");
        }
        for host in [
            "",
            "weappd:8081",
            "wpad",
            "10.0.0.7",
            "0.0.0.0",
            "[::]:8081",
            "evil.example:8081",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "127.1",
        ] {
            assert!(!none.allow(host), "{host}");
        }
        let more = ["weappd", "Host.Docker.Internal", "10.0.0.7"].map(str::to_owned);
        let some = LocalHosts::new(&more);
        for host in ["weappd:8081", "host.docker.internal", "10.0.0.7:80"] {
            assert!(some.allow(host), "{host}");
        }
        assert!(!some.allow("weappd.evil.example"));
        assert!(!LocalHosts::new(&[String::new()]).allow(""));
    }
}
