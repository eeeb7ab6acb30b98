//! Phones that do not keep to the protocol: each is closed with its number, costs next to
//! no memory, and the others go on talking.

use std::cell::Cell;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::SinkExt as _;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_websockets::Message;

use super::{PhoneSocket, alice_and_bob, connect_url, soon};
use crate::http;
use crate::world::{TestPhone, TestWorld};

/// More than any phone has to say.
const FLOOD: usize = 100 * 1024 * 1024;

/// What the kernel may hold for a phone that does not read: docs/wire/tunnel.md.
const KERNEL: usize = 64 * 1024;

/// What a flood may leave behind in weappd, in KiB.
const TRACE_KIB: u64 = 64 * 1024;

/// A tunnel without a WebSocket library: bytes go out as they are.
struct RawSocket(TlsStream<TcpStream>);

/// What a raw tunnel heard before its end.
struct HeardBytes(Vec<u8>);

impl RawSocket {
    async fn open(world: &TestWorld, phone: &TestPhone) -> Self {
        let url = connect_url(phone).await;
        let token = url.rsplit('/').next().expect("a token");
        let tcp = TcpStream::connect(world.https).await.expect("the site");
        let name = "localhost".try_into().expect("a name");
        let tls = http::connector(&world.ca(), &[]).connect(name, tcp).await;
        let mut tls = tls.expect("a TLS handshake");
        let request = format!(
            "GET /weapp/ws/{token} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n\
             Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        );
        tls.write_all(request.as_bytes()).await.expect("asked");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(tls.read_u8()).await.expect("the upgrade"));
        }
        assert!(
            head.starts_with(b"HTTP/1.1 101"),
            "{}",
            String::from_utf8_lossy(&head)
        );
        Self(tls)
    }

    /// Sends something and hangs up once the close frame is there: its number.
    async fn says(mut self, bytes: &[u8]) -> Option<u16> {
        soon(self.0.write_all(bytes)).await.expect("open");
        let mut heard = HeardBytes(Vec::new());
        while heard.close().is_none() {
            if soon(self.0.read_buf(&mut heard.0))
                .await
                .is_ok_and(|read| read == 0)
            {
                break;
            }
        }
        heard.close()
    }

    /// Sends pieces until weappd takes no more, and reads what it says meanwhile and last.
    async fn floods(self, pieces: impl Iterator<Item = Vec<u8>>) -> HeardBytes {
        let (mut read, mut write) = tokio::io::split(self.0);
        let send = async {
            for piece in pieces {
                // A broken pipe is what this test hopes for.
                if write.write_all(&piece).await.is_err() {
                    return;
                }
            }
            drop(write.flush().await);
        };
        let hear = async {
            let mut heard = Vec::new();
            // An abrupt end is an end too.
            drop(read.read_to_end(&mut heard).await);
            HeardBytes(heard)
        };
        let both = async {
            tokio::pin!(hear);
            tokio::select! {
                heard = &mut hear => heard,
                () = send => hear.await,
            }
        };
        soon(both).await
    }
}

impl HeardBytes {
    /// The number of the close frame.
    fn close(&self) -> Option<u16> {
        let mut rest = &self.0[..];
        while let [first, length, tail @ ..] = rest {
            let (length, tail) = match length {
                126 => (
                    usize::from(u16::from_be_bytes(*tail.first_chunk()?)),
                    &tail[2..],
                ),
                length => (usize::from(*length), tail),
            };
            let (body, tail) = tail.split_at_checked(length)?;
            if first & 0x0f == 8 {
                return body.first_chunk().map(|code| u16::from_be_bytes(*code));
            }
            rest = tail;
        }
        None
    }
}

/// A masked frame (with the mask 0) as a phone sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(first, payload.len());
    frame.extend_from_slice(payload);
    frame
}

fn header(first: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    if let Some(short) = u8::try_from(length).ok().filter(|short| *short < 126) {
        header.push(0x80 | short);
    } else if let Ok(middle) = u16::try_from(length) {
        header.push(0x80 | 0x7e);
        header.extend_from_slice(&middle.to_be_bytes());
    } else {
        header.push(0x80 | 0x7f);
        header.extend_from_slice(&(length as u64).to_be_bytes());
    }
    header.extend_from_slice(&[0; 4]);
    header
}

const TEXT: u8 = 0x81;
const TEXT_BEGINS: u8 = 0x01;
const GOES_ON: u8 = 0x00;

/// Bytes in the kernel that weappd wrote to the phone at `port` and it did not take.
fn unsent(weappd: SocketAddr, phone: u16) -> usize {
    let table = fs::read_to_string("/proc/net/tcp").expect("Linux");
    let ends = [weappd.port(), phone].map(|port| format!(":{port:04X}"));
    let size = table.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, remote, _, queues, ..] = fields[..] else {
            return None;
        };
        let ours = local.ends_with(&ends[0]) && remote.ends_with(&ends[1]);
        let (sending, _) = queues.split_once(':').filter(|_| ours)?;
        usize::from_str_radix(sending, 16).ok()
    });
    size.unwrap_or(0)
}

/// Somebody whom the others must not disturb, and the memory weappd took before them.
async fn mallory(world: &TestWorld) -> TestPhone {
    let mut mallory = world.phone("mallory");
    mallory.log_in().await;
    mallory
}

