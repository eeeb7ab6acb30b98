//! Which headers are passed on, and which the edge sets itself.

use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue};

use crate::caller::header_claims::{
    CLIENT_WX_HEADERS, HeaderClaim, OWN_PREFIX, claim, is_doubtful,
};
use crate::refusal::EdgeRefusal;

pub(crate) const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
pub(crate) const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Headers that speak of one connection only (RFC 9110, 7.6.1) or were answered here.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "transfer-encoding",
    "upgrade",
    "te",
    "trailer",
    "proxy-authenticate",
    "proxy-authorization",
    "keep-alive",
    "proxy-connection",
];

/// Which lengths these names have, a bit each: spares most headers the comparisons.
const HOP_BY_HOP_LENGTHS: u32 = {
    let (mut lengths, mut at) = (0, 0);
    while at < HOP_BY_HOP.len() {
        lengths |= 1 << HOP_BY_HOP[at].len();
        at += 1;
    }
    lengths
};

/// Where the name stands in [`HOP_BY_HOP`].
fn hop_by_hop(name: &HeaderName) -> Option<usize> {
    let name = name.as_str();
    let length = u32::try_from(name.len()).ok()?;
    if HOP_BY_HOP_LENGTHS.checked_shr(length)? & 1 == 0 {
        return None;
    }
    HOP_BY_HOP.iter().position(|known| *known == name)
}

/// Headers that prove who is calling, and must stand once.
const SINGLE_HEADERS: [HeaderName; 6] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-wx-code"),
    HeaderName::from_static("x-wx-encrypted-data"),
    HeaderName::from_static("x-wx-id"),
    HeaderName::from_static("x-wx-iv"),
    HeaderName::from_static("x-wx-skey"),
];

/// What a phone tells weappd's session endpoints, and nobody else.
const X_WEAPPD_APPID: &str = "x-weappd-appid";

/// Shows weappd's loopback listener for which user a message is; dropped there.
const X_WEAPPD_PASS: HeaderName = HeaderName::from_static("x-weappd-pass");

/// Which code reads the headers of a request next, and which wrote them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeaderScope {
    /// One of weappd's own routers reads them.
    pub(crate) to_router: bool,
    /// weappd itself wrote them: nobody else reaches the listener.
    pub(crate) inside: bool,
}

impl HeaderScope {
    /// Whether this is one of weappd's own headers, and right where it is.
    pub(crate) fn keeps(self, name: &str) -> bool {
        (self.to_router && name == X_WEAPPD_APPID)
            || (self.inside && name.starts_with(OWN_PREFIX) && !is_doubtful(name))
    }
}

/// Removes everything that is only a claim.
#[cfg(any(test, fuzzing))]
pub(crate) fn drop_claims(headers: &mut HeaderMap, scope: HeaderScope) {
    drop_claims_but(headers, |name, _| scope.keeps(name));
}

/// The app needs no pass: the loopback listener has looked at it.
pub(crate) fn drop_pass(headers: &mut HeaderMap) {
    drop(headers.remove(X_WEAPPD_PASS));
}

/// Removes headers that a client may not set (identities, the proxies it came through, and
/// names that many servers read as one of these), except those that `keep` takes.
pub(crate) fn drop_claims_but(headers: &mut HeaderMap, keep: impl Fn(&str, HeaderClaim) -> bool) {
    let doomed: Vec<HeaderName> = headers
        .keys()
        .filter(|name| claim(name.as_str()).is_some_and(|claim| !keep(name.as_str(), claim)))
        .cloned()
        .collect();
    for name in doomed {
        drop(headers.remove(name));
    }
}

/// Removes each `X-WX-*` header that came more than once: apps would differ in which one
/// they read.
pub(crate) fn drop_repeated_wx(headers: &mut HeaderMap) {
    let twice = |name: &&HeaderName| {
        name.as_str().starts_with("x-wx-") && headers.get_all(*name).iter().nth(1).is_some()
    };
    let doomed: Vec<HeaderName> = headers.keys().filter(twice).cloned().collect();
    for name in doomed {
        drop(headers.remove(name));
    }
}

/// A session, or a code, that is shown twice: what weappd checked and what the app reads
/// would not be the same. Twice the same is once.
pub(crate) fn refuse_repeated(headers: &mut HeaderMap) -> Result<(), EdgeRefusal> {
    const TWICE: EdgeRefusal =
        EdgeRefusal::BadRequest("The request says twice, and differently, who is calling.");
    if headers.len() == headers.keys_len() {
        return Ok(());
    }
    for name in SINGLE_HEADERS {
        let mut values = headers.get_all(&name).iter();
        let (Some(first), Some(second)) = (values.next(), values.next()) else {
            continue;
        };
        if first != second || values.any(|other| first != other) {
            return Err(TWICE);
        }
        let one = first.clone();
        headers.insert(name, one);
    }
    Ok(())
}

/// Removes hop-by-hop headers, also those that `Connection` names; but `Cookie`,
/// `Authorization`, `Host` and the length cannot be removed in that way.
pub(crate) fn drop_hop_by_hop(headers: &mut HeaderMap) {
    // One look at each header: a request or an answer has none or two of them.
    let mut found = [false; HOP_BY_HOP.len()];
    for at in headers.keys().filter_map(hop_by_hop) {
        if let Some(found) = found.get_mut(at) {
            *found = true;
        }
    }
    if !found.contains(&true) {
        return;
    }
    for name in named_by_connection(headers) {
        drop(headers.remove(name));
    }
    let found = HOP_BY_HOP.iter().zip(found).filter(|(_, found)| *found);
    for (name, _) in found {
        drop(headers.remove(*name));
    }
}

fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let protected = |name: &HeaderName| {
        *name == header::COOKIE
            || *name == header::SET_COOKIE
            || *name == header::AUTHORIZATION
            || *name == header::HOST
            || *name == header::CONTENT_LENGTH
            || *name == header::CONTENT_TYPE
            || claim(name.as_str()).is_some()
            || CLIENT_WX_HEADERS.contains(&name.as_str())
    };
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        .filter(|name| !protected(name))
        .collect()
}

/// Sets the client's address, scheme and host for the app. WeChat's cloud hosting has the
/// address under two names, an older and a newer one; apps read either.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, peer: &HeaderValue, proto: &'static str) {
    headers.insert(X_FORWARDED_FOR, peer.clone());
    headers.insert(X_ORIGINAL_FORWARDED_FOR, peer.clone());
    headers.insert(X_REAL_IP, peer.clone());
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(proto));
    if let Some(host) = headers.get(header::HOST).cloned() {
        headers.insert(X_FORWARDED_HOST, host);
    }
    // It is left only where a trusted proxy wrote it: written anew, with the same facts.
    if headers.contains_key(FORWARDED) {
        let told = forwarded(peer, proto, headers.get(header::HOST));
        headers.remove(FORWARDED);
        if let Ok(told) = HeaderValue::from_bytes(&told) {
            headers.insert(FORWARDED, told);
        }
    }
}

/// One element of `Forwarded` (RFC 7239). No address or host has a quote in it.
fn forwarded(peer: &HeaderValue, proto: &str, host: Option<&HeaderValue>) -> Vec<u8> {
    let v6 = peer.as_bytes().contains(&b':');
    let (before, after): (&[u8], &[u8]) = if v6 { (b"\"[", b"]\"") } else { (b"", b"") };
    let mut told = [
        b"for=",
        before,
        peer.as_bytes(),
        after,
        b";proto=",
        proto.as_bytes(),
    ]
    .concat();
    if let Some(host) = host {
        told.extend([b";host=\"", host.as_bytes(), b"\""].concat());
    }
    told
}

/// HTTP/2 may cut a cookie into several lines; HTTP/1.1 knows one (RFC 9113, 8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(header::COOKIE).iter();
    let (Some(first), Some(_)) = (lines.next(), lines.next()) else {
        return;
    };
    let mut joined = first.as_bytes().to_vec();
    for line in headers.get_all(header::COOKIE).iter().skip(1) {
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn identities_are_not_the_clients_to_claim() {
        let mut headers = map(&[
            ("x-wx-openid", "o"),
            ("x-wx-from-openid", "o"),
            ("x-wx-source", "wx_client"),
            ("x-wx-sources", "wx_client"),
            ("x-wx-cloudbase-access-token", "t"),
            ("x_wx_openid", "o"),
            ("x.wx.openid", "o"),
            ("x-wx-skey_", "s"),
            ("x~wx!skey", "s"),
            ("x-wx-", "o"),
            ("x-wxopenid", "not one of them"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x.forwarded.for", "1.2.3.4"),
            ("x.real.ip", "1.2.3.4"),
            ("x-forwarded-port", "1"),
            ("x-original-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "1.2.3.4"),
            ("forwarded", "for=1.2.3.4"),
            ("x-wx-skey", "s"),
            ("x-weappd-message-id", "7"),
            ("x-weappd-pass", "p"),
            ("x-weappd-appid", "wx1"),
            ("x.weappd.seq", "1"),
            ("x_weappd_seq", "1"),
            ("x-weappd", "not one of them"),
            ("x-wx-id", "i"),
            ("authorization", "Bearer s"),
            ("x-requested-with", "x"),
        ]);
        drop_claims(&mut headers, HeaderScope::default());
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "authorization",
                "x-requested-with",
                "x-weappd",
                "x-wx-id",
                "x-wx-skey",
                "x-wxopenid"
            ]
        );
    }

    #[test]
    fn weappds_own_headers_are_kept_where_they_belong() {
        let said = [
            ("x-weappd-appid", "wx1"),
            ("x-weappd-seq", "1"),
            ("x-weappd-pass", "p"),
            ("x.weappd.seq", "2"),
            ("x-weappd.seq", "3"),
            ("x-weappd-a_b", "4"),
        ];
        let left = |to_router, inside| {
            let mut headers = map(&said);
            drop_claims(&mut headers, HeaderScope { to_router, inside });
            drop_pass(&mut headers);
            let mut left: Vec<_> = headers.keys().map(ToString::to_string).collect();
            left.sort_unstable();
            left
        };
        assert!(left(false, false).is_empty());
        assert_eq!(left(true, false), ["x-weappd-appid"]);
        assert_eq!(left(false, true), ["x-weappd-appid", "x-weappd-seq"]);
    }

    #[test]
    fn connection_names_go_but_not_the_protected_ones() {
        let mut headers = map(&[
            (
                "connection",
                "close, X-Hop , authorization, cookie,x-forwarded-for",
            ),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("authorization", "a"),
            ("cookie", "c"),
            ("x-forwarded-for", "p"),
            ("accept", "*/*"),
        ]);
        drop_hop_by_hop(&mut headers);
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            ["accept", "authorization", "cookie", "x-forwarded-for"]
        );
    }

    #[test]
    fn cookies_become_one_line() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("a=1"));
        headers.append(header::COOKIE, HeaderValue::from_static("b=2"));
        join_cookies(&mut headers);
        let all: Vec<_> = headers.get_all(header::COOKIE).iter().collect();
        assert_eq!(all, ["a=1; b=2"]);
    }
}
