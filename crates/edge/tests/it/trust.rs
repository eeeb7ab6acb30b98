//! A TLS proxy in front: believed where it is named, and nobody else.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::ConnectInfo;
use http::uri::Scheme;
use weappd_edge::{RouteTarget, SessionRule, SiteRoute};

use crate::world::{Plan, ask_from, echo, proxy_to, route, serve, site};

/// Where the proxy of these tests calls from, and where it does not.
const PROXY: &str = "127.0.0.7";
const ELSEWHERE: &str = "127.0.0.8";

/// Says what one of weappd's own rooms is told.
fn room() -> RouteTarget {
    RouteTarget::Router(
        Router::new()
            .fallback(
                |from: ConnectInfo<SocketAddr>, request: axum::extract::Request| async move {
                    let scheme = request.extensions().get::<Scheme>().map(Scheme::as_str);
                    let host = request.headers().get("host").cloned();
                    format!("{} {} {:?}", from.0, scheme.unwrap_or_default(), host)
                },
            )
            .into(),
    )
}

fn plan() -> Plan {
    let app = proxy_to(serve(echo()));
    let mut plan = Plan::new(vec![route("/", app), route("/room", room())])
        .config(|config| config.trusted_proxies = vec![PROXY.to_owned(), "10.0.0.0/8".to_owned()]);
    plan.sites[0].redirect = Some(443);
    plan
}