#[tokio::test]
async fn a_hundred_megabytes_in_one_frame() {
    let world = TestWorld::dev().await;
    let mallory = mallory(&world).await;
    let before = world.pss_kib();
    for _ in 0..4 {
        let begin = header(TEXT, FLOOD);
        let pieces = std::iter::once(begin).chain((0..FLOOD >> 16).map(|_| vec![b'x'; 1 << 16]));
        let heard = RawSocket::open(&world, &mallory).await.floods(pieces).await;
        assert_eq!(heard.close(), Some(1009));
        let after = world.pss_kib();
        assert!(
            after < before + TRACE_KIB,
            "{before} KiB grew to {after} KiB"
        );
    }
}

#[tokio::test]
async fn a_hundred_megabytes_in_one_message_of_many_frames() {
    let world = TestWorld::dev().await;
    let mallory = mallory(&world).await;
    let before = world.pss_kib();
    for size in [1 << 10, 1 << 14] {
        let begin = frame(TEXT_BEGINS, &vec![b'x'; size]);
        let more = (0..FLOOD / size).map(|_| frame(GOES_ON, &vec![b'x'; size]));
        let pieces = std::iter::once(begin).chain(more);
        let heard = RawSocket::open(&world, &mallory).await.floods(pieces).await;
        assert_eq!(heard.close(), Some(1009), "in frames of {size}");
        let after = world.pss_kib();
        assert!(
            after < before + TRACE_KIB,
            "{before} KiB grew to {after} KiB"
        );
    }
}

#[tokio::test]
async fn a_hundred_megabytes_that_mean_nothing() {
    let world = TestWorld::dev().await;
    let [(_, mut a, _), (_, mut b, _)] = alice_and_bob(&world).await;
    let before = world.pss_kib();
    // Each message is of a lawful size, and none is for the business server.
    let packet = format!("noise:{}", "x".repeat(30 * 1024));
    let flood = async {
        for _ in 0..FLOOD / packet.len() {
            a.sends(&packet).await;
        }
        a.sends("ping").await;
        assert_eq!(a.hears().await, "pong");
    };
    // Meanwhile Bob's tunnel is as quick as ever.
    let talk = async {
        for _ in 0..20 {
            b.sends("ping").await;
            assert_eq!(b.hears().await, "pong");
        }
    };
    tokio::join!(flood, talk);
    let after = world.pss_kib();
    assert!(
        after < before + TRACE_KIB,
        "{before} KiB grew to {after} KiB"
    );
    a.says("speak", &json!({"word": "still here"})).await;
    assert_eq!(b.hears_of("speak").await["word"], "still here");
}

#[tokio::test]
async fn somebody_who_never_listens_is_let_go() {
    let world = TestWorld::dev().await;
    let [(_, mut a, _), (_, mut b, bob)] = alice_and_bob(&world).await;
    let before = world.pss_kib();
    let long = "x".repeat(500);
    // Bob's socket is open and shows life, but nobody reads it; Alice talks on.
    let out = Arc::clone(&a.out);
    let talk = async {
        loop {
            let message = json!({"type": "speak", "content": {"word": long}});
            let packet = Message::text(format!("message:{message}"));
            if out.lock().await.send(packet).await.is_err() {
                return;
            }
        }
    };
    let leaving = async {
        loop {
            let packet = a.hears().await;
            if packet.contains("\"leave\"") {
                assert!(packet.contains(super::text(&bob)), "{packet}");
                return;
            }
        }
    };
    let most = Cell::new(0);
    let watch = async {
        loop {
            most.set(most.get().max(unsent(world.https, b.port)));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let told = tokio::time::timeout(crate::process::PATIENCE * 3, async {
        tokio::select! {
            () = leaving => {}
            () = talk => panic!("Alice is let go"),
            () = watch => {}
        }
    });
    told.await.expect("the room hears that Bob is gone");
    let kernel = most.get();
    assert!(
        (1..=KERNEL).contains(&kernel),
        "{kernel} bytes wait in the kernel"
    );
    let after = world.pss_kib();
    assert!(
        after < before + TRACE_KIB,
        "{before} KiB grew to {after} KiB"
    );
    // Bob, who awakes, finds out.
    assert!(matches!(b.sees_close().await, Some(1013) | None));
}

#[tokio::test]
async fn garbage_is_closed_with_its_number_and_others_talk_on() {
    let world = TestWorld::dev().await;
    let [(_, mut a, _), (_, mut b, _)] = alice_and_bob(&world).await;
    let mallory = mallory(&world).await;
    let no_mask = b"\x81\x04ping".to_vec();
    for (what, bytes, code) in [
        ("a frame without a mask", no_mask, 1002),
        ("reserved bits", frame(0xf1, b"ping"), 1002),
        ("an unknown opcode", frame(0x83, b"ping"), 1002),
        ("a continuation of nothing", frame(0x80, b"ping"), 1002),
        ("a fragmented ping", frame(0x09, b""), 1002),
        ("a ping too long", frame(0x89, &[b'x'; 126]), 1002),
        ("binary data", frame(0x82, b"\x00\x01"), 1003),
        ("no UTF-8", frame(TEXT, b"message:\xff\xfe"), 1007),
        (
            "HTTP",
            b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".to_vec(),
            1002,
        ),
        ("a close with half a number", frame(0x88, b"\x03"), 1002),
    ] {
        let socket = RawSocket::open(&world, &mallory).await;
        assert_eq!(socket.says(&bytes).await, Some(code), "{what}");
    }
    // The room saw Mallory come and go, and is otherwise as it was.
    a.says("speak", &json!({"word": "strange people"})).await;
    let heard = async |socket: &mut PhoneSocket| {
        loop {
            let packet = socket.hears().await;
            if packet.contains("\"speak\"") {
                return packet;
            }
        }
    };
    assert!(heard(&mut b).await.contains("strange people"));
    assert!(heard(&mut a).await.contains("strange people"));
}
