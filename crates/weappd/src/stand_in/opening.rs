//! What a caller of the stand-in says first: TLS at once, as a name that leads there has it;
//! or, as to a proxy, a `CONNECT` or a whole address; or plain HTTP with WeChat's `Host`.
//!
//! Only the first request is judged here. The edge behind looks at every one, and answers no
//! name but WeChat's.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weappd_wechat::is_api_host;

use crate::loopback::small_config;

/// How a TLS connection begins: a record of the handshake.
const HANDSHAKE: u8 = 0x16;
/// The two ports WeChat's API has.
const PORTS: [(&str, FirstBytes); 2] = [("443", FirstBytes::Tls), ("80", FirstBytes::Plain)];

/// What is spoken from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FirstBytes {
    Tls,
    Plain,
}

/// A caller who wants WeChat.
#[derive(Debug)]
pub(super) struct ConnectionOpening {
    pub(super) speech: FirstBytes,
    /// What came already of what is to be passed on.
    pub(super) early: Vec<u8>,
}

/// Hears a caller's first words; `None` if it was refused, or said nothing.
pub(super) async fn hear(tcp: &mut TcpStream) -> io::Result<Option<ConnectionOpening>> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first == [HANDSHAKE] {
        return Ok(Some(ConnectionOpening {
            speech: FirstBytes::Tls,
            early: Vec::new(),
        }));
    }
    // As long as the edge behind takes it.
    let most = small_config().max_head_bytes;
    let mut heard = Vec::with_capacity(1024);
    let end = loop {
        if let Some(at) = heard.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        if heard.len() >= most {
            let words = "that is no head of a request, nor TLS";
            return refuse(tcp, "431 Request Header Fields Too Large", words).await;
        }
        if tcp.read_buf(&mut heard).await? == 0 {
            return Ok(None);
        }
    };
    match wanted(&heard[..end]) {
        OpeningWant::Tunnel(speech) => {
            let yes = b"HTTP/1.1 200 Connection established\r\n\r\n";
            tcp.write_all(yes).await?;
            let early = heard.split_off(end);
            Ok(Some(ConnectionOpening { speech, early }))
        }
        OpeningWant::WeChat => Ok(Some(ConnectionOpening {
            speech: FirstBytes::Plain,
            early: heard,
        })),
        OpeningWant::Elsewhere => {
            let words = "this proxy leads to api.weixin.qq.com (and api2, sh.api, sz.api, hk.api) \
                         at ports 443 and 80 only; set it for calls of WeChat's API, not for all";
            refuse(tcp, "403 Forbidden", words).await
        }
        OpeningWant::Weappd => {
            let words = "this port stands in for api.weixin.qq.com: it takes TLS for that name, \
                         its Host over plain HTTP, or what is said to a proxy; calls by another \
                         address go to the internal API ($WEAPPD_INTERNAL_URL)";
            refuse(tcp, "400 Bad Request", words).await
        }
    }
}

/// What the head of a first request asks for.
#[derive(Debug, PartialEq, Eq)]
enum OpeningWant {
    /// A way to WeChat, whatever is then said on it.
    Tunnel(FirstBytes),
    /// WeChat, over plain HTTP.
    WeChat,
    /// Another place, by this proxy.
    Elsewhere,
    /// Whoever listens here.
    Weappd,
}

