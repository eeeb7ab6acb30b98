//! Which headers WeChat's own gateway (微信网关) may set, where one is configured.
//!
//! A request from one of its addresses is trusted as WeChat itself: who calls, from where, and
//! how risky. From all others these headers are dropped (`headers.rs`).

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::caller::forwarded::address;
use crate::caller::header_claims::{HeaderClaim, is_doubtful};
use crate::caller::headers::{self, HeaderScope};
use crate::caller::identity::{X_WX_APPID, X_WX_OPENID, X_WX_UNIONID};

const X_WX_CLIENT_IP: HeaderName = HeaderName::from_static("x-wx-client-ip");

/// The client's address as the gateway itself names it. Two of its headers are none.
pub(crate) fn client(headers: &HeaderMap) -> Option<SocketAddr> {
    let mut named = headers.get_all(X_WX_CLIENT_IP).iter();
    match (named.next(), named.next()) {
        (Some(one), None) => address(one.as_bytes()),
        _ => None,
    }
}

/// Whether the gateway may set this header.
pub(crate) fn may_say(name: &str) -> bool {
    name.starts_with("x-wx-") && !is_doubtful(name)
}

/// Drops what even the gateway may not set: headers that stand twice, and users of mini
/// programs that are not the site's, with all facts about them.
pub(crate) fn filter_claims(appids: &[String], headers: &mut HeaderMap, scope: HeaderScope) {
    headers::drop_repeated_wx(headers);
    if is_foreign(appids, headers) || !names_users(headers) {
        headers::drop_claims_but(headers, |name, claim| {
            claim != HeaderClaim::Identity || scope.keeps(name)
        });
    }
}

/// Whether those it names can be users: WeChat writes them in letters, digits, `-` and `_`.
fn names_users(headers: &HeaderMap) -> bool {
    let can_be = |id: &HeaderValue| {
        let mut bytes = id.as_bytes().iter();
        let letters = bytes.clone().any(u8::is_ascii_alphanumeric);
        letters && bytes.all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte))
    };
    let openid = headers.get(X_WX_OPENID).is_none_or(can_be);
    // A user who is in no account that is bound has an empty one.
    let unionid = headers.get(X_WX_UNIONID);
    openid && unionid.is_none_or(|id| id.is_empty() || can_be(id))
}

/// Whether its user, or its mini program, is none of the site's. A user without a mini
/// program belongs to the site's only one; where there are several, to none.
fn is_foreign(appids: &[String], headers: &HeaderMap) -> bool {
    match (headers.get(X_WX_APPID), appids) {
        (_, []) | (None, [_]) => false,
        (Some(named), all) => !all.iter().any(|appid| named == appid.as_str()),
        (None, _) => headers.contains_key(X_WX_OPENID) || headers.contains_key(X_WX_UNIONID),
    }
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

    #[test]
    fn who_cannot_be_a_user_is_nobody() {
        for (openid, stays) in [
            ("oB_-1", true),
            ("", false),
            ("a b", false),
            ("-", false),
            ("o\"1", false),
        ] {
            let lines = [("x-wx-openid", openid), ("x-wx-unionid", "")];
            let mut headers = map(&lines);
            let scope = HeaderScope {
                to_router: false,
                inside: false,
            };
            filter_claims(&[], &mut headers, scope);
            assert_eq!(headers.contains_key(X_WX_OPENID), stays, "{openid:?}");
        }
    }

    #[test]
    fn the_gateway_names_the_client_once_or_not_at_all() {
        let told = |lines: &[_]| client(&map(lines)).map(|client| client.ip().to_string());
        let name = "x-wx-client-ip";
        assert_eq!(told(&[(name, "6.6.6.6")]).as_deref(), Some("6.6.6.6"));
        assert_eq!(told(&[(name, "::1")]).as_deref(), Some("::1"));
        assert_eq!(told(&[(name, "6.6.6.6"), (name, "7.7.7.7")]), None);
        assert_eq!(told(&[(name, "unknown")]), None);
        assert_eq!(told(&[]), None);
    }

    #[test]
    fn the_gateway_speaks_of_the_sites_users_only() {
        let said = [("x-wx-openid", "o"), ("x-wx-risk-rank", "2")];
        let with = |appid| [&said[..], &[("x-wx-appid", appid)]].concat();
        let ours = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        for (appids, lines, left) in [
            (ours(&[]), said.to_vec(), 2),
            (ours(&["wx1"]), said.to_vec(), 2),
            (ours(&["wx1", "wx2"]), said.to_vec(), 0),
            (ours(&["wx1", "wx2"]), with("wx2"), 3),
            (ours(&["wx1", "wx2"]), with("wx3"), 0),
            (ours(&[]), with("wx3"), 3),
        ] {
            let mut headers = map(&lines);
            filter_claims(&appids, &mut headers, HeaderScope::default());
            assert_eq!(headers.len(), left, "{appids:?} {lines:?}");
        }
    }

    #[test]
    fn what_is_said_twice_or_oddly_is_not_said() {
        let mut headers = map(&[
            ("x-wx-openid", "a"),
            ("x-wx-openid", "b"),
            ("x-wx-source", "wx_client,wx_http"),
        ]);
        filter_claims(&[], &mut headers, HeaderScope::default());
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-wx-source"]);
        for odd in [
            "x_wx_openid",
            "x.wx.openid",
            "x-wx-from_openid",
            "x-real-ip",
        ] {
            assert!(!may_say(odd), "{odd}");
        }
    }
}
