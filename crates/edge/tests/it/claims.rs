//! What a client says of itself, and how it spells where it goes: by every road to an app.

use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use weappd_base::tasks::Tasks;
use weappd_edge::{RouteTarget, SessionRule, SiteRoute};

use crate::tls::connect;
use crate::world::{
    Answer, Authority, Plan, World, ask, echo, proxy_to, raw, read, route, serve, serve_raw,
};

/// Names that a client writes, and no app may see.
const CLAIMED: [&str; 17] = [
    "X-WX-OPENID",
    "x-wx-from-openid",
    "X-Wx-From-Appid",
    "x-wx-from-unionid",
    "X_WX_OPENID",
    "x_wx-openid",
    "X.WX.OPENID",
    "X-Weappd-Message-Id",
    "x-weappd-message-try",
    "X-Weappd-Seq",
    "x-weappd-pass",
    "X-Weappd-AppID",
    "X_Weappd_Message_Id",
    "x.weappd.message.id",
    "x-weappd-anything",
    "X-Forwarded-User_",
    "x-original-url",
];

fn require(path: &str, target: RouteTarget) -> SiteRoute {
    SiteRoute {
        session: SessionRule::Require,
        ..route(path, target)
    }
}

/// Lines of an echo that speak of an identity or of weappd, but not the door's own.
fn deceived(seen: &str) -> Vec<&str> {
    let head = seen.split("\n\n").next().unwrap_or_default();
    let told = head.lines().skip(1).filter(|line| {
        let name = line.split(": ").next().unwrap_or_default();
        let read: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        let ours = line.contains("alice")
            || ["x-wx-env", "x-wx-source", "x-wx-call-id"].contains(&name)
            || *line == "x-wx-appid: wx1"
            || *line == "x-wx-skey: alice";
        let claims = ["x-wx-", "x-weappd-", "x-original-u", "x-forwarded-u"];
        claims.iter().any(|start| read.starts_with(start)) && !ours
    });
    told.collect()
}

fn claims() -> Vec<(&'static str, &'static str)> {
    let once = CLAIMED.iter().map(|name| (*name, "mallory"));
    let twice = CLAIMED.iter().map(|name| (*name, "eve"));
    once.chain(twice).collect()
}

#[tokio::test]
async fn a_client_speaks_for_nobody_over_http1() {
    let world = Plan::new(vec![route("/", proxy_to(serve(echo())))]).open();
    let alice = ("x-wx-skey", "alice");
    for more in [vec![], vec![alice]] {
        let known = !more.is_empty();
        for connection in [
            "close",
            "X-WX-OPENID, x-wx-source, X-Forwarded-For, x-real-ip",
        ] {
            let said = [&claims()[..], &more, &[("connection", connection)]].concat();
            let answer = ask(world.http, "GET", "/", &said, "").await;
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(deceived(&answer.text()), [""; 0], "{connection}");
            assert_eq!(answer.seen("x-real-ip"), ["127.0.0.1"]);
            assert_eq!(answer.seen("x-forwarded-for"), ["127.0.0.1"]);
            let openid = answer.seen("x-wx-openid");
            assert_eq!(openid, ["openid-of-alice"; 1][..usize::from(known)]);
        }
    }
    world.closed().await;
}

#[tokio::test]
async fn nor_when_it_folds_lines_or_adds_them_after_the_body() {
    let app = serve_raw(|mut tcp, _| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut seen = Vec::new();
        let mut buf = [0; 4096];
        while !seen.ends_with(b"0\r\n\r\n") {
            let count = tcp.read(&mut buf).await.expect("read");
            assert!(count > 0, "the door went away");
            seen.extend_from_slice(&buf[..count]);
        }
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.len());
        let answer = [head.as_bytes(), &seen].concat();
        tcp.write_all(&answer).await.expect("sent");
    });
    let world = Plan::new(vec![route("/", proxy_to(app))]).open();
    let quiet = Duration::from_millis(300);
    for folded in [
        "X-A: b\r\n X-WX-OPENID: mallory",
        "X-A: b\r\n\tX-Weappd-Seq: 1",
    ] {
        let sent = format!("GET / HTTP/1.1\r\nHost: a\r\n{folded}\r\n\r\n");
        let heard = raw(world.http, sent.as_bytes(), quiet).await;
        assert!(heard.starts_with("HTTP/1.1 400"), "{heard}");
    }
    let sent = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Weappd-Seq\r\n\r\n\
        2\r\nhi\r\n0\r\nX-WX-OPENID: mallory\r\nX-Weappd-Seq: 1\r\nx_wx_openid: mallory\r\n\r\n";
    let heard = raw(world.http, sent.as_bytes(), quiet).await;
    assert!(heard.contains("\r\n2\r\nhi\r\n0\r\n\r\n"), "{heard}");
    let lower = heard.to_ascii_lowercase();
    assert!(
        !lower.contains("mallory") && !lower.contains("x-weappd"),
        "{heard}"
    );
    world.closed().await;
}

