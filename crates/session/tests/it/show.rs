//! A user as the people who run the house are shown them.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use weappd_session::Config;

use crate::platform::asked;
use crate::world::{APP, OTHER_APP, World, send};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/zh_CN";

async fn control(world: &World, path: &str) -> Value {
    let answer = send(world.router(APP), "GET", path, &[], Body::empty()).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json["users"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_shown_with_devices_and_without_secrets() {
    let (mut world, platform) = World::simulated(Config::default()).await;
    let code = platform.wx("alice", "login").await["code"].clone();
    let mut request = Request::post("/weapp/session")
        .header("User-Agent", IPHONE)
        .body(Body::from(json!({"code": code}).to_string()))
        .expect("a request");
    let peer: SocketAddr = "[::ffff:192.0.2.7]:1".parse().expect("an address");
    request.extensions_mut().insert(ConnectInfo(peer));
    let login = world.router(APP).oneshot(request).await.expect("an answer");
    assert_eq!(login.status(), StatusCode::OK);
    world.hand.advance(60);
    let skey = platform.log_in(&world, "alice").await;
    let code = platform.wx("alice", "phone_number").await["code"].clone();
    let answer = asked(&world, ("POST", "/phone"), &skey, &json!({"code": code})).await;
    let user = &answer.json["user"];
    let number = user["phone"]["pure_phone_number"]
        .as_str()
        .expect("a number");
    let openid = user["openid"].as_str().expect("an openid");
    world.restart().await;

    let users = control(&world, &format!("/users?openid={openid}")).await;
    let shown = &users[0];
    assert_eq!(
        (&shown["appid"], &shown["openid"]),
        (&json!(APP), &json!(openid))
    );
    assert_eq!(shown["id"], user["id"]);
    assert_eq!(shown["first_login"], 1_800_000_000);
    assert_eq!(shown["last_login"], 1_800_000_060);
    assert_eq!(shown["keys_given"], json!([1_800_000_060, 1_800_000_000]));
    let phone = shown["phone"].as_str().expect("a masked number");
    assert!(
        phone.starts_with("+86 ") && phone.contains("****"),
        "{phone}"
    );
    assert_eq!(shown["phone_verified_at"], 1_800_000_060);
    let sessions = shown["sessions"].as_array().expect("sessions");
    assert_eq!(sessions.len(), 2);
    assert_eq!(
        sessions[1]["device"],
        "iPhone, iOS 17.5, WeChat 8.0.49, WIFI"
    );
    assert_eq!(sessions[1]["address"], "192.0.2.7");
    assert_eq!(
        (&sessions[0]["device"], &sessions[0]["address"]),
        (&Value::Null, &Value::Null)
    );
    let text = users.to_string();
    assert!(!text.contains(number) && !text.contains(&skey), "{text}");

    // The same by the number of a session; and nothing for nobody.
    let path = format!("/sessions/{}", sessions[1]["session"]);
    assert_eq!(control(&world, &path).await, users);
    assert_eq!(control(&world, "/sessions/999999").await, json!([]));
    assert_eq!(control(&world, "/users?openid=nobody").await, json!([]));
    let elsewhere = format!("/users?openid={openid}&appid={OTHER_APP}");
    assert_eq!(control(&world, &elsewhere).await, json!([]));
    let unclear = send(world.router(APP), "GET", "/users", &[], Body::empty()).await;
    assert_eq!(unclear.status, StatusCode::BAD_REQUEST);
}
