//! What RFC 9113 and RFC 7541 ask of a server, frame by frame, and floods that it survives.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use weappd_edge::RouteTarget;

use crate::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS,
    INITIAL_WINDOW_SIZE, PADDED, PING, PRIORITIZED, PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, block, frame, request,
};
use crate::world::{Authority, Plan, World, echo, proxy_to, route, serve};

const PROTOCOL: u32 = 1;
const FLOW_CONTROL: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE: u32 = 6;
const REFUSED_STREAM: u32 = 7;
const COMPRESSION: u32 = 9;
const CALM: u32 = 11;

/// How many streams of a connection are open at a time.
const STREAMS: u32 = 128;

const WHOLE: u8 = END_HEADERS | END_STREAM;

/// What must come of what was sent.
#[derive(Clone, Copy, Debug)]
enum Then {
    /// The connection ends, with one of these codes where the door says one, or the general
    /// one.
    Closed(&'static [u32]),
    /// Stream 1 ends with one of these codes, or the whole connection, or the request is
    /// refused with a status of 400 and above.
    Refused(&'static [u32]),
    /// Stream 1 is answered so.
    Status(u16),
    /// Nothing: the connection goes on.
    Alive,
}

struct Case(&'static str, Vec<u8>, Then);

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &request("GET", "/", &[]))
}

fn post(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS, stream, &request("POST", "/", more))
}

fn head(headers: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, WHOLE, 1, &block(headers))
}

fn setting(name: u16, value: u32) -> Vec<u8> {
    let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

fn window(stream: u32, by: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &by.to_be_bytes())
}

/// The header block of a request, then these bytes.
fn compressed(rest: &[u8]) -> Vec<u8> {
    let block = [&request("GET", "/", &[]), rest].concat();
    frame(HEADERS, WHOLE, 1, &block)
}

fn all(parts: &[Vec<u8>]) -> Vec<u8> {
    parts.concat()
}

fn is_one_of(code: Option<u32>, codes: &[u32]) -> bool {
    code.is_none_or(|code| code == PROTOCOL || codes.contains(&code))
}

async fn check(world: &World, authority: &Authority, cases: Vec<Case>) {
    for Case(name, bytes, then) in cases {
        let mut client = Frames::open(world, authority, &[]).await;
        client.raw(&bytes).await;
        match then {
            Then::Closed(codes) => {
                let end = client.until(|f| f.kind == GOAWAY).await;
                let code = end.as_ref().and_then(Frame::code);
                assert!(is_one_of(code, codes), "{name}: {code:?}");
            }
            Then::Refused(codes) => {
                let refused = |f: &Frame| {
                    f.kind == GOAWAY
                        || f.stream == 1 && (f.kind == RST_STREAM || f.status().is_some())
                };
                let end = client.until(refused).await;
                if let Some(status) = end.as_ref().and_then(Frame::status) {
                    assert!(status >= 400, "{name}: {status}");
                } else {
                    let code = end.as_ref().and_then(Frame::code);
                    assert!(is_one_of(code, codes), "{name}: {code:?}");
                }
            }
            Then::Status(wanted) => {
                let answer = client
                    .until(|f| f.stream == 1 && f.kind != WINDOW_UPDATE)
                    .await;
                let status = answer.as_ref().and_then(Frame::status);
                assert_eq!(status, Some(wanted), "{name}: {answer:?}");
            }
            Then::Alive => assert!(client.is_alive().await, "{name}"),
        }
    }
}

fn open() -> (World, Authority) {
    let authority = Authority::new();
    let world = Plan::new(vec![route("/", RouteTarget::Router(echo().into()))])
        .tls(authority.files("a", &["a.example"]))
        .open();
    (world, authority)
}

