//! Bodies that are lists: serde would take their values for the fields in the order of the
//! source, and no client means that.

use axum::body::Body;
use serde_json::json;
use weappd_session::Config;

use crate::world::{World, send};

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_no_body_anywhere() {
    let world = World::with(Config::default()).await;
    let skey = world.log_in("c1", "o1").await;
    let bearer = format!("Bearer {skey}");
    for (method, path, list) in [
        (
            "POST",
            "/weapp/session",
            json!(["c2", null, null, null, null]),
        ),
        ("POST", "/weapp/session/phone", json!(["code", null, null])),
        (
            "POST",
            "/weapp/session/decrypt",
            json!(["data", "iv", null]),
        ),
        (
            "PUT",
            "/weapp/session/profile",
            json!(["Nick", null, null, null]),
        ),
    ] {
        let headers = [("authorization", bearer.as_str())];
        let headers = if path == "/weapp/session" {
            &[][..]
        } else {
            &headers
        };
        for body in [list.to_string(), "[]".to_owned(), format!(" \n{list}")] {
            let answer = world.call(method, path, headers, Body::from(body)).await;
            assert_eq!(answer.status, 400, "{method} {path} {answer:?}");
            assert_eq!(
                answer.json["error"]["code"], "bad_request",
                "{path} {answer:?}"
            );
            let why = answer.json["error"]["message"].as_str().expect("a reason");
            assert!(why.contains("must be a JSON object"), "{why}");
        }
    }
    // The old protocol has its own word for it.
    let rpc = weappd_session::http::rpc_router(world.sessions.clone());
    for body in ["[]", r#"[1,"MA","s",{}]"#] {
        let answer = send(rpc.clone(), "POST", "/mina_auth", &[], Body::from(body)).await;
        assert_ne!(answer.json["returnCode"], 0, "{answer:?}");
    }
}
