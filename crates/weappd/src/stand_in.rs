//! The stand-in for `https://api.weixin.qq.com`, for programs that know WeChat's API by no
//! other address.
//!
//! One loopback port takes TLS, and the `CONNECT` of a program that is told to use a proxy;
//! either way the caller then speaks TLS with an edge that has a certificate for that name
//! and leads to the API proxy. `CONNECT` to any other place is refused: this is no way out.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use weappd_apps::Variables;
use weappd_edge::{Bound, CertFiles, Kind};
use weappd_gateway::Gateway;

use crate::doors::Doors;
use crate::exit::Failure;
use crate::ground::Ground;
use crate::listen;
use crate::loopback::secure_edge;

mod trust;
mod variables;

/// The name it stands in for.
const NAME: &str = "api.weixin.qq.com";
/// How many connections there may be at once.
const SEATS: usize = 1024;
/// How long a caller may take to say what it wants.
const GREETING: Duration = Duration::from_secs(10);
/// The longest head of a `CONNECT`.
const MAX_HEAD: usize = 8 * 1024;
/// How a TLS connection begins: a record of the handshake.
const HANDSHAKE: u8 = 0x16;
/// How long to wait when the system has no room for one more connection.
const BREATH: Duration = Duration::from_millis(100);

/// The stand-in before it is open.
#[derive(Debug)]
pub(crate) struct StandIn {
    socket: TcpListener,
    cert: CertFiles,
    /// What leads apps to it, and lets them trust it.
    pub(crate) variables: Variables,
}

impl StandIn {
    /// Binds `at`, and finds or makes the certificate under `data_dir`. `environment` is
    /// weappd's own.
    pub(crate) fn bind(
        at: SocketAddr,
        data_dir: &Path,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let what = "the stand-in for https://api.weixin.qq.com";
        let socket = listen::bind(at, what, "set `wechat_https` under [internal]")?;
        let at = socket.local_addr().unwrap_or(at);
        let trust = trust::find_or_make(data_dir)?;
        Ok(Self {
            socket,
            variables: variables::of(&trust, at, environment)?,
            cert: trust.cert,
        })
    }

    /// Where it is.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.socket.local_addr().ok()
    }

    /// Opens it: calls go out through `gateway`.
    pub(crate) fn open(
        self,
        ground: &Ground,
        doors: &Doors,
        gateway: Gateway,
    ) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::new(&error, "");
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let socket = listen::bind(loopback, "the inner half of the stand-in", "free a port")?;
        let inside = socket.local_addr().map_err(failed)?;
        let router = weappd_gateway::http::api_router(gateway);
        let edge = secure_edge(ground, NAME, self.cert, router)?;
        let kind = Kind::Https;
        doors.open_inner(
            "the stand-in for WeChat",
            edge,
            vec![Bound { socket, kind }],
        );
        let outside = tokio::net::TcpListener::from_std(self.socket).map_err(failed)?;
        let task = accept(outside, inside, ground.clone());
        ground.tasks.spawn(task);
        Ok(())
    }
}

async fn accept(outside: tokio::net::TcpListener, inside: SocketAddr, ground: Ground) {
    let seats = Arc::new(Semaphore::new(SEATS));
    let next = async || {
        let seat = Arc::clone(&seats).acquire_owned().await;
        (seat, outside.accept().await)
    };
    loop {
        let arrived = tokio::select! {
            () = ground.front.asked() => return,
            arrived = next() => arrived,
        };
        let (Ok(seat), Ok((tcp, _))) = arrived else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        let stop = ground.front.clone();
        ground.tasks.spawn(async move {
            tokio::select! {
                () = stop.forced() => {}
                () = serve(tcp, inside) => {}
            }
            drop(seat);
        });
    }
}

async fn serve(mut tcp: TcpStream, inside: SocketAddr) {
    // A caller that hangs up, here or later, is nobody's trouble but its own.
    let greeted = tokio::time::timeout(GREETING, greet(&mut tcp)).await;
    let Ok(Ok(Some(early))) = greeted else {
        return;
    };
    if let Ok(inner) = TcpStream::connect(inside).await {
        drop(join(tcp, inner, &early).await);
    }
}