async fn close(world: World) {
    world.stop.ask();
    world.stop.force();
    world.closed().await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn frames_have_their_sizes_and_places() {
    use Then::{Alive, Closed, Refused};
    let (world, authority) = open();
    let large = vec![0; 16_385];
    let cases = vec![
        Case(
            "data of the connection",
            frame(DATA, 0, 0, b"x"),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "data of no stream",
            frame(DATA, 0, 1, b"x"),
            Closed(&[PROTOCOL, STREAM_CLOSED]),
        ),
        Case(
            "more padding than data",
            all(&[post(1, &[]), frame(DATA, PADDED, 1, &[9, 0, 0])]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "padding of a frame without a byte",
            all(&[post(1, &[]), frame(DATA, PADDED, 1, &[])]),
            Closed(&[PROTOCOL, FRAME_SIZE]),
        ),
        Case(
            "head of the connection",
            frame(HEADERS, WHOLE, 0, &request("GET", "/", &[])),
            Closed(&[PROTOCOL]),
        ),
        Case("head of a server's stream", get(2), Closed(&[PROTOCOL])),
        Case(
            "streams out of turn",
            all(&[get(5), get(3)]),
            Closed(&[PROTOCOL, STREAM_CLOSED]),
        ),
        Case(
            "more padding than head",
            frame(HEADERS, WHOLE | PADDED, 1, &[200, 0x82]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "priority of the connection",
            frame(PRIORITY, 0, 0, &[0; 5]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "priority of four bytes",
            all(&[post(1, &[]), frame(PRIORITY, 0, 1, &[0; 4])]),
            Refused(&[FRAME_SIZE]),
        ),
        Case("priority", frame(PRIORITY, 0, 9, &[0, 0, 0, 0, 7]), Alive),
        Case(
            "reset of the connection",
            frame(RST_STREAM, 0, 0, &[0; 4]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "reset of no stream",
            frame(RST_STREAM, 0, 1, &[0; 4]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "reset of three bytes",
            all(&[post(1, &[]), frame(RST_STREAM, 0, 1, &[0; 3])]),
            Closed(&[FRAME_SIZE]),
        ),
        Case(
            "acknowledged settings with some",
            frame(SETTINGS, ACK, 0, &[0; 6]),
            Closed(&[FRAME_SIZE]),
        ),
        Case(
            "settings of a stream",
            frame(SETTINGS, 0, 1, &[]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "settings of five bytes",
            frame(SETTINGS, 0, 0, &[0; 5]),
            Closed(&[FRAME_SIZE, PROTOCOL]),
        ),
        Case("push by two", setting(2, 2), Closed(&[PROTOCOL])),
        Case(
            "a window above all",
            setting(INITIAL_WINDOW_SIZE, 1 << 31),
            Closed(&[FLOW_CONTROL]),
        ),
        Case(
            "frames below the least",
            setting(5, 16_383),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "frames above the most",
            setting(5, 1 << 24),
            Closed(&[PROTOCOL]),
        ),
        Case("a setting nobody knows", setting(0x7777, 1), Alive),
        Case(
            "a ping of seven bytes",
            frame(PING, 0, 0, &[0; 7]),
            Closed(&[FRAME_SIZE]),
        ),
        Case(
            "a ping of a stream",
            frame(PING, 0, 1, &[0; 8]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "a pong nobody asked for",
            frame(PING, ACK, 0, &[0; 8]),
            Alive,
        ),
        Case(
            "a goodbye of a stream",
            frame(GOAWAY, 0, 1, &[0; 8]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "a push of a client",
            frame(PUSH_PROMISE, END_HEADERS, 1, &[0, 0, 0, 2]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "a window of three bytes",
            frame(WINDOW_UPDATE, 0, 0, &[0; 3]),
            Closed(&[FRAME_SIZE]),
        ),
        Case("a window by nothing", window(0, 0), Closed(&[PROTOCOL])),
        Case(
            "a stream's window by nothing",
            all(&[post(1, &[]), window(1, 0)]),
            Refused(&[PROTOCOL]),
        ),
        Case(
            "a window beyond all",
            all(&[window(0, 0x7fff_ffff), window(0, 0x7fff_ffff)]),
            Closed(&[FLOW_CONTROL]),
        ),
        Case(
            "a stream's window beyond all",
            all(&[post(1, &[]), window(1, 0x7fff_ffff)]),
            Refused(&[FLOW_CONTROL]),
        ),
        Case("a window of no stream", window(1, 1), Closed(&[PROTOCOL])),
        Case(
            "a continuation of nothing",
            frame(CONTINUATION, END_HEADERS, 1, &[]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "a continuation of a whole head",
            all(&[post(1, &[]), frame(CONTINUATION, END_HEADERS, 1, &[])]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "data in a head",
            all(&[frame(HEADERS, 0, 1, &[0x82]), frame(DATA, 0, 1, b"x")]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "a head in a head",
            all(&[frame(HEADERS, 0, 1, &[0x82]), get(3)]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "another stream's continuation",
            all(&[
                frame(HEADERS, 0, 1, &[0x82]),
                frame(CONTINUATION, END_HEADERS, 3, &[]),
            ]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "the unknown in a head",
            all(&[frame(HEADERS, 0, 1, &[0x82]), frame(0xbe, 0, 1, &[])]),
            Closed(&[PROTOCOL]),
        ),
        Case(
            "the unknown elsewhere",
            frame(0xbe, 0xff, 1, b"anything"),
            Alive,
        ),
        Case(
            "too much data in a frame",
            all(&[post(1, &[]), frame(DATA, 0, 1, &large)]),
            Closed(&[FRAME_SIZE]),
        ),
        Case(
            "too much head in a frame",
            frame(HEADERS, WHOLE, 1, &large),
            Closed(&[FRAME_SIZE]),
        ),
    ];
    check(&world, &authority, cases).await;
    close(world).await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn streams_have_their_states() {
    use Then::{Alive, Refused, Status};
    let (world, authority) = open();
    let whole = |stream| all(&[post(stream, &[]), frame(DATA, END_STREAM, stream, b"x")]);
    let cases = vec![
        Case(
            "data after the end",
            all(&[get(1), frame(DATA, 0, 1, b"x")]),
            Refused(&[STREAM_CLOSED]),
        ),
        Case(
            "a head after the end",
            all(&[get(1), get(1)]),
            Refused(&[STREAM_CLOSED, PROTOCOL]),
        ),
        // It was sent before the client knew.
        Case(
            "data after a reset",
            all(&[
                post(1, &[]),
                frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]),
                frame(DATA, 0, 1, b"x"),
                whole(3),
            ]),
            Alive,
        ),
        Case("a head, then data", whole(1), Status(200)),
        Case(
            "padding and priority",
            all(&[
                frame(
                    HEADERS,
                    END_HEADERS | PADDED | PRIORITIZED,
                    1,
                    &[&[2, 0, 0, 0, 0, 1][..], &request("POST", "/", &[]), &[0, 0]].concat(),
                ),
                frame(DATA, PADDED | END_STREAM, 1, &[2, b'x', 0, 0]),
            ]),
            Status(200),
        ),
        Case(
            "a head in pieces",
            all(&[
                frame(HEADERS, END_STREAM, 1, &request("GET", "/", &[])[..9]),
                frame(CONTINUATION, 0, 1, &[]),
                frame(CONTINUATION, END_HEADERS, 1, &request("GET", "/", &[])[9..]),
            ]),
            Status(200),
        ),
        Case(
            "trailers",
            all(&[
                post(1, &[]),
                frame(DATA, 0, 1, b"x"),
                frame(HEADERS, WHOLE, 1, &block(&[("x-sum", "1")])),
            ]),
            Status(200),
        ),
        Case(
            "trailers that do not end",
            all(&[
                post(1, &[]),
                frame(HEADERS, END_HEADERS, 1, &block(&[("x-sum", "1")])),
            ]),
            Refused(&[PROTOCOL]),
        ),
    ];
    check(&world, &authority, cases).await;
    let mut client = Frames::open(&world, &authority, &[]).await;
    // The door's word on how many there may be is known once it has answered.
    assert!(client.is_alive().await);
    let posts: Vec<_> = (0..=STREAMS).map(|n| post(2 * n + 1, &[])).collect();
    client.raw(&posts.concat()).await;
    let refused = client
        .until(|f| f.kind == RST_STREAM)
        .await
        .expect("a reset");
    let last = 2 * STREAMS + 1;
    assert_eq!(
        (refused.stream, refused.code()),
        (last, Some(REFUSED_STREAM))
    );
    drop(client);
    close(world).await;
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn heads_follow_their_rules() {
    use Then::{Refused, Status};
    const METHOD: (&str, &str) = (":method", "GET");
    const SCHEME: (&str, &str) = (":scheme", "https");
    const AUTHORITY: (&str, &str) = (":authority", "a.example");
    const PATH: (&str, &str) = (":path", "/");
    let (world, authority) = open();
    let with = |more: &[(&str, &str)]| frame(HEADERS, WHOLE, 1, &request("GET", "/", more));
    let bad = Refused(&[PROTOCOL]);
    let sized = |length: &str, sent: &[u8]| {
        all(&[
            post(1, &[("content-length", length)]),
            frame(DATA, END_STREAM, 1, sent),
        ])
    };
    let cases = vec![
        Case("an upper case name", with(&[("X-Name", "1")]), bad),
        Case("a name with a blank", with(&[("x name", "1")]), bad),
        Case("a name of nothing", with(&[("", "1")]), bad),
        Case("a line feed in a value", with(&[("x", "1\n2")]), bad),
        Case("a NUL in a value", with(&[("x", "1\0")]), bad),
        Case("connection", with(&[("connection", "close")]), bad),
        Case("keep-alive", with(&[("keep-alive", "1")]), bad),
        Case(
            "proxy-connection",
            with(&[("proxy-connection", "close")]),
            bad,
        ),
        Case(
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
            bad,
        ),
        Case("upgrade", with(&[("upgrade", "websocket")]), bad),
        Case("te of more than trailers", with(&[("te", "gzip")]), bad),
        Case("te", with(&[("te", "trailers")]), Status(200)),
        Case(
            "an unknown pseudo header",
            head(&[METHOD, SCHEME, AUTHORITY, PATH, (":x", "1")]),
            bad,
        ),
        Case(
            "an answer's pseudo header",
            head(&[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")]),
            bad,
        ),
        Case(
            "a pseudo header after others",
            head(&[METHOD, SCHEME, AUTHORITY, ("x", "1"), PATH]),
            bad,
        ),
        Case(
            "two methods",
            head(&[METHOD, METHOD, SCHEME, AUTHORITY, PATH]),
            bad,
        ),
        Case(
            "two paths",
            head(&[METHOD, SCHEME, AUTHORITY, PATH, PATH]),
            bad,
        ),
        Case(
            "two authorities",
            head(&[METHOD, SCHEME, AUTHORITY, AUTHORITY, PATH]),
            bad,
        ),
        Case("no method", head(&[SCHEME, AUTHORITY, PATH]), bad),
        Case("no scheme", head(&[METHOD, AUTHORITY, PATH]), bad),
        Case("no path", head(&[METHOD, SCHEME, AUTHORITY]), bad),
        Case(
            "a path of nothing",
            head(&[METHOD, SCHEME, AUTHORITY, (":path", "")]),
            bad,
        ),
        Case(
            "a path that is not one",
            head(&[METHOD, SCHEME, AUTHORITY, (":path", "x")]),
            bad,
        ),
        Case(
            "another scheme",
            head(&[METHOD, (":scheme", "ftp"), AUTHORITY, PATH]),
            bad,
        ),
        Case("no authority, no host", head(&[METHOD, SCHEME, PATH]), bad),
        Case(
            "an authority with a user",
            head(&[METHOD, SCHEME, (":authority", "u@a.example"), PATH]),
            bad,
        ),
        Case(
            "an authority with a port beyond all",
            head(&[METHOD, SCHEME, (":authority", "a.example:65536"), PATH]),
            bad,
        ),
        Case(
            "a host for an authority",
            head(&[METHOD, SCHEME, PATH, ("host", "a.example")]),
            Status(200),
        ),
        Case("two hosts", with(&[("host", "b.example")]), bad),
        Case(
            "the same host twice said",
            with(&[("host", "a.example")]),
            Status(200),
        ),
        Case("connect", head(&[(":method", "CONNECT"), AUTHORITY]), bad),
        Case(
            "connect with a path",
            head(&[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH]),
            bad,
        ),
        Case("as long as it says", sized("3", b"abc"), Status(200)),
        Case("longer than it says", sized("2", b"abc"), bad),
        Case("shorter than it says", sized("4", b"abc"), bad),
        Case(
            "nothing of what it says",
            with(&[("content-length", "4")]),
            bad,
        ),
        Case(
            "two lengths",
            post(1, &[("content-length", "1"), ("content-length", "2")]),
            bad,
        ),
        Case("a length that is none", sized("+3", b"abc"), bad),
    ];
    check(&world, &authority, cases).await;
    close(world).await;
}

#[tokio::test]
async fn compression_has_no_second_reading() {
    use Then::Closed;
    let (world, authority) = open();
    let cases = vec![
        Case(
            "an index of nothing",
            compressed(&[0x80]),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "an index beyond the table",
            compressed(&[0xff, 0x40]),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "a name beyond the table",
            compressed(&[0x7f, 0x40, 1, b'x']),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "a number without end",
            compressed(&[
                0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ]),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "a text cut short",
            compressed(&[0, 5, b'x']),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "padding of zeros",
            compressed(&[0, 1, b'x', 0x81, 0x00]),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "padding of a whole byte",
            compressed(&[0, 1, b'x', 0x82, 0x1f, 0xff]),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "the end within a text",
            compressed(&[0, 1, b'x', 0x84, 0xff, 0xff, 0xff, 0xff]),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "a table too large",
            frame(
                HEADERS,
                WHOLE,
                1,
                &[&[0x3f, 0xe1, 0xff, 3][..], &request("GET", "/", &[])].concat(),
            ),
            Closed(&[COMPRESSION]),
        ),
        Case(
            "a table's size at the end",
            compressed(&[0x20]),
            Closed(&[COMPRESSION]),
        ),
    ];
    check(&world, &authority, cases).await;
    close(world).await;
}

#[tokio::test]
async fn a_connection_begins_with_its_preface() {
    let (world, authority) = open();
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r",
        &[0; 64],
    ] {
        let tcp = tokio::net::TcpStream::connect(world.https).await;
        let mut client = Frames::silent(tcp.expect("connected"), &authority).await;
        client.raw(bytes).await;
        let answered = client.until(|f| f.kind == HEADERS).await;
        assert!(answered.is_none(), "{}", bytes.escape_ascii());
    }
    close(world).await;
}

/// A room that counts who came and never answers.
fn silent() -> (Router, Arc<AtomicUsize>) {
    let came = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&came);
    let room = Router::new().fallback(move || async move {
        counter.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    });
    (room, came)
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn floods_are_bounded() {
    const MANY: u32 = 20_000;
    let authority = Authority::new();
    let (room, came) = silent();
    let world = Plan::new(vec![
        route("/", RouteTarget::Router(room.into())),
        route("/echo", proxy_to(serve(echo()))),
    ])
    .tls(authority.files("a", &["a.example"]))
    .open();
    let odd = |n: u32| 2 * n + 1;
    let cancel = |stream| frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]);
    let many = |one: &dyn Fn(u32) -> Vec<u8>| (0..MANY).flat_map(one).collect::<Vec<u8>>();

    // Ends the connection, or is at least no more work than the connection allows at a time.
    for (name, bytes) in [
        (
            "streams that are reset at once",
            many(&|n| all(&[get(odd(n)), cancel(odd(n))])),
        ),
        (
            "streams that the door has to reset",
            many(&|n| all(&[get(odd(n)), window(odd(n), 0)])),
        ),
        ("streams beyond their number", many(&|n| get(odd(n)))),
        (
            "streams reset after data",
            many(&|n| {
                all(&[
                    post(odd(n), &[]),
                    frame(DATA, 0, odd(n), b"x"),
                    cancel(odd(n)),
                ])
            }),
        ),
        (
            "heads that are refused",
            many(&|n| frame(HEADERS, WHOLE, odd(n), &block(&[("X", "1")]))),
        ),
        (
            "a head without end",
            all(&[
                frame(HEADERS, 0, 1, &request("GET", "/", &[])),
                many(&|_| frame(CONTINUATION, 0, 1, &block(&[("x", "1")]))),
            ]),
        ),
        (
            "a head of empty pieces",
            all(&[
                frame(HEADERS, 0, 1, &request("GET", "/", &[])),
                many(&|_| frame(CONTINUATION, 0, 1, &[])),
            ]),
        ),
        (
            "data of nothing",
            all(&[post(1, &[]), many(&|_| frame(DATA, 0, 1, &[]))]),
        ),
        (
            "data of a byte",
            all(&[post(1, &[]), many(&|_| frame(DATA, 0, 1, b"x"))]),
        ),
    ] {
        let before = came.load(Ordering::SeqCst);
        let mut client = Frames::open(&world, &authority, &[]).await;
        client.raw(&bytes).await;
        let end = client.until(|f| f.kind == GOAWAY).await;
        let code = end.as_ref().and_then(Frame::code);
        let calls = came.load(Ordering::SeqCst) - before;
        assert!(
            code.is_none_or(|code| [CALM, PROTOCOL].contains(&code)),
            "{name}: {code:?}"
        );
        assert!(calls <= 1000, "{name}: {calls} requests");
        drop(client);
    }
    // Goes on as if nothing were.
    for (name, bytes) in [
        (
            "priorities",
            many(&|n| frame(PRIORITY, 0, odd(n), &[0, 0, 0, 0, 7])),
        ),
        ("windows", many(&|_| window(0, 1))),
        ("the unknown", many(&|_| frame(0xbe, 0, 0, &[0; 64]))),
    ] {
        let mut client = Frames::open(&world, &authority, &[]).await;
        client.raw(&bytes).await;
        assert!(client.is_alive().await, "{name}");
        drop(client);
    }
    // What wants an answer is not read by a door whose answers are not taken.
    for (name, one) in [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", setting(0x7777, 1)),
    ] {
        let mut client = Frames::open(&world, &authority, &[]).await;
        let taken = client
            .flood(&one.repeat(500), Duration::from_millis(500), 64 << 20)
            .await;
        assert!(taken < 32 << 20, "{name}: {taken} bytes were read");
        drop(client);
    }
    close(world).await;
}
