//! Networks of addresses as people write them: `10.1.0.0/16`, `2001:db8::/32`, `192.0.2.7`,
//! and those that have a name: `loopback`, `private`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use weappd_base::language::pick;
use weappd_base::words;

/// What is wrong with a network, and what to do.
pub(crate) type NetworkProblem = (String, &'static str);

/// Networks that have a name.
const NAMED: [(&str, &[&str]); 2] = [
    ("loopback", &["127.0.0.0/8", "::1"]),
    // RFC 1918, RFC 4193; 100.64.0.0/10 is what clouds give their balancers (RFC 6598).
    (
        "private",
        &[
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "100.64.0.0/10",
            "fc00::/7",
        ],
    ),
];

/// Some networks; most often none.
#[derive(Clone, Debug, Default)]
pub(crate) struct IpNetworks(Vec<IpNetwork>);

/// One network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IpNetwork {
    /// The first address; an IPv4 one in its IPv6 form.
    first: u128,
    /// How many bits of it count, of 128.
    bits: u32,
}

impl IpNetworks {
    /// Reads a list; says which entry is wrong.
    pub(crate) fn parse(list: &[String]) -> Result<Self, (usize, NetworkProblem)> {
        let mut nets = Vec::with_capacity(list.len());
        for (at, text) in list.iter().enumerate() {
            nets.extend(Self::entry(text).map_err(|wrong| (at, wrong))?.0);
        }
        Ok(Self(nets))
    }

    /// Reads one entry: a network, an address, or a name.
    pub(crate) fn entry(text: &str) -> Result<Self, NetworkProblem> {
        let named = |(name, _): &&(&str, &[&str])| text.trim().eq_ignore_ascii_case(name);
        let nets = match NAMED.iter().find(named) {
            Some((_, nets)) => nets.iter().map(|net| IpNetwork::parse(net)).collect(),
            None => IpNetwork::parse(text).map(|net| vec![net]),
        };
        nets.map(Self)
    }

    /// The networks by which a proxy of one's own is reached: this machine's and private ones.
    pub(crate) fn local() -> Self {
        Self::parse(&["loopback".to_owned(), "private".to_owned()]).unwrap_or_default()
    }

    /// These and those.
    pub(crate) fn and(mut self, others: &Self) -> Self {
        self.0.extend(&others.0);
        self
    }

    /// Whether an address is in one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(address))
    }
}

impl IpNetwork {
    /// Reads an address, or an address and how many of its bits count.
    pub(crate) fn parse(text: &str) -> Result<Self, NetworkProblem> {
        let hint = pick(
            "write it like \"10.1.0.0/16\", \"2001:db8::/32\" or \"192.0.2.7\", or \"loopback\" or \"private\"",
            "写成 \"10.1.0.0/16\"、\"2001:db8::/32\"、\"192.0.2.7\" 这样，或 \"loopback\"、\"private\"",
        );
        let text = text.trim();
        let wrong = |what: &str, hint| (format!("`{text}` {what}"), hint);
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| wrong(pick("is no network of addresses", "不是网段"), hint))?;
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => width,
            Some(bits) => Some(bits)
                .filter(|bits| bits.bytes().all(|byte| byte.is_ascii_digit()))
                .and_then(|bits| bits.parse().ok())
                .filter(|bits| *bits <= width)
                .ok_or_else(|| {
                    let what = pick(
                        "has no length of 0 to 32 (IPv6: 128) after its /",
                        "的 / 后面不是 0 到 32（IPv6 为 0 到 128）的前缀长度",
                    );
                    wrong(what, hint)
                })?,
        };
        if bits == 0 {
            return Err(wrong(
                pick("is everybody", "包括了所有地址"),
                pick(
                    "anybody could then say who he is: name the addresses of the proxy or gateway itself",
                    "那样谁都可以冒充别人：请只写代理或网关自己的地址",
                ),
            ));
        }
        let net = Self {
            first: number(address),
            bits: bits + 128 - width,
        };
        if net.first & !net.mask() != 0 {
            let first = Ipv6Addr::from_bits(net.first & net.mask()).to_canonical();
            let what = words!(
                "begins in the middle: its network is {first}/{bits}",
                "不是网段的起始地址：它所在的网段是 {first}/{bits}"
            );
            let hint = pick(
                "write that one, or the address without its /",
                "请写那个网段，或写不带 / 的地址",
            );
            return Err(wrong(&what, hint));
        }
        Ok(net)
    }

    fn mask(self) -> u128 {
        u128::MAX.checked_shl(128 - self.bits).unwrap_or(0)
    }

    fn contains(self, address: IpAddr) -> bool {
        number(address) & self.mask() == self.first
    }
}

