//! What apps written for WeChat's cloud hosting are told, and by whom.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weappd_edge::{RouteTarget, SessionRule, SiteRoute, SiteService};

use crate::world::{
    PATIENCE, Plan, World, ask, ask_from, echo, proxy_to, raw, route, serve, serve_raw,
};

/// Where the gateway of these tests calls from, and where it does not.
const GATEWAY: &str = "127.0.0.7";
const ELSEWHERE: &str = "127.0.0.8";

fn require(path: &str, target: RouteTarget) -> SiteRoute {
    SiteRoute {
        session: SessionRule::Require,
        ..route(path, target)
    }
}

fn behind_gateway(appids: &[&str]) -> World {
    let app = proxy_to(serve(echo()));
    let whoami = Router::new().fallback(
        |from: axum::extract::ConnectInfo<SocketAddr>, headers: http::HeaderMap| async move {
            format!("{} {:?}", from.ip(), headers.get("x-wx-appid"))
        },
    );
    let mut plan = Plan::new(vec![
        route("/", app.clone()),
        require("/mine", app),
        route("/room", RouteTarget::Router(whoami.into())),
    ])
    .config(|config| config.wechat_gateways = vec![format!("{GATEWAY}/32")]);
    plan.sites[0].appids = appids.iter().map(|id| (*id).to_owned()).collect();
    plan.open()
}

/// What WeChat's gateway sends along, by its manual.
const WORDS: [(&str, &str); 8] = [
    ("x-wx-call-id", "0.66_1700000000"),
    ("x-wx-source", "wx_client"),
    ("x-wx-appid", "wx1"),
    ("x-wx-client-ip", "203.0.113.9"),
    ("x-wx-risk-rank", "2"),
    ("x-wx-platform", "ios"),
    ("x-forwarded-for", "6.6.6.6, 203.0.113.9"),
    ("x-real-ip", "10.0.0.1"),
];

#[tokio::test]
async fn only_the_gateways_addresses_are_believed() {
    let world = behind_gateway(&["wx1"]);
    let said = [&WORDS[..], &[("x-wx-openid", "o1"), ("x_wx_unionid", "u")]].concat();
    let answer = ask_from(GATEWAY, &world, "/", &said).await;
    for (name, value) in &WORDS[..6] {
        assert_eq!(answer.seen(name), [*value], "{name}");
    }
    assert_eq!(answer.seen("x-wx-openid"), ["o1"]);
    assert_eq!(answer.seen("x-wx-env"), ["weappd"]);
    assert!(answer.seen("x_wx_unionid").is_empty());
    for name in ["x-forwarded-for", "x-original-forwarded-for", "x-real-ip"] {
        assert_eq!(answer.seen(name), ["203.0.113.9"], "{name}");
    }
    assert_eq!(answer.header("x-wx-call-id"), "0.66_1700000000");
    // A room learns the same.
    let room = ask_from(GATEWAY, &world, "/room", &said).await;
    assert_eq!(room.text(), "203.0.113.9 Some(\"wx1\")");

    let answer = ask_from(ELSEWHERE, &world, "/", &said).await;
    for (name, _) in said.iter().filter(|(name, _)| name.contains("wx")) {
        assert!(answer.seen(name).is_empty(), "{name}");
    }
    assert_eq!(answer.seen("x-forwarded-for"), [ELSEWHERE]);
    assert_eq!(
        ask_from(ELSEWHERE, &world, "/room", &said).await.text(),
        format!("{ELSEWHERE} None")
    );
    assert_eq!(
        ask_from(ELSEWHERE, &world, "/mine", &said).await.status,
        401
    );
    assert_eq!(ask_from(GATEWAY, &world, "/mine", &said).await.status, 200);
    world.closed().await;
}

