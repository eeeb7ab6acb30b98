//! Two weappds on one database: logged in at one is logged in at both, and one token of WeChat's
//! does for all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Request, State};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::http;
use crate::mariadb::MariaDb;
use crate::upstream;
use crate::world::{APPID, Recipe, World};

/// A WeChat that counts who asks it for tokens, and tells which one a call came with.
fn wechat(asked: &Arc<AtomicUsize>) -> SocketAddr {
    let token = async |State(asked): State<Arc<AtomicUsize>>| {
        let number = asked.fetch_add(1, Ordering::SeqCst) + 1;
        let token = json!({"access_token": format!("token-{number}"), "expires_in": 7200});
        Json(token)
    };
    let call = async |request: Request| {
        let query = request.uri().query().unwrap_or_default();
        Json(json!({"errcode": 0, "query": query}))
    };
    let router = Router::new()
        .route("/cgi-bin/stable_token", post(token))
        .fallback(call)
        .with_state(Arc::clone(asked));
    upstream::serve(router)
}

fn node(store: &str, keys: &TempDir, wechat: SocketAddr) -> World {
    let keys = keys.path().join("session.key");
    Recipe::new()
        .wechat_by(wechat)
        .sections(&format!(
            "[session]\nstore = \"{store}\"\nkey_file = \"{}\"",
            keys.display()
        ))
        .serve()
}

async fn token_of(node: &World) -> Value {
    http::json(&node.api().post("/wxa/x").send().await)["query"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_ask_wechat_for_one_token() {
    let store = MariaDb::start(&["weappd"]);
    let keys = tempfile::tempdir().expect("a directory");
    let asked = Arc::new(AtomicUsize::new(0));
    let wechat = wechat(&asked);
    let nodes = [0, 1].map(|_| node(&store.url("weappd"), &keys, wechat));
    let calls = (0..40).map(|n| token_of(&nodes[n % 2]));
    for query in futures_util::future::join_all(calls).await {
        assert_eq!(query, "access_token=token-1");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // A node that comes later, or again, finds it too.
    let third = node(&store.url("weappd"), &keys, wechat);
    assert_eq!(token_of(&third).await, "access_token=token-1");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    let rows = store.query(
        "weappd",
        "SELECT CONVERT(name USING utf8), CONVERT(sealed USING latin1) FROM weappd_shelf",
    );
    assert!(rows.contains(APPID), "{rows}");
    for node in nodes.iter().chain([&third]) {
        let log = node.transcript();
        assert!(
            !log.contains("token-1") && !rows.contains("token-1"),
            "{log}"
        );
    }
    // A node with another key file cannot read it: it says so, and asks itself.
    let strange = tempfile::tempdir().expect("a directory");
    let stranger = node(&store.url("weappd"), &strange, wechat);
    assert_eq!(token_of(&stranger).await, "access_token=token-2");
    let log = stranger.transcript();
    assert!(log.contains("another session key file"), "{log}");
}
