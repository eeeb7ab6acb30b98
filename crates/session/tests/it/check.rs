//! Checks: from memory and from the store, until the session ends one way or another.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::json;
use weappd_session::AuthError;

use crate::wechat::user_data;
use crate::world::{APP, World};

const DAY: i64 = 86_400;

fn shown(skey: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("x-wx-skey", HeaderValue::from_str(skey).expect("a value"));
    headers
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_slides_and_ends_with_its_login() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    world.hand.advance(29 * DAY);
    assert_eq!(world.user(&skey).await["code"], 0);
    world.hand.advance(DAY);
    assert_eq!(world.user(&skey).await["code"], 0, "the thirtieth day");
    world.hand.advance(1);
    assert_eq!(world.user(&skey).await, json!({"code": -1, "data": {}}));
    let native = [("Authorization", &*format!("Bearer {skey}"))];
    let native = world.get("/weapp/session", &native).await;
    assert_eq!(native.status, StatusCode::UNAUTHORIZED);
    assert_eq!(native.json["error"]["code"], "session_expired");
}

#[tokio::test(flavor = "multi_thread")]
async fn expires_at_is_told_and_kept() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    let login = world.native(&json!({"code": "c1"})).await;
    let expires_at = login.json["expires_at"].as_i64().expect("a time");
    assert_eq!(expires_at, 1_800_000_000 + 30 * DAY);
    let skey = login.json["skey"].as_str().expect("an skey");
    world.hand.advance(30 * DAY);
    let bearer = format!("Bearer {skey}");
    let asked = world
        .get("/weapp/session", &[("Authorization", &bearer)])
        .await;
    assert_eq!(asked.json["expires_at"], expires_at);
    assert_eq!(asked.json["user"], login.json["user"]);
    assert!(asked.json.get("skey").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_survive_a_restart() {
    let mut world = World::new().await;
    let visited = world.log_in("c1", "o1").await;
    world.hand.advance(1000);
    assert_eq!(world.user(&visited).await["code"], 0);
    world.restart().await;
    assert_eq!(world.last_visits().await, [1_800_001_000]);
    world.hand.advance(500);
    assert_eq!(world.user(&visited).await["code"], 0);
    world.sessions.flush().await.expect("writes");
    assert_eq!(world.last_visits().await, [1_800_001_500]);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_without_the_store() {
    let mut world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let headers = shown(&skey);
    let known = world.sessions.check_headers_in_cache(&headers);
    assert_eq!(
        known
            .expect("in memory since the login")
            .expect("valid")
            .openid,
        "o1"
    );
    world.restart().await;
    assert!(world.sessions.check_headers_in_cache(&headers).is_none());
    let asked = world.sessions.check_headers(&headers).await.expect("valid");
    let known = world.sessions.check_headers_in_cache(&headers);
    assert_eq!(
        known.expect("in memory since the check").expect("valid"),
        asked
    );
    let denied = world.sessions.check_headers(&HeaderMap::new()).await;
    assert!(matches!(denied, Err(AuthError::Missing)));
    let unknown = shown(&"0".repeat(64));
    let denied = world.sessions.check_headers(&unknown).await;
    assert!(matches!(denied, Err(AuthError::Unknown)));
    assert!(
        world.sessions.check_headers_in_cache(&unknown).is_none(),
        "what is unknown fills no memory"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_logged_out_session_is_gone_and_its_code_makes_a_new_one() {
    let mut world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let bearer = format!("Bearer {skey}");
    let session = [("Authorization", bearer.as_str())];
    let out = world
        .call("DELETE", "/weapp/session", &session, Body::empty())
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    assert_eq!(world.user(&skey).await["error"], "ERR_SKEY_INVALID");
    let again = world
        .call("DELETE", "/weapp/session", &session, Body::empty())
        .await;
    assert_eq!(again.json["error"]["code"], "session_unknown");
    let new = world.get("/weapp/login", &[("X-WX-Code", "c1")]).await;
    let new = new.json["data"]["skey"].as_str().expect("an skey");
    assert_ne!(new, skey);
    assert_eq!(world.user(new).await["data"]["nickName"], "o1");
    world.restart().await;
    assert_eq!(world.user(&skey).await["error"], "ERR_SKEY_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_check_that_races_a_logout_brings_the_session_back() {
    let mut world = World::new().await;
    let mut skeys = Vec::new();
    for n in 0..60 {
        skeys.push(world.log_in(&format!("c{n}"), &format!("o{n}")).await);
    }
    // With an empty memory the checks go to the store while the logouts do.
    world.restart().await;
    for skey in &skeys {
        let bearer = format!("Bearer {skey}");
        let headers = [("Authorization", bearer.as_str())];
        let checks = (0..4).map(|_| world.user(skey));
        let out = world.call("DELETE", "/weapp/session", &headers, Body::empty());
        let (_, out) = tokio::join!(futures_util::future::join_all(checks), out);
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        assert_eq!(world.user(skey).await["error"], "ERR_SKEY_INVALID");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_name_is_seen_by_the_users_other_phone() {
    let world = World::new().await;
    let first = world.log_in("c1", "o1").await;
    assert_eq!(world.user(&first).await["data"]["nickName"], "o1");
    world.wechat.code("c2", "o1");
    let (data, iv) = user_data(APP, "o1", "renamed");
    let body = json!({"code": "c2", "encryptedData": data, "iv": iv});
    assert_eq!(world.native(&body).await.status, StatusCode::OK);
    assert_eq!(world.user(&first).await["data"]["nickName"], "renamed");
}