#[tokio::test]
async fn a_session_adds_to_the_gateways_word_and_does_not_contradict_it() {
    let world = behind_gateway(&["wx1"]);
    let get = async |path: &str, more: &[(&str, &str)]| {
        let said = [&WORDS[..], more].concat();
        ask_from(GATEWAY, &world, path, &said).await
    };
    let alice = ("x-wx-skey", "alice");
    // The gateway names no user: the session does.
    let answer = get("/mine", &[alice]).await;
    assert_eq!(answer.seen("x-wx-openid"), ["openid-of-alice"]);
    assert_eq!(answer.seen("x-wx-call-id"), ["0.66_1700000000"]);
    assert_eq!(answer.seen("x-wx-risk-rank"), ["2"]);
    // Nobody does.
    let answer = get("/", &[("x-wx-skey", "old")]).await;
    assert!(answer.seen("x-wx-openid").is_empty());
    assert_eq!(answer.seen("x-wx-source"), ["wx_client"]);
    assert_eq!(get("/mine", &[("x-wx-skey", "old")]).await.status, 401);
    assert_eq!(get("/mine", &[]).await.status, 401);
    // Both do, and agree.
    let answer = get("/mine", &[alice, ("x-wx-openid", "openid-of-alice")]).await;
    assert_eq!(answer.seen("x-wx-openid"), ["openid-of-alice"]);
    assert_eq!(answer.seen("x-wx-unionid"), ["unionid-of-alice"]);
    // Both do, and do not: the session is somebody else's.
    let answer = get("/mine", &[alice, ("x-wx-openid", "bob")]).await;
    assert_eq!(answer.seen("x-wx-openid"), ["bob"]);
    assert!(answer.seen("x-wx-unionid").is_empty());
    let answer = get("/mine", &[alice, ("x-wx-unionid", "unionid-of-bob")]).await;
    assert_eq!(answer.status, 401);
    world.closed().await;

    // Users of other mini programs are nobody, even by the gateway's word.
    let world = behind_gateway(&["wx2"]);
    let said = [&WORDS[..], &[("x-wx-openid", "o1")]].concat();
    assert_eq!(ask_from(GATEWAY, &world, "/mine", &said).await.status, 401);
    let answer = ask_from(GATEWAY, &world, "/", &said).await;
    for name in ["x-wx-openid", "x-wx-appid", "x-wx-source", "x-wx-call-id"] {
        assert!(answer.seen(name).is_empty(), "{name}");
    }
    // One that is not named is the site's only one.
    let answer = ask_from(GATEWAY, &world, "/mine", &[("x-wx-openid", "o1")]).await;
    assert_eq!(answer.seen("x-wx-appid"), ["wx2"]);
    world.closed().await;
}

#[tokio::test]
async fn a_client_may_hold_credentials_back() {
    let world = Plan::new(vec![require("/", proxy_to(serve(echo())))]).open();
    let skey = ("x-wx-skey", "alice");
    for (list, openid, unionid) in [
        ("unionid, cloudbase-access-token", 1, 0),
        ("OpenID,unionid,from-openid", 0, 0),
        ("appid, source, env, call-id", 1, 1),
        ("", 1, 1),
    ] {
        let headers = [skey, ("x-wx-exclude-credentials", list)];
        let answer = ask(world.http, "GET", "/", &headers, "").await;
        assert_eq!(answer.seen("x-wx-openid").len(), openid, "{list}");
        assert_eq!(answer.seen("x-wx-unionid").len(), unionid, "{list}");
        assert_eq!(answer.seen("x-wx-appid"), ["wx1"], "{list}");
        assert_eq!(answer.seen("x-wx-source"), ["wx_client"], "{list}");
    }
    world.closed().await;
}

/// Says its name.
fn named(name: &'static str) -> RouteTarget {
    proxy_to(serve(Router::new().fallback(
        move |uri: http::Uri| async move { format!("{name} {uri}") },
    )))
}

fn two_services() -> Plan {
    let room = Router::new().fallback(|| async { "weappd itself" });
    let service = |name: &str, target, session| SiteService {
        name: name.to_owned(),
        target,
        session,
    };
    Plan::new(vec![
        route("/api", named("main")),
        require("/api/mine", named("main")),
        route("/weapp/login", RouteTarget::Router(room.into())),
    ])
    .services(vec![
        service("orders", named("orders"), SessionRule::Pass),
        service("pay", named("pay"), SessionRule::Require),
    ])
}

