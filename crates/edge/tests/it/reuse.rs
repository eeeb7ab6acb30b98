//! Kept connections to business servers, closed at the moment of a request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weappd_edge::RouteTarget;

use crate::world::{PATIENCE, Plan, World, ask, bind, listen, proxy_to, route, serve_raw};

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The head of the next request and its body; `None` at the connection's end.
async fn read_request(tcp: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |text| text.parse().expect("a length"))];
    tcp.read_exact(&mut body).await.ok()?;
    Some(head)
}

/// Answers one request a connection and ends it by `end` when it has read the second.
/// Counts what it read.
fn closes_on_the_second(end: fn(TcpStream)) -> (SocketAddr, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let addr = serve_raw(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            let mut answered = false;
            while let Some(head) = read_request(&mut tcp).await {
                count.fetch_add(1, Ordering::SeqCst);
                if std::mem::replace(&mut answered, true) {
                    return end(tcp);
                }
                let body = if head.starts_with("head") { 2 } else { 0 };
                let answer = OK.get(..OK.len() - body).expect("an answer");
                tcp.write_all(answer).await.expect("sent");
            }
        }
    });
    (addr, read)
}

/// Answers one request in all, and reads and counts the others.
fn answers_once() -> (SocketAddr, Arc<AtomicUsize>) {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let addr = serve_raw(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            while read_request(&mut tcp).await.is_some() {
                if count.fetch_add(1, Ordering::SeqCst) > 0 {
                    return;
                }
                tcp.write_all(OK).await.expect("sent");
            }
        }
    });
    (addr, read)
}

fn one_thread(app: SocketAddr) -> World {
    let plan = Plan::new(vec![route("/", proxy_to(app))]);
    let config = |c: &mut weappd_edge::Config| {
        c.threads = 1;
        c.upstream_idle_secs = 60;
    };
    plan.config(config).open()
}

fn reset(tcp: TcpStream) {
    let tcp = tcp.into_std().expect("a socket");
    let socket = socket2::SockRef::from(&tcp);
    socket.set_linger(Some(Duration::ZERO)).expect("set");
}

#[tokio::test]
async fn what_may_be_repeated_is_tried_again() {
    for (how, end) in [("closed", drop as fn(TcpStream)), ("reset", reset)] {
        let (app, read) = closes_on_the_second(end);
        let world = one_thread(app);
        let mut refused = 0;
        for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
            for _ in 0..20 {
                let answer = ask(world.http, method, "/a?b=1", &[("x-kept", "1")], "").await;
                refused += usize::from(answer.status != 200);
            }
        }
        assert_eq!(refused, 0, "{how}: of 100");
        // The first is read once, each other one twice.
        assert_eq!(read.load(Ordering::SeqCst), 199, "{how}");
        world.closed().await;
    }
}

#[tokio::test]
async fn what_may_have_been_acted_on_is_not_repeated() {
    for (method, body) in [("POST", ""), ("POST", "pay"), ("PATCH", ""), ("PUT", "all")] {
        let (app, read) = answers_once();
        let world = one_thread(app);
        assert_eq!(world.get("/").await.status, 200);
        assert_eq!(ask(world.http, method, "/", &[], body).await.status, 502);
        assert_eq!(read.load(Ordering::SeqCst), 2, "{method} {body:?}");
        world.closed().await;
    }
}

#[tokio::test]
async fn a_word_of_an_answer_is_no_silence() {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let app = serve_raw(move |mut tcp, _| {
        let count = Arc::clone(&count);
        async move {
            drop(read_request(&mut tcp).await);
            tcp.write_all(OK).await.expect("sent");
            if read_request(&mut tcp).await.is_some() {
                count.fetch_add(1, Ordering::SeqCst);
                tcp.write_all(b"HTTP/1.1 2").await.expect("sent");
            }
        }
    });
    let world = one_thread(app);
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.get("/").await.status, 502);
    assert_eq!(read.load(Ordering::SeqCst), 1);
    world.closed().await;
}

