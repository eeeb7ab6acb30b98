//! Headers that servers believe a proxy wrote: who calls, from where, by which scheme, and
//! for which path. From a client they are claims, in whichever spelling.

/// What a header claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderClaim {
    /// Who is calling, in weappd's or WeChat's headers; or a header that no client may set.
    Identity,
    /// What a proxy knows of its client: address, scheme, host, certificate.
    Client,
    /// Another path than the request's own.
    Path,
}

/// The `X-WX-*` headers a client may send: its side of the login dialects. All others
/// are set by the server, and apps believe them.
pub(crate) const CLIENT_WX_HEADERS: [&str; 7] = [
    "x-wx-code",
    "x-wx-encrypted-data",
    "x-wx-exclude-credentials",
    "x-wx-id",
    "x-wx-iv",
    "x-wx-service",
    "x-wx-skey",
];

/// Of weappd's own headers.
pub(crate) const OWN_PREFIX: &str = "x-weappd-";

/// Names and beginnings of names (with a `*`). They come from the manuals of proxies, content
/// networks and clouds, and from the lists of headers in which apps and their libraries look
/// for a client's address.
const KNOWN_CLAIMS: [(&str, HeaderClaim); 68] = [
    ("x-wx-*", HeaderClaim::Identity),
    ("x-weappd-*", HeaderClaim::Identity),
    ("x-original-*", HeaderClaim::Path),
    ("x-rewrite-*", HeaderClaim::Path),
    ("x-override-url", HeaderClaim::Path),
    ("x-envoy-original-path", HeaderClaim::Path),
    ("x-http-destinationurl", HeaderClaim::Path),
    ("x-http-path-override", HeaderClaim::Path),
    ("x-proxy-url", HeaderClaim::Path),
    ("x-request-uri", HeaderClaim::Path),
    ("x-forwarded-path", HeaderClaim::Path),
    ("x-forwarded-uri", HeaderClaim::Path),
    ("x-forwarded-url", HeaderClaim::Path),
    ("x-forwarded*", HeaderClaim::Client),
    ("x-forward-for", HeaderClaim::Client),
    ("x-real-ip", HeaderClaim::Client),
    ("x-realip", HeaderClaim::Client),
    ("x-real-client-ip", HeaderClaim::Client),
    ("x-client-ip", HeaderClaim::Client),
    ("x-clientip", HeaderClaim::Client),
    ("x-client-proto*", HeaderClaim::Client),
    ("x-client-cert*", HeaderClaim::Client),
    ("x-cluster-client-ip", HeaderClaim::Client),
    ("x-true-client-ip", HeaderClaim::Client),
    ("x-remote-*", HeaderClaim::Client),
    ("x-originating-ip", HeaderClaim::Client),
    ("x-proxyuser-ip", HeaderClaim::Client),
    ("x-appengine-*", HeaderClaim::Client),
    ("x-arr-*", HeaderClaim::Client),
    ("x-azure-*", HeaderClaim::Client),
    ("x-envoy-*", HeaderClaim::Client),
    ("x-nf-client-connection-ip", HeaderClaim::Client),
    ("x-vercel-*", HeaderClaim::Client),
    ("x-cdn-src-ip", HeaderClaim::Client),
    ("x-host", HeaderClaim::Client),
    ("x-http-host-override", HeaderClaim::Client),
    ("x-scheme", HeaderClaim::Client),
    ("x-url-scheme", HeaderClaim::Client),
    ("x-ssl-*", HeaderClaim::Client),
    ("x-accel-mapping", HeaderClaim::Client),
    ("x-sendfile-type", HeaderClaim::Client),
    ("ali-cdn-real-ip", HeaderClaim::Client),
    ("cdn-src-ip", HeaderClaim::Client),
    ("cf-connecting-ip*", HeaderClaim::Client),
    ("cf-pseudo-ipv4", HeaderClaim::Client),
    ("cf-visitor", HeaderClaim::Client),
    ("client-cert*", HeaderClaim::Client),
    ("client-ip", HeaderClaim::Client),
    ("cloudfront-*", HeaderClaim::Client),
    ("eo-client-ip", HeaderClaim::Client),
    ("eo-connecting-ip", HeaderClaim::Client),
    ("fastly-client-ip", HeaderClaim::Client),
    ("fly-client-ip", HeaderClaim::Client),
    ("forwarded*", HeaderClaim::Client),
    ("front-end-https", HeaderClaim::Client),
    ("http-client-ip", HeaderClaim::Client),
    ("http-forwarded*", HeaderClaim::Client),
    ("http-x-*", HeaderClaim::Client),
    ("incap-client-ip", HeaderClaim::Client),
    // CGI tells it as HTTP_PROXY, which clients of HTTP take for the proxy to use.
    ("proxy", HeaderClaim::Identity),
    ("proxy-client-ip", HeaderClaim::Client),
    ("remote-addr", HeaderClaim::Client),
    ("remote-host", HeaderClaim::Client),
    ("remote-ip", HeaderClaim::Client),
    ("remote-user", HeaderClaim::Client),
    ("ssl-client-*", HeaderClaim::Client),
    ("true-client-ip", HeaderClaim::Client),
    ("wl-proxy-*", HeaderClaim::Client),
];