#[tokio::test]
async fn a_service_is_chosen_by_its_header() {
    let world = two_services().open();
    let get = async |path: &str, headers: &[(&str, &str)]| {
        let answer = ask(world.http, "GET", path, headers, "").await;
        (answer.status, answer.text())
    };
    let service = |name: &'static str| ("X-WX-SERVICE", name);
    let alice = ("x-wx-skey", "alice");
    assert_eq!(get("/api", &[]).await.1, "main /api");
    assert_eq!(
        get("/api?a=1", &[service("orders")]).await.1,
        "orders /api?a=1"
    );
    assert_eq!(get("/other", &[service("orders")]).await.1, "orders /other");
    assert_eq!(get("/other", &[]).await.0, 404);
    assert_eq!(get("/api", &[service("pay"), alice]).await.1, "pay /api");
    // What is weappd's own stays its own.
    let own = get("/weapp/login", &[service("orders")]).await;
    assert_eq!(own.1, "weappd itself");
    assert_eq!(
        get("/weapp/login", &[service("none")]).await.1,
        "weappd itself"
    );
    // A session is wanted by the service or by the path, whichever service is named.
    assert_eq!(get("/api", &[service("pay")]).await.0, 401);
    assert_eq!(get("/api/mine", &[service("orders")]).await.0, 401);
    let mine = get("/api/mine", &[service("orders"), alice]).await;
    assert_eq!(mine.1, "orders /api/mine");
    for name in ["none", "Orders", "", "orders,pay", "\u{e9}"] {
        let (status, text) = get("/api", &[("x-wx-service", name)]).await;
        assert_eq!(status, 404, "{name}");
        assert!(text.contains("\"service_not_found\""), "{text}");
    }
    let two = get("/api", &[service("orders"), service("pay")]).await;
    assert_eq!(two.0, 400);
    // Only this spelling counts.
    assert_eq!(get("/api", &[("x_wx_service", "pay")]).await.1, "main /api");
    world.closed().await;

    // No services: the header is the app's to read.
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))]).open();
    let answer = ask(world.http, "GET", "/", &[service("none")], "").await;
    assert_eq!(answer.seen("x-wx-service"), ["none"]);
    world.closed().await;
}

/// Agrees to any upgrade, tells the head it saw, and ends.
fn telling() -> RouteTarget {
    proxy_to(serve_raw(|mut tcp, _| async move {
        let head = until(&mut tcp, b"\r\n\r\n").await;
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        let all = [answer.as_bytes(), &head].concat();
        tcp.write_all(&all).await.expect("sent");
    }))
}

async fn until(tcp: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut read = Vec::new();
    let mut byte = [0];
    while !read.ends_with(end) {
        match tokio::time::timeout(PATIENCE, tcp.read(&mut byte)).await {
            Ok(Ok(1..)) => read.push(byte[0]),
            _ => break,
        }
    }
    read
}

#[tokio::test]
async fn a_websocket_goes_to_its_service_with_its_callers_name() {
    let service = SiteService {
        name: "ws".to_owned(),
        target: telling(),
        session: SessionRule::Require,
    };
    let world = Plan::new(vec![route("/", named("main"))])
        .services(vec![service])
        .open();
    let ask = |more: &str| {
        format!(
            "GET /talk HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{more}\r\n"
        )
    };
    let quiet = Duration::from_secs(2);
    let known = ask(
        "X-WX-SERVICE: ws\r\nX-WX-Skey: alice\r\nX-Wx-OpenId: mallory\r\nX_WX_OPENID: mallory\r\nX.WX.UNIONID: mallory\r\n",
    );
    let heard = raw(world.http, known.as_bytes(), quiet).await;
    let (answer, seen) = heard.split_once("\r\n\r\n").expect("a head");
    assert!(answer.starts_with("HTTP/1.1 101"), "{heard}");
    assert!(seen.starts_with("GET /talk"), "{heard}");
    assert!(
        seen.contains("\r\nx-wx-openid: openid-of-alice\r\n"),
        "{heard}"
    );
    assert!(!seen.contains("mallory"), "{heard}");
    let id = |head: &str| {
        let line = head
            .lines()
            .find_map(|line| line.strip_prefix("x-wx-call-id: "));
        line.map(str::to_owned)
    };
    assert!(id(seen).is_some() && id(seen) == id(answer), "{heard}");

    let unknown = ask("X-WX-SERVICE: ws\r\nX-WX-OPENID: mallory\r\n");
    let heard = raw(world.http, unknown.as_bytes(), Duration::from_millis(300)).await;
    assert!(heard.starts_with("HTTP/1.1 401"), "{heard}");
    let none = ask("X-WX-SERVICE: none\r\nX-WX-Skey: alice\r\n");
    let heard = raw(world.http, none.as_bytes(), Duration::from_millis(300)).await;
    assert!(heard.starts_with("HTTP/1.1 404"), "{heard}");
    world.closed().await;
}

