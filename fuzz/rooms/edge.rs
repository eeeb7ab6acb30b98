//! What must hold for any input to this room's parsers: the bodies of the fuzz targets,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "../feed.rs"]
mod feed;
#[path = "edge/http1.rs"]
mod http1;
#[path = "edge/tls.rs"]
mod tls;

use std::net::IpAddr;
use std::path::{Component, Path};
use std::time::{Duration, SystemTime};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, header};
use weappd_content::{ContentChoice, ContentMeta};

use crate::caller::headers;
use crate::caller::ip_networks::{IpNetwork, IpNetworks};
use crate::config::Config;
use crate::files::static_files;
use crate::route::path_spelling;
use crate::route::request_screen;
use crate::route::route_table::{RoutePattern, RouteTable};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 3] = [
    ("edge_framing", http1::framing),
    ("edge_request", request),
    ("edge_tls", tls::records_and_files),
];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

/// One request's parts: path, host, range and headers.
fn request(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(6) {
        0 => paths(&feed.text(), &feed.text(), feed.flag()),
        1 => hosts(&mut feed),
        2 => ranges(&mut feed),
        3 => claims(&mut feed),
        4 => screened(&mut feed),
        _ => networks(&mut feed),
    }
}

/// What a server makes of a path that decodes everything and knows backslashes.
fn decoded(path: &str) -> String {
    let bytes: Vec<u8> = percent_encoding::percent_decode_str(path).collect();
    String::from_utf8_lossy(&bytes).replace('\\', "/")
}

fn paths(given: &str, pattern: &str, exact: bool) {
    let Ok(one) = path_spelling::normal(given) else {
        return;
    };
    let one = one.into_owned();
    assert!(one.starts_with('/') && !one.contains("//"), "{one}");
    assert_eq!(path_spelling::normal(&one).as_deref(), Ok(one.as_str()));
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}#?[]".contains(&byte);
    assert!(one.bytes().all(plain), "{one}");
    // No server climbs with it, whatever it decodes or cuts off.
    for part in decoded(&one).split('/') {
        let part = part.split(';').next().unwrap_or_default();
        assert!(!matches!(part, ".."), "{one}");
    }
    if let Some(name) = static_files::file_name(&one) {
        let whole = Path::new(&name).components();
        let stays = |part: Component<'_>| matches!(part, Component::Normal(_));
        assert!(whole.clone().all(stays), "{name}");
        assert!(
            !name.contains(['\0', '\\']) && !name.starts_with('/'),
            "{name}"
        );
    }
    let pattern = pattern.trim_matches(|c: char| c == '=' || c.is_whitespace());
    let text = if exact {
        format!("= {pattern}")
    } else {
        pattern.to_owned()
    };
    let Ok(route) = RoutePattern::parse(&text) else {
        return;
    };
    // What a route takes is what its own text says, spelt in whichever way.
    let meant = pattern.trim().strip_suffix("/*").filter(|_| !exact);
    let meant = meant.map_or(pattern.trim().to_owned(), |folder| format!("{folder}/"));
    let meant = path_spelling::normal(&meant)
        .expect("it parsed")
        .into_owned();
    let takes = if exact {
        one == meant
    } else {
        one == meant
            || one.starts_with(&format!("{}/", meant.trim_end_matches('/')))
            || meant.ends_with('/') && one.starts_with(&meant)
    };
    assert_eq!(route.matches(&one), takes, "{one} {text}");
    let root = RoutePattern::parse("/").expect("a pattern");
    if let Ok(table) = RouteTable::new(vec![(root, false), (route, true)]) {
        let found = table.find(&one).map(|(_, takes)| takes);
        assert_eq!(found, Some(&takes), "{one} {text}");
    }
}

fn hosts(feed: &mut Feed<'_>) {
    let given = feed.field();
    let Ok(name) = request_screen::host_name(given) else {
        return;
    };
    let plain =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:".contains(&byte);
    assert!(
        !name.is_empty() && name.len() <= 253 && name.bytes().all(plain),
        "{name}"
    );
    let lower = String::from_utf8_lossy(given).to_ascii_lowercase();
    assert!(lower.contains(&name), "{name}");
    assert!(!name.contains(':') || lower.starts_with('['), "{name}");
}

