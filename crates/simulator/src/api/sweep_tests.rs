//! Every documented path with every mistake a server can make at the door; and the user's
//! own keys.

use http::{StatusCode, header};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use weappd_base::secret::Secret;
use weappd_wechat::open_data;

use crate::endpoints;
use crate::http::simulator_world::{SimulatorWorld, bytes_of};

/// What WeChat said, which is text and, if it is an error, has a trace id.
async fn told(
    world: &SimulatorWorld,
    method: &str,
    target: &str,
    body: &str,
) -> (StatusCode, Value) {
    let answer = world.send(method, target, body.to_owned()).await;
    let status = answer.status();
    let kind = answer.headers()[header::CONTENT_TYPE].clone();
    let body = bytes_of(answer).await;
    if kind == "image/png" {
        return (status, Value::Null);
    }
    assert_eq!(kind, "text/plain", "{method} {target}");
    let told: Value = serde_json::from_slice(&body).expect("JSON");
    if told["errcode"].as_i64().unwrap_or(0) != 0 {
        let errmsg = told["errmsg"].as_str().expect("an errmsg");
        let (words, rid) = errmsg.rsplit_once(", rid: ").expect(errmsg);
        let parts: Vec<&str> = rid.split('-').collect();
        let hex = |part: &&str| part.len() == 8 && part.bytes().all(|c| c.is_ascii_hexdigit());
        assert!(!words.is_empty() && parts.len() == 3, "{errmsg}");
        assert!(parts.iter().all(hex), "{errmsg}");
    }
    (status, told)
}

#[tokio::test]
async fn every_error_of_every_path_is_text_with_a_trace_id() {
    let world = SimulatorWorld::new();
    let token = world.token().await;
    let (mut paths, mut errors) = (0, 0);
    for (path, method) in endpoints::all() {
        paths += 1;
        let other = if method == "GET" { "POST" } else { "GET" };
        for (method, query, body) in [
            (method.as_str(), String::new(), ""),
            (method.as_str(), "access_token=unknown".to_owned(), ""),
            (other, format!("access_token={token}"), "{}"),
            (method.as_str(), format!("access_token={token}"), ""),
            (method.as_str(), format!("access_token={token}"), "not json"),
            (method.as_str(), format!("access_token={token}"), "[1]"),
            (method.as_str(), format!("access_token={token}"), "{}"),
        ] {
            let (status, told) = told(&world, method, &format!("{path}?{query}"), body).await;
            assert_eq!(status, StatusCode::OK, "{method} {path} {told}");
            errors += usize::from(told["errcode"].as_i64().unwrap_or(0) != 0);
            if method == other {
                let number = if other == "GET" { 43002 } else { 43001 };
                assert_eq!(told["errcode"], number, "{path}");
            }
        }
    }
    // All paths but the four that carry no token refuse the first three.
    assert!(paths > 430 && errors >= 3 * (paths - 4), "{paths} {errors}");
    let (status, told) = told(&world, "POST", "/wxa/nothing", "{}").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert_eq!(told["errcode"], 40066);
}

#[tokio::test]
async fn a_phone_and_its_server_share_keys_that_end() {
    let world = SimulatorWorld::new();
    let login = world.post("/phone/alice/login", json!({})).await;
    let code = login["code"].as_str().expect("a code");
    let session = world
        .get(&format!(
            "/sns/jscode2session?appid=wx1&secret=s1&js_code={code}&grant_type=authorization_code"
        ))
        .await;
    let key = Secret::new(session["session_key"].as_str().expect("a key"));
    let openid = session["openid"].as_str().expect("an openid");
    let signature = open_data::login_state_signature(&key, "");
    let ask = async |signature: &str, method: &str| {
        let token = world.token().await;
        let path = "/wxa/business/getuserencryptkey";
        world
            .get(&format!(
                "{path}?access_token={token}&openid={openid}&signature={signature}&sig_method={method}"
            ))
            .await
    };
    let sha = "hmac_sha256";
    let list = |told: &Value| told["key_info_list"].as_array().expect("a list").clone();
    assert!(list(&ask(&signature, sha).await).is_empty());

    let mut phones = Vec::new();
    for _ in 0..4 {
        let given = world.post("/phone/alice/user_key", json!({})).await;
        // The same again, until its hour is over.
        assert_eq!(world.post("/phone/alice/user_key", json!({})).await, given);
        let told = ask(&signature, sha).await;
        let newest = &list(&told)[0];
        assert_eq!(newest["encrypt_key"], given["encryptKey"]);
        assert_eq!(newest["iv"], given["iv"]);
        assert_eq!(newest["iv"].as_str().map(str::len), Some(16));
        assert_eq!(newest["version"], given["version"]);
        assert_eq!(newest["expire_in"], 3600);
        phones.push(given);
        world.hand.advance(3600);
        assert!(list(&ask(&signature, sha).await).is_empty());
    }
    assert_eq!(phones[3]["version"], 4);
    assert_ne!(phones[3]["encryptKey"], phones[2]["encryptKey"]);

    assert_eq!(ask("wrong", sha).await["errcode"], 87009);
    assert_eq!(ask(&signature, "md5").await["errcode"], 87008);
    world.post("/phone/alice/expire_session", json!({})).await;
    assert_eq!(ask(&signature, sha).await["errcode"], 87007);
    let refused = world.post("/phone/alice/user_key", json!({})).await;
    assert_eq!(
        refused["errMsg"],
        "getLatestUserKey:fail wx.login is needed first"
    );
}

#[tokio::test]
async fn encrypted_numbers_are_known_for_three_days() {
    let world = SimulatorWorld::new();
    world.log_in("alice").await;
    let pressed = world.post("/phone/alice/phone_number", json!({})).await;
    let data = pressed["encryptedData"].as_str().expect("data");
    let hash = hex::encode(Sha256::digest(data));
    let path = "/wxa/business/checkencryptedmsg";
    let ask = async |hash: &str| {
        world
            .call(path, json!({ "encrypted_msg_hash": hash }))
            .await
    };
    let told = ask(&hash).await;
    assert_eq!(
        (&told["errcode"], &told["vaild"]),
        (&json!(0), &json!(true))
    );
    assert_eq!(told["create_time"], crate::http::simulator_world::NOW);
    assert_eq!(ask(&"0".repeat(64)).await["errcode"], 1);
    assert_eq!(ask("short").await["errcode"], 40097);
    // Another mini program's data is not this one's.
    let elsewhere = world.stable("wx2", "s2", false).await.0;
    let body = json!({ "encrypted_msg_hash": hash });
    let told = world
        .post(&format!("{path}?access_token={elsewhere}"), body)
        .await;
    assert_eq!(told["errcode"], 1);
    world.hand.advance(3 * 86_400);
    assert_eq!(ask(&hash).await["errcode"], 1);
}
