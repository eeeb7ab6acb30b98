//! A path that a room and an app share: who answers which method.

use axum::Router;
use axum::routing::any;
use http::{Method, StatusCode};
use weappd_edge::RouteTarget;

use crate::world::{Plan, ask, proxy_to, route, serve};

/// An app that answers `GET` with `status` and everything else with 200 and its own words.
fn app(status: StatusCode) -> RouteTarget {
    proxy_to(serve(Router::new().fallback(any(
        move |method: Method, body: String| async move {
            match method {
                Method::GET => (status, "app GET".to_owned()),
                other => (StatusCode::OK, format!("app {other} {body}")),
            }
        },
    ))))
}

fn shared(app: RouteTarget, app_first: bool) -> RouteTarget {
    RouteTarget::Shared {
        app: Box::new(app),
        router: Router::new().fallback(async |method: Method| format!("room {method}")),
        app_first,
    }
}

#[tokio::test]
async fn the_room_answers_only_get_and_the_app_all_else() {
    let to = shared(app(StatusCode::OK), false);
    let world = Plan::new(vec![route("= /t", to)]).open();
    for (method, words) in [
        ("GET", "room GET"),
        ("POST", "app POST {}"),
        ("PUT", "app PUT {}"),
        ("DELETE", "app DELETE {}"),
    ] {
        let body = if method == "GET" { "" } else { "{}" };
        let answer = ask(world.http, method, "/t", &[], body).await;
        assert_eq!((answer.status, &*answer.text()), (200, words), "{method}");
    }
    world.closed().await;
}

#[tokio::test]
async fn an_app_asked_first_is_followed_by_the_room_only_where_it_knows_nothing() {
    for (status, words) in [
        (StatusCode::UNAUTHORIZED, "app GET"),
        (StatusCode::INTERNAL_SERVER_ERROR, "app GET"),
        (StatusCode::NOT_FOUND, "room GET"),
        (StatusCode::METHOD_NOT_ALLOWED, "room GET"),
        (StatusCode::NOT_IMPLEMENTED, "room GET"),
    ] {
        let world = Plan::new(vec![route("= /t", shared(app(status), true))]).open();
        let answer = ask(world.http, "GET", "/t", &[], "").await;
        assert_eq!(answer.text(), words, "{status}");
        let answer = ask(world.http, "POST", "/t", &[], "{}").await;
        assert_eq!(answer.text(), "app POST {}", "{status}");
        world.closed().await;
    }
}

#[tokio::test]
async fn an_answer_that_is_no_tunnels_is_none() {
    let long: &'static str = "x".repeat(20_000).leak();
    for (kind, says, is_apps) in [
        ("text/html", "<p>Hello</p>", false),
        ("text/html; charset=utf-8", long, false),
        ("application/json", "{\"hello\":\"world\"}", false),
        ("application/json", "{\"code\":0,\"data\":[]}", false),
        ("text/plain", "Hello World", false),
        // PHP says nothing of its kind, and the SDKs' answers are these.
        (
            "text/html",
            "{\"code\":0,\"data\":{\"connectUrl\":\"wss://a/b\"}}",
            true,
        ),
        ("application/json", "{\"url\":\"wss://a/b\"}", true),
        (
            "application/json",
            "{\"code\":-1,\"error\":\"ERR_SKEY_INVALID\"}",
            true,
        ),
        ("application/json", long, true),
    ] {
        let app = Router::new().fallback(move || async move { ([("content-type", kind)], says) });
        let to = shared(proxy_to(serve(app)), true);
        let world = Plan::new(vec![route("= /t", to)]).open();
        let answer = ask(world.http, "GET", "/t", &[], "").await;
        let words = if is_apps { says } else { "room GET" };
        assert_eq!(answer.text(), words, "{kind} {says:.40}");
        world.closed().await;
    }
}