#[tokio::test]
async fn a_server_that_always_closes_without_a_word_is_asked_twice_at_most() {
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let app = serve_raw(move |mut tcp, nth| {
        let count = Arc::clone(&count);
        async move {
            drop(read_request(&mut tcp).await);
            count.fetch_add(1, Ordering::SeqCst);
            if nth == 0 {
                tcp.write_all(OK).await.expect("sent");
                drop(read_request(&mut tcp).await);
                count.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    let world = one_thread(app);
    assert_eq!(world.get("/").await.status, 200);
    assert_eq!(world.get("/").await.status, 502);
    assert_eq!(read.load(Ordering::SeqCst), 3);
    world.closed().await;
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_at_that_very_moment_costs_no_answer() {
    const IDLE: Duration = Duration::from_millis(50);
    let app = serve_raw(|mut tcp, _| async move {
        while let Ok(Some(_)) = timeout(IDLE, read_request(&mut tcp)).await {
            tcp.write_all(OK).await.expect("sent");
        }
    });
    let world = one_thread(app);
    let mut refused = 0;
    for _ in 0..60 {
        refused += usize::from(world.get("/").await.status != 200);
        tokio::time::sleep(IDLE).await;
    }
    assert_eq!(refused, 0, "of 60");
    world.closed().await;
}

#[tokio::test]
async fn a_connection_that_ended_unnoticed_takes_no_order() {
    // The edge thread is busy while the business server closes, and has the next request at
    // hand before it looks at its sockets again.
    let closed = Arc::new(tokio::sync::Notify::new());
    let tell = Arc::clone(&closed);
    let app = serve_raw(move |mut tcp, nth| {
        let tell = Arc::clone(&tell);
        async move {
            drop(read_request(&mut tcp).await);
            tcp.write_all(OK).await.expect("sent");
            if nth == 0 {
                tell.notified().await;
            } else {
                drop(read_request(&mut tcp).await);
            }
        }
    });
    let busy = move || {
        closed.notify_one();
        std::thread::sleep(Duration::from_millis(500));
        std::future::ready("done")
    };
    let room = Router::new().route("/busy", get(busy));
    let plan = Plan::new(vec![
        route("/", proxy_to(app)),
        route("/busy", RouteTarget::Router(room.into())),
    ]);
    let world = plan.config(|c| c.threads = 1).open();
    assert_eq!(world.get("/").await.status, 200);
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    let both = b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n\
        POST /order HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close\r\n\r\nab";
    tcp.write_all(both).await.expect("sent");
    let heard = listen(&mut tcp, PATIENCE).await;
    assert_eq!(heard.matches("HTTP/1.1 200").count(), 2, "{heard}");
    world.closed().await;
}

#[tokio::test]
async fn an_order_goes_out_on_a_fresh_connection() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let app = serve_raw(move |mut tcp, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        async move {
            while read_request(&mut tcp).await.is_some() {
                tcp.write_all(OK).await.expect("sent");
            }
        }
    });
    let world = one_thread(app);
    assert_eq!(world.get("/").await.status, 200);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(ask(world.http, "POST", "/", &[], "a").await.status, 200);
    assert_eq!(count.load(Ordering::SeqCst), 2);
    world.closed().await;
}

#[tokio::test]
async fn a_request_that_ended_its_app_is_not_sent_to_the_next_process() {
    let (dying, first) = bind();
    dying.set_nonblocking(true).expect("set");
    let (next, read) = answers_once();
    let mut plan = Plan::new(vec![route("/", RouteTarget::App("shop".to_owned()))]);
    plan = plan.config(|c| c.threads = 1);
    let world = plan.open();
    world.app("shop", vec![first]);
    let dying = tokio::net::TcpListener::from_std(dying).expect("registered");
    let crashing = async {
        let (mut tcp, _) = dying.accept().await.expect("a connection");
        assert!(read_request(&mut tcp).await.is_some());
        tcp.write_all(OK).await.expect("sent");
        assert!(read_request(&mut tcp).await.is_some());
        // The process is gone, and its successor is ready at once.
        drop((dying, tcp));
        world.app("shop", vec![next]);
    };
    let asking = async {
        assert_eq!(world.get("/").await.status, 200);
        assert_eq!(world.get("/crash").await.status, 502);
        assert_eq!(read.load(Ordering::SeqCst), 0);
        assert_eq!(world.get("/").await.status, 200);
    };
    tokio::join!(crashing, asking);
    world.closed().await;
}
