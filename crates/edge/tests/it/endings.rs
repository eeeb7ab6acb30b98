//! How answers end that do not end well, and refusals that clients get to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weappd_edge::{RouteTarget, SessionRule};

use crate::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, Frames, HEADERS, RST_STREAM, WINDOW_UPDATE, request,
};
use crate::tls::connect_over;
use crate::world::{
    Authority, PATIENCE, Plan, World, echo, proxy_to, refusing, route, serve, serve_raw,
};

/// Answers the beginning and then nothing; says when its connection ended.
fn falls_silent(beginning: &'static str) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let ended = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&ended);
    let addr = serve_raw(move |mut tcp, _| {
        let counter = Arc::clone(&counter);
        async move {
            drop(tcp.read(&mut [0; 4096]).await);
            drop(tcp.write_all(beginning.as_bytes()).await);
            while let Ok(1..) = tcp.read(&mut [0; 4096]).await {}
            counter.fetch_add(1, Ordering::SeqCst);
        }
    });
    (addr, ended)
}

const SILENCES: [&str; 4] = [
    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1",
    "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n",
    "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n",
    "HTTP/1.1 200 OK\r\n\r\nuntil the end",
];

#[tokio::test]
async fn an_answer_that_falls_silent_is_broken_off() {
    let authority = Authority::new();
    for beginning in SILENCES {
        let (app, ended) = falls_silent(beginning);
        let world = Plan::new(vec![route("/", proxy_to(app))])
            .tls(authority.files("a", &["a.example"]))
            .config(|c| c.read_timeout_secs = 1)
            .open();
        let mut tcp = TcpStream::connect(world.http).await.expect("connected");
        let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        tcp.write_all(head).await.expect("sent");
        let mut said = Vec::new();
        let read = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut said)).await;
        read.expect("closed in time").ok();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.starts_with("HTTP/1.1 200"), "{beginning:?}: {said}");
        assert!(
            !said.contains("0\r\n\r\n"),
            "{beginning:?} does not pass for whole"
        );
        let mut client = Frames::open(&world, &authority, &[]).await;
        client.ask(1, "GET", "/", true).await;
        let end =
            client.until(|f| f.stream == 1 && f.flags & END_STREAM != 0 || f.kind == RST_STREAM);
        let end = end.await.expect("an end");
        assert_eq!(end.kind, RST_STREAM, "{beginning:?}");
        assert!(client.is_alive().await);
        let started = Instant::now();
        while ended.load(Ordering::SeqCst) < 2 {
            assert!(
                started.elapsed() < PATIENCE,
                "the pool keeps the connection"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        drop(client);
        world.closed().await;
    }
}

#[tokio::test]
async fn a_silent_answer_does_not_hold_up_a_stop() {
    let (app, _ended) = falls_silent(SILENCES[0]);
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    let head = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    tcp.write_all(head).await.expect("sent");
    let mut first = [0; 12];
    tcp.read_exact(&mut first).await.expect("an answer");
    // The read time-out is a minute.
    world.closed().await;
}

#[tokio::test]
async fn an_answer_that_goes_on_in_time_may_last() {
    let slow = serve_raw(|mut tcp, _| async move {
        drop(tcp.read(&mut [0; 4096]).await);
        let head = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n";
        drop(tcp.write_all(head).await);
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(300)).await;
            drop(tcp.write_all(b"x").await);
        }
    });
    let world = Plan::new(vec![route("/", proxy_to(slow))])
        .config(|c| c.read_timeout_secs = 2)
        .open();
    assert_eq!(world.get("/").await.text(), "xxxxxxxxxx");
    world.closed().await;
}