/// Hears out a `CONNECT`, or the first sign of TLS. Gives what came already of what is to be
/// passed on; `None` if the caller was refused.
async fn greet(tcp: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut first = [0];
    if tcp.peek(&mut first).await? == 0 {
        return Ok(None);
    }
    if first == [HANDSHAKE] {
        return Ok(Some(Vec::new()));
    }
    let mut heard = Vec::with_capacity(1024);
    let end = loop {
        if let Some(at) = heard.windows(4).position(|part| part == b"\r\n\r\n") {
            break at + 4;
        }
        if heard.len() >= MAX_HEAD {
            let words = "that is no CONNECT, nor TLS";
            return refuse(tcp, "431 Request Header Fields Too Large", words).await;
        }
        if tcp.read_buf(&mut heard).await? == 0 {
            return Ok(None);
        }
    };
    let rest = heard.split_off(end);
    match wanted(&heard) {
        Wanted::WeChat => {
            let yes = b"HTTP/1.1 200 Connection established\r\n\r\n";
            tcp.write_all(yes).await?;
            Ok(Some(rest))
        }
        Wanted::Elsewhere => {
            let words = "this proxy leads to api.weixin.qq.com:443 only; set it for calls of \
                         WeChat's API, not for all";
            refuse(tcp, "403 Forbidden", words).await
        }
        Wanted::Plain => {
            let words = "this port takes TLS, or CONNECT api.weixin.qq.com:443; calls over plain \
                         HTTP go to the internal API ($WEAPPD_INTERNAL_URL)";
            refuse(tcp, "400 Bad Request", words).await
        }
    }
}

/// What the head of a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    WeChat,
    Elsewhere,
    Plain,
}

fn wanted(head: &[u8]) -> Wanted {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let is_http = version.is_some_and(|version| version.starts_with(b"HTTP/1."));
    match target {
        Some(target) if method == Some(b"CONNECT") && is_http => {
            let there = target.strip_suffix(b":443");
            if there.is_some_and(|host| host.eq_ignore_ascii_case(NAME.as_bytes())) {
                Wanted::WeChat
            } else {
                Wanted::Elsewhere
            }
        }
        _ => Wanted::Plain,
    }
}

async fn refuse(tcp: &mut TcpStream, status: &str, words: &str) -> io::Result<Option<Vec<u8>>> {
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    tcp.write_all(answer.as_bytes()).await?;
    tcp.shutdown().await?;
    Ok(None)
}

/// Passes on both ways until the inside, which knows the time limits, hangs up.
async fn join(mut tcp: TcpStream, mut inner: TcpStream, early: &[u8]) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    inner.set_nodelay(true)?;
    inner.write_all(early).await?;
    let (mut heard, mut say) = tcp.split();
    let (mut answers, mut ask) = inner.split();
    let inwards = async {
        tokio::io::copy(&mut heard, &mut ask).await?;
        ask.shutdown().await?;
        std::future::pending::<io::Result<()>>().await
    };
    tokio::select! {
        ended = inwards => ended,
        ended = tokio::io::copy(&mut answers, &mut say) => ended.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_leads_to_wechat_only() {
        for (line, asked) in [
            ("CONNECT api.weixin.qq.com:443 HTTP/1.1", Wanted::WeChat),
            ("CONNECT API.weixin.QQ.com:443 HTTP/1.0", Wanted::WeChat),
            ("CONNECT api.weixin.qq.com:80 HTTP/1.1", Wanted::Elsewhere),
            ("CONNECT api.weixin.qq.com HTTP/1.1", Wanted::Elsewhere),
            ("CONNECT 127.0.0.1:443 HTTP/1.1", Wanted::Elsewhere),
            (
                "CONNECT a.api.weixin.qq.com:443 HTTP/1.1",
                Wanted::Elsewhere,
            ),
            ("CONNECT api.weixin.qq.com:443", Wanted::Plain),
            ("GET https://api.weixin.qq.com/ HTTP/1.1", Wanted::Plain),
            ("", Wanted::Plain),
        ] {
            let head = format!("{line}\r\nhost: x\r\n\r\n");
            assert_eq!(wanted(head.as_bytes()), asked, "{line}");
        }
    }
}