/// A network holds the addresses that begin as it does, and never everybody.
fn networks(feed: &mut Feed<'_>) {
    let (text, bits) = (feed.text(), feed.array::<16>());
    let Ok(net) = IpNetwork::parse(&text) else {
        return;
    };
    let nets = IpNetworks::parse(std::slice::from_ref(&text)).expect("the same");
    let (first, length) = text.trim().split_once('/').unwrap_or((text.trim(), ""));
    let first: IpAddr = first.parse().expect("an address");
    assert!(nets.contains(first), "{text} {net:?}");
    let flip = |bytes: &mut [u8], at: usize| bytes[at / 8] ^= 0x80 >> (at % 8);
    let (mut inside, mut outside) = match first {
        IpAddr::V4(first) => (first.octets().to_vec(), first.octets().to_vec()),
        IpAddr::V6(first) => (first.octets().to_vec(), first.octets().to_vec()),
    };
    let width = 8 * inside.len();
    let length = length.parse().unwrap_or(width);
    for at in length..width {
        if bits[at / 8] & (0x80 >> (at % 8)) != 0 {
            flip(&mut inside, at);
        }
    }
    flip(&mut outside, usize::from(bits[0]) % length);
    let address = |bytes: &[u8]| match <[u8; 4]>::try_from(bytes) {
        Ok(four) => IpAddr::from(four),
        Err(_) => IpAddr::from(<[u8; 16]>::try_from(bytes).expect("16")),
    };
    assert!(nets.contains(address(&inside)), "{text} {inside:?}");
    assert!(!nets.contains(address(&outside)), "{text} {outside:?}");
}

/// The digits of a range, or none.
fn digits(text: &str) -> Option<u128> {
    let fits = !text.is_empty() && text.len() <= 38 && text.bytes().all(|b| b.is_ascii_digit());
    fits.then(|| text.parse().expect("digits"))
}

fn ranges(feed: &mut Feed<'_>) {
    let len = feed.number().unsigned_abs() % 1_000_000;
    let meta = ContentMeta {
        len,
        modified: SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_500),
        etag: HeaderValue::from_static("\"a-1\""),
        last_modified: HeaderValue::from_static(""),
    };
    let mut map = HeaderMap::new();
    for name in [
        header::RANGE,
        header::IF_RANGE,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::IF_UNMODIFIED_SINCE,
    ] {
        let value = feed.field();
        if let (Ok(value), false) = (HeaderValue::from_bytes(value), value.is_empty()) {
            map.insert(name, value);
        }
    }
    let choice = ContentChoice::of(&Method::GET, &map, &meta);
    if let ContentChoice::Part { from, to } = choice {
        assert!(from <= to && to < len, "{choice:?} of {len}");
        let told = choice.content_range(len).expect("a part has one");
        assert_eq!(told, format!("bytes {from}-{to}/{len}"));
    }
    assert!(
        map.contains_key(header::RANGE)
            || !matches!(choice, ContentChoice::Part { .. } | ContentChoice::Outside)
    );
    // A range alone, read once more by hand.
    map.retain_range();
    let Some(spec) = map.get(header::RANGE).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let Some((from, to)) = spec
        .strip_prefix("bytes=")
        .and_then(|spec| spec.trim().split_once('-'))
    else {
        return;
    };
    let wide = u128::from(len);
    let meant = match (digits(from), digits(to)) {
        (Some(from), Some(to)) if from > to => Some(ContentChoice::Whole),
        (Some(from), _) if (digits(to).is_some() || to.is_empty()) && from >= wide => {
            Some(ContentChoice::Outside)
        }
        (Some(from), Some(to)) => Some(part((from, to.min(wide - 1)))),
        (Some(from), None) if to.is_empty() => Some(part((from, wide - 1))),
        (None, Some(0)) if from.is_empty() => Some(ContentChoice::Outside),
        (None, Some(_)) if from.is_empty() && len == 0 => Some(ContentChoice::Outside),
        (None, Some(last)) if from.is_empty() => Some(part((wide.saturating_sub(last), wide - 1))),
        _ => None,
    };
    let chosen = ContentChoice::of(&Method::GET, &map, &meta);
    let long = from.len() > 18 || to.len() > 18;
    assert!(
        long || meant.unwrap_or(ContentChoice::Whole) == chosen,
        "{spec} of {len}: {chosen:?}, not {meant:?}"
    );
}

