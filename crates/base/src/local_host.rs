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
        let names = more.iter().map(|name| plain(name).to_ascii_lowercase());
        Self(names.filter(|name| !name.is_empty()).collect())
    }

    /// Whether a `Host`, with or without a port, is one of them.
    pub fn allow(&self, host: &str) -> bool {
        let name = plain(host);
        let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
        name.eq_ignore_ascii_case("localhost")
            || name.parse().is_ok_and(is_loopback)
            || self.0.iter().any(|ours| ours.eq_ignore_ascii_case(name))
    }
}

/// A host without brackets, port and last dot.
fn plain(host: &str) -> &str {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => match host.split_once(':') {
            // An IPv6 address without brackets has no port.
            Some((_, rest)) if rest.contains(':') && host.parse::<IpAddr>().is_ok() => host,
            Some((name, _)) => name,
            None => host,
        },
    };
    name.strip_suffix('.').unwrap_or(name)
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
