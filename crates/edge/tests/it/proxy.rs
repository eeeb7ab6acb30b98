//! Requests to business servers and their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use bytes::Bytes;
use futures_util::StreamExt;
use http::HeaderMap;
use http_body_util::{BodyExt, StreamBody};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weappd_base::tasks::Tasks;
use weappd_edge::{RouteTarget, SessionRule};

use crate::world::{
    PATIENCE, Plan, ask, ask_over, echo, listen, proxy_to, raw, route, serve, serve_raw,
};

#[tokio::test]
async fn the_app_learns_who_really_calls() {
    let app = serve(echo());
    let world = Plan::new(vec![route("/", RouteTarget::App("chat".to_owned()))]).open();
    world.app("chat", vec![app]);
    let lies = [
        ("x-wx-openid", "mallory"),
        ("x_wx_openid", "mallory"),
        ("x-wx-from-openid", "mallory"),
        ("x-wx-source", "wx_devtools"),
        ("x-wx-env", "prod"),
        ("x-wx-call-id", "1"),
        ("x-original-forwarded-for", "6.6.6.6"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-real-ip", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("connection", "x-hop, authorization"),
        ("x-hop", "1"),
        ("authorization", "Basic x"),
        ("te", "trailers"),
    ];
    let answer = ask(world.http, "GET", "/a//b/../c?q=%2F", &lies, "").await;
    assert_eq!(answer.status, 200);
    assert!(
        answer.text().starts_with("GET /a/c?q=%2F\n"),
        "{}",
        answer.text()
    );
    for gone in [
        "x-wx-openid",
        "x_wx_openid",
        "x-wx-from-openid",
        "x-wx-source",
        "x-wx-env",
        "x-wx-call-id",
        "forwarded",
        "x-hop",
        "te",
        "connection",
    ] {
        assert!(answer.seen(gone).is_empty(), "{gone}");
    }
    assert_eq!(answer.seen("authorization"), ["Basic x"]);
    assert_eq!(answer.seen("host"), ["site.example"]);
    assert_eq!(answer.seen("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.seen("x-original-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(answer.seen("x-real-ip"), ["127.0.0.1"]);
    assert_eq!(answer.seen("x-forwarded-proto"), ["http"]);
    assert_eq!(answer.seen("x-forwarded-host"), ["site.example"]);

    let known = [("x-wx-skey", "alice"), ("x-wx-openid", "mallory")];
    let answer = ask(world.http, "POST", "/", &known, "hello").await;
    assert_eq!(answer.seen("x-wx-openid"), ["openid-of-alice"]);
    assert_eq!(answer.seen("x-wx-unionid"), ["unionid-of-alice"]);
    assert_eq!(answer.seen("x-wx-appid"), ["wx1"]);
    assert_eq!(answer.seen("x-wx-source"), ["wx_client"]);
    assert_eq!(answer.seen("x-wx-skey"), ["alice"]);
    assert_eq!(answer.seen("x-wx-env"), ["weappd"]);
    assert!(answer.text().ends_with("\n\nhello"));

    // A session that is not valid is not passed on as an identity, but passes.
    let answer = ask(world.http, "GET", "/", &[("x-wx-skey", "old")], "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.seen("x-wx-openid").is_empty());
    world.closed().await;
}

#[tokio::test]
async fn every_call_of_a_known_user_has_an_id_that_both_ends_know() {
    // An app that makes up an id is not believed either.
    let app = serve(Router::new().fallback(|headers: HeaderMap| async move {
        let id = headers.get("x-wx-call-id").cloned();
        let text = id.map_or(String::new(), |id| id.to_str().unwrap_or("?").to_owned());
        ([("x-wx-call-id", "the app's own")], text)
    }));
    let world = Plan::new(vec![route("/", proxy_to(app))])
        .config(|config| config.env_id = "prod-1a2b3c".to_owned())
        .open();
    let devtools = "https://servicewechat.com/wx1/devtools/page-frame.html";
    let headers = [
        ("x-wx-skey", "alice"),
        ("x-wx-call-id", "mine"),
        ("referer", devtools),
    ];
    let mut ids = std::collections::HashSet::new();
    for _ in 0..4 {
        let answer = ask(world.http, "GET", "/", &headers, "").await;
        let id = answer.text();
        assert_eq!(id.len(), 32, "{id}");
        let told: Vec<_> = answer.headers.get_all("x-wx-call-id").iter().collect();
        assert_eq!(told, [&id]);
        assert!(ids.insert(id));
    }
    let answer = ask(world.http, "GET", "/", &[("x-wx-call-id", "mine")], "").await;
    assert_eq!(answer.text(), "", "nobody is known");
    world.closed().await;

    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))])
        .config(|config| config.env_id = "prod-1a2b3c".to_owned())
        .open();
    let answer = ask(world.http, "GET", "/", &headers, "").await;
    assert_eq!(answer.seen("x-wx-env"), ["prod-1a2b3c"]);
    assert_eq!(answer.seen("x-wx-source"), ["wx_devtools"]);
    world.closed().await;
}

