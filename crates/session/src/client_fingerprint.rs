//! Who brings a code: its address and what its browser calls itself.

use std::net::IpAddr;

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};

use crate::limits::network;

/// Who brings a code, as far as a request shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientFingerprint {
    /// Its network; a call from this machine, such as a business server's, has none.
    network: Option<[u8; 16]>,
    /// SHA-256 of its `User-Agent`.
    agent: Option<[u8; 32]>,
}

impl ClientFingerprint {
    pub(crate) fn of(headers: &HeaderMap, address: Option<IpAddr>) -> Self {
        let agent = headers.get(header::USER_AGENT);
        let agent = agent.and_then(|agent| agent.to_str().ok());
        Self {
            network: address
                .filter(|address| !address.to_canonical().is_loopback())
                .map(network),
            agent: agent.map(agent_name),
        }
    }

    /// Whether `other`, who comes later, may be the same. A phone that changes from one network
    /// to another keeps its browser; business servers speak for any phone.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_agent = self.agent.is_some() && self.agent == other.agent;
        other.network.is_none() || self.network == other.network || same_agent
    }
}

/// The name but for the kind of network, which WeChat writes into it (`NetType/WIFI`).
fn agent_name(agent: &str) -> [u8; 32] {
    let words = agent.split(' ');
    let mut sha = Sha256::new();
    for word in words.filter(|word| !word.starts_with("NetType/")) {
        sha.update(word.as_bytes());
        sha.update([b' ']);
    }
    sha.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const IPHONE: &str = "MicroMessenger/8.0.49 NetType/WIFI Language/zh_CN";

    fn fingerprint(address: &str, agent: &str) -> ClientFingerprint {
        let mut headers = HeaderMap::new();
        if !agent.is_empty() {
            headers.insert(header::USER_AGENT, agent.parse().expect("a value"));
        }
        ClientFingerprint::of(&headers, address.parse().ok())
    }

    #[test]
    fn one_phone_keeps_its_address_or_its_browser() {
        let first = fingerprint("192.0.2.1", IPHONE);
        for (address, agent, same) in [
            ("192.0.2.1", IPHONE, true),
            ("192.0.2.1", "curl/8", true),
            ("::ffff:192.0.2.1", "", true),
            ("198.51.100.7", IPHONE, true),
            (
                "198.51.100.7",
                "MicroMessenger/8.0.49 NetType/4G Language/zh_CN",
                true,
            ),
            ("198.51.100.7", "curl/8", false),
            ("198.51.100.7", "", false),
            ("", "", true),
            ("127.0.0.1", "an SDK", true),
            ("::1", "", true),
        ] {
            let later = fingerprint(address, agent);
            assert_eq!(first.is_same(&later), same, "{address} {agent}");
        }
        // What a business server brought first is not for whoever comes by.
        assert!(!fingerprint("", "").is_same(&fingerprint("192.0.2.1", "")));
        assert!(!fingerprint("192.0.2.1", "").is_same(&fingerprint("192.0.2.2", "")));
        assert!(fingerprint("2001:db8::1", "").is_same(&fingerprint("2001:db8::2", "")));
    }
}