const WORDS: [(&str, &str); 3] = [
    ("x-forwarded-for", "6.6.6.6, 203.0.113.9:4711, 10.0.0.1"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-port", "8443"),
];

#[tokio::test]
async fn a_named_proxy_is_believed_by_apps_rooms_and_redirects() {
    let world = plan().open();
    let answer = ask_from(PROXY, &world, "/a", &WORDS).await;
    assert_eq!(
        answer.status, 200,
        "no redirect to where the client is already"
    );
    for name in ["x-forwarded-for", "x-original-forwarded-for", "x-real-ip"] {
        assert_eq!(answer.seen(name), ["203.0.113.9"], "{name}");
    }
    assert_eq!(answer.seen("x-forwarded-proto"), ["https"]);
    assert_eq!(answer.seen("x-forwarded-host"), ["site.example"]);
    assert_eq!(answer.seen("x-forwarded-port"), ["8443"]);
    assert!(answer.seen("forwarded").is_empty());
    let room = ask_from(PROXY, &world, "/room", &WORDS).await;
    assert_eq!(room.text(), "203.0.113.9:4711 https Some(\"site.example\")");
    // A client of the proxy's that came by plain HTTP is sent on.
    for plain in [&[("x-forwarded-proto", "http")][..], &[]] {
        let sent = ask_from(PROXY, &world, "/a", plain).await;
        assert_eq!(sent.status, 301, "{plain:?}");
        assert_eq!(sent.header("location"), "https://site.example/a");
    }
    world.closed().await;
}

#[tokio::test]
async fn forwarded_is_believed_and_told_anew() {
    let mut plan = plan();
    plan.sites[0].redirect = None;
    let world = plan.open();
    for (value, client, told) in [
        (
            "for=\"[2001:db8::1]:47\";proto=https;by=_x",
            "2001:db8::1",
            "for=\"[2001:db8::1]\";proto=https;host=\"site.example\"",
        ),
        (
            "for=6.6.6.6, for=203.0.113.9;proto=https, for=10.2.3.4",
            "203.0.113.9",
            "for=203.0.113.9;proto=https;host=\"site.example\"",
        ),
        (
            "for=\"6.6.6.6",
            PROXY,
            "for=127.0.0.7;proto=http;host=\"site.example\"",
        ),
    ] {
        let answer = ask_from(PROXY, &world, "/", &[("forwarded", value)]).await;
        assert_eq!(answer.seen("x-forwarded-for"), [client], "{value}");
        assert_eq!(answer.seen("forwarded"), [told], "{value}");
    }
    let nginx = [
        ("x-real-ip", "::ffff:203.0.113.9"),
        ("x-forwarded-proto", "HTTPS"),
    ];
    let answer = ask_from(PROXY, &world, "/room", &nginx).await;
    assert_eq!(answer.text(), "203.0.113.9:0 https Some(\"site.example\")");
    world.closed().await;
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let world = plan().open();
    let sent = ask_from(ELSEWHERE, &world, "/a", &WORDS).await;
    assert_eq!(sent.status, 301, "plain HTTP, whatever it says");
    world.closed().await;

    let mut plan = plan();
    plan.sites[0].redirect = None;
    let world = plan.open();
    // Every way in which apps and their libraries look for a client or another path.
    let said = [
        ("X-Rewrite-URL", "/admin"),
        ("X-Original-URL", "/admin"),
        ("X-Original-URI", "/admin"),
        ("x.original.url", "/admin"),
        ("X-Override-URL", "/admin"),
        ("X-Client-IP", "6.6.6.6"),
        ("X_Client_IP", "6.6.6.6"),
        ("x~client~ip", "6.6.6.6"),
        ("True-Client-IP", "6.6.6.6"),
        ("TRUE.CLIENT.IP", "6.6.6.6"),
        ("CF-Connecting-IP", "6.6.6.6"),
        ("CF-Connecting-IPv6", "6::6"),
        ("X-Cluster-Client-IP", "6.6.6.6"),
        ("X-Real-IP", "6.6.6.6"),
        ("X-Forwarded", "for=6.6.6.6"),
        ("X-Forwarded-Port", "6"),
        ("X-Forwarded-Prefix", "/6"),
        ("X-Forwarded-Scheme", "https"),
        ("X-Forwarded-Ssl", "on"),
        ("Forwarded", "for=6.6.6.6;proto=https"),
        ("Forwarded-For", "6.6.6.6"),
        ("Client-IP", "6.6.6.6"),
        ("Proxy-Client-IP", "6.6.6.6"),
        ("WL-Proxy-Client-IP", "6.6.6.6"),
        ("HTTP-X-Forwarded-For", "6.6.6.6"),
        ("Fastly-Client-IP", "6.6.6.6"),
        ("X-Remote-Addr", "6.6.6.6"),
        ("Remote-Addr", "6.6.6.6"),
        ("Front-End-Https", "on"),
        ("Proxy", "http://6.6.6.6/"),
    ];
    for one in said {
        let answer = ask_from(ELSEWHERE, &world, "/", &[one, one]).await;
        assert_eq!(answer.status, 200, "{one:?}");
        let text = answer.text();
        for word in ["6.6.6.6", "6::6", "/admin", "https", "on\n", ": 6\n", "/6"] {
            assert!(!text.contains(word), "{one:?}: {text}");
        }
        assert_eq!(answer.seen("x-forwarded-for"), [ELSEWHERE], "{one:?}");
    }
    let room = ask_from(ELSEWHERE, &world, "/room", &WORDS).await;
    assert!(
        room.text().starts_with(&format!("{ELSEWHERE}:")),
        "{}",
        room.text()
    );
    assert!(room.text().contains(" http "), "{}", room.text());
    world.closed().await;
}

#[tokio::test]
async fn a_proxy_passes_its_own_headers_on_but_no_other_path_where_paths_are_guarded() {
    let said = [
        ("x-forwarded-proto", "https"),
        ("cf-connecting-ip", "203.0.113.9"),
        ("x-forwarded-prefix", "/shop"),
        ("x-original-url", "/admin"),
        ("x-client-cert", "c"),
        ("x.client.ip", "6.6.6.6"),
        ("x-wx-openid", "mallory"),
        ("x-weappd-seq", "1"),
        ("proxy", "http://6.6.6.6/"),
    ];
    for guarded in [false, true] {
        let mut plan = plan();
        if guarded {
            plan.sites[0].routes.push(SiteRoute {
                session: SessionRule::Require,
                ..route("/admin", proxy_to(serve(echo())))
            });
        }
        let world = plan.open();
        let answer = ask_from(PROXY, &world, "/", &said).await;
        for name in ["cf-connecting-ip", "x-forwarded-prefix", "x-client-cert"] {
            assert_eq!(answer.seen(name).len(), 1, "{name}");
        }
        assert_eq!(answer.seen("x-original-url").is_empty(), guarded);
        for name in ["x.client.ip", "x-wx-openid", "x-weappd-seq", "proxy"] {
            assert!(answer.seen(name).is_empty(), "{name}");
        }
        world.closed().await;
    }
}

#[tokio::test]
async fn the_host_that_the_proxy_was_asked_for_finds_its_site() {
    let mut plan = plan();
    plan.sites = vec![
        site(&["a.test"], vec![route("/", room())]),
        site(&["*.b.test"], vec![route("/", room())]),
    ];
    let world = plan.open();
    let asked = async |at: &str, host: &str, told: &str| {
        let said = [("host", host), ("x-forwarded-host", told)];
        let answer = ask_from(at, &world, "/", &said).await;
        (answer.status, answer.text())
    };
    for (host, told, wanted) in [
        ("127.0.0.1:8080", "a.test", "a.test"),
        ("backend", "A.Test:8443", "A.Test:8443"),
        ("other.test", "x.b.test", "x.b.test"),
        // Who passes the host on may pass a client's header on too.
        ("a.test", "x.b.test", "a.test"),
        ("x.b.test", "a.test", "x.b.test"),
    ] {
        let (status, text) = asked(PROXY, host, told).await;
        assert_eq!(status, 200, "{host} {told}");
        assert!(text.ends_with(&format!("Some(\"{wanted}\")")), "{text}");
    }
    for (host, told) in [
        ("127.0.0.1:8080", "evil.test"),
        ("backend", "a b"),
        ("backend", ""),
    ] {
        assert_eq!(asked(PROXY, host, told).await.0, 421, "{told}");
    }
    assert_eq!(asked(ELSEWHERE, "127.0.0.1:8080", "a.test").await.0, 421);
    world.closed().await;
}

#[tokio::test]
async fn a_session_is_shown_once() {
    let mut plan = plan().config(|config| config.trusted_proxies.clear());
    plan.sites[0].redirect = None;
    let world = plan.open();
    let alice = ("x-wx-skey", "alice");
    for other in [("X-WX-Skey", "mallory"), ("x-wx-skey", "")] {
        for both in [[alice, other], [other, alice]] {
            let answer = ask_from(ELSEWHERE, &world, "/", &both).await;
            assert_eq!(answer.status, 400, "{both:?}");
        }
    }
    for (name, value, other) in [
        ("x-wx-id", "1", "2"),
        ("x-wx-code", "1", "2"),
        ("authorization", "Bearer a", "Bearer b"),
    ] {
        for path in ["/", "/room"] {
            let answer = ask_from(ELSEWHERE, &world, path, &[(name, value), (name, other)]).await;
            assert_eq!(answer.status, 400, "{name} {path}");
        }
    }
    let answer = ask_from(ELSEWHERE, &world, "/", &[alice, alice]).await;
    assert_eq!(answer.seen("x-wx-skey"), ["alice"]);
    assert_eq!(answer.seen("x-wx-openid"), ["openid-of-alice"]);
    // In another spelling it is nobody's.
    let answer = ask_from(
        ELSEWHERE,
        &world,
        "/",
        &[alice, ("x_wx_skey", "m"), ("x.wx.skey", "m")],
    )
    .await;
    assert!(!answer.text().contains(": m\n"), "{}", answer.text());
    world.closed().await;
}