#[tokio::test]
async fn a_route_may_demand_a_session() {
    let mut guarded = route("/", proxy_to(serve(echo())));
    guarded.session = SessionRule::Require;
    let world = Plan::new(vec![guarded]).open();
    let answer = world.get("/").await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("login_required"));
    let answer = ask(world.http, "GET", "/", &[("x-wx-skey", "old")], "").await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (401, "{\"code\":-1}")
    );
    let answer = ask(world.http, "GET", "/", &[("x-wx-skey", "alice")], "").await;
    assert_eq!(answer.status, 200);
    world.closed().await;
}

#[tokio::test]
async fn the_answer_loses_only_what_is_hop_by_hop() {
    let app = serve_raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        let answer = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\nKeep-Alive: timeout=9\r\n\
            Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-Stay: y\r\n\r\nok";
        tcp.write_all(answer).await.expect("sent");
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    let answer = world.get("/").await;
    assert_eq!((answer.status, answer.text().as_str()), (201, "ok"));
    assert_eq!(answer.headers.get_all("set-cookie").iter().count(), 2);
    assert_eq!(answer.header("x-stay"), "y");
    for gone in ["keep-alive", "x-hop", "connection"] {
        assert_eq!(answer.header(gone), "", "{gone}");
    }
    world.closed().await;
}

async fn read_head(tcp: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if tcp.read_exact(&mut byte).await.is_err() {
            break;
        }
        head.push(byte[0]);
    }
    String::from_utf8_lossy(&head).into_owned()
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced() {
    // Each connection answers once and then closes, against its promise to stay.
    let app = serve_raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        tcp.write_all(answer).await.expect("sent");
    });
    let world = Plan::new(vec![route("/", proxy_to(app))])
        .config(|c| c.threads = 1)
        .open();
    for _ in 0..20 {
        assert_eq!(world.get("/").await.status, 200);
    }
    world.closed().await;
}

#[tokio::test]
async fn connections_are_used_again() {
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    let app = serve_raw(move |mut tcp, _| {
        seen.fetch_add(1, Ordering::SeqCst);
        async move {
            while read_head(&mut tcp).await.ends_with("\r\n\r\n") {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
                tcp.write_all(answer).await.expect("sent");
            }
        }
    });
    let world = Plan::new(vec![route("/", proxy_to(app))])
        .config(|c| c.threads = 1)
        .open();
    for _ in 0..10 {
        assert_eq!(world.get("/").await.text(), "ok");
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    world.closed().await;
}

#[tokio::test]
async fn failures_have_a_page_for_people_and_json_for_programs() {
    let (_closed, closed_addr) = crate::world::refusing();
    let silent = serve_raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        drop(tcp.read_u8().await);
    });
    let rude = serve_raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        drop(tcp.write_all(b"220 smtp ready\r\n").await);
    });
    let world = Plan::new(vec![
        route("/closed", proxy_to(closed_addr)),
        route("/silent", proxy_to(silent)),
        route("/rude", proxy_to(rude)),
        route("/app", RouteTarget::App("chat".to_owned())),
        route("/gone", RouteTarget::App("chat2".to_owned())),
    ])
    .config(|c| {
        c.answer_timeout_secs = 1;
        c.hold_ms = 100;
    })
    .open();
    world.app("chat2", vec![closed_addr]);
    for (path, status, name) in [
        ("/closed", 502, "bad_gateway"),
        ("/rude", 502, "bad_gateway"),
        ("/silent", 504, "gateway_timeout"),
        ("/app", 503, "app_not_ready"),
        ("/gone", 502, "bad_gateway"),
        ("/nowhere", 404, "not_found"),
    ] {
        let answer = world.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        assert_eq!(
            answer.header("content-type"),
            "application/json; charset=utf-8"
        );
        assert!(answer.text().contains(name), "{}", answer.text());
        assert_eq!(
            answer.header("retry-after"),
            if status == 503 { "2" } else { "" }
        );
        let accept = [("accept", "text/html,*/*;q=0.8")];
        let page = ask(world.http, "GET", path, &accept, "").await;
        assert!(page.text().starts_with("<!doctype html>"));
        assert!(!page.text().contains("127.0.0.1"));
        let head = ask(world.http, "HEAD", path, &[], "").await;
        assert_eq!((head.status, head.body.len()), (status, 0));
    }
    world.closed().await;
}

