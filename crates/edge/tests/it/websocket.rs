//! WebSockets through the proxy: a tunnel only after the business server's 101.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weappd_edge::RouteTarget;

use crate::world::{PATIENCE, Plan, listen, proxy_to, route, serve_raw};

const ASK: &[u8] = b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: wafer\r\n\r\n";

async fn head_of(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        let read = tokio::time::timeout(PATIENCE, tcp.read(&mut byte)).await;
        if read.expect("in time").expect("read") == 0 {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

/// Agrees to any upgrade and then echoes bytes.
fn echoing() -> std::net::SocketAddr {
    serve_raw(|mut tcp, _| async move {
        let head = head_of(&mut tcp).await;
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        assert!(head.contains("connection: upgrade\r\n"), "{head}");
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: wafer\r\n\r\nhello";
        tcp.write_all(answer).await.expect("sent");
        let mut buf = [0; 4096];
        while let Ok(count @ 1..) = tcp.read(&mut buf).await {
            tcp.write_all(&buf[..count]).await.expect("sent");
        }
    })
}

#[tokio::test]
async fn bytes_flow_both_ways_after_101() {
    let world = Plan::new(vec![route("/", RouteTarget::App("chat".to_owned()))])
        .config(|c| {
            c.keep_alive_secs = 1;
            c.head_timeout_secs = 1;
            c.send_timeout_secs = 1;
        })
        .open();
    world.app("chat", vec![echoing()]);
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    tcp.write_all(ASK).await.expect("sent");
    let head = head_of(&mut tcp).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(head.contains("upgrade: websocket\r\n"), "{head}");
    assert!(
        head.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"),
        "{head}"
    );
    assert!(head.contains("sec-websocket-protocol: wafer\r\n"), "{head}");
    let mut hello = [0; 5];
    tcp.read_exact(&mut hello).await.expect("read");
    assert_eq!(&hello, b"hello");
    // Bytes that are no HTTP, and a silence longer than any deadline for requests.
    for bytes in [&b"\x81\x02\n\n"[..], b"\0\0\0\n\r\n"] {
        tcp.write_all(bytes).await.expect("sent");
        let mut back = vec![0; bytes.len()];
        tcp.read_exact(&mut back).await.expect("read");
        assert_eq!(back, bytes);
        tokio::time::sleep(Duration::from_millis(1300)).await;
    }
    // A megabyte, so that both directions have to wait for each other.
    let (mut read, mut write) = tcp.into_split();
    let sending = async {
        write.write_all(&vec![7; 1 << 20]).await.expect("sent");
        write.shutdown().await.expect("closed");
    };
    let receiving = async {
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.expect("read");
        all
    };
    let ((), all) = tokio::join!(sending, receiving);
    assert_eq!(all.len(), 1 << 20);
    world.closed().await;
}

#[tokio::test]
async fn without_101_there_is_no_tunnel() {
    let app = serve_raw(|mut tcp, _| async move {
        head_of(&mut tcp).await;
        let answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
        tcp.write_all(answer).await.expect("sent");
        drop(tcp.read_u8().await);
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    // What follows the refused upgrade is the next request, not tunnelled bytes.
    let mut both = ASK.to_vec();
    both.extend_from_slice(b"GET / HTTP/1.1\nHost: a\r\n\r\n");
    tcp.write_all(&both).await.expect("sent");
    let heard = listen(&mut tcp, Duration::from_millis(500)).await;
    assert!(heard.starts_with("HTTP/1.1 403"), "{heard}");
    assert!(heard.contains("HTTP/1.1 400"), "{heard}");
    world.closed().await;
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_no_answer() {
    let app = serve_raw(|mut tcp, _| async move {
        head_of(&mut tcp).await;
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        tcp.write_all(answer).await.expect("sent");
        drop(tcp.read_u8().await);
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    assert_eq!(world.get("/").await.status, 502);
    world.closed().await;
}

#[tokio::test]
async fn a_room_may_take_the_connection() {
    use axum::routing::get;
    let router = axum::Router::new().route(
        "/weapp/ws/{token}",
        get(|mut request: axum::extract::Request| async move {
            let upgrade = hyper::upgrade::on(&mut request);
            weappd_base::tasks::Tasks::new().spawn(async move {
                let io = upgrade.await.expect("upgraded");
                let mut io = hyper_util::rt::TokioIo::new(io);
                let mut buf = [0; 64];
                while let Ok(count @ 1..) = io.read(&mut buf).await {
                    io.write_all(&buf[..count]).await.expect("sent");
                }
            });
            http::Response::builder()
                .status(101)
                .header("connection", "upgrade")
                .header("upgrade", "websocket")
                .body(axum::body::Body::empty())
                .expect("a response")
        }),
    );
    let world = Plan::new(vec![route("/weapp/", RouteTarget::Router(router.into()))]).open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    let ask = String::from_utf8_lossy(ASK).replace("/ws", "/weapp/ws/t");
    tcp.write_all(ask.as_bytes()).await.expect("sent");
    assert!(head_of(&mut tcp).await.starts_with("HTTP/1.1 101"));
    tcp.write_all(b"\n\0\n").await.expect("sent");
    let mut back = [0; 3];
    tcp.read_exact(&mut back).await.expect("read");
    assert_eq!(&back, b"\n\0\n");
    drop(tcp);
    world.closed().await;
}

/// Frames of situations in which a WebSocket server must act on its own (the numbers are those
/// of the Autobahn test suite): a proxy has no opinion on any of them.
fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let mask = [0x11, 0x22, 0x33, 0x44];
    let frame = |first: u8, payload: &[u8]| {
        let mut frame = vec![first];
        if let Ok(short @ 0..126) = u8::try_from(payload.len()) {
            frame.push(0x80 | short);
        } else {
            frame.push(0xff);
            frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
        frame.extend_from_slice(&mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
        frame
    };
    vec![
        ("1.1.6", frame(0x81, &[b'*'; 65536])),
        ("1.2.2", frame(0x82, &[0xfe; 125])),
        ("2.10", frame(0x89, b"payload").repeat(10)),
        ("3.5", frame(0xd2, b"reserved bits")),
        ("4.1.1", frame(0x83, b"opcode 3")),
        ("5.1", [frame(0x09, b"a"), frame(0x80, b"b")].concat()),
        ("5.18", [frame(0x01, b"a"), frame(0x81, b"b")].concat()),
        ("6.3.1", frame(0x81, b"\xce\xba\xed\xa0\x80edited")),
        ("7.1.2", frame(0x88, b"\x03\xe8").repeat(2)),
        ("7.3.2", frame(0x88, b"a")),
        (
            "12.1.1, compressed",
            frame(0xc1, b"\xf2\x48\xcd\xc9\xc9\x07\0"),
        ),
        ("no mask", b"\x81\x04ping".to_vec()),
        ("no frame", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
    ]
}

#[tokio::test]
async fn frames_good_and_bad_go_through_as_they_are() {
    let world = Plan::new(vec![route("/", proxy_to(echoing()))]).open();
    for (name, frames) in frames() {
        for chop in [1, 7, frames.len()] {
            if frames.len() / chop > 1000 {
                continue;
            }
            let mut tcp = TcpStream::connect(world.http).await.expect("connected");
            tcp.set_nodelay(true).expect("a socket");
            tcp.write_all(ASK).await.expect("sent");
            assert!(head_of(&mut tcp).await.starts_with("HTTP/1.1 101"));
            let (mut read, mut write) = tcp.split();
            let sending = async {
                for piece in frames.chunks(chop) {
                    write.write_all(piece).await.expect("sent");
                    tokio::task::yield_now().await;
                }
                // The end of one side comes through as well, and the other's answer to it.
                write.shutdown().await.expect("closed");
            };
            let mut back = Vec::new();
            let receiving = tokio::time::timeout(PATIENCE, read.read_to_end(&mut back));
            let ((), ended) = tokio::join!(sending, receiving);
            ended.expect("in time").expect("an orderly end");
            let back = back.strip_prefix(b"hello").expect("hello");
            assert!(back == frames, "{name} by {chop}: {} bytes", back.len());
        }
    }
    world.closed().await;
}

#[tokio::test]
async fn the_last_word_of_a_server_that_hangs_up_arrives() {
    // 1002 with a reason, as a server ends a client that breaks the rules.
    const LAST: &[u8] = b"\x88\x0c\x03\xeareserved!!";
    let app = serve_raw(|mut tcp, _| async move {
        head_of(&mut tcp).await;
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        tcp.write_all(answer).await.expect("sent");
        tcp.read_u8().await.expect("a frame");
        tcp.write_all(LAST).await.expect("sent");
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    for (name, frames) in frames() {
        if frames.len() > 1000 {
            continue;
        }
        let mut tcp = TcpStream::connect(world.http).await.expect("connected");
        tcp.write_all(ASK).await.expect("sent");
        assert!(head_of(&mut tcp).await.starts_with("HTTP/1.1 101"));
        tcp.write_all(&frames[..1]).await.expect("sent");
        // The client says no more and does not hang up.
        let mut heard = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut heard)).await;
        ended.expect("in time").expect("an orderly end");
        assert_eq!(heard, LAST, "{name}");
    }
    world.closed().await;
}
