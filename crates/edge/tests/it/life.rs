//! Deadlines, caps, stopping, redirects, sites.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use weappd_base::fair_timer::FairTimer;
use weappd_base::tasks::Tasks;
use weappd_edge::RouteTarget;

use crate::world::{PATIENCE, Plan, ask, echo, proxy_to, route, serve, site};

/// How long until the door closes this connection: all the time, and without what a busy
/// machine took.
async fn closed_after(mut tcp: TcpStream) -> (Duration, Duration) {
    let started = FairTimer::start();
    let mut buf = [0; 1024];
    while let Ok(Ok(1..)) = tokio::time::timeout(PATIENCE, tcp.read(&mut buf)).await {}
    (started.elapsed(), started.fair())
}

#[tokio::test]
async fn who_never_finishes_is_let_go() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .config(|c| {
            c.head_timeout_secs = 1;
            c.body_timeout_secs = 1;
            c.keep_alive_secs = 2;
            c.handshake_timeout_secs = 1;
        })
        .open();
    let whole = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for (name, bytes, secs) in [
        ("silent", &b""[..], 1),
        ("half a head", b"GET / HTTP/1.1\r\nHos", 1),
        (
            "half a second head",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",
            1,
        ),
        (
            "half a body",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
            1,
        ),
        ("idle", whole, 2),
    ] {
        let mut tcp = TcpStream::connect(world.http).await.expect("connected");
        tcp.write_all(bytes).await.expect("sent");
        let (took, fair) = closed_after(tcp).await;
        assert!(
            took >= Duration::from_millis(secs * 1000 - 200),
            "{name}: {took:?}"
        );
        // Without its deadline it would be let go after 10 seconds at the earliest.
        assert!(fair < Duration::from_secs(secs + 4), "{name}: {fair:?}");
    }
    world.closed().await;
}

/// Sends a byte now and then until the door has had enough. A busy machine sends fewer of
/// them in the same time, never more.
async fn drip(mut tcp: TcpStream) {
    let mut count = 0;
    // A write fails some time after the door closed.
    while tcp.write_all(b"X").await.is_ok() {
        count += 1;
        assert!(count < 160, "still listening after 8 seconds");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn dripping_a_head_does_not_help() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .config(|c| c.head_timeout_secs = 1)
        .open();
    let tcp = TcpStream::connect(world.http).await.expect("connected");
    drip(tcp).await;
    world.closed().await;
}

#[tokio::test]
async fn dripping_a_body_does_not_help() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .config(|c| c.body_timeout_secs = 1)
        .open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    tcp.write_all(head).await.expect("sent");
    drip(tcp).await;
    world.closed().await;
}

#[tokio::test]
async fn who_does_not_read_is_let_go() {
    const WHOLE: usize = 256 * 1024 * 1024;
    let room = Router::new().fallback(|| async {
        let pieces = futures_util::stream::iter(0..WHOLE / 16_384)
            .map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from_static(&[b'x'; 16_384])));
        axum::body::Body::from_stream(pieces)
    });
    let world = Plan::new(vec![route("/", RouteTarget::Router(room.into()))])
        .config(|c| c.send_timeout_secs = 1)
        .open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    tokio::time::sleep(Duration::from_secs(3)).await;
    let mut heard = 0;
    let mut buf = vec![0; 1 << 20];
    while let Ok(Ok(count @ 1..)) = tokio::time::timeout(PATIENCE, tcp.read(&mut buf)).await {
        heard += count;
    }
    assert!(
        heard < WHOLE,
        "the door waited for a client that does not read"
    );
    world.closed().await;
}

#[tokio::test]
async fn a_request_under_way_is_not_idle() {
    let slow = Router::new().fallback(|| async {
        tokio::time::sleep(Duration::from_millis(2500)).await;
        "late"
    });
    let world = Plan::new(vec![route("/", proxy_to(serve(slow)))])
        .config(|c| {
            c.keep_alive_secs = 1;
            c.head_timeout_secs = 1;
            c.body_timeout_secs = 1;
        })
        .open();
    assert_eq!(world.get("/").await.text(), "late");
    world.closed().await;
}

