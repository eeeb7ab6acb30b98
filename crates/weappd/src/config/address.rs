//! Names and addresses as people write them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use weappd_base::language::pick;
use weappd_base::words;

use http::uri::Authority;

/// What is wrong and what to do.
pub(crate) type AddressError = (String, &'static str);

/// A host name in its one spelling: lower case, no port.
pub(crate) fn host(text: &str) -> Result<String, AddressError> {
    let wrong = |what: &str, hint| Err((words!("`{text}` {what}", "`{text}` {what}"), hint));
    let name = text.strip_prefix("*.").unwrap_or(text);
    if text == "*" {
        return Ok(text.to_owned());
    }
    if text.contains("://") || text.contains('/') {
        return wrong(
            pick("is not a host name", "不是域名"),
            pick(
                "leave out https:// and everything after the name",
                "去掉 https:// 和域名后面的部分",
            ),
        );
    }
    if text.starts_with('[') || text.parse::<Ipv6Addr>().is_ok() {
        return wrong(
            pick("is an IPv6 address", "是 IPv6 地址"),
            pick("give a host name", "请写域名"),
        );
    }
    if let Some((_, port)) = text.rsplit_once(':')
        && port.parse::<u16>().is_ok()
    {
        return wrong(
            pick("names a port", "带了端口"),
            pick(
                "leave it out here; ports stand in [edge] http and https",
                "这里不写端口；端口写在 [edge] 的 http 和 https 里",
            ),
        );
    }
    if !name.is_ascii() {
        return wrong(
            pick("is not in ASCII", "含有非 ASCII 字符"),
            pick(
                "write the name as DNS has it, beginning with xn--",
                "请写 DNS 里的 Punycode 形式，以 xn-- 开头",
            ),
        );
    }
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_'))
    };
    if name.len() > 253 || !name.trim_end_matches('.').split('.').all(label) {
        return wrong(
            pick("is not a host name", "不是域名"),
            pick("write it like www.example.com", "写成 www.example.com 这样"),
        );
    }
    Ok(text.trim_end_matches('.').to_ascii_lowercase())
}

/// An address to listen on: `:80` is every address of the machine.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, AddressError> {
    let wrong = || {
        let hint = pick(
            "write \":80\" for every address of this machine, or \"127.0.0.1:80\" for one",
            "监听本机所有地址写 \":80\"，只监听一个地址写 \"127.0.0.1:80\"",
        );
        (
            words!(
                "`{text}` is not an address to listen on",
                "`{text}` 不是监听地址"
            ),
            hint,
        )
    };
    let (host, port) = match text.rsplit_once(':') {
        Some(parts) => parts,
        None => ("", text),
    };
    let port: u16 = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(wrong)?;
    let ip = match host {
        "" | "*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        _ => host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse()
            .map_err(|_| wrong())?,
    };
    Ok(SocketAddr::new(ip, port))
}

/// A running server: `host:port`, or a port of this machine.
pub(crate) fn upstream(text: &str) -> Result<String, AddressError> {
    let wrong = |hint| {
        Err((
            words!(
                "`{text}` is not host:port",
                "`{text}` 不是“主机:端口”的形式"
            ),
            hint,
        ))
    };
    if text.starts_with("http://") {
        return wrong(pick(
            "leave out http:// and the path, as in \"127.0.0.1:1937\"",
            "去掉 http:// 和路径，例如 \"127.0.0.1:1937\"",
        ));
    }
    if text.starts_with("https://") {
        return wrong(pick(
            "servers behind weappd are spoken to in plain HTTP, as in \"127.0.0.1:1937\"",
            "weappd 用明文 HTTP 访问后端服务器，例如 \"127.0.0.1:1937\"",
        ));
    }
    if text.contains('/') {
        return wrong(pick(
            "leave out the path; the request's own path is passed on",
            "去掉路径；请求本身的路径会原样转发",
        ));
    }
    let text = match text.parse::<u16>() {
        Ok(_) => format!("127.0.0.1:{text}"),
        Err(_) => text.to_owned(),
    };
    let authority = text
        .parse::<Authority>()
        .ok()
        .filter(|a| !text.contains('@') && !a.host().is_empty());
    match authority.and_then(|authority| authority.port_u16()) {
        Some(port) if port > 0 => Ok(text),
        _ => wrong(pick(
            "write it like \"127.0.0.1:1937\"",
            "写成 \"127.0.0.1:1937\" 这样",
        )),
    }
}

/// Whether two sockets cannot listen on both addresses.
pub(crate) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// Whether a running server's address is answered by whoever listens on `door`.
pub(crate) fn leads_to(upstream: &str, door: SocketAddr) -> bool {
    let Some((host, port)) = upstream.rsplit_once(':') else {
        return false;
    };
    let host = if host == "localhost" {
        "127.0.0.1"
    } else {
        host
    };
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<IpAddr>();
    port.parse() == Ok(door.port())
        && ip.is_ok_and(|ip| ip == door.ip() || (ip.is_loopback() && door.ip().is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for (text, name) in [
            ("www.Example.com", "www.example.com"),
            ("localhost", "localhost"),
            ("*.example.com", "*.example.com"),
            ("*", "*"),
            ("127.0.0.1", "127.0.0.1"),
            ("example.com.", "example.com"),
            ("xn--fiqs8s.cn", "xn--fiqs8s.cn"),
        ] {
            assert_eq!(host(text).as_deref(), Ok(name));
        }
        for text in [
            "",
            ".",
            "https://a.com",
            "a.com/",
            "a.com:443",
            "a..b",
            "-a.com",
            "a b.com",
            "中国.cn",
            "[::1]",
            "a.*.com",
            "*.*.com",
            "@",
        ] {
            assert!(host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn listening_addresses() {
        for (text, address) in [
            (":80", "[::]:80"),
            ("80", "[::]:80"),
            ("0.0.0.0:80", "0.0.0.0:80"),
            ("localhost:8081", "127.0.0.1:8081"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(listen(text).map(|a| a.to_string()).as_deref(), Ok(address));
        }
        for text in [
            "",
            ":",
            ":0",
            ":65536",
            "example.com:80",
            "127.0.0.1",
            "http://127.0.0.1:80",
        ] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn upstreams() {
        for (text, address) in [
            ("127.0.0.1:1937", "127.0.0.1:1937"),
            ("1937", "127.0.0.1:1937"),
            ("app.internal:80", "app.internal:80"),
            ("[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(upstream(text).as_deref(), Ok(address));
        }
        for text in [
            "",
            "localhost",
            ":1937",
            "a:0",
            "a:65536",
            "http://127.0.0.1:1937",
            "https://a:1",
            "a:1/x",
            "u@a:1",
            "a b:1",
        ] {
            assert!(upstream(text).is_err(), "{text}");
        }
    }

    #[test]
    fn collisions_and_loops() {
        let at = |text: &str| text.parse().expect("an address");
        assert!(collide(at("[::]:80"), at("127.0.0.1:80")));
        assert!(!collide(at("127.0.0.2:80"), at("127.0.0.1:80")));
        assert!(!collide(at("[::]:80"), at("[::]:81")));
        assert!(leads_to("localhost:80", at("[::]:80")));
        assert!(leads_to("127.0.0.1:8081", at("127.0.0.1:8081")));
        assert!(!leads_to("10.0.0.1:80", at("[::]:80")));
        assert!(!leads_to("127.0.0.1:1937", at("[::]:80")));
    }
}