#[tokio::test]
async fn no_identity_comes_after_the_body() {
    let app = serve_raw(|mut tcp, _| async move {
        let mut seen = until(&mut tcp, b"\r\n0\r\n").await;
        seen.extend(until(&mut tcp, b"\r\n").await);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len());
        let answer = [head.as_bytes(), &seen].concat();
        tcp.write_all(&answer).await.expect("sent");
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    let sent = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-WX-OPENID\r\n\r\n\
        2\r\nhi\r\n0\r\nX-WX-OPENID: mallory\r\n\r\n";
    let heard = raw(world.http, sent.as_bytes(), Duration::from_millis(300)).await;
    assert!(heard.contains("\r\n2\r\nhi\r\n0\r\n\r\n"), "{heard}");
    assert!(!heard.to_ascii_lowercase().contains("openid"), "{heard}");
    world.closed().await;
}

/// Names that look like those of identities, in many spellings, and some that do not.
fn names() -> impl Strategy<Value = String> {
    const ENDS: [&str; 20] = [
        "message-id",
        "seq",
        "pass",
        "openid",
        "appid",
        "unionid",
        "from-openid",
        "from-appid",
        "from-unionid",
        "source",
        "sources",
        "env",
        "call-id",
        "client-ip",
        "risk-rank",
        "cloudbase-access-token",
        "local-debug",
        "anything",
        "service",
        "skey2",
    ];
    let end = prop::sample::select(&ENDS[..]);
    let separator = prop_oneof![3 => Just('-'), 1 => Just('_'), 1 => prop::sample::select(&b".~!#$%&'*+^`|"[..]).prop_map(char::from)];
    let forged = (end, prop::collection::vec(separator, 6), any::<u64>()).prop_map(
        |(end, separators, case)| {
            let mut separators = separators.into_iter().cycle();
            let plain = match case % 4 {
                0 => format!("x-weappd-{end}"),
                _ => format!("x-wx-{end}"),
            };
            let spelt = plain.chars().enumerate().map(|(at, letter)| {
                if letter == '-' {
                    return separators.next().unwrap_or('-');
                }
                if case >> (at % 64) & 1 == 1 {
                    return letter.to_ascii_uppercase();
                }
                letter
            });
            spelt.collect::<String>()
        },
    );
    prop_oneof![8 => forged, 1 => Just("X-WX-Skey".to_owned()), 1 => "[a-z]{1,8}(-[a-z]{1,8})?"]
}

#[test]
fn no_header_list_makes_an_app_see_an_identity_that_is_not_weappds() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let world =
        runtime.block_on(async { Plan::new(vec![route("/", proxy_to(serve(echo())))]).open() });
    let value = prop_oneof![
        Just("mallory".to_owned()),
        Just("alice".to_owned()),
        "[ -~]{0,20}"
    ];
    let lists = prop::collection::vec((names(), value), 0..12);
    let reached = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Cases {
        failure_persistence: None,
        ..Cases::with_cases(300)
    });
    let outcome = runner.run(&lists, |lines| {
        let plain = |name: &str| !["host", "connection", "expect"].contains(&name);
        let lines: Vec<_> = lines.into_iter().filter(|(name, _)| plain(name)).collect();
        let mut head = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".to_owned();
        for (name, value) in &lines {
            head.extend([name, ": ", value.as_str(), "\r\n"]);
        }
        head.push_str("\r\n");
        let told = runtime.block_on(raw(world.http, head.as_bytes(), PATIENCE));
        let (answer, seen) = told.split_once("\r\n\r\n").unwrap_or_default();
        if !answer.starts_with("HTTP/1.1 200") {
            return Ok(());
        }
        reached.set(reached.get() + 1);
        let known = seen.contains("\nx-wx-openid: openid-of-alice\n");
        for line in seen.lines().skip(1).take_while(|line| !line.is_empty()) {
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            let read: String = name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
                .collect();
            if !read.starts_with("x-wx-") && !read.starts_with("x-weappd-") {
                continue;
            }
            let ours = match name {
                "x-wx-skey" | "x-wx-service" => true,
                "x-wx-openid" => value == "openid-of-alice",
                "x-wx-unionid" => value == "unionid-of-alice",
                "x-wx-appid" => value == "wx1",
                "x-wx-env" => known && value == "weappd",
                "x-wx-source" => known && value == "wx_client",
                "x-wx-call-id" => known && answer.contains(value) && value.len() == 32,
                _ => false,
            };
            prop_assert!(ours, "{line}\n{head}");
        }
        // Nobody is known who did not show it.
        let showed = |(name, value): &(String, String)| {
            name.eq_ignore_ascii_case("x-wx-skey") && value.trim() == "alice"
        };
        prop_assert!(!known || lines.iter().any(showed), "{head}");
        Ok(())
    });
    outcome.expect("nobody is deceived");
    assert!(
        reached.get() > 200,
        "only {} requests came through",
        reached.get()
    );
    runtime.block_on(world.closed());
}
