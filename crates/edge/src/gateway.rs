//! What WeChat's own gateway (微信网关) may say in front of us, where it is configured.
//!
//! A connection from one of its addresses is believed as WeChat itself: who calls, from
//! where, and how risky. Everybody else's words are dropped in `headers.rs`.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use crate::connection::Visit;
use crate::headers::{self, Road};
use crate::identity::{X_WX_APPID, X_WX_OPENID, X_WX_UNIONID};
use crate::nets::Nets;

const X_WX_CLIENT_IP: HeaderName = HeaderName::from_static("x-wx-client-ip");

/// The visit of the client behind the gateway, whose address stands in its headers. The
/// port is not known.
pub(crate) fn behind(visit: &Visit, gateways: &Nets, headers: &HeaderMap) -> Visit {
    let address = client(gateways, headers).unwrap_or(visit.peer.ip());
    visit.seen_from(SocketAddr::new(address, 0))
}

/// The address the gateway names: its own header, else the last of the addresses that
/// requests came through that is not the gateway's. Two of its headers are none.
fn client(gateways: &Nets, headers: &HeaderMap) -> Option<IpAddr> {
    let mut named = headers.get_all(X_WX_CLIENT_IP).iter();
    if let (Some(one), None) = (named.next(), named.next())
        && let Some(address) = address(one.as_bytes())
    {
        return Some(address);
    }
    let lines = headers.get_all(headers::X_FORWARDED_FOR).iter().rev();
    lines
        .flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b','))
        // What is no address hides what stands before it.
        .map_while(address)
        .find(|address| !gateways.hold(*address))
}

fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    text.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

/// Drops what even the gateway cannot say: names in two spellings or twice, addresses in
/// headers that are ours to set, and users of mini programs that are not the site's.
pub(crate) fn keep_words(appids: &[String], headers: &mut HeaderMap, road: Road) {
    headers::drop_claims_but(headers, |name| {
        name.starts_with("x-wx-") && !headers::is_doubtful(name) || road.keeps(name)
    });
    headers::drop_repeated_wx(headers);
    if is_foreign(appids, headers) {
        headers::drop_claims(headers, road);
    }
}

/// Whether its user, or its mini program, is none of the site's. A user without a mini
/// program is the site's only one's; where there are several, nobody's.
fn is_foreign(appids: &[String], headers: &HeaderMap) -> bool {
    match (headers.get(X_WX_APPID), appids) {
        (_, []) | (None, [_]) => false,
        (Some(named), all) => !all.iter().any(|appid| named == appid.as_str()),
        (None, _) => headers.contains_key(X_WX_OPENID) || headers.contains_key(X_WX_UNIONID),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn client_of(lines: &[(&'static str, &'static str)]) -> Option<String> {
        let gateways = Nets::parse(&["10.0.0.0/8".to_owned()]).expect("networks");
        client(&gateways, &map(lines)).map(|ip| ip.to_string())
    }

    #[test]
    fn the_clients_address_is_the_last_that_is_not_the_gateways() {
        let told = |lines: &[_]| client_of(lines).unwrap_or_default();
        assert_eq!(told(&[("x-wx-client-ip", "6.6.6.6")]), "6.6.6.6");
        assert_eq!(
            told(&[("x-wx-client-ip", "::1"), ("x-forwarded-for", "1.1.1.1")]),
            "::1"
        );
        assert_eq!(
            told(&[("x-forwarded-for", "9.9.9.9, 6.6.6.6, 10.1.1.1,10.2.2.2")]),
            "6.6.6.6"
        );
        assert_eq!(
            told(&[
                ("x-forwarded-for", "9.9.9.9"),
                ("x-forwarded-for", "10.0.0.1")
            ]),
            "9.9.9.9"
        );
        // Nobody guesses.
        assert_eq!(told(&[("x-forwarded-for", "9.9.9.9, unknown")]), "");
        assert_eq!(told(&[("x-forwarded-for", "10.0.0.1")]), "");
        assert_eq!(
            told(&[("x-wx-client-ip", "6.6.6.6"), ("x-wx-client-ip", "7.7.7.7")]),
            ""
        );
        assert_eq!(told(&[]), "");
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
            keep_words(&appids, &mut headers, Road::default());
            assert_eq!(headers.len(), left, "{appids:?} {lines:?}");
        }
    }

    #[test]
    fn what_is_said_twice_or_oddly_is_not_said() {
        let mut headers = map(&[
            ("x-wx-openid", "a"),
            ("x-wx-openid", "b"),
            ("x_wx_openid", "c"),
            ("x.wx.openid", "d"),
            ("x-wx-from_openid", "e"),
            ("x-wx-source", "wx_client,wx_http"),
            ("x-forwarded-for", "6.6.6.6"),
            ("x-real-ip", "6.6.6.6"),
        ]);
        keep_words(&[], &mut headers, Road::default());
        let left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["x-wx-source"]);
    }
}