#[tokio::test]
async fn nor_over_http2() {
    let authority = Authority::new();
    let world = Plan::new(vec![
        route("/", proxy_to(serve(echo()))),
        require("/admin/*", proxy_to(serve(echo()))),
    ])
    .tls(authority.files("a", &["a.example"]))
    .open();
    let tls = connect(
        &world,
        &authority,
        "a.example",
        rustls::ALL_VERSIONS,
        &["h2"],
    )
    .await;
    let io = TokioIo::new(tls.expect("shaken hands"));
    let client = hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await;
    let (mut sender, connection) = client.expect("a client");
    Tasks::new().spawn(async { drop(connection.await) });
    let request = |method: Method, uri: &str| {
        let request = Request::builder().method(method).uri(uri);
        request.body(Full::new(Bytes::new())).expect("a request")
    };
    let mut said = request(Method::GET, "https://a.example/");
    for (name, value) in claims() {
        let name = http::HeaderName::try_from(name).expect("a name");
        said.headers_mut()
            .append(name, value.parse().expect("a value"));
    }
    let answer = read(sender.send_request(said).await.expect("an answer")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(deceived(&answer.text()), [""; 0]);

    for path in ["/admin%2Fx", "/ADMIN/x", "/admin;x", "//admin/x", "/admin"] {
        let asked = request(Method::GET, &format!("https://a.example{path}"));
        let answer = read(sender.send_request(asked).await.expect("an answer")).await;
        assert_eq!(answer.status, 401, "{path}");
    }
    // Nobody opens a tunnel by CONNECT, the plain one or that of WebSockets (RFC 8441).
    let mut tunnel = request(Method::CONNECT, "https://a.example/");
    tunnel
        .extensions_mut()
        .insert(hyper::ext::Protocol::from_static("websocket"));
    assert!(sender.send_request(tunnel).await.is_err(), "never offered");
    let plain = request(Method::CONNECT, "a.example:443");
    let answer = sender.send_request(plain).await.expect("an answer");
    assert_eq!(answer.status(), 405);
    let asked = request(Method::GET, "https://a.example/");
    let answer = read(sender.send_request(asked).await.expect("an answer")).await;
    assert_eq!(answer.status, 200, "the connection lives on");
    drop(sender);
    world.closed().await;
}

#[tokio::test]
async fn nor_on_a_websocket_upgrade() {
    let app = Router::new().fallback(|headers: HeaderMap| async move {
        let mut told = String::from("GET /\n");
        for (name, value) in &headers {
            told.extend([name.as_str(), ": ", value.to_str().unwrap_or("?"), "\n"]);
        }
        told
    });
    let world = Plan::new(vec![
        route("/", proxy_to(serve(app.clone()))),
        require("/admin/*", proxy_to(serve(app))),
    ])
    .open();
    let upgrade = [
        ("connection", "Upgrade, X-WX-OPENID, X-WX-SOURCE"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    let said = [&claims()[..], &upgrade, &[("x-wx-skey", "alice")]].concat();
    let answer = ask(world.http, "GET", "/", &said, "").await;
    assert_eq!(answer.seen("upgrade"), ["websocket"]);
    assert_eq!(answer.seen("x-wx-openid"), ["openid-of-alice"]);
    assert_eq!(deceived(&answer.text()), [""; 0]);
    for path in ["/ADMIN/x", "/admin%2fx", "/admin;"] {
        let refused = ask(world.http, "GET", path, &upgrade, "").await;
        assert_eq!(refused.status, 401, "{path}");
    }
    world.closed().await;
}

#[tokio::test]
async fn weappds_own_rooms_are_passed_on_inside() {
    let mut plan = Plan::new(vec![route("/", proxy_to(serve(echo())))]);
    plan.inside = true;
    let world = plan.open();
    let said = [
        ("x-weappd-message-id", "7"),
        ("x-weappd-seq", "1"),
        ("x-weappd-pass", "p"),
        ("x_weappd_seq", "2"),
        ("x-wx-openid", "mallory"),
    ];
    let answer = ask(world.http, "POST", "/", &said, "").await;
    assert_eq!(answer.seen("x-weappd-message-id"), ["7"]);
    assert_eq!(answer.seen("x-weappd-seq"), ["1"]);
    for gone in ["x-weappd-pass", "x_weappd_seq", "x-wx-openid"] {
        assert!(answer.seen(gone).is_empty(), "{gone}");
    }
    world.closed().await;

    // A room learns which mini program a phone means, and nothing else.
    let room = Router::new().fallback(|headers: HeaderMap| async move {
        let names = headers
            .keys()
            .filter(|name| name.as_str().contains("weappd"));
        names.map(ToString::to_string).collect::<Vec<_>>().join(" ")
    });
    let world = Plan::new(vec![route("/", RouteTarget::Router(room.into()))]).open();
    let answer = ask(world.http, "GET", "/", &claims(), "").await;
    assert_eq!(answer.text(), "x-weappd-appid");
    world.closed().await;
}

async fn spelt(world: &World, path: &str, headers: &[(&str, &str)]) -> Answer {
    // hyper's client would mend some of these.
    let mut sent = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n");
    for (name, value) in headers {
        sent.extend([*name, ": ", *value, "\r\n"]);
    }
    sent.push_str("\r\n");
    let answer = raw(world.http, sent.as_bytes(), Duration::from_secs(5)).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or_default(),
        headers: HeaderMap::new(),
        body: body.as_bytes().to_vec(),
    }
}

#[tokio::test]
async fn a_protected_path_is_protected_however_it_is_spelt() {
    let app = proxy_to(serve(echo()));
    let world = Plan::new(vec![
        route("/", app.clone()),
        require("/admin/*", app.clone()),
        route("= /admin/login", app.clone()),
        require("= /account", app),
    ])
    .open();
    let alice = [("x-wx-skey", "alice")];
    for (path, forwarded) in [
        ("/admin/x", "/admin/x"),
        ("/admin", "/admin"),
        ("/admin%2Fx", "/admin%2Fx"),
        ("/admin%5Cx", "/admin%5Cx"),
        ("/ADMIN/x", "/ADMIN/x"),
        ("//admin/x", "/admin/x"),
        ("/x/../admin/", "/admin/"),
        ("/admin/./x", "/admin/x"),
        ("/%61dmin/x", "/admin/x"),
        ("/admin;x", "/admin;x"),
        ("/admin;a=b/x?c=d", "/admin;a=b/x?c=d"),
        ("/%2561dmin/x", "/%2561dmin/x"),
        ("/x%252F..%252Fadmin", "/x%252F..%252Fadmin"),
        ("/admin%3Fx", "/admin%3Fx"),
        ("/admin%0a", "/admin%0A"),
        ("/account/", "/account/"),
        ("/Account", "/Account"),
        ("/ADMIN/login/x", "/ADMIN/login/x"),
        ("/admin%2Flogin%2Fx", "/admin%2Flogin%2Fx"),
    ] {
        let refused = spelt(&world, path, &[("x-wx-openid", "mallory")]).await;
        assert_eq!(refused.status, 401, "{path}");
        // Who is known passes, and the app reads what it always read.
        let passed = spelt(&world, path, &alice).await;
        assert_eq!(passed.status, 200, "{path}");
        let target = passed.text();
        let target = target.lines().next().unwrap_or_default();
        assert_eq!(target, format!("GET {forwarded}"), "{path}");
        assert_eq!(passed.seen("x-wx-openid"), ["openid-of-alice"], "{path}");
    }
    for path in [
        "/admin\\x",
        "/x/..;/admin",
        "/x%2f..%2fadmin",
        "/admin%00",
        "/admin%u002fx",
    ] {
        assert_eq!(spelt(&world, path, &[]).await.status, 400, "{path}");
    }
    for path in [
        "/",
        "/administration",
        "/admin.html",
        "/api/getUser;v=1",
        "/%E7%AE%A1",
        "/a%2Fb",
        "/admin/login",
        "/ADMIN/Login/",
    ] {
        assert_eq!(spelt(&world, path, &[]).await.status, 200, "{path}");
    }
    world.closed().await;
}
