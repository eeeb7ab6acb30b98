//! What a phone with a session brings later: its user's name, and encrypted data.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use weappd_wechat::open_data;

use crate::wechat::session_key;
use crate::world::{APP, Answer, OTHER_APP, World};

async fn ask(world: &World, method: &str, what: &str, skey: &str, body: &Value) -> Answer {
    let path = format!("/weapp/session/{what}");
    let headers = [("X-WX-Skey", skey)];
    let body = Body::from(body.to_string());
    world.call(method, &path, &headers, body).await
}

/// Data as WeChat encrypts it with the key of `key_of`.
fn encrypted(key_of: &str, appid: &str, at: i64) -> Value {
    let plain = json!({
        "stepInfoList": [{"timestamp": at, "step": 100}],
        "watermark": {"timestamp": at, "appid": appid},
    });
    let data = open_data::encrypt(&session_key(key_of), &plain.to_string(), [9; 16]);
    json!({"encryptedData": data.expect("encrypts"), "iv": open_data::iv_text([9; 16])})
}

fn code(answer: &Answer) -> &str {
    answer.json["error"]["code"].as_str().unwrap_or("none")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_chooses_a_name_and_a_picture() {
    let mut world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let body = json!({"nickName": "三木😀", "avatarUrl": "https://a.example/1.png"});
    let answer = ask(&world, "PUT", "profile", &skey, &body).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json["user"]["info"]["nickName"], "三木😀");
    world.restart().await;
    let user = world.user(&skey).await;
    assert_eq!(user["data"]["nickName"], "三木😀");
    assert_eq!(user["data"]["avatarUrl"], "https://a.example/1.png");
    assert_eq!(user["data"]["openId"], "o1", "the rest stays");
    let answer = ask(&world, "PUT", "profile", &skey, &json!({"openId": "o2"})).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let answer = ask(&world, "PUT", "profile", "nobody", &body).await;
    assert_eq!(code(&answer), "session_unknown");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_data_is_taken_with_wechats_signature_only() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let raw = r#"{"nickName":"签名","openId":"o2"}"#;
    let signature = open_data::raw_data_signature(raw, &session_key("o1"));
    let body = json!({"rawData": raw, "signature": signature});
    let answer = ask(&world, "PUT", "profile", &skey, &body).await;
    assert_eq!(answer.json["user"]["info"]["nickName"], "签名");
    assert_eq!(answer.json["user"]["info"]["openId"], "o1");
    let forged = json!({"rawData": raw.replace('签', "假"), "signature": signature});
    let answer = ask(&world, "PUT", "profile", &skey, &forged).await;
    assert_eq!(
        (answer.status, code(&answer)),
        (StatusCode::BAD_REQUEST, "bad_signature")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn open_data_opens_if_it_is_ours_and_new() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let now = 1_800_000_000;
    let answer = ask(&world, "POST", "decrypt", &skey, &encrypted("o1", APP, now)).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    assert_eq!(answer.json["kind"], "werun");
    assert_eq!(answer.json["data"]["stepInfoList"][0]["step"], 100);
    for (key_of, appid, at, expected) in [
        ("o1", APP, now - 3601, "bad_user_data"),
        ("o1", APP, now + 301, "bad_user_data"),
        ("o1", OTHER_APP, now, "bad_user_data"),
        ("o2", APP, now, "bad_user_data"),
    ] {
        let answer = ask(
            &world,
            "POST",
            "decrypt",
            &skey,
            &encrypted(key_of, appid, at),
        )
        .await;
        assert_eq!(code(&answer), expected, "{key_of} {appid} {at}");
        assert!(answer.status.is_client_error());
    }
    let answer = ask(&world, "POST", "decrypt", &skey, &json!({"iv": 1})).await;
    assert_eq!(code(&answer), "bad_request");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_session_keys_still_open_and_older_ones_do_not() {
    let mut world = World::new().await;
    let mut skey = String::new();
    for n in 1..=4 {
        let key = session_key(&format!("key{n}"));
        let login = json!({"openid": "o1", "session_key": key.expose()});
        world.wechat.answer(&format!("c{n}"), login);
        let answer = world.native(&json!({"code": format!("c{n}")})).await;
        skey = answer.json["skey"].as_str().expect("an skey").to_owned();
        world.hand.advance(20);
    }
    world.restart().await;
    let now = 1_800_000_000;
    for (n, opens) in [(1, false), (2, true), (3, true), (4, true)] {
        let body = encrypted(&format!("key{n}"), APP, now);
        let answer = ask(&world, "POST", "decrypt", &skey, &body).await;
        assert_eq!(
            answer.status == StatusCode::OK,
            opens,
            "key {n}: {answer:?}"
        );
    }
}