#[tokio::test]
async fn stopping_finishes_what_was_begun_and_takes_nothing_new() {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (in_started, in_go) = (Arc::clone(&started), Arc::clone(&go));
    let app = Router::new().fallback(move || async move {
        in_started.notify_one();
        in_go.notified().await;
        "finished"
    });
    let world = Plan::new(vec![route("/", proxy_to(serve(app)))]).open();
    let http = world.http;
    let idle = TcpStream::connect(http).await.expect("connected");
    let (answered, answer) = tokio::sync::oneshot::channel();
    Tasks::new().spawn(async move {
        drop(answered.send(ask(http, "GET", "/", &[], "").await));
    });
    started.notified().await;
    world.stop.ask();
    let (_, took) = closed_after(idle).await;
    assert!(took < Duration::from_secs(5));
    let began = Instant::now();
    while TcpStream::connect(http).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "still accepting");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    go.notify_one();
    let answer = answer.await.expect("an answer");
    assert_eq!((answer.status, answer.text().as_str()), (200, "finished"));
    world.closed().await;
}

#[tokio::test]
async fn force_ends_what_never_ends() {
    let app = Router::new().fallback(|| async { std::future::pending::<String>().await });
    let world = Plan::new(vec![route("/", proxy_to(serve(app)))]).open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    world.stop.ask();
    world.stop.force();
    world.closed().await;
}

#[tokio::test]
async fn connections_are_dealt_to_all_threads() {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let in_seen = Arc::clone(&seen);
    let room = Router::new().fallback(move || async move {
        let name = std::thread::current().name().map(str::to_owned);
        in_seen.lock().insert(name.unwrap_or_default());
    });
    let world = Plan::new(vec![route("/", RouteTarget::Router(room.into()))])
        .config(|c| c.threads = 3)
        .open();
    for _ in 0..3 {
        assert_eq!(world.get("/").await.status, 200);
    }
    let mut names: Vec<_> = seen.lock().iter().cloned().collect();
    names.sort();
    assert_eq!(names, ["edge-0", "edge-1", "edge-2"]);
    world.closed().await;
}

#[tokio::test]
async fn a_full_house_lets_the_next_one_wait() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .config(|c| c.max_connections = 2)
        .open();
    let first = TcpStream::connect(world.http).await.expect("connected");
    let mut second = TcpStream::connect(world.http).await.expect("connected");
    second
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let mut head = [0; 12];
    second.read_exact(&mut head).await.expect("answered");
    let mut third = TcpStream::connect(world.http)
        .await
        .expect("queued by the system");
    third
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    let early = tokio::time::timeout(Duration::from_millis(300), third.read_exact(&mut head)).await;
    assert!(early.is_err(), "answered although the house is full");
    drop(first);
    let later = tokio::time::timeout(PATIENCE, third.read_exact(&mut head)).await;
    assert!(matches!(later, Ok(Ok(_))));
    drop((second, third));
    world.closed().await;
}

#[tokio::test]
async fn plain_requests_are_sent_to_https() {
    let mut plan = Plan::new(vec![]);
    let app = serve(echo());
    let mut secure = site(&["a.example"], vec![route("/", proxy_to(app))]);
    secure.redirect = Some(443);
    let mut other = site(&["b.example"], vec![route("/", proxy_to(app))]);
    other.redirect = Some(8443);
    plan.sites = vec![secure, other];
    let world = plan.open();
    for (host, method, status, to) in [
        ("a.example", "GET", 301, "https://a.example/p?q=1"),
        ("A.example:80", "HEAD", 301, "https://a.example/p?q=1"),
        ("a.example", "POST", 308, "https://a.example/p?q=1"),
        ("b.example", "PUT", 308, "https://b.example:8443/p?q=1"),
    ] {
        let answer = ask(world.http, method, "/p?q=1", &[("host", host)], "").await;
        assert_eq!((answer.status, answer.header("location")), (status, to));
    }
    let answer = ask(
        world.http,
        "GET",
        "/.well-known/acme-challenge/x",
        &[("host", "a.example")],
        "",
    )
    .await;
    assert_eq!(answer.status, 200, "the authority is not redirected");
    world.closed().await;
}

