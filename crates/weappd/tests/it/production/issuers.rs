//! Who opens tunnels: an app that only takes callbacks has weappd open them, in each dialect,
//! and what it is told arrives.

use axum::Router;
use axum::body::Bytes;
use axum::http::{Method, Uri};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::http;
use crate::tunnel::{PhoneSocket, soon};
use crate::upstream;
use crate::world::{TestWorld, WorldRecipe, text};

const KEY: &str = "0123456789abcdef0123456789abcdef";

/// An app that takes callbacks, and knows nothing else: where they came, and what they say.
fn listener() -> (
    std::net::SocketAddr,
    mpsc::UnboundedReceiver<(String, Value)>,
) {
    let (heard, callbacks) = mpsc::unbounded_channel();
    let app = Router::new().fallback(move |method: Method, uri: Uri, body: Bytes| async move {
        if method != Method::POST {
            return (axum::http::StatusCode::NOT_FOUND, "no such page".to_owned());
        }
        let envelope: Value = serde_json::from_slice(&body).expect("JSON");
        let data = serde_json::from_str(text(&envelope["data"])).expect("JSON");
        heard
            .send((uri.path().to_owned(), data))
            .expect("somebody listens");
        (axum::http::StatusCode::OK, json!({"code": 0}).to_string())
    });
    (upstream::serve(app), callbacks)
}

/// Alice asks `path` for a tunnel, in the words of its dialect.
async fn ask(world: &TestWorld, path: &str) -> String {
    let mut alice = world.phone("alice");
    let login = if path == "/tunnel" {
        "/login"
    } else {
        "/weapp/login"
    };
    let session = alice.log_in_at(login).await;
    let site = world.site();
    let mut asked = site.get(path).header("x-wx-skey", text(&session["skey"]));
    if let Some(id) = session["id"].as_str() {
        asked = asked.header("x-wx-id", id);
    }
    let answer = http::json(&asked.send().await);
    let url = match path {
        "/tunnel" => &answer["url"],
        _ => &answer["data"]["connectUrl"],
    };
    url.as_str()
        .unwrap_or_else(|| panic!("{path}: {answer}"))
        .to_owned()
}

/// Opens it, speaks and leaves; the callbacks come to `path`.
async fn converse(
    world: &TestWorld,
    path: &str,
    callbacks: &mut mpsc::UnboundedReceiver<(String, Value)>,
) {
    let url = ask(world, path).await;
    let mut socket = PhoneSocket::open(world, &url).await.expect("accepted");
    socket.sends("message:{\"type\":\"speak\"}").await;
    socket.sends("close").await;
    for kind in ["connect", "message", "close"] {
        let (came_to, data) = soon(callbacks.recv()).await.expect("a callback");
        assert_eq!((&*came_to, text(&data["type"])), (path, kind));
    }
}

#[tokio::test]
async fn an_app_that_only_takes_callbacks_has_weappd_open_its_tunnels() {
    for (dialects, paths) in [
        ("[\"wafer2\"]", vec!["/weapp/tunnel"]),
        ("[\"wafer1\"]", vec!["/tunnel"]),
        ("[\"wafer1\", \"wafer2\"]", vec!["/weapp/tunnel", "/tunnel"]),
    ] {
        for issuer in ["auto", "weappd"] {
            let (app, mut callbacks) = listener();
            let world = WorldRecipe::new()
                .site(&format!("proxy = \"{app}\"\ndialects = {dialects}"))
                .sections(&format!("[tunnel]\nkey = \"{KEY}\"\nissuer = \"{issuer}\""))
                .serve();
            for path in &paths {
                converse(&world, path, &mut callbacks).await;
            }
        }
    }
}

#[tokio::test]
async fn callbacks_need_no_session_where_everything_else_does() {
    let (app, mut callbacks) = listener();
    let world = WorldRecipe::new()
        .site(&format!(
            "routes = [{{ path = \"/\", proxy = \"{app}\", session = \"require\" }}]"
        ))
        .sections(&format!("[tunnel]\nkey = \"{KEY}\""))
        .serve();
    let stranger = world.site().post("/weapp/tunnel").send().await;
    assert_eq!(stranger.status(), hyper::StatusCode::UNAUTHORIZED);
    converse(&world, "/weapp/tunnel", &mut callbacks).await;
}

#[tokio::test]
async fn nobody_gets_a_tunnel_of_weappds_without_a_session() {
    let (app, _callbacks) = listener();
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{app}\""))
        .sections(&format!("[tunnel]\nkey = \"{KEY}\""))
        .serve();
    for skey in ["", "0"] {
        let site = world.site();
        let asked = site.get("/weapp/tunnel").header("x-wx-skey", skey);
        let answer = asked.send().await;
        assert_eq!(answer.status(), hyper::StatusCode::UNAUTHORIZED);
    }
}