/// A door that refuses uploads early for many reasons, at the paths given.
fn refusing_world(
    authority: &Authority,
) -> (World, Vec<(&'static str, u16)>, tokio::net::TcpSocket) {
    let folder = authority.folder.path().to_owned();
    let (nobody, nowhere) = refusing();
    let early = serve_raw(|mut tcp, _| async move {
        drop(tcp.read(&mut [0; 512]).await);
        // It reads one request in all its life.
        let answer = b"HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        drop(tcp.write_all(answer).await);
        while let Ok(1..) = tcp.read(&mut [0; 8192]).await {}
    });
    let room = Router::new().fallback(|| async { (StatusCode::UNAUTHORIZED, "log in") });
    let mut locked = route("/locked", proxy_to(serve(echo())));
    locked.session = SessionRule::Require;
    let world = Plan::new(vec![
        locked,
        route("/room", RouteTarget::Router(room.into())),
        route("/app", RouteTarget::App("away".to_owned())),
        route("/down", proxy_to(nowhere)),
        route("/early", proxy_to(early)),
        route("/files", RouteTarget::Static(folder)),
        route(
            "/moved",
            RouteTarget::Redirect {
                to: "https://b.example{path}".to_owned(),
                code: 308,
            },
        ),
    ])
    .tls(authority.files("a", &["a.example"]))
    .config(|c| {
        c.hold_ms = 1;
        c.max_body_bytes = 4 << 20;
    })
    .open();
    let refusals = vec![
        ("/locked", 401),
        ("/room", 401),
        ("/app", 503),
        ("/down", 502),
        ("/early", 403),
        ("/files", 405),
        ("/moved", 308),
        ("/nothing", 404),
    ];
    (world, refusals, nobody)
}

const UPLOAD: usize = 3_000_000;

/// Writes all of it before it reads, as many clients do; the status it reads then.
async fn write_then_read<S>(mut io: S, head: &str, body: usize) -> Result<u16, String>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let talk = async {
        let told = |error: std::io::Error| error.to_string();
        io.write_all(head.as_bytes()).await.map_err(told)?;
        let piece = vec![b'x'; 16 * 1024];
        let mut left = body;
        while left > 0 {
            let count = left.min(piece.len());
            io.write_all(&piece[..count]).await.map_err(told)?;
            left -= count;
        }
        io.flush().await.map_err(told)?;
        let mut said = [0; 12];
        io.read_exact(&mut said).await.map_err(told)?;
        String::from_utf8_lossy(&said[9..])
            .parse()
            .map_err(|_| "no status".to_owned())
    };
    tokio::time::timeout(PATIENCE, talk)
        .await
        .map_err(|_| "late".to_owned())?
}

#[tokio::test]
async fn a_refused_upload_is_read_to_its_end_over_http_1() {
    let authority = Authority::new();
    let (world, mut refusals, _nobody) = refusing_world(&authority);
    let sized = format!("Content-Length: {UPLOAD}");
    let too_large = format!("Content-Length: {}", 5 << 20);
    refusals.push(("/too/large", 413));
    for secure in [false, true] {
        for (path, status) in &refusals {
            let (length, body) = match *status {
                413 => (&too_large, 5 << 20),
                _ => (&sized, UPLOAD),
            };
            let path = path.replace("/too/large", "/locked");
            let head = format!("POST {path} HTTP/1.1\r\nHost: a.example\r\n{length}\r\n\r\n");
            let said = upload(&world, &authority, secure, &head, body).await;
            assert_eq!(said, Ok(*status), "{path}, secure: {secure}");
        }
        // Heads that are refused for themselves.
        for (line, status) in [
            ("Host: a.example\r\nX: \x01", 400),
            ("Host: a.example:99999", 400),
            ("Host: a.example\r\nExpect: wonders", 417),
            ("", 400),
        ] {
            let head = format!("POST /room HTTP/1.1\r\n{line}\r\n{sized}\r\n\r\n")
                .replace("\r\n\r\nContent", "\r\nContent");
            let said = upload(&world, &authority, secure, &head, UPLOAD).await;
            assert_eq!(said, Ok(status), "{line:?}, secure: {secure}");
        }
        // A body without a length that grows too large.
        let head = "POST /room HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n2dc6c0\r\n";
        let said = upload(&world, &authority, secure, head, UPLOAD).await;
        assert_eq!(said, Ok(401), "chunked, secure: {secure}");
    }
    world.closed().await;
}

async fn upload(
    world: &World,
    authority: &Authority,
    secure: bool,
    head: &str,
    body: usize,
) -> Result<u16, String> {
    let to = if secure { world.https } else { world.http };
    let tcp = TcpStream::connect(to).await.expect("connected");
    if !secure {
        return write_then_read(tcp, head, body).await;
    }
    let tls = connect_over(tcp, authority, "a.example", rustls::ALL_VERSIONS, &[]).await;
    write_then_read(tls.expect("shaken hands"), head, body).await
}

/// Takes down what the door allows the connection (stream 0) and stream 1 to send.
fn widen(windows: &mut [usize; 2], frame: &Frame) {
    let Some(window) = usize::try_from(frame.stream)
        .ok()
        .and_then(|stream| windows.get_mut(stream))
    else {
        return;
    };
    if frame.kind == WINDOW_UPDATE {
        *window += usize::from(frame.payload[1]) << 16
            | usize::from(frame.payload[2]) << 8
            | usize::from(frame.payload[3]);
    }
}

