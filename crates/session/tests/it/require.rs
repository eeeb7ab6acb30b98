//! The layer that demands a session, and what garbage does to it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode};
use axum::routing::get;
use axum::{Extension, Json, Router};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use weappd_session::UserIdentity;
use weappd_session::http::require_login;

use crate::world::{APP, OTHER_APP, World, send};

async fn who(Extension(identity): Extension<Arc<UserIdentity>>) -> Json<Value> {
    Json(json!({"openid": identity.openid, "appid": identity.appid}))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_layer_lets_users_pass_and_refuses_in_their_dialect() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let layer = require_login(world.sessions.clone());
    let open = Router::new().route("/", get(who)).layer(layer.clone());
    let show = |headers: Vec<(&'static str, String)>| {
        let open = open.clone();
        async move {
            let headers: Vec<_> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
            send(open, "GET", "/", &headers, Body::empty()).await
        }
    };
    let passed = show(vec![("X-WX-Skey", skey.clone())]).await;
    assert_eq!(passed.json, json!({"openid": "o1", "appid": APP}));
    let passed = show(vec![("Authorization", format!("Bearer {skey}"))]).await;
    assert_eq!(passed.status, StatusCode::OK);

    let wafer2 = json!({"code": -1, "error": "ERR_SKEY_INVALID"});
    for headers in [vec![], vec![("X-WX-Skey", "x".to_owned())]] {
        let refused = show(headers).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
        assert_eq!(refused.json, wafer2);
    }
    let id = ("X-WX-Id", "i".to_owned());
    let refused = show(vec![id.clone(), ("X-WX-Skey", skey.clone())]).await;
    assert_eq!(refused.status, StatusCode::OK);
    assert_eq!(refused.json["error"], "ERR_INVALID_SESSION");
    let refused = show(vec![id]).await;
    assert_eq!(refused.json["error"], "ERR_CHECK_LOGIN_FAILED");

    let other = Router::new()
        .route("/", get(who))
        .layer(layer.of_apps(&[OTHER_APP.to_owned()]));
    let session = [("X-WX-Skey", skey.as_str())];
    let refused = send(other, "GET", "/", &session, Body::empty()).await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
}

#[test]
fn no_header_and_no_body_breaks_an_endpoint() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let world = runtime.block_on(World::new());
    let router = world.router(APP);
    let names = [
        "x-wx-code",
        "x-wx-encrypted-data",
        "x-wx-iv",
        "x-wx-id",
        "x-wx-skey",
        "authorization",
    ];
    let paths = [
        ("GET", "/login"),
        ("GET", "/user"),
        ("POST", "/weapp/login"),
        ("GET", "/weapp/user"),
        ("POST", "/weapp/session"),
        ("GET", "/weapp/session"),
        ("DELETE", "/weapp/session"),
        ("POST", "/mina_auth/"),
    ];
    let value = prop::collection::vec(any::<u8>(), 0..120);
    let headers = prop::collection::vec((0..names.len(), value), 0..6);
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        "\\{\"code\":\"[a-z]{0,4}\",\"iv\":\"[A-Za-z+/= ]{0,9}\",\"encryptedData\":\"[A-Za-z+/= ]{0,40}\"\\}"
            .prop_map(String::into_bytes),
    ];
    let config = ProptestConfig::with_cases(128);
    proptest!(config, |(path in 0..paths.len(), headers in headers, body in body)| {
        let (method, path) = paths[path];
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                request = request.header(names[name], value);
            }
        }
        let request = request.body(Body::from(body)).expect("a request");
        let response = runtime.block_on(router.clone().oneshot(request)).expect("an answer");
        prop_assert!(!response.status().is_server_error(), "{}", response.status());
    });
}
