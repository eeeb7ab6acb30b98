//! What an app has signed with a user's session key, which it never sees.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use weappd_session::Config;

use crate::wechat::session_key;
use crate::world::{APP, Answer, OTHER_APP, World, send};

/// Of a test that `WxJava` has of virtual payments.
const SIGN_DATA: &str = r#"{"offerId":"1450019686","buyQuantity":1,"env":0,"currencyType":"CNY","productId":"product_001","goodsPrice":100,"outTradeNo":"order12345","attach":"attach中文"}"#;
const SIGNED: &str = "602f76d9cadf36c232f7f6c1faa5fe295b0f955d188049997d0df699c0619c86";
/// Of WeChat's page on virtual payments.
const SERVER_CALL: &str = r#"{"openid": "xxx", "user_ip": "127.0.0.1", "env": 0}"#;
const SERVER_CALL_SIGNED: &str = "089d9e8dc5d308977360c4b79ec600a93d736802802a807d634192328032f6c7";

async fn log_in(world: &World, code: &str, openid: &str, key: &str) -> String {
    let login = json!({"openid": openid, "session_key": key});
    world.wechat.answer(code, login);
    let answer = world.native(&json!({"code": code})).await;
    answer.json["skey"].as_str().expect("an skey").to_owned()
}

async fn sign(world: &World, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let body = Body::from(body.to_owned());
    let path = format!("/v1/sign{path}");
    world.call("POST", &path, headers, body).await
}

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test(flavor = "multi_thread")]
async fn the_known_examples_are_signed_as_they_are_known() {
    let world = World::new().await;
    let skey = log_in(&world, "c1", "o1", "session_key_123").await;
    let official = log_in(&world, "c2", "o2", "9hAb/NEYUlkaMBEsmFgzig==").await;
    world.hand.advance(90);
    for (skey, text, signature) in [
        (&skey, SIGN_DATA, SIGNED),
        (&official, SERVER_CALL, SERVER_CALL_SIGNED),
    ] {
        let shown = ("x-wx-skey", skey.as_str());
        let as_json = json!({"text": text, "method": "hmac_sha256"}).to_string();
        for (headers, body) in [
            (vec![shown, JSON], as_json.as_str()),
            (
                vec![shown, ("content-type", "text/plain; charset=utf-8")],
                text,
            ),
            (
                vec![shown, ("content-type", "application/octet-stream")],
                text,
            ),
            (vec![shown], text),
        ] {
            let answer = sign(&world, "", &headers, body).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(answer.json["signature"], signature, "{answer:?}");
            assert_eq!(answer.json["method"], "hmac_sha256");
            assert_eq!(answer.json["session_key_given_at"], 1_800_000_000);
            assert_eq!(answer.json["session_key_age_secs"], 90);
            assert!(!answer.json.to_string().contains("session_key_123"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_names_the_user_where_no_phone_calls() {
    let mut world = World::new().await;
    log_in(&world, "c1", "o1", "session_key_123").await;
    world.restart().await;
    let body = json!({"text": SIGN_DATA, "openid": "o1", "appid": APP}).to_string();
    let answer = sign(&world, "", &[JSON], &body).await;
    assert_eq!(answer.json["signature"], SIGNED, "{answer:?}");
    let path = format!("?openid=o1&appid={APP}");
    let answer = sign(&world, &path, &[("content-type", "text/plain")], SIGN_DATA).await;
    assert_eq!(answer.json["signature"], SIGNED);
    assert_eq!(answer.json["openid"], "o1");
    // The newest key signs.
    world.hand.advance(11);
    log_in(&world, "c2", "o1", "9hAb/NEYUlkaMBEsmFgzig==").await;
    let answer = sign(&world, &path, &[], SERVER_CALL).await;
    assert_eq!(answer.json["signature"], SERVER_CALL_SIGNED);
}

async fn refused(
    world: &World,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
    expected: (u16, &str),
) {
    let answer = sign(world, path, headers, body).await;
    let code = answer.json["error"]["code"].as_str().unwrap_or_default();
    let told = (answer.status.as_u16(), code);
    assert_eq!(told, expected, "{path} {body:.80} {answer:?}");
    assert!(answer.json.get("signature").is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_signed_is_told() {
    let world = World::new().await;
    let skey = log_in(&world, "c1", "o1", "session_key_123").await;
    let shown = ("x-wx-skey", skey.as_str());
    let named = |openid: &str, appid: &str| {
        json!({"text": "t", "openid": openid, "appid": appid}).to_string()
    };
    let bodies = [
        (vec![JSON], r#"{"text":"t"}"#.to_owned()),
        (vec![JSON], r#"{"text":"t","openid":"o1"}"#.to_owned()),
        (vec![JSON, shown], r#"{"text":""}"#.to_owned()),
        (vec![JSON, shown], "{}".to_owned()),
        (vec![shown], String::new()),
        (vec![JSON, shown], SERVER_CALL.to_owned()),
        (vec![JSON, shown], r#"["t"]"#.to_owned()),
        (
            vec![JSON, shown],
            r#"{"text":"t","method":"md5"}"#.to_owned(),
        ),
        (vec![JSON, shown], named("o2", APP)),
        (vec![JSON, shown], named("o1", OTHER_APP)),
    ];
    for (headers, body) in bodies {
        refused(&world, "", &headers, &body, (400, "bad_request")).await;
    }
    for (path, told) in [
        ("?text=t", (400, "bad_request")),
        ("?check=perhaps", (400, "bad_request")),
        // Nobody here can ask WeChat.
        ("?check=true", (501, "no_access_token")),
    ] {
        refused(&world, path, &[shown], "t", told).await;
    }
    for appid in [APP, OTHER_APP] {
        let openid = if appid == APP { "o2" } else { "o1" };
        let body = named(openid, appid);
        refused(&world, "", &[JSON], &body, (404, "no_user")).await;
    }
    let unknown = [JSON, ("x-wx-skey", "nobody")];
    refused(&world, "", &unknown, &named("o1", APP), (401, "no_session")).await;
    let long = "x".repeat(65_537);
    refused(&world, "", &[shown], &long, (413, "body_too_large")).await;
    // The longest that goes.
    let answer = sign(&world, "", &[shown], &"x".repeat(65_536)).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn whether_wechat_still_takes_the_key_is_told_where_asked() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let headers = [("x-wx-skey", skey.as_str())];
    let answer = sign(&world, "", &headers, "t").await;
    assert_eq!(answer.json.get("session_key_valid"), None);
    let answer = sign(&world, "?check=true", &headers, "t").await;
    assert_eq!(answer.json["session_key_valid"], true, "{answer:?}");
    platform.wx("alice", "login").await;
    let body = json!({"text": "t", "check": true}).to_string();
    let answer = sign(&world, "", &[headers[0], JSON], &body).await;
    assert_eq!(answer.json["session_key_valid"], false, "{answer:?}");
    assert!(answer.json["signature"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_weappd_believes_is_signed_so() {
    let world = World::new().await;
    let key = session_key("o1");
    let skey = log_in(&world, "c1", "o1", key.expose()).await;
    let raw = r#"{"nickName":"forged"}"#;
    let headers = [("x-wx-skey", skey.as_str())];
    // Whatever is put in front or behind, it is another construction.
    let texts = [raw.to_owned(), format!("{raw}{}", key.expose())];
    for text in &texts {
        let answer = sign(&world, "", &headers, text).await;
        let signature = answer.json["signature"].as_str().expect("a signature");
        for signature in [signature, &signature[..40]] {
            let body = json!({"rawData": raw, "signature": signature}).to_string();
            let path = "/weapp/session/profile";
            let answer = world.call("PUT", path, &headers, Body::from(body)).await;
            assert_eq!(answer.json["error"]["code"], Value::from("bad_signature"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_openid_in_two_mini_programs_has_two_keys() {
    let world = World::new().await;
    log_in(&world, "c1", "o1", "session_key_123").await;
    let login = json!({"openid": "o1", "session_key": "9hAb/NEYUlkaMBEsmFgzig=="});
    world.wechat.answer("c2", login);
    let body = Body::from(json!({"code": "c2"}).to_string());
    let router = world.router(OTHER_APP);
    let answer = send(router, "POST", "/weapp/session", &[], body).await;
    let theirs = answer.json["skey"].as_str().expect("an skey");
    for (appid, text, signature) in [
        (APP, SIGN_DATA, SIGNED),
        (OTHER_APP, SERVER_CALL, SERVER_CALL_SIGNED),
    ] {
        let path = format!("?openid=o1&appid={appid}");
        let answer = sign(&world, &path, &[], text).await;
        assert_eq!(answer.json["signature"], signature, "{answer:?}");
        assert_eq!(answer.json["appid"], appid);
    }
    // The session's own mini program counts.
    let answer = sign(&world, "", &[("x-wx-skey", theirs)], SERVER_CALL).await;
    assert_eq!(answer.json["signature"], SERVER_CALL_SIGNED);
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_the_key_nor_the_text_is_drawn() {
    let world = World::new().await;
    let skey = log_in(&world, "c1", "o1", "session_key_123").await;
    let mut heard = world.tap.subscribe().expect("a tap that is on");
    let answer = sign(&world, "", &[("x-wx-skey", &skey)], SIGN_DATA).await;
    assert_eq!(answer.json["signature"], SIGNED);
    let hop = heard.try_recv().expect("the call is drawn");
    assert_eq!(
        (hop.name.as_str(), hop.who.as_deref()),
        ("sign", Some("o1"))
    );
    let drawn = hop.detail.to_string();
    for secret in ["session_key_123", "order12345", SIGNED, &skey] {
        assert!(!drawn.contains(secret), "{drawn}");
    }
}
