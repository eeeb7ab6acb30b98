//! What a request must be before a route is chosen for it.

use std::borrow::Cow;

use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Uri, Version, header};

use crate::config::Config;
use crate::refusal::EdgeRefusal;
use crate::route::path_spelling;

/// Checks method, sizes and expectations; gives the host's name, lower case, without
/// port, and leaves exactly one `Host` header.
pub(crate) fn check(head: &mut Parts, config: &Config) -> Result<String, EdgeRefusal> {
    check_method(&head.method)?;
    let length = head.uri.path_and_query().map_or(0, |p| p.as_str().len());
    if length > config.max_uri_bytes {
        return Err(EdgeRefusal::UriTooLong);
    }
    if head.headers.len() > config.max_headers {
        return Err(EdgeRefusal::TooManyHeaders);
    }
    if head.headers.contains_key(header::EXPECT) {
        if !awaits_continue(&head.headers) {
            return Err(EdgeRefusal::Expectation);
        }
        // hyper says 100 as soon as the body is asked for.
        drop(head.headers.remove(header::EXPECT));
    }
    let length = head.headers.get(header::CONTENT_LENGTH);
    if let Some(length) = length.and_then(|l| l.to_str().ok()?.parse::<u64>().ok())
        && length > config.max_body_bytes
    {
        return Err(EdgeRefusal::BodyTooLarge);
    }
    authority(head)
}

/// Whether the client sends its body only once it is told to go on.
pub(crate) fn awaits_continue(headers: &HeaderMap) -> bool {
    let expect = headers.get(header::EXPECT);
    expect.is_some_and(|expect| expect.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

fn check_method(method: &Method) -> Result<(), EdgeRefusal> {
    if *method == Method::CONNECT || *method == Method::TRACE {
        return Err(EdgeRefusal::MethodNotAllowed);
    }
    let plain = |b: u8| b.is_ascii_uppercase() || b == b'-';
    if !method.as_str().bytes().all(plain) {
        return Err(EdgeRefusal::BadRequest("The method is not one."));
    }
    Ok(())
}

/// The one host the request is for.
fn authority(head: &mut Parts) -> Result<String, EdgeRefusal> {
    let mut hosts = head.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(EdgeRefusal::BadRequest("The request names two hosts."));
    }
    let scheme = head.uri.scheme();
    if scheme.is_some_and(|scheme| *scheme != Scheme::HTTP && *scheme != Scheme::HTTPS) {
        return Err(EdgeRefusal::BadRequest(
            "Only http and https are spoken here.",
        ));
    }
    let is_old = head.version == Version::HTTP_10;
    let name = match (head.uri.authority(), host) {
        // A balancer's health check: HTTP/1.0 knew no hosts, and HTTP/1.1 may name an empty
        // one. Any site may answer that takes every name.
        (None, None) if is_old => local_host(head),
        (None, Some(host)) if host.is_empty() => local_host(head),
        (None, Some(host)) => host_name(host.as_bytes())?,
        (Some(target), None) if is_old || head.version == Version::HTTP_2 => {
            let name = host_name(target.as_str().as_bytes())?;
            let host = host_header(target)?;
            head.headers.insert(header::HOST, host);
            name
        }
        (Some(target), Some(host)) => {
            if !target
                .as_str()
                .as_bytes()
                .eq_ignore_ascii_case(host.as_bytes())
            {
                return Err(EdgeRefusal::BadRequest("The request names two hosts."));
            }
            host_name(host.as_bytes())?
        }
        (_, None) => return Err(NO_HOST),
    };
    Ok(name)
}

/// The request names no host; the app that answers it finds this one.
fn local_host(head: &mut Parts) -> String {
    let nowhere = HeaderValue::from_static("localhost");
    head.headers.insert(header::HOST, nowhere);
    String::new()
}

fn host_header(target: &Authority) -> Result<HeaderValue, EdgeRefusal> {
    HeaderValue::from_str(target.as_str()).map_err(|_| BAD_HOST)
}

pub(crate) const NO_HOST: EdgeRefusal = EdgeRefusal::BadRequest("The request names no host.");
const BAD_HOST: EdgeRefusal = EdgeRefusal::BadRequest("The host's name is not one.");

/// `Name.Example.COM.:8080` is `name.example.com`.
pub(crate) fn host_name(host: &[u8]) -> Result<String, EdgeRefusal> {
    let text = std::str::from_utf8(host).map_err(|_| BAD_HOST)?;
    let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        // An IPv6 address.
        Some((inner, port))
            if inner
                .bytes()
                .all(|b| b.is_ascii_hexdigit() || b == b':' || b == b'.') =>
        {
            (
                inner,
                port.strip_prefix(':').or(port.is_empty().then_some("0")),
            )
        }
        Some(_) => return Err(BAD_HOST),
        None => match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, Some("0")),
        },
    };
    let digits = |port: &str| port.len() <= 5 && port.bytes().all(|b| b.is_ascii_digit());
    let port_ok = port.is_some_and(|p| p.is_empty() || digits(p) && p.parse::<u16>().is_ok());
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if !port_ok || name.is_empty() || name.len() > 253 || !name.bytes().all(plain) {
        return Err(BAD_HOST);
    }
    Ok(name.to_ascii_lowercase())
}

/// Gives the path its one spelling and the target its plain form: what is matched from
/// here on is what is forwarded.
pub(crate) fn respell(head: &mut Parts) -> Result<(), EdgeRefusal> {
    const BAD_PATH: EdgeRefusal = EdgeRefusal::BadRequest("The path is not one.");
    let Some(target) = head.uri.path_and_query() else {
        return Err(BAD_PATH);
    };
    match path_spelling::normal(target.path()).map_err(|_| BAD_PATH)? {
        Cow::Borrowed(_) if head.uri.authority().is_none() => {}
        Cow::Borrowed(_) => head.uri = Uri::from(target.clone()),
        Cow::Owned(path) => {
            let whole = match target.query() {
                Some(query) => format!("{path}?{query}"),
                None => path,
            };
            let target = PathAndQuery::from_maybe_shared(whole).map_err(|_| BAD_PATH)?;
            head.uri = Uri::from(target);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_and_doubtful_ones_refused() {
        for (given, name) in [
            ("a.example", "a.example"),
            ("A.Example.:8443", "a.example"),
            ("127.0.0.1:8080", "127.0.0.1"),
            ("[::1]:8080", "::1"),
            ("[::1]", "::1"),
            ("a.example:65535", "a.example"),
            ("a.example:", "a.example"),
        ] {
            assert_eq!(
                host_name(given.as_bytes()).ok().as_deref(),
                Some(name),
                "{given}"
            );
        }
        for bad in [
            "",
            ":80",
            "x/../y@z",
            "a b",
            "a:b",
            "a:1:2",
            "[::1",
            "[x]:1",
            "[::1]x",
            "a@b",
            "é",
            "a:999999",
            "a:99999",
            "a:65536",
            "[::1]:65536",
            "127.0.0.1:70000",
        ] {
            assert!(host_name(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
