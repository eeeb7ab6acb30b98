//! What memory says at once is what the router says; all else is left to the router.

use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::json;
use tower::ServiceExt as _;
use weappd_session::http::{InstantUser, SiteChoice};

use crate::world::{APP, Headers, OTHER_APP, World};

fn of_site(world: &World, appid: &str, (wafer1, wafer2): (bool, bool)) -> InstantUser {
    let choice = SiteChoice {
        appids: vec![appid.to_owned()],
        wafer1,
        wafer2,
    };
    InstantUser::new(world.sessions.clone(), &choice)
}

fn request(method: &str, path: &str, headers: Headers<'_>) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).expect("a request")
}

fn head(method: &str, path: &str, headers: Headers<'_>) -> Parts {
    request(method, path, headers).into_parts().0
}

fn at_once(world: &World, path: &str, headers: Headers<'_>) -> Option<Response<Bytes>> {
    of_site(world, APP, (true, true)).answer(&head("GET", path, headers))
}

async fn by_router(
    world: &World,
    path: &str,
    headers: Headers<'_>,
) -> (StatusCode, HeaderMap, Bytes) {
    let router = world.router(APP);
    let answer = router.oneshot(request("GET", path, headers)).await;
    let (mut parts, body) = answer.expect("an answer").into_parts();
    // The server that sends the other one adds it.
    parts.headers.remove(header::CONTENT_LENGTH);
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status, parts.headers, body)
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_says_who_somebody_is_in_the_words_of_the_router() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    world.wechat.code("c2", "o2");
    let first = world.get("/login", &[("X-WX-Code", "c2")]).await.json;
    let text = |name: &str| first["session"][name].as_str().expect("a text").to_owned();
    let (id, old_skey) = (text("id"), text("skey"));
    let bearer = format!("Bearer {skey}");
    for (path, headers) in [
        ("/weapp/user", &[("X-WX-Skey", &*skey)][..]),
        ("/weapp/user?x=1", &[("X-WX-Skey", &skey)]),
        ("/weapp/user", &[("Authorization", &bearer)]),
        ("/weapp/session", &[("Authorization", &bearer)]),
        ("/weapp/session", &[("X-WX-Skey", &skey)]),
        ("/user", &[("X-WX-Id", &id), ("X-WX-Skey", &old_skey)]),
    ] {
        let said = at_once(&world, path, headers).unwrap_or_else(|| panic!("{path}"));
        let (parts, body) = said.into_parts();
        let routed = by_router(&world, path, headers).await;
        assert_eq!((parts.status, parts.headers, body), routed, "{path}");
        assert_eq!(routed.0, StatusCode::OK);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_memory_cannot_say_is_left_to_the_router() {
    let mut world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let shown = [("X-WX-Skey", &*skey)];
    assert!(at_once(&world, "/weapp/user", &shown).is_some());
    for (path, headers) in [
        ("/weapp/user", &[][..]),
        ("/weapp/user", &[("X-WX-Skey", "unknown")]),
        (
            "/weapp/user",
            &[("X-WX-Skey", &skey), ("X-WX-Id", "of another")],
        ),
        ("/user", &shown),
        ("/weapp/user/", &shown),
        ("/weapp/session/profile", &shown),
    ] {
        assert!(
            at_once(&world, path, headers).is_none(),
            "{path} {headers:?}"
        );
    }
    let both = of_site(&world, APP, (true, true));
    for method in ["POST", "HEAD", "DELETE", "OPTIONS"] {
        let head = head(method, "/weapp/session", &shown);
        assert!(both.answer(&head).is_none(), "{method}");
    }
    let get = || head("GET", "/weapp/user", &shown);
    assert!(of_site(&world, APP, (true, false)).answer(&get()).is_none());
    let other = of_site(&world, OTHER_APP, (true, true));
    assert!(other.answer(&get()).is_none(), "of another mini program");
    let heard = world.tap.subscribe().expect("a tap that is on");
    assert!(both.answer(&get()).is_none(), "the arrows are the router's");
    drop(heard);
    assert!(both.answer(&get()).is_some());
    world.hand.advance(31 * 86_400);
    assert!(both.answer(&get()).is_none(), "expired");
    assert_eq!(world.user(&skey).await, json!({"code": -1, "data": {}}));
    world.hand.advance(-31 * 86_400);
    world.restart().await;
    assert!(
        at_once(&world, "/weapp/user", &shown).is_none(),
        "not in memory"
    );
    assert_eq!(world.user(&skey).await["code"], 0);
    assert!(at_once(&world, "/weapp/user", &shown).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_memory_answers_is_a_visit() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    world.hand.advance(1000);
    assert!(at_once(&world, "/weapp/user", &[("X-WX-Skey", &skey)]).is_some());
    world.sessions.flush().await.expect("written");
    assert_eq!(world.last_visits().await, [1_800_001_000]);
}