#[tokio::test]
async fn sites_are_told_apart_and_may_be_replaced() {
    let say = |text: &'static str| {
        RouteTarget::Router(Router::new().fallback(move || async move { text }).into())
    };
    let mut plan = Plan::new(vec![]);
    plan.sites = vec![
        site(
            &["a.example"],
            vec![
                route("/", say("a")),
                route(
                    "/old",
                    RouteTarget::Redirect {
                        to: "https://n.example{path}".to_owned(),
                        code: 302,
                    },
                ),
            ],
        ),
        site(&["*.b.example", "b.example"], vec![route("/", say("b"))]),
    ];
    let world = plan.open();
    let told = async |host: &str| {
        let answer = ask(world.http, "GET", "/", &[("host", host)], "").await;
        (answer.status, answer.text())
    };
    assert_eq!(told("a.example:8080").await, (200, "a".to_owned()));
    assert_eq!(told("x.b.example").await, (200, "b".to_owned()));
    assert_eq!(told("b.example").await, (200, "b".to_owned()));
    assert_eq!(told("x.y.b.example").await.0, 421);
    assert_eq!(told("c.example").await.0, 421);
    let moved = ask(
        world.http,
        "GET",
        "/old/x?y=1",
        &[("host", "a.example")],
        "",
    )
    .await;
    assert_eq!(
        (moved.status, moved.header("location")),
        (302, "https://n.example/old/x?y=1")
    );
    let bad = world.reload(world.new_sites(vec![site(&["a b"], vec![])]));
    assert!(bad.is_err());
    assert_eq!(
        told("a.example").await.0,
        200,
        "a bad reload changes nothing"
    );
    let sites = vec![site(&["c.example"], vec![route("/", say("c"))])];
    world.reload(world.new_sites(sites)).expect("reloaded");
    assert_eq!(told("c.example").await, (200, "c".to_owned()));
    assert_eq!(told("a.example").await.0, 421);
    world.closed().await;
}

#[tokio::test]
async fn a_certificate_authority_gets_its_answer() {
    let room = Router::new().route("/", get(|| async { "home" }));
    let (apps, upstreams) = tokio::sync::watch::channel(weappd_edge::AppUpstreams::default());
    let edge = weappd_edge::Edge::build(weappd_edge::EdgeParts {
        config: weappd_edge::Config::default(),
        sites: vec![site(
            &["*"],
            vec![route("/", RouteTarget::Router(room.into()))],
        )],
        protected: weappd_edge::ProtectedFiles::default(),
        upstreams,
        identify: Arc::new(crate::world::Doorman),
        clock: weappd_base::clock::Clock::system(),
        tap: weappd_base::tap::TrafficTap::off(),
        quiet_paths: Vec::new(),
        access: None,
        inside: false,
    })
    .expect("built");
    let challenges = edge.challenges();
    challenges.open("token", "token.thumb");
    let (socket, addr) = crate::world::bind();
    let stop = weappd_base::tasks::Stop::new();
    let bound = vec![weappd_edge::BoundListener {
        socket,
        kind: weappd_edge::ListenerKind::Http,
    }];
    let asking = async {
        let path = "/.well-known/acme-challenge/token";
        let open = ask(addr, "GET", path, &[], "").await;
        assert_eq!((open.status, open.text().as_str()), (200, "token.thumb"));
        challenges.close("token");
        assert_eq!(ask(addr, "GET", path, &[], "").await.status, 404);
        stop.ask();
    };
    let (ended, ()) = tokio::join!(edge.run(bound, stop.clone()), asking);
    ended.expect("closed without an error");
    drop(apps);
}