#[tokio::test]
async fn a_refused_upload_is_read_to_its_end_over_http_2() {
    let authority = Authority::new();
    let (world, refusals, _nobody) = refusing_world(&authority);
    for (path, status) in refusals {
        let mut client = Frames::open(&world, &authority, &[]).await;
        client.ask(1, "POST", path, false).await;
        // Of the connection, as every connection begins, and of the stream, as the door's
        // settings have it. Who sends more than either is cut off.
        let mut windows = [65_535, 1 << 20];
        let answer = loop {
            let frame = client.next().await.expect("an answer");
            widen(&mut windows, &frame);
            if frame.kind == HEADERS {
                break frame;
            }
        };
        assert_eq!(answer.status(), Some(status), "{path}");
        // It has its answer and goes on all the same.
        let mut left = UPLOAD;
        while left > 0 {
            while windows.iter().any(|window| *window < 16_384) {
                let frame = client.next().await.expect("a window");
                assert_ne!(
                    frame.kind, RST_STREAM,
                    "{path}: reset with {left} to come: {frame:?}"
                );
                widen(&mut windows, &frame);
            }
            let count = left.min(16_384);
            client.send(DATA, 0, 1, &vec![b'x'; count]).await;
            windows = windows.map(|window| window - count);
            left -= count;
        }
        client.send(DATA, END_STREAM, 1, b"").await;
        assert!(client.is_alive().await, "{path}");
        drop(client);
    }
    world.closed().await;
}

#[tokio::test]
async fn a_client_that_does_not_end_its_refused_upload_is_let_go() {
    let authority = Authority::new();
    let (world, _, _nobody) = refusing_world(&authority);
    let mut client = Frames::open(&world, &authority, &[]).await;
    client.ask(1, "POST", "/nothing", false).await;
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    let head = "POST /nothing HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\nabc";
    tcp.write_all(head.as_bytes()).await.expect("sent");
    let mut said = Vec::new();
    let (reset, closed) = tokio::join!(
        client.until(|f| f.kind == RST_STREAM && f.stream == 1),
        tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut said)),
    );
    assert_eq!(reset.and_then(|f| f.code()), Some(0));
    closed.expect("closed in time").expect("closed properly");
    assert!(said.starts_with(b"HTTP/1.1 404"), "{}", said.escape_ascii());
    drop(client);
    world.closed().await;
}

#[tokio::test]
async fn who_waits_to_be_told_to_go_on_is_not_told_to() {
    let authority = Authority::new();
    let (world, _, _nobody) = refusing_world(&authority);
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    let head = "POST /locked HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\
        Expect: 100-continue\r\n\r\n";
    tcp.write_all(head.as_bytes()).await.expect("sent");
    let mut said = Vec::new();
    let read = tokio::time::timeout(PATIENCE, tcp.read_to_end(&mut said)).await;
    read.expect("closed in time").expect("closed properly");
    assert!(said.starts_with(b"HTTP/1.1 401"), "{}", said.escape_ascii());
    world.closed().await;
}

#[tokio::test]
async fn a_body_of_a_get_reaches_the_app() {
    let authority = Authority::new();
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .tls(authority.files("a", &["a.example"]))
        .open();
    for method in ["GET", "HEAD", "DELETE", "OPTIONS", "POST"] {
        let mut tcp = TcpStream::connect(world.http).await.expect("connected");
        let text = format!(
            "{method} / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        );
        tcp.write_all(text.as_bytes()).await.expect("sent");
        let mut said = String::new();
        let read = tokio::time::timeout(PATIENCE, tcp.read_to_string(&mut said)).await;
        read.expect("closed in time").expect("text");
        assert!(said.starts_with("HTTP/1.1 200"), "{method}: {said}");
        assert!(
            method == "HEAD" || said.ends_with("\nhello"),
            "{method}: {said}"
        );
        let mut client = Frames::open(&world, &authority, &[]).await;
        client
            .send(HEADERS, END_HEADERS, 1, &request(method, "/", &[]))
            .await;
        client.send(DATA, 0, 1, b"hel").await;
        client.send(DATA, END_STREAM, 1, b"lo").await;
        let mut body = Vec::new();
        while let Some(frame) = client.next().await {
            if frame.stream == 1 && frame.kind == DATA {
                body.extend_from_slice(&frame.payload);
            }
            if frame.stream == 1 && frame.flags & END_STREAM != 0 {
                break;
            }
        }
        let body = String::from_utf8_lossy(&body);
        assert!(
            method == "HEAD" || body.ends_with("\nhello"),
            "{method}: {body}"
        );
    }
    world.stop.ask();
    world.stop.force();
    world.closed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_date_follows_a_clock_that_is_set_back() {
    let (clock, hand) = weappd_base::clock::Clock::manual(1_800_003_600);
    let mut plan = Plan::new(vec![]);
    plan.clock = clock;
    let world = plan.open();
    for (date, back) in [
        ("Fri, 15 Jan 2027 09:00:00 GMT", -3600),
        ("Fri, 15 Jan 2027 08:00:00 GMT", 1),
        ("Fri, 15 Jan 2027 08:00:01 GMT", -1),
    ] {
        for path in ["/none", "/other"] {
            assert_eq!(world.get(path).await.header("date"), date);
        }
        hand.advance(back);
    }
    world.closed().await;
}
