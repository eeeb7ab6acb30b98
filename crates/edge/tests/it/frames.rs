//! A client of HTTP/2 that sends any frames, right or wrong.

use std::time::Duration;

use rustls::ALL_VERSIONS;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::tls::connect_over;
use crate::world::{Authority, PATIENCE, World};

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PUSH_PROMISE: u8 = 5;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const ACK: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
pub(crate) const PADDED: u8 = 8;
pub(crate) const PRIORITIZED: u8 = 32;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A setting's number and value.
pub(crate) type Setting = (u16, u32);
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

impl Frame {
    /// The error code of a reset or a goodbye.
    pub(crate) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let bytes = self.payload.get(at..at + 4)?;
        Some(u32::from_be_bytes(bytes.try_into().ok()?))
    }

    /// The status in a HEADERS frame, where it needs no earlier frame to be read.
    pub(crate) fn status(&self) -> Option<u16> {
        const KNOWN: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
        if self.kind != HEADERS {
            return None;
        }
        let (mut first, mut rest) = self.payload.split_first()?;
        // A table's new size.
        while let 0x20..=0x3f = first {
            (first, rest) = rest.split_first()?;
        }
        match first {
            0x88..=0x8e => KNOWN.get(usize::from(first - 0x88)).copied(),
            0x48..=0x4e | 0x08..=0x0e => {
                let (length, rest) = rest.split_first()?;
                let text = rest.get(..usize::from(length & 0x7f))?;
                if length & 0x80 == 0 {
                    return std::str::from_utf8(text).ok()?.parse().ok();
                }
                digits(text)
            }
            _ => None,
        }
    }
}

/// Three digits in the Huffman code of HPACK.
fn digits(text: &[u8]) -> Option<u16> {
    let bits = text
        .iter()
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = text.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let short = bits >> left.checked_sub(5)? & 31;
        let digit = if short < 3 {
            left -= 5;
            short
        } else {
            left = left.checked_sub(6)?;
            (bits >> left & 63).checked_sub(0x19)? + 3
        };
        number = number * 10 + u16::try_from(digit).ok()?;
    }
    Some(number)
}

/// A connection on which every frame is written by hand.
pub(crate) struct Frames {
    io: TlsStream<TcpStream>,
    heard: Vec<u8>,
}

impl Frames {
    /// A connection on which nothing was said yet.
    pub(crate) async fn silent(tcp: TcpStream, authority: &Authority) -> Self {
        let io = connect_over(tcp, authority, "a.example", ALL_VERSIONS, &["h2"]).await;
        Self {
            io: io.expect("shaken hands"),
            heard: Vec::new(),
        }
    }

    /// A connection with its preface and settings sent.
    pub(crate) async fn open(world: &World, authority: &Authority, settings: &[Setting]) -> Self {
        let tcp = TcpStream::connect(world.https).await.expect("connected");
        Self::over(tcp, authority, settings).await
    }

    pub(crate) async fn over(tcp: TcpStream, authority: &Authority, settings: &[Setting]) -> Self {
        let mut frames = Self::silent(tcp, authority).await;
        // A table of no entries: each head is read for itself.
        frames.preface(&[&[(1, 0)], settings].concat()).await;
        frames
    }

    pub(crate) async fn preface(&mut self, settings: &[Setting]) {
        let mut bytes = PREFACE.to_vec();
        let settings = settings.iter().flat_map(|(name, value)| {
            let (name, value) = (name.to_be_bytes(), value.to_be_bytes());
            name.into_iter().chain(value)
        });
        bytes.extend(frame(SETTINGS, 0, 0, &settings.collect::<Vec<u8>>()));
        self.raw(&bytes).await;
    }

    /// Says whether the door still listens.
    pub(crate) async fn raw(&mut self, bytes: &[u8]) -> bool {
        let said = async {
            self.io.write_all(bytes).await?;
            self.io.flush().await
        };
        matches!(tokio::time::timeout(PATIENCE, said).await, Ok(Ok(())))
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.raw(&frame(kind, flags, stream, payload)).await
    }

    /// A whole request head; `last` without a body.
    pub(crate) async fn ask(&mut self, stream: u32, method: &str, path: &str, last: bool) -> bool {
        let flags = END_HEADERS | if last { END_STREAM } else { 0 };
        let block = request(method, path, &[]);
        self.send(HEADERS, flags, stream, &block).await
    }

    /// The next frame; `None` once the door has closed the connection, or is silent.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        self.next_within(PATIENCE).await
    }

    pub(crate) async fn next_within(&mut self, limit: Duration) -> Option<Frame> {
        let reading = async {
            loop {
                if let Some(frame) = self.take() {
                    if frame.kind == SETTINGS && frame.flags == 0 {
                        self.send(SETTINGS, ACK, 0, &[]).await;
                    }
                    return Some(frame);
                }
                let mut buf = vec![0; 16 * 1024];
                match self.io.read(&mut buf).await {
                    Ok(0) | Err(_) => return None,
                    Ok(count) => self.heard.extend_from_slice(&buf[..count]),
                }
            }
        };
        tokio::time::timeout(limit, reading).await.ok().flatten()
    }

    fn take(&mut self) -> Option<Frame> {
        let head = self.heard.get(..9)?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let frame = Frame {
            kind: head[3],
            flags: head[4],
            stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
            payload: self.heard.get(9..9 + length)?.to_vec(),
        };
        drop(self.heard.drain(..9 + length));
        Some(frame)
    }

    /// The first frame that is `wanted`.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Frame) -> bool) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    /// Sends the same again and reads nothing until the door takes no more for `quiet`, or has
    /// taken `most`; how many bytes it took.
    pub(crate) async fn flood(&mut self, bytes: &[u8], quiet: Duration, most: usize) -> usize {
        let mut taken = 0;
        while taken < most {
            match tokio::time::timeout(quiet, self.io.write(bytes)).await {
                Ok(Ok(count @ 1..)) => taken += count,
                _ => break,
            }
        }
        taken
    }

    /// Whether the connection still answers.
    pub(crate) async fn is_alive(&mut self) -> bool {
        self.send(PING, 0, 0, b"are you?").await;
        let pong = |f: &Frame| f.kind == PING && f.flags == ACK && f.payload == b"are you?";
        self.until(pong).await.is_some()
    }
}

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// A header block without compression.
pub(crate) fn block(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in headers {
        bytes.push(0);
        for text in [name, value] {
            let length = u8::try_from(text.len()).ok().filter(|length| *length < 127);
            bytes.push(length.expect("a short text"));
            bytes.extend_from_slice(text.as_bytes());
        }
    }
    bytes
}

/// The header block of a request to `a.example`.
pub(crate) fn request(method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let head = [
        (":method", method),
        (":scheme", "https"),
        (":authority", "a.example"),
        (":path", path),
    ];
    block(&[&head, more].concat())
}
