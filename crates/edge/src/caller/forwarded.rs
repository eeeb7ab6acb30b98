//! What proxies in front tell of a client: `X-Forwarded-For` and its family, `Forwarded`
//! (RFC 7239), `X-Real-IP`. Whether they are trusted is decided in `client_trust`.
//!
//! Each proxy adds the address it was called from at the end, so lists are read from there:
//! the nearest address first, until one that is not a proxy of ours. What stands before it
//! was written by the client itself. `Forwarded` and `X-Real-IP` count only where there is no
//! `X-Forwarded-For`: a proxy that knows only one of them passes the client's other ones on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::caller::headers::{
    FORWARDED, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO, X_REAL_IP,
};
use crate::caller::ip_networks::IpNetworks;

const X_FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const X_FORWARDED_SSL: HeaderName = HeaderName::from_static("x-forwarded-ssl");

/// What the headers say of the client.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ForwardedInfo {
    /// The client's address; port 0 where none is given.
    pub(crate) client: Option<SocketAddr>,
    /// Whether the client speaks HTTPS.
    pub(crate) is_https: Option<bool>,
    /// The host the client named.
    pub(crate) host: Option<String>,
}

/// Reads the headers of a request that came from one of the proxies `ours`.
pub(crate) fn read(headers: &HeaderMap, ours: &IpNetworks) -> ForwardedInfo {
    let (client, hops, forwarded) = if headers.contains_key(X_FORWARDED_FOR) {
        let hops = list(headers, &X_FORWARDED_FOR).map(address);
        let (client, hops) = nearest_stranger(hops, ours);
        (client, hops, None)
    } else if headers.contains_key(FORWARDED) {
        let elements = elements(headers);
        let (client, hops) = nearest_stranger(elements.iter().map(ForwardedElement::client), ours);
        (client, hops, elements.into_iter().nth(hops))
    } else {
        let client = single_value(headers, &X_REAL_IP).and_then(address);
        (client, 0, None)
    };
    let is_https = [X_FORWARDED_PROTO, X_FORWARDED_SCHEME]
        .iter()
        .find_map(|name| is_https(entry_at(headers, name, hops)?))
        .or_else(|| {
            (single_value(headers, &X_FORWARDED_SSL)?.eq_ignore_ascii_case(b"on")).then_some(true)
        })
        .or_else(|| is_https(forwarded.as_ref()?.proto.as_deref()?));
    let host = entry_at(headers, &X_FORWARDED_HOST, hops).map(<[u8]>::to_vec);
    let host = host.or_else(|| forwarded.and_then(|element| element.host));
    ForwardedInfo {
        client,
        is_https,
        host: host.and_then(|host| String::from_utf8(host).ok()),
    }
}

/// Whether a proxy has set headers about a client.
pub(crate) fn has_proxy_headers(headers: &HeaderMap) -> bool {
    [X_FORWARDED_FOR, X_FORWARDED_PROTO, FORWARDED, X_REAL_IP]
        .iter()
        .any(|name| headers.contains_key(name))
}

/// The first address, from the nearest on, that is not one of `ours`, and how many stand
/// nearer; if all are ours, the farthest. What is no address hides what stands before it.
fn nearest_stranger(
    hops: impl Iterator<Item = Option<SocketAddr>>,
    ours: &IpNetworks,
) -> (Option<SocketAddr>, usize) {
    let mut found = (None, 0);
    for (at, hop) in hops.enumerate() {
        let Some(address) = hop else { break };
        found = (Some(address), at);
        if !ours.contains(address.ip()) {
            break;
        }
    }
    found
}

/// The entries of a list over all its lines, the nearest first.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    let lines = headers.get_all(name).iter().rev();
    let entries = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','));
    entries
        .map(<[u8]>::trim_ascii)
        .filter(|one| !one.is_empty())
}

/// The entry of the proxy `hops` away; where there are fewer, of the farthest.
fn entry_at<'a>(headers: &'a HeaderMap, name: &HeaderName, hops: usize) -> Option<&'a [u8]> {
    list(headers, name).take(hops.saturating_add(1)).last()
}

