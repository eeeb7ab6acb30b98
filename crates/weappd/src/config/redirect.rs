//! `redirect`: whether plain HTTP is sent on to HTTPS, and to which port where that is
//! another one outside than inside, as behind a port mapping.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use weappd_base::language::pick;

/// `true`, `false`, or the port of HTTPS outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RedirectRule {
    /// To the port that is listened on.
    On,
    Off,
    /// To this port.
    Port(u16),
}

impl RedirectRule {
    /// The port to send clients to, where HTTPS is listened for on `inside`.
    pub(crate) fn port(self, inside: u16) -> Option<u16> {
        match self {
            Self::On => Some(inside),
            Self::Off => None,
            Self::Port(outside) => Some(outside),
        }
    }
}

impl<'de> Deserialize<'de> for RedirectRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OnOrPort)
    }
}

struct OnOrPort;

impl Visitor<'_> for OnOrPort {
    type Value = RedirectRule;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(pick(
            "true, false, or the port of HTTPS outside such as 443",
            "true、false，或对外的 HTTPS 端口，例如 443",
        ))
    }

    fn visit_bool<E: Error>(self, on: bool) -> Result<RedirectRule, E> {
        Ok(if on {
            RedirectRule::On
        } else {
            RedirectRule::Off
        })
    }

    fn visit_i64<E: Error>(self, port: i64) -> Result<RedirectRule, E> {
        let found = || E::invalid_value(Unexpected::Signed(port), &self);
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        port.map(RedirectRule::Port).ok_or_else(found)
    }

    fn visit_u64<E: Error>(self, port: u64) -> Result<RedirectRule, E> {
        self.visit_i64(i64::try_from(port).unwrap_or(-1))
    }
}

#[cfg(test)]
mod tests {
    use crate::config::load;

    /// The ports that a site of the short and of the long form redirect to, or what is wrong.
    fn ports(edge: &str, site: &str) -> Result<Vec<Option<u16>>, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let hosts = ["a.com", "b.com"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(hosts).expect("a certificate");
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
        write("a.crt", &made.cert.pem()).expect("written");
        write("a.key", &made.signing_key.serialize_pem()).expect("written");
        let files = "cert = \"a.crt\"\nkey = \"a.key\"\nproxy = 1";
        let text = format!(
            "domain = \"a.com\"\n{files}\n[edge]\nhttps = 8443\n{edge}\n[sites.\"b.com\"]\n{files}\n{site}\n"
        );
        write("weappd.toml", &text).expect("written");
        match load(&dir.path().join("weappd.toml"), &|_| None, &|_| Vec::new()) {
            Ok(loaded) => Ok(loaded
                .config
                .sites
                .iter()
                .map(|site| site.redirect)
                .collect()),
            Err(problems) => Err(problems.into_iter().map(|one| one.message).collect()),
        }
    }

    #[test]
    fn the_port_outside_can_be_said() {
        let fine = |edge, site| ports(edge, site).expect("a fine file");
        assert_eq!(fine("", ""), [Some(8443), Some(8443)]);
        assert_eq!(fine("redirect = 443", ""), [Some(443), Some(443)]);
        assert_eq!(
            fine("redirect = 443", "redirect = false"),
            [Some(443), None]
        );
        assert_eq!(
            fine("redirect = false", "redirect = 8444"),
            [None, Some(8444)]
        );
        assert_eq!(fine("http = false\nredirect = 443", ""), [None, None]);
        for bad in ["0", "65536", "-1", "\"443\"", "1.5"] {
            let told = ports(&format!("redirect = {bad}"), "").expect_err(bad);
            assert!(told.contains("the port of HTTPS outside"), "{told}");
        }
    }
}
