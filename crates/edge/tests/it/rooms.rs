//! weappd's own routers, answered in place.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::routing::get;
use bytes::Bytes;
use http::HeaderMap;
use weappd_edge::{InstantAnswer, RoomRouter, RouteTarget};

use crate::access;
use crate::world::{Plan, ask, route};

#[tokio::test]
async fn rooms_are_answered_in_place() {
    let router = Router::new()
        .route(
            "/room/peer",
            get(
                |ConnectInfo(peer): ConnectInfo<SocketAddr>,
                 headers: HeaderMap,
                 request: Request| async move {
                    let scheme = request.extensions().get::<http::uri::Scheme>().cloned();
                    format!(
                        "{} {:?} {:?}",
                        peer.ip(),
                        scheme.map(|s| s.to_string()),
                        headers.get("x-wx-openid")
                    )
                },
            ),
        )
        .route(
            "/room/panic",
            get(|| async { assert!(std::hint::black_box(false), "on purpose") }),
        );
    let world = Plan::new(vec![route("/room", RouteTarget::Router(router.into()))]).open();
    let answer = ask(
        world.http,
        "GET",
        "/room/peer",
        &[("x-wx-openid", "mallory")],
        "",
    )
    .await;
    assert_eq!(answer.text(), "127.0.0.1 Some(\"http\") None");
    assert_eq!(world.get("/room/panic").await.status, 500);
    assert_eq!(world.get("/room/peer").await.status, 200);
    world.closed().await;
}

/// Answers `/room/now`, and panics at `/room/panic`.
struct AtOnce;

impl InstantAnswer for AtOnce {
    fn instant_answer(&self, head: &http::request::Parts) -> Option<http::Response<Bytes>> {
        match head.uri.path() {
            "/room/panic" => panic!("on purpose"),
            // What a client claims was dropped before.
            "/room/now" => Some(http::Response::new(Bytes::from(format!(
                "at once to {:?}",
                head.headers.get("x-wx-openid")
            )))),
            _ => None,
        }
    }
}

#[tokio::test]
async fn what_a_room_knows_by_heart_is_said_without_its_router() {
    let router = Router::new().fallback(|request: Request| async move {
        let path = request.uri().path().to_owned();
        let body = axum::body::to_bytes(request.into_body(), 100).await;
        format!("routed {path} {}", body.map_or(0, |body| body.len()))
    });
    let room = RouteTarget::Router(RoomRouter::after(Arc::new(AtOnce), router));
    let (world, lines) = access::logged(Plan::new(vec![route("/room", room)]));
    let claims = [("x-wx-openid", "mallory")];
    let at_once = ask(world.http, "GET", "/room/now", &claims, "").await;
    assert_eq!(at_once.text(), "at once to None");
    assert_eq!(at_once.header("content-length"), "15");
    assert!(!at_once.header("date").is_empty());
    let line = lines.come("GET /room/now 200").await;
    assert!(line.contains(" 200 15B "), "{line}");
    let with_body = ask(world.http, "GET", "/room/now", &[], "body").await;
    assert_eq!(with_body.text(), "routed /room/now 4");
    for path in ["/room/other", "/room/panic"] {
        assert_eq!(world.get(path).await.text(), format!("routed {path} 0"));
    }
    let head = ask(world.http, "HEAD", "/room/now", &[], "").await;
    assert_eq!((head.status, head.text().as_str()), (200, ""));
    world.closed().await;
}

#[tokio::test]
async fn a_refusal_is_told_in_the_language_of_the_phone() {
    let world = Plan::new(vec![route(
        "/room",
        RouteTarget::Router(Router::new().into()),
    )])
    .open();
    for (accepted, sentence) in [
        ("zh-CN,zh;q=0.9", "该地址不存在。"),
        ("en-US", "There is nothing at this address."),
    ] {
        let headers = [("accept-language", accepted)];
        let answer = ask(world.http, "GET", "/nothing", &headers, "").await;
        let json: serde_json::Value = serde_json::from_str(&answer.text()).expect("JSON");
        assert_eq!(json["error"]["code"], "not_found");
        assert_eq!(json["error"]["message"], sentence);
    }
    world.closed().await;
}