/// The value of a header that came once.
fn single_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.next()) {
        (Some(one), None) => Some(one.as_bytes().trim_ascii()),
        _ => None,
    }
}

fn is_https(scheme: &[u8]) -> Option<bool> {
    let is = |names: [&str; 2]| {
        let mut names = names.iter();
        names.any(|name| scheme.eq_ignore_ascii_case(name.as_bytes()))
    };
    match (is(["https", "wss"]), is(["http", "ws"])) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    }
}

/// `203.0.113.9`, `203.0.113.9:1234`, `2001:db8::1`, `[2001:db8::1]:47`, in quotes or not.
pub(crate) fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let text = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    let (ip, port): (IpAddr, &str) = if let Some(rest) = text.strip_prefix('[') {
        let (inner, port) = rest.split_once(']')?;
        let port = if port.is_empty() {
            ""
        } else {
            port.strip_prefix(':')?
        };
        (inner.split('%').next()?.parse().ok()?, port)
    } else if let Some((ip, port)) = text.split_once(':')
        && let Ok(ip) = ip.parse::<Ipv4Addr>()
    {
        (ip.into(), port)
    } else {
        (text.split('%').next()?.parse().ok()?, "")
    };
    let ip = ip.to_canonical();
    // A port may be hidden; the unspecified address is none.
    (!ip.is_unspecified()).then(|| SocketAddr::new(ip, port.parse().unwrap_or(0)))
}

/// One proxy's element of `Forwarded`.
#[derive(Debug, Default)]
struct ForwardedElement {
    client: Option<Vec<u8>>,
    proto: Option<Vec<u8>>,
    host: Option<Vec<u8>>,
}

impl ForwardedElement {
    fn client(&self) -> Option<SocketAddr> {
        address(self.client.as_deref()?)
    }
}

/// The elements of `Forwarded` over all its lines, the nearest first.
fn elements(headers: &HeaderMap) -> Vec<ForwardedElement> {
    let mut all: Vec<ForwardedElement> = Vec::new();
    for line in headers.get_all(FORWARDED) {
        all.extend(parse_line(line));
    }
    all.reverse();
    all
}

/// A line that cannot be read is one element that says nothing.
fn parse_line(line: &HeaderValue) -> Vec<ForwardedElement> {
    let mut elements = vec![ForwardedElement::default()];
    let mut rest = line.as_bytes();
    loop {
        rest = rest.trim_ascii_start();
        let Some(first) = rest.first() else { break };
        match first {
            b';' => rest = rest.get(1..).unwrap_or_default(),
            b',' => {
                elements.push(ForwardedElement::default());
                rest = rest.get(1..).unwrap_or_default();
            }
            _ => {
                let Some((name, value, after)) = pair(rest) else {
                    return vec![ForwardedElement::default()];
                };
                rest = after;
                let Some(element) = elements.last_mut() else {
                    break;
                };
                let place = match name.to_ascii_lowercase().as_slice() {
                    b"for" => &mut element.client,
                    b"proto" => &mut element.proto,
                    b"host" => &mut element.host,
                    _ => continue,
                };
                *place = Some(value);
            }
        }
    }
    elements
}

/// A name, its value without quotes, and what comes after them.
type ParameterPair<'a> = (&'a [u8], Vec<u8>, &'a [u8]);

