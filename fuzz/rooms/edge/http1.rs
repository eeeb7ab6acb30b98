//! HTTP/1 connections: what the framing lets pass, hyper must read in the same one way.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::runtime::Runtime;

use super::feed::Feed;
use crate::conn::framing::{AwaitedPart, FramingFault, HttpFraming};

/// Pieces that requests and smuggled requests are made of.
const PIECES: [&str; 36] = [
    "GET / HTTP/1.1\r\nHost: a\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\n",
    "\r\n",
    "\n",
    "\r",
    "Content-Length: 5\r\n",
    "content-length: 0\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length:\t5 \r\n",
    "Content-Length : 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: chunked \r\n",
    "Transfer-Encoding : chunked\r\n",
    "transfer-encoding:\x0Bchunked\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "0\r\nX: y\r\n\r\n",
    "5;ext=1\r\nhello\r\n",
    "05\r\nhello\r\n",
    "0x5\r\nhello\r\n",
    "FFFFFFFFFFFFFFFF\r\n",
    "hello",
    "Expect: 100-continue\r\n",
    "Connection: close\r\n",
    "X: y\r\n",
    " folded\r\n",
    "X\r\n",
    ": v\r\n",
    "GET /y HTTP/1.0\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "0\r\n",
    "5\r\nhello",
    "X: \0\r\n",
];

/// A request as it stands in the bytes.
type Seen = (String, Vec<u8>);

fn verdict(bytes: &[u8], cuts: &[u8]) -> Result<AwaitedPart, FramingFault> {
    let mut framing = HttpFraming::default();
    let mut done = 0;
    let mut turn = 0;
    while done < bytes.len() {
        let cut = cuts
            .get(turn % cuts.len().max(1))
            .map_or(bytes.len(), |cut| usize::from(*cut) + 1);
        let end = bytes.len().min(done + cut);
        framing
            .follow(&bytes[done..end], &mut Vec::new())
            .map_err(|fault| match fault {
                FramingFault::Head(at) => FramingFault::Head(done + at),
                FramingFault::Body(at) => FramingFault::Body(done + at),
            })?;
        turn += 1;
        done = end;
    }
    Ok(framing.waiting())
}

/// Lines that end in CR LF and nothing else.
fn line<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let end = bytes.windows(2).position(|two| two == b"\r\n")?;
    let line = &bytes[..end];
    *bytes = &bytes[end + 2..];
    Some(line)
}

/// The next request, read as plainly as possible.
fn plain_request(bytes: &mut &[u8]) -> Option<Seen> {
    let mut first = line(bytes)?;
    while first.is_empty() {
        first = line(bytes)?;
    }
    let target = first.split(|byte| *byte == b' ').nth(1)?;
    let is_origin = target.starts_with(b"/") && !target.contains(&b'#');
    let target = String::from_utf8_lossy(target).into_owned();
    let target = if is_origin { target } else { String::new() };
    let (mut length, mut chunked) = (0, false);
    loop {
        let header = line(bytes)?;
        if header.is_empty() {
            break;
        }
        let text = String::from_utf8_lossy(header).to_ascii_lowercase();
        if let Some(value) = text.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= text.starts_with("transfer-encoding:");
    }
    let mut body = Vec::new();
    if !chunked {
        body.extend_from_slice(bytes.get(..length)?);
        *bytes = &bytes[length..];
        return Some((target, body));
    }
    loop {
        let size = String::from_utf8_lossy(line(bytes)?).into_owned();
        let digits: String = size.chars().take_while(char::is_ascii_hexdigit).collect();
        let size = usize::from_str_radix(&digits, 16).ok()?;
        if size == 0 {
            while !line(bytes)?.is_empty() {}
            return Some((target, body));
        }
        body.extend_from_slice(bytes.get(..size)?);
        *bytes = bytes.get(size + 2..)?;
    }
}

thread_local! {
    static RUNTIME: Runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
}

/// The requests hyper makes of these bytes, whole bodies only.
fn hypers(bytes: &[u8]) -> Vec<Seen> {
    let seen: Rc<RefCell<Vec<Seen>>> = Rc::default();
    let noted = Rc::clone(&seen);
    let service = service_fn(move |request: http::Request<Incoming>| {
        let noted = Rc::clone(&noted);
        async move {
            // hyper spells other forms of targets anew.
            let is_origin = request.uri().authority().is_none() && request.uri().path() != "*";
            let target = request.uri().to_string();
            let target = if is_origin { target } else { String::new() };
            if let Ok(body) = request.into_body().collect().await {
                noted.borrow_mut().push((target, body.to_bytes().to_vec()));
            }
            let mut answer = Response::new(Empty::<Bytes>::new());
            // A success would make a tunnel of CONNECT.
            *answer.status_mut() = StatusCode::NOT_FOUND;
            Ok::<_, Infallible>(answer)
        }
    });
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let (mut client, server) = tokio::io::duplex(1 << 20);
            client.write_all(bytes).await.expect("there is room");
            client.shutdown().await.expect("it closes");
            let mut builder = http1::Builder::new();
            builder.half_close(true).header_read_timeout(None);
            // An error only says that hyper refused what came next.
            drop(
                builder
                    .serve_connection(TokioIo::new(server), service)
                    .await,
            );
        });
    });
    seen.take()
}

/// The verdict does not depend on the reads; what passes means to hyper what it means to a
/// plain reader; nothing behind a fault is passed on.
pub(super) fn framing(data: &[u8]) {
    let mut feed = Feed::new(data);
    let way = feed.below(2);
    let cuts = feed.field();
    let mut bytes = Vec::new();
    if way == 0 {
        bytes.extend_from_slice(feed.rest());
    }
    while !feed.is_empty() && bytes.len() < 4096 {
        match usize::from(feed.byte().wrapping_sub(b'0')) {
            at @ 0..36 => bytes.extend_from_slice(PIECES[at].as_bytes()),
            _ => bytes.extend_from_slice(feed.field()),
        }
    }
    let whole = verdict(&bytes, &[]);
    for cuts in [cuts, &[0]] {
        let pieces = verdict(&bytes, cuts);
        match (whole, pieces) {
            (Ok(one), Ok(other)) => assert_eq!(one, other, "{cuts:?}"),
            (Err(one), Err(other)) => {
                let ((FramingFault::Head(_), FramingFault::Head(_))
                | (FramingFault::Body(_), FramingFault::Body(_))) = (one, other)
                else {
                    panic!("{one:?} is not {other:?} for {cuts:?}");
                };
            }
            other => panic!("{other:?} for {cuts:?}"),
        }
    }
    let passed = match whole {
        Ok(_) => bytes.len(),
        Err(FramingFault::Head(at) | FramingFault::Body(at)) => at,
    };
    let mut rest = &bytes[..passed];
    let mut plain = Vec::new();
    while let Some(request) = plain_request(&mut rest) {
        plain.push(request);
    }
    let found = hypers(&bytes[..passed]);
    assert!(
        found.len() <= plain.len(),
        "hyper sees {found:?}, a plain reader {plain:?}"
    );
    for (found, plain) in found.iter().zip(&plain) {
        assert_eq!(found.1, plain.1, "{found:?}");
        assert!(
            plain.0.is_empty() || found.0 == plain.0,
            "{found:?}, not {plain:?}"
        );
    }
}