/// The same address gives the same number, however the system spells it.
fn number(address: IpAddr) -> u128 {
    let mapped = |v4: Ipv4Addr| v4.to_ipv6_mapped().to_bits();
    match address {
        IpAddr::V4(v4) => mapped(v4),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contains(net: &str, address: &str) -> bool {
        let net = IpNetwork::parse(net).expect("a network");
        net.contains(address.parse().expect("an address"))
    }

    #[test]
    fn networks_hold_their_addresses() {
        assert!(contains("10.1.0.0/16", "10.1.255.255"));
        assert!(contains("10.1.0.0/16", "::ffff:10.1.2.3"));
        assert!(!contains("10.1.0.0/16", "10.2.0.0"));
        assert!(!contains("10.1.0.0/16", "::10.1.2.3"));
        assert!(contains("192.0.2.7", "192.0.2.7"));
        assert!(!contains("192.0.2.7", "192.0.2.8"));
        assert!(contains("128.0.0.0/1", "255.255.255.255"));
        assert!(!contains("128.0.0.0/1", "127.255.255.255"));
        assert!(contains(" 2001:db8::/32 ", "2001:db8:ffff::1"));
        assert!(!contains("2001:db8::/32", "2001:db9::"));
        assert!(contains("::1/128", "::1") && !contains("::1", "::2"));
    }

    #[test]
    fn some_networks_have_a_name() {
        let all = ["Loopback".to_owned(), " private".to_owned()];
        let nets = IpNetworks::parse(&all).expect("networks");
        for address in [
            "127.0.0.9",
            "::1",
            "::ffff:127.0.0.1",
            "10.255.0.1",
            "172.31.0.1",
            "192.168.0.1",
            "100.127.0.1",
            "fd00::1",
        ] {
            assert!(
                nets.contains(address.parse().expect("an address")),
                "{address}"
            );
        }
        for address in ["128.0.0.1", "172.32.0.1", "203.0.113.9", "2001:db8::1"] {
            assert!(
                !nets.contains(address.parse().expect("an address")),
                "{address}"
            );
        }
        let local = IpNetworks::local();
        assert!(local.contains(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn what_is_none_is_told_with_what_to_do() {
        for (bad, what) in [
            ("", "no network"),
            ("gateway.example", "no network"),
            ("10.1.0.0/16,10.2.0.0/16", "no length"),
            ("10.1.0.0/33", "no length"),
            ("::/129", "no length"),
            ("10.0.0.0/", "no length"),
            ("10.0.0.0/+8", "no length"),
            ("10.1.2.3/8", "its network is 10.0.0.0/8"),
            ("2001:db8::1/32", "its network is 2001:db8::/32"),
            ("0.0.0.0/0", "everybody"),
            ("::/0", "everybody"),
        ] {
            let (message, hint) = IpNetwork::parse(bad).expect_err(bad);
            assert!(message.contains(what) && !hint.is_empty(), "{message}");
        }
        let list = ["::1".to_owned(), "x".to_owned()];
        assert_eq!(IpNetworks::parse(&list).expect_err("x is none").0, 1);
        assert!(!IpNetworks::default().contains(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
}
