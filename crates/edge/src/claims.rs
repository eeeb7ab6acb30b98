//! Headers that servers believe a proxy wrote: who calls, from where, by which scheme, and
//! for which path. From a client they are claims, in whichever spelling.

/// What a header claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// Who is calling, in weappd's or WeChat's words; or something nobody may say.
    Identity,
    /// What a proxy knows of its client: address, scheme, host, certificate.
    Client,
    /// Another path than the request's own.
    Path,
}

/// The `X-WX-*` headers a client may send: its side of the login dialects. All others
/// are the server's word and believed by apps.
pub(crate) const CLIENT_WX: [&str; 7] = [
    "x-wx-code",
    "x-wx-encrypted-data",
    "x-wx-exclude-credentials",
    "x-wx-id",
    "x-wx-iv",
    "x-wx-service",
    "x-wx-skey",
];

/// Of weappd's own headers.
pub(crate) const OURS: &str = "x-weappd-";

/// Names and beginnings of names (with a `*`). They come from the manuals of proxies, content
/// networks and clouds, and from the lists of headers in which apps and their libraries look
/// for a client's address.
const KNOWN: [(&str, Claim); 68] = [
    ("x-wx-*", Claim::Identity),
    ("x-weappd-*", Claim::Identity),
    ("x-original-*", Claim::Path),
    ("x-rewrite-*", Claim::Path),
    ("x-override-url", Claim::Path),
    ("x-envoy-original-path", Claim::Path),
    ("x-http-destinationurl", Claim::Path),
    ("x-http-path-override", Claim::Path),
    ("x-proxy-url", Claim::Path),
    ("x-request-uri", Claim::Path),
    ("x-forwarded-path", Claim::Path),
    ("x-forwarded-uri", Claim::Path),
    ("x-forwarded-url", Claim::Path),
    ("x-forwarded*", Claim::Client),
    ("x-forward-for", Claim::Client),
    ("x-real-ip", Claim::Client),
    ("x-realip", Claim::Client),
    ("x-real-client-ip", Claim::Client),
    ("x-client-ip", Claim::Client),
    ("x-clientip", Claim::Client),
    ("x-client-proto*", Claim::Client),
    ("x-client-cert*", Claim::Client),
    ("x-cluster-client-ip", Claim::Client),
    ("x-true-client-ip", Claim::Client),
    ("x-remote-*", Claim::Client),
    ("x-originating-ip", Claim::Client),
    ("x-proxyuser-ip", Claim::Client),
    ("x-appengine-*", Claim::Client),
    ("x-arr-*", Claim::Client),
    ("x-azure-*", Claim::Client),
    ("x-envoy-*", Claim::Client),
    ("x-nf-client-connection-ip", Claim::Client),
    ("x-vercel-*", Claim::Client),
    ("x-cdn-src-ip", Claim::Client),
    ("x-host", Claim::Client),
    ("x-http-host-override", Claim::Client),
    ("x-scheme", Claim::Client),
    ("x-url-scheme", Claim::Client),
    ("x-ssl-*", Claim::Client),
    ("x-accel-mapping", Claim::Client),
    ("x-sendfile-type", Claim::Client),
    ("ali-cdn-real-ip", Claim::Client),
    ("cdn-src-ip", Claim::Client),
    ("cf-connecting-ip*", Claim::Client),
    ("cf-pseudo-ipv4", Claim::Client),
    ("cf-visitor", Claim::Client),
    ("client-cert*", Claim::Client),
    ("client-ip", Claim::Client),
    ("cloudfront-*", Claim::Client),
    ("eo-client-ip", Claim::Client),
    ("eo-connecting-ip", Claim::Client),
    ("fastly-client-ip", Claim::Client),
    ("fly-client-ip", Claim::Client),
    ("forwarded*", Claim::Client),
    ("front-end-https", Claim::Client),
    ("http-client-ip", Claim::Client),
    ("http-forwarded*", Claim::Client),
    ("http-x-*", Claim::Client),
    ("incap-client-ip", Claim::Client),
    // CGI tells it as HTTP_PROXY, which clients of HTTP take for the proxy to use.
    ("proxy", Claim::Identity),
    ("proxy-client-ip", Claim::Client),
    ("remote-addr", Claim::Client),
    ("remote-host", Claim::Client),
    ("remote-ip", Claim::Client),
    ("remote-user", Claim::Client),
    ("ssl-client-*", Claim::Client),
    ("true-client-ip", Claim::Client),
    ("wl-proxy-*", Claim::Client),
];

/// The classes of bytes in a name: a letter each, and all others.
const CLASSES: usize = 27;
/// So many first bytes tell nearly all names apart; no known one is shorter.
const FIRST: usize = 4;

/// For each of the first bytes of a name: which of [`KNOWN`] have a byte of its class there.
const BY_BYTE: [[u128; CLASSES]; FIRST] = by_byte();

const fn by_byte() -> [[u128; CLASSES]; FIRST] {
    let mut table = [[0; CLASSES]; FIRST];
    let mut at = 0;
    while at < KNOWN.len() {
        let name = KNOWN[at].0.as_bytes();
        let mut place = 0;
        while place < FIRST {
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
        _ => CLASSES - 1,
    }
}

/// What a header of this name claims, if anything. Names are in lower case.
pub(crate) fn claim(name: &str) -> Option<Claim> {
    // CGI and its heirs cannot tell an underscore from a hyphen.
    if memchr::memchr(b'_', name.as_bytes()).is_some() {
        return Some(Claim::Identity);
    }
    let first = name.as_bytes().first_chunk::<FIRST>()?;
    let mut may_be = first
        .iter()
        .zip(&BY_BYTE)
        .filter_map(|(byte, table)| table.get(class(*byte)))
        .fold(u128::MAX, |names, having| names & having);
    let candidates = std::iter::from_fn(|| {
        let at = usize::try_from(may_be.trailing_zeros()).ok()?;
        may_be &= may_be.wrapping_sub(1);
        KNOWN.get(at)
    });
    let found = candidates
        .into_iter()
        .find(|(known, _)| is_named(name, known));
    let claim = found.map(|(_, claim)| *claim)?;
    (!CLIENT_WX.contains(&name)).then_some(claim)
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
        assert_eq!(claim("x-original-url"), Some(Claim::Path));
        assert_eq!(claim("x-forwarded-uri"), Some(Claim::Path));
        assert_eq!(claim("x-forwarded-port"), Some(Claim::Client));
    }

    #[test]
    fn what_clients_say_themselves_is_none() {
        for name in CLIENT_WX {
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
        for (known, wanted) in &KNOWN {
            let name = known.replace('*', "");
            assert_eq!(claim(&name), Some(*wanted), "{name}");
        }
    }
}