#[tokio::test]
async fn the_next_server_is_taken_when_one_is_down() {
    let (_closed, down) = crate::world::refusing();
    let up = serve(echo());
    let both = RouteTarget::Proxy(vec![down.to_string(), up.to_string()]);
    let world = Plan::new(vec![route("/", both)]).open();
    for _ in 0..6 {
        assert_eq!(world.get("/").await.status, 200);
    }
    world.closed().await;
}

#[tokio::test]
async fn instances_and_servers_are_taken_in_turn() {
    let one = serve(Router::new().fallback(|| async { "one" }));
    let two = serve(Router::new().fallback(|| async { "two" }));
    let both = RouteTarget::Proxy(vec![one.to_string(), two.to_string()]);
    let world = Plan::new(vec![
        route("/", both),
        route("/app", RouteTarget::App("chat".to_owned())),
    ])
    .config(|c| c.threads = 1)
    .open();
    world.app("chat", vec![one, two]);
    for path in ["/", "/app"] {
        let mut told = Vec::new();
        for _ in 0..4 {
            told.push(world.get(path).await.text());
        }
        told.sort();
        assert_eq!(told, ["one", "one", "two", "two"], "{path}");
    }
    world.closed().await;
}

#[tokio::test]
async fn a_request_waits_for_an_app_that_starts_again() {
    let world = Plan::new(vec![route("/", RouteTarget::App("chat".to_owned()))]).open();
    let http = world.http;
    let (answered, answer) = tokio::sync::oneshot::channel();
    Tasks::new().spawn(async move {
        drop(answered.send(ask(http, "POST", "/", &[], "kept").await));
    });
    // The request is at the door before there is an app.
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.app("chat", vec![serve(echo())]);
    let answer = answer.await.expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(answer.text().ends_with("kept"));
    world.closed().await;
}

#[tokio::test]
async fn an_answer_cut_short_is_not_passed_off_as_whole() {
    let app = serve_raw(|mut tcp, _| async move {
        let head = read_head(&mut tcp).await;
        let answer: &[u8] = if head.contains("/chunked") {
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
        } else {
            b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"
        };
        tcp.write_all(answer).await.expect("sent");
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    for path in ["/chunked", "/sized"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
        let heard = raw(world.http, request.as_bytes(), PATIENCE).await;
        assert!(heard.contains("hello"), "{heard}");
        assert!(!heard.ends_with("0\r\n\r\n"), "{heard}");
    }
    world.closed().await;
}

#[tokio::test]
async fn http_1_0_servers_are_understood() {
    let app = serve_raw(|mut tcp, _| async move {
        read_head(&mut tcp).await;
        let answer = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end";
        tcp.write_all(answer).await.expect("sent");
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    assert_eq!(world.get("/").await.text(), "until the end");
    world.closed().await;
}

#[tokio::test]
async fn a_client_is_told_to_continue() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))]).open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    let head = b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    tcp.write_all(head).await.expect("sent");
    let mut told = [0; 25];
    tcp.read_exact(&mut told).await.expect("told");
    assert_eq!(&told, b"HTTP/1.1 100 Continue\r\n\r\n");
    tcp.write_all(b"body").await.expect("sent");
    let told = listen(&mut tcp, Duration::from_millis(500)).await;
    assert!(told.starts_with("HTTP/1.1 200"), "{told}");
    assert!(told.contains("body") && !told.contains("expect"), "{told}");
    world.closed().await;
}

const PIECE: usize = 64 * 1024;

fn pieces(count: usize) -> impl futures_util::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures_util::stream::iter(0..count).map(|_| Ok(Bytes::from(vec![b'x'; PIECE])))
}

