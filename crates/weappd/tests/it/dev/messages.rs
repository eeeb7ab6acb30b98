//! What a phone says to the mini program reaches the app of `weappd dev`.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{APPID, fixture, profile, wechat};
use crate::http;
use crate::process::PATIENCE;
use crate::world::{TestWorld, text};

/// What the app got, once there are `count` messages.
async fn got(world: &TestWorld, count: usize) -> Vec<Value> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let got = http::json(&world.plain().get("/got").send().await);
        let got = got.as_array().expect("a list").clone();
        if got.len() >= count {
            return got;
        }
        assert!(Instant::now() < deadline, "{got:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn customer_messages_and_events_reach_the_app() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let world = TestWorld::dev_in(dir, &["--", "node", &fixture("messages.js")]).await;
    let desk = wechat(&world);
    let push = http::json(&desk.get("/push").send().await);
    assert!(push.to_string().contains("safe"), "{push}");
    let verified = desk.post("/push/verify").json(&json!({})).send().await;
    assert_eq!(http::json(&verified), json!({"verified": true}));

    let said = desk.post("/phone/alice/say").json(&json!({"text": "你好"}));
    assert_eq!(said.send().await.status(), 200);
    got(&world, 1).await;
    let entered = desk.post("/phone/alice/enter_session").json(&json!({}));
    assert_eq!(entered.send().await.status(), 200);
    let got = got(&world, 2).await;
    let alice = profile(&world, "alice").await;
    for told in &got {
        assert_eq!(told["openid"], alice["openid"]);
        assert_eq!(told["appid"], APPID);
    }
    assert_eq!(text(&got[0]["message"]["Content"]), "你好");
    assert_eq!(text(&got[1]["message"]["Event"]), "user_enter_tempsession");

    let forged = desk.post("/push/send").json(&json!({
        "user": "alice", "forged": true, "message": {"MsgType": "text", "Content": "no"},
    }));
    let forged = http::json(&forged.send().await);
    assert_eq!(forged["acknowledged"], false, "{forged}");
}
