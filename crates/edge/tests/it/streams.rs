//! The deadlines, least rates and shares that hold for each stream and each client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use rustls::ALL_VERSIONS;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Barrier;
use weappd_base::tasks::Tasks;
use weappd_edge::RouteTarget;

use crate::frames::{
    DATA, END_STREAM, Frame, Frames, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, WINDOW_UPDATE,
};
use crate::tls::connect_over;
use crate::world::{Authority, PATIENCE, Plan, ask, echo, proxy_to, route, serve, serve_raw};

/// A room whose answer never ends, and how many bytes were taken from it.
fn endless() -> (Router, Arc<AtomicUsize>) {
    const PIECE: [u8; 8192] = [b'x'; 8192];
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let room = Router::new().fallback(move || async move {
        let pieces = futures_util::stream::repeat_with(move || {
            counter.fetch_add(PIECE.len(), Ordering::Relaxed);
            Ok::<_, std::io::Error>(Bytes::from_static(&PIECE))
        });
        axum::body::Body::from_stream(pieces)
    });
    (room, taken)
}

/// A business server whose answer never ends, and how many bytes it could write.
fn endless_upstream() -> (SocketAddr, Arc<AtomicUsize>) {
    let taken = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&taken);
    let addr = serve_raw(move |mut tcp, _| {
        let counter = Arc::clone(&counter);
        async move {
            // What the system holds for it is little.
            drop(SockRef::from(&tcp).set_send_buffer_size(4096));
            drop(tcp.read(&mut [0; 4096]).await);
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
            drop(tcp.write_all(head).await);
            while let Ok(count) = tcp.write(&[b'x'; 4096]).await {
                counter.fetch_add(count, Ordering::Relaxed);
            }
        }
    });
    (addr, taken)
}

/// Waits until nothing more is taken. A slow machine can only make it less.
async fn settled(taken: &AtomicUsize) -> usize {
    let mut before = usize::MAX;
    loop {
        let now = taken.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return now;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin {}
impl<T: AsyncRead + AsyncWrite + Unpin> Duplex for T {}

/// A client with a small receive buffer.
async fn narrow(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("set");
    socket.connect(to).await.expect("connected")
}

fn big_file(bytes: usize) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("big.bin"), vec![7; bytes]).expect("written");
    folder
}

fn is_reset(frame: &Frame) -> bool {
    frame.kind == RST_STREAM
}

#[tokio::test]
async fn an_upload_that_drips_or_stalls_on_a_stream_is_given_up() {
    let authority = Authority::new();
    let world = Plan::new(vec![
        route("/", proxy_to(serve(echo()))),
        route("/room", RouteTarget::Router(echo().into())),
    ])
    .tls(authority.files("a", &["a.example"]))
    .config(|c| c.body_timeout_secs = 1)
    .open();
    for (path, drips) in [("/", true), ("/", false), ("/room", true), ("/room", false)] {
        let mut client = Frames::open(&world, &authority, &[]).await;
        let streams = [1, 3, 5, 7];
        for stream in streams {
            client.ask(stream, "POST", path, false).await;
        }
        let mut waiting = streams.to_vec();
        let started = std::time::Instant::now();
        while !waiting.is_empty() {
            assert!(started.elapsed() < PATIENCE, "{path} {drips}: {waiting:?}");
            if drips {
                for stream in &waiting {
                    client.send(DATA, 0, *stream, b"x").await;
                }
            }
            while let Some(frame) = client.next_within(Duration::from_millis(50)).await {
                if let Some(status) = frame.status() {
                    assert!([400, 408].contains(&status), "{path} {drips}: {status}");
                    waiting.retain(|stream| *stream != frame.stream);
                }
            }
        }
        client.ask(9, "GET", path, true).await;
        let answer = client.until(|f| f.stream == 9 && f.kind == HEADERS).await;
        assert_eq!(answer.and_then(|f| f.status()), Some(200), "{path} {drips}");
    }
    world.closed().await;
}