#[tokio::test]
async fn large_bodies_flow_through_without_being_kept() {
    // 64 MiB each way.
    let router = Router::new()
        .route(
            "/down",
            get(|| async { Body::from_stream(pieces(1024)).into_response() }),
        )
        .route(
            "/up",
            post(|request: Request| async move {
                let mut body = request.into_body();
                let mut count = 0;
                while let Some(Ok(frame)) = body.frame().await {
                    count += frame.data_ref().map_or(0, Bytes::len);
                }
                count.to_string()
            }),
        );
    let world = Plan::new(vec![route("/", proxy_to(serve(router)))]).open();
    let down = world.get("/down").await;
    assert_eq!(down.body.len(), 1024 * PIECE);
    let tcp = TcpStream::connect(world.http).await.expect("connected");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tcp))
        .await
        .expect("a client");
    Tasks::new().spawn(async { drop(connection.await) });
    let body = StreamBody::new(pieces(1024).map(|piece| piece.map(http_body::Frame::data)));
    let request = http::Request::post("/up")
        .header("host", "a")
        .body(BodyExt::boxed_unsync(body))
        .expect("a request");
    let response = sender.send_request(request).await.expect("an answer");
    let answer = crate::world::read(response).await;
    assert_eq!(answer.text(), (1024 * PIECE).to_string());
    world.closed().await;
}

#[tokio::test]
async fn a_slow_reader_holds_the_app_back() {
    let given = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&given);
    let router = Router::new().fallback(move || async move {
        let counted = pieces(4096).inspect(move |_| {
            count.fetch_add(PIECE, Ordering::SeqCst);
        });
        Body::from_stream(counted)
    });
    let world = Plan::new(vec![route("/", proxy_to(serve(router)))]).open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("sent");
    // Wait until nothing more is taken from the app.
    let started = Instant::now();
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = given.load(Ordering::SeqCst);
        if now > 0 && now == last {
            break;
        }
        assert!(started.elapsed() < PATIENCE, "the app was never held back");
        last = now;
    }
    // What is on the way stands in socket buffers, not in memory of ours: far below 256 MiB.
    assert!(last < 64 * 1024 * 1024, "{last}");
    drop(tcp);
    world.closed().await;
}

#[tokio::test]
async fn the_tap_hears_what_goes_by_and_no_secret() {
    let app = Router::new()
        .fallback(|| async { axum::Json(serde_json::json!({"skey": "0123456789abcdef", "n": 1})) });
    let mut plan = Plan::new(vec![route("/", proxy_to(serve(app)))]);
    plan.quiet = vec!["/assets/".to_owned()];
    let world = plan.open();
    let mut heard = world.tap.subscribe().expect("a tap");
    let headers = [
        ("x-wx-skey", "alice"),
        ("content-type", "application/json"),
        ("content-length", "28"),
    ];
    world.get("/assets/a.js").await;
    ask(
        world.http,
        "POST",
        "/speak?code=0123456789abc",
        &headers,
        "{\"session_key\":\"0123456789\"}",
    )
    .await;
    let mut told = Vec::new();
    for _ in 0..4 {
        let hop = heard.try_recv().expect("a hop");
        assert_eq!(hop.name, "/speak");
        assert_eq!(hop.who.as_deref(), Some("openid-of-alice"));
        told.push(format!("{:?} {:?} {}", hop.from, hop.to, hop.answer));
        let detail = hop.detail.to_string();
        assert!(!detail.contains("0123456789"), "{detail}");
        assert!(
            detail.contains("0123…") || detail.contains("method"),
            "{detail}"
        );
    }
    assert_eq!(
        told,
        [
            "Phone Weappd false",
            "Weappd App false",
            "App Weappd true",
            "Weappd Phone true"
        ]
    );
    assert!(heard.try_recv().is_err());
    world.closed().await;
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))]).open();
    let mut tcp = TcpStream::connect(world.http).await.expect("connected");
    for _ in 0..50 {
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .expect("sent");
        let head = read_head(&mut tcp).await;
        assert!(head.starts_with("HTTP/1.1 200"));
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .and_then(|l| l.parse::<usize>().ok())
            .expect("a length");
        let mut body = vec![0; length];
        tcp.read_exact(&mut body).await.expect("a body");
    }
    drop(tcp);
    let tcp = TcpStream::connect(world.http).await.expect("connected");
    assert_eq!(ask_over(tcp, "GET", "/", &[], "").await.status, 200);
    world.closed().await;
}