fn wanted(head: &[u8]) -> OpeningWant {
    let head = String::from_utf8_lossy(head);
    let mut lines = head.split("\r\n");
    let line: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    let [method, target, version] = line[..] else {
        return OpeningWant::Weappd;
    };
    if !version.starts_with("HTTP/1.") {
        return OpeningWant::Weappd;
    }
    if method == "CONNECT" {
        let there = target
            .rsplit_once(':')
            .filter(|(host, _)| is_api_host(host));
        let known = there.and_then(|(_, port)| PORTS.iter().find(|(known, _)| *known == port));
        return known.map_or(OpeningWant::Elsewhere, |(_, speech)| {
            OpeningWant::Tunnel(*speech)
        });
    }
    // A proxy is told the whole address, by some clients of https too.
    for (scheme, port) in [("http://", "80"), ("https://", "443")] {
        if let Some(prefix) = target.get(..scheme.len())
            && prefix.eq_ignore_ascii_case(scheme)
        {
            let authority = target[scheme.len()..].split(['/', '?']).next();
            let is_wechat = authority.is_some_and(|there| names_wechat(there, port));
            return if is_wechat {
                OpeningWant::WeChat
            } else {
                OpeningWant::Elsewhere
            };
        }
    }
    let host = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("host"));
    if host.is_some_and(|(_, host)| names_wechat(host.trim(), "80")) {
        OpeningWant::WeChat
    } else {
        OpeningWant::Weappd
    }
}

/// Whether an authority is WeChat's API, at this port if it names one.
fn names_wechat(authority: &str, port: &str) -> bool {
    let (name, named) = authority.split_once(':').unwrap_or((authority, port));
    is_api_host(name) && named == port
}

async fn refuse(
    tcp: &mut TcpStream,
    status: &str,
    words: &str,
) -> io::Result<Option<ConnectionOpening>> {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    tcp.write_all(answer.as_bytes()).await?;
    tcp.shutdown().await?;
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leads_to_wechat_only() {
        use OpeningWant::{Elsewhere, Tunnel, WeChat, Weappd};
        let (tls, plain) = (Tunnel(FirstBytes::Tls), Tunnel(FirstBytes::Plain));
        for (line, host, asked) in [
            ("CONNECT api.weixin.qq.com:443 HTTP/1.1", "x", &tls),
            ("CONNECT API.weixin.QQ.com:443 HTTP/1.0", "x", &tls),
            ("CONNECT hk.api.weixin.qq.com:443 HTTP/1.1", "x", &tls),
            ("CONNECT api.weixin.qq.com:80 HTTP/1.1", "x", &plain),
            ("CONNECT api2.weixin.qq.com:80 HTTP/1.1", "x", &plain),
            ("CONNECT api.weixin.qq.com:22 HTTP/1.1", "x", &Elsewhere),
            ("CONNECT api.weixin.qq.com HTTP/1.1", "x", &Elsewhere),
            ("CONNECT 127.0.0.1:443 HTTP/1.1", "x", &Elsewhere),
            ("CONNECT a.api.weixin.qq.com:443 HTTP/1.1", "x", &Elsewhere),
            ("CONNECT api.weixin.qq.com:443", "x", &Weappd),
            ("GET http://api.weixin.qq.com/ HTTP/1.1", "x", &WeChat),
            (
                "GET HTTP://sz.api.weixin.qq.com:80/a HTTP/1.1",
                "x",
                &WeChat,
            ),
            ("POST http://api2.weixin.qq.com?a=b HTTP/1.0", "x", &WeChat),
            ("POST https://api.weixin.qq.com/ HTTP/1.1", "x", &WeChat),
            (
                "GET http://api.weixin.qq.com:8080/ HTTP/1.1",
                "x",
                &Elsewhere,
            ),
            (
                "GET http://example.com/ HTTP/1.1",
                "api.weixin.qq.com",
                &Elsewhere,
            ),
            ("GET http://u@api.weixin.qq.com/ HTTP/1.1", "x", &Elsewhere),
            ("GET / HTTP/1.1", "api.weixin.qq.com", &WeChat),
            ("GET / HTTP/1.1", "Api.weixin.qq.com:80", &WeChat),
            ("GET / HTTP/1.1", "127.0.0.1:8083", &Weappd),
            ("GET / HTTP/1.1", "api.weixin.qq.com.evil.example", &Weappd),
            ("GET / HTTP/2", "api.weixin.qq.com", &Weappd),
            ("", "api.weixin.qq.com", &Weappd),
        ] {
            let head = format!("{line}\r\naccept: */*\r\nHost: {host}\r\n\r\n");
            assert_eq!(wanted(head.as_bytes()), *asked, "{line} {host}");
        }
    }
}
