//! What of a call's headers goes on, and what stays here.

use http::{HeaderMap, HeaderName, header};

/// Headers that belong to one connection (RFC 9110, 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];
/// What WeChat has no use for, or must not see. Without `Accept-Encoding` answers come as
/// they are and can be looked into.
const NOT_FOR_WECHAT: [HeaderName; 8] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::ACCEPT_ENCODING,
    header::AUTHORIZATION,
    header::COOKIE,
    header::FORWARDED,
    header::VIA,
];

/// What goes on to WeChat of an app's headers. Who the app's user is stays here.
pub(crate) fn outgoing(mut headers: HeaderMap) -> HeaderMap {
    let inside = |name: &HeaderName| {
        let name = name.as_str();
        let prefixes = ["x-wx-", "x-weappd-", "x-forwarded-", "x-real-ip", "sec-"];
        prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    drop_all(&mut headers, |name| {
        NOT_FOR_WECHAT.contains(name) || inside(name)
    });
    headers
}

/// What goes back to the app of WeChat's headers.
pub(crate) fn incoming(mut headers: HeaderMap, head: bool) -> HeaderMap {
    // The body knows its length, if anybody does.
    drop_all(&mut headers, |name| {
        !head && *name == header::CONTENT_LENGTH
    });
    headers
}

/// Drops what belongs to one connection, and what `is_doomed` takes.
fn drop_all(headers: &mut HeaderMap, is_doomed: impl Fn(&HeaderName) -> bool) {
    let named = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok());
    let there = headers.keys();
    let there = there.filter(|name| HOP_BY_HOP.contains(name) || is_doomed(name));
    let doomed: Vec<HeaderName> = named.chain(there.cloned()).collect();
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn connection_and_identity_headers_stay_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("x-wx-openid", "o"),
            ("authorization", "Bearer t"),
            ("accept-encoding", "gzip"),
            ("content-type", "application/json"),
            ("wechatmp-appid", "wx"),
        ] {
            headers.append(
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            );
        }
        let names: Vec<_> = outgoing(headers)
            .keys()
            .map(HeaderName::to_string)
            .collect();
        assert_eq!(names, ["content-type", "wechatmp-appid"]);
    }

    #[test]
    fn answers_lose_their_length_but_to_head() {
        let came = || {
            let mut headers = HeaderMap::new();
            for (name, value) in [
                ("connection", "x-private"),
                ("keep-alive", "timeout=5"),
                ("x-private", "1"),
                ("content-length", "2"),
                ("content-type", "application/json"),
            ] {
                headers.append(name, HeaderValue::from_static(value));
            }
            headers
        };
        let names = |headers: HeaderMap| -> Vec<String> {
            headers.keys().map(HeaderName::to_string).collect()
        };
        assert_eq!(names(incoming(came(), false)), ["content-type"]);
        let of_head = ["content-length", "content-type"];
        assert_eq!(names(incoming(came(), true)), of_head);
    }
}