/// The classes of bytes in a name: a letter each, and all others.
const BYTE_CLASSES: usize = 27;
/// So many first bytes tell nearly all names apart; no known one is shorter.
const PREFIX_BYTES: usize = 4;

/// For each of the first bytes of a name: which of [`KNOWN_CLAIMS`] have a byte of its class there.
const CLAIMS_BY_BYTE: [[u128; BYTE_CLASSES]; PREFIX_BYTES] = by_byte();

const fn by_byte() -> [[u128; BYTE_CLASSES]; PREFIX_BYTES] {
    let mut table = [[0; BYTE_CLASSES]; PREFIX_BYTES];
    let mut at = 0;
    while at < KNOWN_CLAIMS.len() {
        let name = KNOWN_CLAIMS[at].0.as_bytes();
        let mut place = 0;
        while place < PREFIX_BYTES {
            table[place][class(name[place])] |= 1 << at;
            place += 1;
        }
        at += 1;
    }
    table
}

const fn class(byte: u8) -> usize {
    match byte {
        b'a'..=b'z' => (byte - b'a') as usize,
        _ => BYTE_CLASSES - 1,
    }
}

/// What a header of this name claims, if anything. Names are in lower case.
pub(crate) fn claim(name: &str) -> Option<HeaderClaim> {
    // CGI and its heirs cannot tell an underscore from a hyphen.
    if memchr::memchr(b'_', name.as_bytes()).is_some() {
        return Some(HeaderClaim::Identity);
    }
    let first = name.as_bytes().first_chunk::<PREFIX_BYTES>()?;
    let mut may_be = first
        .iter()
        .zip(&CLAIMS_BY_BYTE)
        .filter_map(|(byte, table)| table.get(class(*byte)))
        .fold(u128::MAX, |names, having| names & having);
    let candidates = std::iter::from_fn(|| {
        let at = usize::try_from(may_be.trailing_zeros()).ok()?;
        may_be &= may_be.wrapping_sub(1);
        KNOWN_CLAIMS.get(at)
    });
    let found = candidates
        .into_iter()
        .find(|(known, _)| is_named(name, known));
    let claim = found.map(|(_, claim)| *claim)?;
    (!CLIENT_WX_HEADERS.contains(&name)).then_some(claim)
}

/// Whether a name holds anything but letters, digits and hyphens.
pub(crate) fn is_doubtful(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    !name.bytes().all(plain)
}

fn is_named(name: &str, known: &str) -> bool {
    match known.strip_suffix('*') {
        Some(start) => reads_as(name.as_bytes(), start.as_bytes()),
        None => name.len() == known.len() && reads_as(name.as_bytes(), known.as_bytes()),
    }
}

/// Whether a name begins like `start`, if whatever is no letter or digit is a hyphen: CGI
/// and its heirs tell apps `HTTP_X_WX_OPENID` for any of them.
fn reads_as(name: &[u8], start: &[u8]) -> bool {
    let same = |(byte, wanted): (&u8, &u8)| {
        byte == wanted || (*wanted == b'-' && !byte.is_ascii_alphanumeric())
    };
    name.len() >= start.len() && name.iter().zip(start).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_proxy_would_say_is_a_claim_in_any_spelling() {
        for name in [
            "x-wx-openid",
            "x.wx.openid",
            "x-weappd-seq",
            "x-rewrite-url",
            "x.rewrite.url",
            "x-original-url",
            "x-original-uri",
            "x-original-host",
            "x-client-ip",
            "x~client~ip",
            "x-cluster-client-ip",
            "x-real-ip",
            "x-forwarded",
            "x-forwarded-for",
            "x-forwarded-prefix",
            "x-forwardedfor",
            "forwarded",
            "forwarded-for",
            "true-client-ip",
            "true.client.ip",
            "cf-connecting-ip",
            "cf-connecting-ipv6",
            "client-ip",
            "proxy-client-ip",
            "wl-proxy-client-ip",
            "http-x-forwarded-for",
            "remote-addr",
            "fastly-client-ip",
            "proxy",
            "any_thing",
        ] {
            assert!(claim(name).is_some(), "{name}");
        }
        assert_eq!(claim("x-original-url"), Some(HeaderClaim::Path));
        assert_eq!(claim("x-forwarded-uri"), Some(HeaderClaim::Path));
        assert_eq!(claim("x-forwarded-port"), Some(HeaderClaim::Client));
    }

    #[test]
    fn what_clients_say_themselves_is_none() {
        for name in CLIENT_WX_HEADERS {
            assert_eq!(claim(name), None, "{name}");
        }
        for name in [
            "host",
            "accept",
            "cookie",
            "content-type",
            "connection",
            "authorization",
            "referer",
            "range",
            "te",
            "transfer-encoding",
            "proxy-authorization",
            "proxy-connection",
            "x-requested-with",
            "x-request-id",
            "x-csrf-token",
            "x-http-method-override",
            "x-tt-logid",
            "x-wxopenid",
            "x-weappd",
            "",
        ] {
            assert_eq!(claim(name), None, "{name}");
        }
    }

    #[test]
    fn every_list_is_looked_at() {
        for (known, wanted) in &KNOWN_CLAIMS {
            let name = known.replace('*', "");
            assert_eq!(claim(&name), Some(*wanted), "{name}");
        }
    }
}