fn part((from, to): (u128, u128)) -> ContentChoice {
    let short = |number| u64::try_from(number).expect("below the length");
    ContentChoice::Part {
        from: short(from),
        to: short(to),
    }
}

trait OnlyRange {
    fn retain_range(&mut self);
}

impl OnlyRange for HeaderMap {
    fn retain_range(&mut self) {
        let range = self.remove(header::RANGE);
        self.clear();
        if let Some(range) = range {
            self.insert(header::RANGE, range);
        }
    }
}

/// Headers with any names and values, `name: value` a field.
fn lines(feed: &mut Feed<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    while !feed.is_empty() && map.len() < 100 {
        let line = feed.field();
        let at = line
            .iter()
            .position(|byte| *byte == b':')
            .unwrap_or(line.len());
        let (name, value) = line.split_at(at);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_bytes(value))
        {
            map.append(name, value);
        }
    }
    map
}

/// What a client says of itself is gone, whatever it names in `Connection`; what it may
/// say is still there.
fn claims(feed: &mut Feed<'_>) {
    let given = lines(feed);
    let mut map = given.clone();
    headers::drop_claims(&mut map, headers::HeaderScope::default());
    let all = |map: &HeaderMap, name: &str| -> Vec<HeaderValue> {
        map.get_all(name).iter().cloned().collect()
    };
    for name in given.keys() {
        let text = name.as_str();
        let plain = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let free = plain && !text.starts_with("x-wx-") && !text.contains("forwarded");
        let free = free && !text.starts_with("x-original-") && text != "x-real-ip";
        let free = free
            && !text.starts_with("x-weappd-")
            && crate::caller::header_claims::claim(text).is_none();
        if free
            || [
                "x-wx-skey",
                "x-wx-code",
                "x-wx-id",
                "x-wx-iv",
                "x-wx-encrypted-data",
            ]
            .contains(&text)
        {
            assert_eq!(all(&given, text), all(&map, text), "{text}");
        }
    }
    headers::drop_hop_by_hop(&mut map);
    headers::join_cookies(&mut map);
    for name in map.keys() {
        let text = name.as_str();
        assert!(
            !text.contains('_')
                && !text.starts_with("x-forwarded-")
                && !text.starts_with("x-weappd-"),
            "{text}"
        );
        assert!(
            !["connection", "te", "upgrade", "transfer-encoding"].contains(&text),
            "{text}"
        );
        let identity = ["openid", "appid", "unionid", "source", "env", "from"];
        assert!(
            !text.starts_with("x-wx-") || !identity.iter().any(|word| text.contains(word)),
            "{text}"
        );
    }
    for name in ["authorization", "host", "content-length"] {
        assert_eq!(all(&given, name), all(&map, name), "{name}");
    }
    assert!(map.get_all("cookie").iter().count() <= 1);
    assert_eq!(given.contains_key("cookie"), map.contains_key("cookie"));
}

/// A head that is let in names one host and one plain path.
fn screened(feed: &mut Feed<'_>) {
    let (method, uri) = (feed.text(), feed.text());
    let Ok(request) = Request::builder().method(method.as_str()).uri(uri).body(()) else {
        return;
    };
    let (mut head, ()) = request.into_parts();
    head.headers = lines(feed);
    let Ok(host) = request_screen::check(&mut head, &Config::default()) else {
        return;
    };
    assert_eq!(head.headers.get_all(header::HOST).iter().count(), 1);
    let named = request_screen::host_name(head.headers[header::HOST].as_bytes());
    assert_eq!(named.ok(), Some(host));
    assert!(!head.headers.contains_key(header::EXPECT));
    assert!(method != "CONNECT" && method != "TRACE");
    let query = head.uri.query().map(str::to_owned);
    if request_screen::respell(&mut head).is_ok() {
        let path = head.uri.path();
        assert_eq!(path_spelling::normal(path).as_deref(), Ok(path));
        assert_eq!(head.uri.query(), query.as_deref());
        assert!(head.uri.authority().is_none());
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
