//! Who is logged in, ending it by command, and logging in too often.

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use tower::ServiceExt as _;
use weappd_session::Config;

use crate::world::{APP, World, send};

async fn control(world: &World, method: &str, path: &str) -> Value {
    let answer = send(world.router(APP), method, path, &[], Body::empty()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_listed_and_ended_one_by_one_by_user_and_all() {
    let mut world = World::new().await;
    let mut skeys = Vec::new();
    for (n, agent) in ["iPhone", "Pixel", "iPad"].into_iter().enumerate() {
        world.wechat.code(&format!("c{n}"), "o1");
        let headers = [("User-Agent", agent)];
        let body = Body::from(json!({"code": format!("c{n}")}).to_string());
        let answer = world.call("POST", "/weapp/session", &headers, body).await;
        skeys.push(answer.json["skey"].as_str().expect("an skey").to_owned());
    }
    let other = world.log_in("other", "o2").await;
    let list = control(&world, "GET", "/sessions?openid=o1").await;
    let list = list["sessions"].as_array().expect("a list");
    let devices: Vec<_> = list.iter().map(|s| s["device"].clone()).collect();
    assert_eq!(devices, ["iPad", "Pixel", "iPhone"], "the newest first");
    assert_eq!(list[0]["expires_at"], 1_800_000_000 + 2_592_000);
    let text = json!(list).to_string();
    assert!(skeys.iter().all(|skey| !text.contains(skey)), "{text}");
    let pixel = format!("/sessions/{}", list[1]["session"]);
    assert_eq!(control(&world, "DELETE", &pixel).await["ended"], 1);
    assert_eq!(control(&world, "DELETE", &pixel).await["ended"], 0);
    for (n, code) in [(0, 0), (1, -1), (2, 0)] {
        assert_eq!(world.user(&skeys[n]).await["code"], code, "session {n}");
    }
    let path = format!("/sessions?openid=o1&appid={APP}");
    assert_eq!(control(&world, "DELETE", &path).await["ended"], 2);
    assert_eq!(world.user(&skeys[0]).await["code"], -1);
    assert_eq!(world.user(&other).await["code"], 0);
    assert_eq!(
        control(&world, "DELETE", "/sessions?all=true").await["ended"],
        1
    );
    assert_eq!(world.user(&other).await["code"], -1);
    world.restart().await;
    assert_eq!(world.user(&other).await["code"], -1);
    for path in [
        "/sessions",
        "/sessions?openid=",
        "/sessions?openid=o1&all=true",
    ] {
        let answer = send(world.router(APP), "DELETE", path, &[], Body::empty()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_logins_are_refused_in_each_dialect_and_checks_are_not() {
    let world = World::with(Config {
        logins_per_minute_per_user: 2,
        ..Config::default()
    })
    .await;
    let skey = world.log_in("c1", "o1").await;
    world.log_in("c2", "o1").await;
    for code in ["c3", "c4", "c5"] {
        world.wechat.code(code, "o1");
    }
    let native = world.native(&json!({"code": "c3"})).await;
    assert_eq!(native.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(native.json["error"]["code"], "too_many_logins");
    let answer = world.get("/weapp/login", &[("X-WX-Code", "c4")]).await;
    let error = answer.json["error"].as_str().expect("an error");
    assert!(error.starts_with("ERR_TOO_MANY_LOGINS\n"), "{error}");
    let answer = world.get("/login", &[("X-WX-Code", "c5")]).await;
    assert_eq!(answer.json["error"], "ERR_LOGIN_FAILED");
    for _ in 0..10 {
        assert_eq!(world.user(&skey).await["code"], 0);
    }
    // The code was exchanged already and is good for its ten seconds; the bucket is not.
    world.log_in("o2", "o2").await;
    world.hand.advance(30);
    world.log_in("c6", "o1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_tries_too_often_costs_wechat_nothing() {
    let world = World::with(Config {
        logins_per_minute_per_ip: 3,
        ..Config::default()
    })
    .await;
    let mut statuses = Vec::new();
    for n in 0..5 {
        let body = Body::from(json!({"code": format!("bad{n}")}).to_string());
        let mut request = Request::post("/weapp/session")
            .body(body)
            .expect("a request");
        let peer: SocketAddr = "192.0.2.1:1".parse().expect("an address");
        request.extensions_mut().insert(ConnectInfo(peer));
        let response = world.router(APP).oneshot(request).await.expect("an answer");
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(response.headers()["retry-after"], "20");
        }
        statuses.push(response.status().as_u16());
    }
    assert_eq!(statuses, [401, 401, 401, 429, 429]);
    assert_eq!(world.wechat.asked(), 3);
}