/// `name=value` or `name="quoted \" value"`, and what comes after it.
fn pair(text: &[u8]) -> Option<ParameterPair<'_>> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    let (name, rest) = (text.get(..at)?.trim_ascii(), text.get(at + 1..)?);
    if name.is_empty()
        || !name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
    {
        return None;
    }
    let mut value = Vec::new();
    let rest = rest.trim_ascii_start();
    let Some(quoted) = rest.strip_prefix(b"\"") else {
        let ends = |byte: &u8| matches!(byte, b';' | b',' | b'"');
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        let (token, after) = rest.split_at_checked(end)?;
        value.extend_from_slice(token.trim_ascii());
        return (after.first() != Some(&b'"')).then_some((name, value, after));
    };
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'\\' => value.push(*bytes.next()?.1),
            b'"' => {
                let after = quoted.get(at + 1..)?.trim_ascii_start();
                let goes_on = after.first().is_none_or(|next| b";,".contains(next));
                return goes_on.then_some((name, value, after));
            }
            _ => value.push(*byte),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn told(lines: &[(&'static str, &'static str)]) -> ForwardedInfo {
        let ours = ["10.0.0.0/8".to_owned(), "fd00::/8".to_owned()];
        read(&map(lines), &IpNetworks::parse(&ours).expect("networks"))
    }

    fn client(lines: &[(&'static str, &'static str)]) -> String {
        let client = told(lines).client;
        client.map_or_else(String::new, |client| client.to_string())
    }

    #[test]
    fn addresses_are_read_in_every_form() {
        for (text, wanted) in [
            ("203.0.113.9", "203.0.113.9:0"),
            ("203.0.113.9:1234", "203.0.113.9:1234"),
            (" \"203.0.113.9:1234\" ", "203.0.113.9:1234"),
            ("2001:db8::1", "[2001:db8::1]:0"),
            ("[2001:db8::1]", "[2001:db8::1]:0"),
            ("\"[2001:db8::1]:47\"", "[2001:db8::1]:47"),
            ("[2001:DB8::1]:_port", "[2001:db8::1]:0"),
            ("fe80::1%eth0", "[fe80::1]:0"),
            ("[fe80::1%2]:80", "[fe80::1]:80"),
            ("::ffff:203.0.113.9", "203.0.113.9:0"),
            ("[::ffff:203.0.113.9]:80", "203.0.113.9:80"),
            ("203.0.113.9:99999", "203.0.113.9:0"),
        ] {
            let read = address(text.as_bytes()).map(|read| read.to_string());
            assert_eq!(read.as_deref(), Some(wanted), "{text}");
        }
        for bad in [
            "",
            "unknown",
            "_hidden",
            "\"",
            "[",
            "[]",
            "[::1",
            "[::1]x",
            "1.2.3",
            "1.2.3.4.5",
            "010.0.0.1",
            "0.0.0.0",
            "::",
            "localhost",
            "1.2.3.4 5.6.7.8",
            "-",
            "é",
        ] {
            assert_eq!(address(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_client_is_the_nearest_that_is_no_proxy_of_ours() {
        const XFF: &str = "x-forwarded-for";
        for (lines, wanted) in [
            (vec![(XFF, "203.0.113.9")], "203.0.113.9:0"),
            (vec![(XFF, "6.6.6.6, 203.0.113.9")], "203.0.113.9:0"),
            (vec![(XFF, "6.6.6.6,203.0.113.9,10.0.0.1")], "203.0.113.9:0"),
            (
                vec![(XFF, "6.6.6.6"), (XFF, "203.0.113.9:7 , 10.1.1.1")],
                "203.0.113.9:7",
            ),
            (vec![(XFF, "6.6.6.6"), (XFF, "10.1.1.1")], "6.6.6.6:0"),
            (vec![(XFF, ", 203.0.113.9,, 10.0.0.1 ,")], "203.0.113.9:0"),
            (vec![(XFF, "2001:db8::1, fd00::2")], "[2001:db8::1]:0"),
            (vec![(XFF, "203.0.113.9, ::ffff:10.0.0.1")], "203.0.113.9:0"),
            // All are ours: a client inside.
            (vec![(XFF, "10.0.0.2, 10.0.0.1")], "10.0.0.2:0"),
            // What is no address hides the rest, which anybody may have written.
            (vec![(XFF, "6.6.6.6, unknown, 10.0.0.1")], "10.0.0.1:0"),
            (vec![(XFF, "6.6.6.6, unknown")], ""),
            (vec![(XFF, "_hidden")], ""),
            (vec![(XFF, "")], ""),
            // The list a proxy adds to is believed, not what it passes on.
            (
                vec![
                    (XFF, "203.0.113.9"),
                    ("forwarded", "for=6.6.6.6"),
                    ("x-real-ip", "6.6.6.6"),
                ],
                "203.0.113.9:0",
            ),
            (vec![("x-real-ip", "203.0.113.9")], "203.0.113.9:0"),
            (
                vec![("x-real-ip", "203.0.113.9"), ("x-real-ip", "6.6.6.6")],
                "",
            ),
            (vec![], ""),
        ] {
            assert_eq!(client(&lines), wanted, "{lines:?}");
        }
    }

    #[test]
    fn forwarded_is_read_by_its_grammar() {
        const F: &str = "forwarded";
        for (lines, wanted) in [
            (vec![(F, "for=203.0.113.9")], "203.0.113.9:0"),
            (
                vec![(F, "For=\"[2001:db8::1]:47\";Proto=https")],
                "[2001:db8::1]:47",
            ),
            (
                vec![(
                    F,
                    "for=6.6.6.6, FOR = 203.0.113.9:1 ; by=10.0.0.9 , for=10.0.0.1",
                )],
                "203.0.113.9:1",
            ),
            (
                vec![(F, "for=203.0.113.9"), (F, "by=_x;for=\"10.0.0.1\"")],
                "203.0.113.9:0",
            ),
            (vec![(F, "for=[2001:db8::1]")], "[2001:db8::1]:0"),
            (vec![(F, "for=\"203.0.\\113.9\"")], "203.0.113.9:0"),
            (
                vec![(F, "by=\"a,for=6.6.6.6\";for=203.0.113.9")],
                "203.0.113.9:0",
            ),
            // An element without an address, or a line that cannot be read.
            (vec![(F, "for=6.6.6.6, proto=https")], ""),
            (
                vec![(F, "for=6.6.6.6, for=unknown, for=10.0.0.1")],
                "10.0.0.1:0",
            ),
            (vec![(F, "for=6.6.6.6, for=\"203.0.113.9")], ""),
            (vec![(F, "for=6.6.6.6\"x\"")], ""),
            (vec![(F, "203.0.113.9")], ""),
            (vec![(F, "=6.6.6.6")], ""),
            (vec![(F, ";;,")], ""),
        ] {
            assert_eq!(client(&lines), wanted, "{lines:?}");
        }
        let told = told(&[(
            F,
            "for=6.6.6.6;proto=http;host=no, for=203.0.113.9;proto=HTTPS;host=\"a.test:8443\", for=10.0.0.1;proto=http",
        )]);
        assert_eq!(told.is_https, Some(true));
        assert_eq!(told.host.as_deref(), Some("a.test:8443"));
    }

    #[test]
    fn scheme_and_host_are_those_of_the_clients_own_proxy() {
        const XFF: (&str, &str) = ("x-forwarded-for", "203.0.113.9, 10.0.0.1");
        for (name, value, wanted) in [
            ("x-forwarded-proto", "https", Some(true)),
            ("x-forwarded-proto", "HTTP", Some(false)),
            ("x-forwarded-proto", "wss", Some(true)),
            ("x-forwarded-proto", "https, http", Some(true)),
            // Two proxies of ours, three words: the first is the client's.
            ("x-forwarded-proto", "https,http,http", Some(false)),
            ("x-forwarded-proto", "gopher", None),
            ("x-forwarded-proto", "", None),
            ("x-forwarded-scheme", "https", Some(true)),
            ("x-forwarded-ssl", "on", Some(true)),
            ("x-forwarded-ssl", "off", None),
        ] {
            let told = told(&[XFF, (name, value)]);
            assert_eq!(told.is_https, wanted, "{name}: {value}");
        }
        // One proxy adds to what the client wrote.
        let one = told(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", "https, http"),
            ("x-forwarded-host", "evil.test, a.test"),
        ]);
        assert_eq!(one.is_https, Some(false));
        assert_eq!(one.host.as_deref(), Some("a.test"));
        // Whoever tells addresses one way does not tell the scheme the other way.
        let passed = told(&[XFF, ("forwarded", "proto=https;host=evil.test")]);
        assert_eq!((passed.is_https, passed.host), (None, None));
    }
}