#[tokio::test]
async fn an_upload_at_a_fair_rate_may_take_its_time() {
    let authority = Authority::new();
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .tls(authority.files("a", &["a.example"]))
        .config(|c| c.body_timeout_secs = 1)
        .open();
    let mut client = Frames::open(&world, &authority, &[]).await;
    client.ask(1, "POST", "/", false).await;
    for _ in 0..25 {
        client.send(DATA, 0, 1, &[b'x'; 512]).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    client.send(DATA, END_STREAM, 1, b"").await;
    let answer = client.until(|f| f.kind == HEADERS).await;
    assert_eq!(answer.and_then(|f| f.status()), Some(200));
    drop(client);
    world.closed().await;
}

#[tokio::test]
async fn an_answer_that_a_stream_does_not_take_is_given_up() {
    let authority = Authority::new();
    let folder = big_file(4 << 20);
    let world = Plan::new(vec![
        route("/app", proxy_to(endless_upstream().0)),
        route("/room", RouteTarget::Router(endless().0.into())),
        route("/", RouteTarget::Static(folder.path().to_owned())),
    ])
    .tls(authority.files("a", &["a.example"]))
    .config(|c| c.send_timeout_secs = 1)
    .open();
    for path in ["/app", "/room", "/big.bin"] {
        // No window at all; one that opens a byte at a time; one that lasts for the beginning.
        for (window, drips) in [(20_000, false), (0, false), (0, true)] {
            let settings = [(INITIAL_WINDOW_SIZE, window)];
            let mut client = Frames::open(&world, &authority, &settings).await;
            let streams = [1, 3, 5, 7];
            for stream in streams {
                client.ask(stream, "GET", path, true).await;
            }
            let mut waiting = streams.to_vec();
            let started = std::time::Instant::now();
            while !waiting.is_empty() {
                assert!(started.elapsed() < PATIENCE, "{path} {window}: {waiting:?}");
                if drips {
                    for stream in &waiting {
                        client.send(WINDOW_UPDATE, 0, *stream, &[0, 0, 0, 1]).await;
                    }
                }
                while let Some(frame) = client.next_within(Duration::from_millis(50)).await {
                    if is_reset(&frame) {
                        waiting.retain(|stream| *stream != frame.stream);
                    }
                }
            }
            assert!(
                client.is_alive().await,
                "{path}: only the streams were at fault"
            );
        }
    }
    world.closed().await;
}

#[tokio::test]
async fn a_reader_below_the_least_rate_is_let_go() {
    let folder = big_file(4 << 20);
    let world = Plan::new(vec![
        route("/app", proxy_to(endless_upstream().0)),
        route("/room", RouteTarget::Router(endless().0.into())),
        route("/", RouteTarget::Static(folder.path().to_owned())),
    ])
    .config(|c| {
        c.send_timeout_secs = 2;
        c.min_send_rate = 1 << 20;
    })
    .open();
    let (tasks, started) = (Tasks::new(), Arc::new(Barrier::new(4)));
    for path in ["/app", "/room", "/big.bin"] {
        let (mut tcp, started) = (narrow(world.http).await, Arc::clone(&started));
        tasks.spawn(async move {
            let head = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
            tcp.write_all(head.as_bytes()).await.expect("sent");
            let mut buf = [0; 1024];
            tcp.read_exact(&mut buf).await.expect("an answer");
            started.wait().await;
            // Silent for much less than is allowed, but slow: it would take minutes.
            while let Ok(1..) = tcp.read(&mut buf).await {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    started.wait().await;
    // The door waits for answers under way, so they have come to an end.
    world.closed().await;
}

#[tokio::test]
async fn a_client_has_a_share_of_the_house() {
    let authority = Authority::new();
    let arrived = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&arrived);
    // Never answers, and ends with its client.
    let silent = serve_raw(move |mut tcp, _| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move { while let Ok(1..) = tcp.read(&mut [0; 4096]).await {} }
    });
    let world = Plan::new(vec![
        route("/", proxy_to(silent)),
        route("/echo", proxy_to(serve(echo()))),
    ])
    .tls(authority.files("a", &["a.example"]))
    .config(|c| c.max_requests_per_client = 8)
    .open();
    let mut client = Frames::open(&world, &authority, &[]).await;
    let streams: Vec<u32> = (0..20).map(|n| 2 * n + 1).collect();
    for stream in &streams {
        client.ask(*stream, "GET", "/", true).await;
    }
    let mut refused = Vec::new();
    while refused.len() < 12 {
        let answer = client
            .until(|f| f.kind == HEADERS)
            .await
            .expect("an answer");
        if refused.is_empty() {
            assert_eq!(answer.status(), Some(503));
        }
        refused.push(answer.stream);
    }
    // The same client on another connection and over HTTP/1.
    let answer = ask(world.http, "GET", "/echo", &[], "").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert_eq!(answer.header("retry-after"), "2");
    assert!(
        answer.text().contains("too_many_requests_at_a_time"),
        "{}",
        answer.text()
    );
    assert_eq!(arrived.load(Ordering::SeqCst), 8);
    // What it lets go of is free again.
    for stream in streams.iter().filter(|stream| !refused.contains(stream)) {
        client.send(RST_STREAM, 0, *stream, &[0, 0, 0, 8]).await;
    }
    let started = std::time::Instant::now();
    while ask(world.http, "GET", "/echo", &[], "").await.status != 200 {
        assert!(started.elapsed() < PATIENCE, "the share stays taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(client);
    world.closed().await;
}

#[tokio::test]
async fn websockets_to_a_business_server_are_part_of_the_share() {
    let agrees = serve_raw(|mut tcp, _| async move {
        drop(tcp.read(&mut [0; 4096]).await);
        let yes = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
        drop(tcp.write_all(yes).await);
        while let Ok(1..) = tcp.read(&mut [0; 4096]).await {}
    });
    let world = Plan::new(vec![route("/", proxy_to(agrees))])
        .config(|c| c.max_requests_per_client = 2)
        .open();
    let asks = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut kept = Vec::new();
    for status in ["101", "101", "503"] {
        let mut tcp = TcpStream::connect(world.http).await.expect("connected");
        tcp.write_all(asks).await.expect("sent");
        let mut head = [0; 12];
        tcp.read_exact(&mut head).await.expect("an answer");
        assert_eq!(&head[9..], status.as_bytes());
        kept.push(tcp);
    }
    drop(kept.remove(0));
    let started = std::time::Instant::now();
    loop {
        let mut tcp = TcpStream::connect(world.http).await.expect("connected");
        tcp.write_all(asks).await.expect("sent");
        let mut head = [0; 12];
        tcp.read_exact(&mut head).await.expect("an answer");
        if head.ends_with(b"101") {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the share stays taken");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(kept);
    world.closed().await;
}

#[tokio::test]
async fn a_slow_reader_costs_little() {
    let authority = Authority::new();
    let (room, of_room) = endless();
    let (app, of_app) = endless_upstream();
    let world = Plan::new(vec![
        route("/room", RouteTarget::Router(room.into())),
        route("/app", proxy_to(app)),
    ])
    .tls(authority.files("a", &["a.example"]))
    .open();
    // Sockets have the door's options once it is open.
    assert_eq!(world.get("/").await.status, 404);
    // A room's answer waits in weappd and in its socket for the client; an app's also in what
    // weappd reads ahead, in the socket between them (twice the 64 KiB that it is given), and
    // in the app's own.
    for (path, taken, most) in [
        ("/room", &of_room, 96 << 10),
        ("/app", &of_app, (96 + 64 + 128 + 32) << 10),
    ] {
        for secure in [false, true] {
            taken.store(0, Ordering::Relaxed);
            let tcp = narrow(if secure { world.https } else { world.http }).await;
            let mut io: Box<dyn Duplex> = if secure {
                let tls = connect_over(tcp, &authority, "a.example", ALL_VERSIONS, &[]).await;
                Box::new(tls.expect("shaken hands"))
            } else {
                Box::new(tcp)
            };
            let head = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            io.write_all(head.as_bytes()).await.expect("sent");
            let kept = settled(taken).await;
            assert!(kept <= most, "{path}, secure: {secure}: {kept}");
        }
        // Whether the window is open and the socket is full, or the window is not open.
        for window in [0x7fff_ffff, 0] {
            taken.store(0, Ordering::Relaxed);
            let tcp = narrow(world.https).await;
            let mut client = Frames::over(tcp, &authority, &[(INITIAL_WINDOW_SIZE, window)]).await;
            client.send(WINDOW_UPDATE, 0, 0, &[0x7f, 0, 0, 0]).await;
            client.ask(1, "GET", path, true).await;
            let kept = settled(taken).await;
            assert!(kept <= most, "{path}, HTTP/2 with {window}: {kept}");
        }
    }
    world.stop.ask();
    world.stop.force();
    world.closed().await;
}
