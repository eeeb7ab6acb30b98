//! Logging in, in every dialect phones speak; refusing; expiring.

use std::time::{Duration, Instant};

use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::{APPID, MARK, profile, wechat};
use crate::http;
use crate::process::PATIENCE;
use crate::world::{TestWorld, text};

fn is_skey(skey: &str) -> bool {
    let is_hex = |digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
    skey.len() == 76 && skey.bytes().all(is_hex)
}

#[tokio::test]
async fn wafer_2_logs_in_with_user_data_and_is_known_then() {
    let world = TestWorld::dev().await;
    let mut alice = world.phone("alice");
    let about = profile(&world, "alice").await;
    let answer = alice.log_in().await;
    assert!(is_skey(text(&answer["data"]["skey"])));
    let told = &answer["data"]["userinfo"];
    assert_eq!(
        (&told["openId"], &told["nickName"]),
        (&about["openid"], &about["nickName"])
    );
    assert_eq!(told["watermark"]["appid"], APPID);
    let user = alice.user().await;
    assert_eq!((&user["code"], &user["data"]), (&json!(0), told));

    // Two phones are two users.
    let mut bob = world.phone("bob");
    let other = bob.log_in().await;
    assert_ne!(other["data"]["userinfo"]["openId"], told["openId"]);
    assert_eq!(&alice.user().await["data"], told);

    alice.skey = Some("0".repeat(64));
    let unknown = alice.user().await;
    assert_eq!(unknown, json!({"code": -1, "error": "ERR_SKEY_INVALID"}));
}

#[tokio::test]
async fn wafer_2_tells_what_was_wrong_with_a_login() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let site = world.site();
    let missed = http::json(&site.get("/weapp/login").send().await);
    assert_eq!(missed, json!({"code": -1, "error": "ERR_HEADER_MISSED"}));
    let unknown = site.get("/weapp/login").header("x-wx-code", "never given");
    let unknown = http::json(&unknown.send().await);
    let words = text(&unknown["error"]);
    assert!(words.starts_with("ERR_GET_SESSION_KEY\n"), "{words}");
    assert!(words.contains("\"errcode\":40029"), "{words}");
    // Somebody else's user data does not open with this user's key.
    let bob = world.phone("bob");
    bob.code().await;
    let data = bob.wx("user_info", &json!({})).await;
    let code = alice.code().await;
    let stolen = site
        .get("/weapp/login")
        .header("x-wx-code", &code)
        .header("x-wx-encrypted-data", text(&data["encryptedData"]))
        .header("x-wx-iv", text(&data["iv"]));
    let stolen = http::json(&stolen.send().await);
    let words = text(&stolen["error"]);
    assert!(words.starts_with("ERR_IN_DECRYPT_DATA\n"), "{words}");
}

#[tokio::test]
async fn wafer_1_logs_in_and_is_known_then() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let site = world.site();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let code = alice.code().await;
        let data = alice.wx("user_info", &json!({})).await;
        let login = site
            .get("/login")
            .header("x-wx-code", &code)
            .header("x-wx-encrypted-data", text(&data["encryptedData"]))
            .header("x-wx-iv", text(&data["iv"]));
        let login = http::json(&login.send().await);
        assert_eq!(login[MARK], 1, "{login}");
        let (id, skey) = (
            text(&login["session"]["id"]),
            text(&login["session"]["skey"]),
        );
        assert!(is_skey(skey), "{login}");
        let user = site
            .get("/user")
            .header("x-wx-id", id)
            .header("x-wx-skey", skey);
        let user = http::json(&user.send().await);
        assert_eq!(user["code"], 0, "{user}");
        assert_eq!(
            user["data"]["userInfo"]["nickName"],
            data["userInfo"]["nickName"]
        );
        let stranger = site
            .get("/user")
            .header("x-wx-id", "x")
            .header("x-wx-skey", skey);
        let stranger = http::json(&stranger.send().await);
        assert_eq!(stranger["error"], "ERR_INVALID_SESSION", "{stranger}");
        ids.push(id.to_owned());
    }
    assert_eq!(ids[0], ids[1], "the id is given once");
    let refused = site.get("/login").header("x-wx-code", "never given");
    let refused = http::json(&refused.send().await);
    assert_eq!(
        (&refused[MARK], &refused["error"]),
        (&json!(1), &json!("ERR_LOGIN_FAILED"))
    );
}

#[tokio::test]
async fn a_native_session_is_opened_shown_and_ended() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let about = profile(&world, "alice").await;
    let site = world.site();
    let code = alice.code().await;
    let data = alice.wx("user_info", &json!({})).await;
    let asked = json!({"code": code, "encryptedData": data["encryptedData"], "iv": data["iv"]});
    let opened = site.post("/weapp/session").json(&asked).send().await;
    assert_eq!(opened.status(), StatusCode::OK);
    let opened = http::json(&opened);
    let user = &opened["user"];
    assert_eq!(
        (&user["openid"], &user["unionid"]),
        (&about["openid"], &about["unionid"])
    );
    assert_eq!(
        (&user["appid"], &user["info"]["nickName"]),
        (&json!(APPID), &about["nickName"])
    );
    let skey = text(&opened["skey"]);
    let bearer = format!("Bearer {skey}");
    let show = |method| {
        site.request(method, "/weapp/session")
            .header("authorization", &bearer)
    };

    let mut shown = http::json(&show(Method::GET).send().await);
    assert_eq!(shown["skey"], Value::Null, "an skey is told once");
    shown["skey"] = opened["skey"].clone();
    assert_eq!(shown["user"], opened["user"]);
    // A session is one in all dialects.
    let wafer2 = site
        .get("/weapp/user")
        .header("x-wx-skey", skey)
        .send()
        .await;
    assert_eq!(http::json(&wafer2)["data"]["nickName"], about["nickName"]);

    assert_eq!(
        show(Method::DELETE).send().await.status(),
        StatusCode::NO_CONTENT
    );
    let gone = show(Method::GET).send().await;
    assert_eq!(gone.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(http::json(&gone)["error"]["code"], "session_unknown");
    let wafer2 = site
        .get("/weapp/user")
        .header("x-wx-skey", skey)
        .send()
        .await;
    assert_eq!(http::json(&wafer2)["code"], -1);

    let half = json!({"code": alice.code().await, "iv": "AAAAAAAAAAAAAAAAAAAAAA=="});
    let half = site.post("/weapp/session").json(&half).send().await;
    assert_eq!(half.status(), StatusCode::BAD_REQUEST);
    let bad = site
        .post("/weapp/session")
        .json(&json!({"code": "never given"}));
    let bad = bad.send().await;
    assert_eq!(bad.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(http::json(&bad)["error"]["errcode"], 40029);
}

#[tokio::test]
async fn who_refuses_logs_in_by_the_code_alone() {
    let world = TestWorld::dev().await;
    let mut alice = world.phone("alice");
    let about = profile(&world, "alice").await;
    alice.code().await;
    alice.wx("authorize", &json!({"allow": false})).await;
    let denied = alice.wx("user_info", &json!({})).await;
    assert_eq!(denied, json!({"errMsg": "getUserInfo:fail auth deny"}));

    let site = world.site();
    let code = alice.code().await;
    let login = site
        .get("/weapp/login")
        .header("x-wx-code", &code)
        .send()
        .await;
    let login = http::json(&login);
    assert_eq!(login["code"], 0, "{login}");
    assert_eq!(login["data"]["userinfo"]["openId"], about["openid"]);
    assert_eq!(login["data"]["userinfo"]["nickName"], Value::Null);
    alice.skey = Some(text(&login["data"]["skey"]).to_owned());
    assert_eq!(alice.user().await["data"]["openId"], about["openid"]);

    // Agreeing later adds the name to the same user.
    alice.wx("authorize", &json!({"allow": true})).await;
    let later = alice.log_in().await;
    assert_eq!(later["data"]["userinfo"]["openId"], about["openid"]);
    assert_eq!(later["data"]["userinfo"]["nickName"], about["nickName"]);
}

#[tokio::test]
async fn what_expired_is_renewed_with_a_new_code() {
    let world = TestWorld::dev().await;
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let old = alice.skey.clone().expect("logged in");
    assert_eq!(alice.wx("check_session", &json!({})).await["valid"], true);
    alice.wx("expire_session", &json!({})).await;
    assert_eq!(alice.wx("check_session", &json!({})).await["valid"], false);
    // Without a login WeChat gives no user data either.
    let denied = alice.wx("user_info", &json!({})).await;
    assert!(
        text(&denied["errMsg"]).starts_with("getUserInfo:fail"),
        "{denied}"
    );

    // The server ends its own session; the phone hears -1 and does what the SDKs do.
    let site = world.site();
    let ended = site
        .request(Method::DELETE, "/weapp/session")
        .header("x-wx-skey", &old);
    assert_eq!(ended.send().await.status(), StatusCode::NO_CONTENT);
    assert_eq!(alice.user().await["code"], -1);
    let again = alice.log_in().await;
    assert_ne!(alice.skey.as_deref(), Some(old.as_str()));
    assert_eq!(alice.wx("check_session", &json!({})).await["valid"], true);
    assert_eq!(alice.user().await["data"], again["data"]["userinfo"]);
}

#[tokio::test]
async fn a_bad_day_of_wechat_is_told_and_passes() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let site = world.site();
    for (fault, status, code) in [
        (json!({"errcode": 45011}), 429, "too_many_logins"),
        (json!({"errcode": 40226}), 403, "user_blocked"),
        (json!({"errcode": -1}), 503, "wechat_busy"),
        (json!("wrong_json"), 502, "wechat_malformed"),
        (json!("reset"), 502, "wechat_unreachable"),
        (json!("half"), 502, "wechat_unreachable"),
    ] {
        // Some refusals weappd asks about once more before it believes them.
        let faults = json!({"fault": fault, "next": 10});
        let set = wechat(&world).post("/faults").json(&faults).send().await;
        assert_eq!(set.status(), StatusCode::OK, "{faults}");
        let body = json!({"code": alice.code().await});
        let failed = site.post("/weapp/session").json(&body).send().await;
        let said = http::json(&failed);
        assert_eq!(
            (failed.status().as_u16(), text(&said["error"]["code"])),
            (status, code),
            "{fault} {said}"
        );
        wechat(&world).post("/faults").json(&json!({})).send().await;
        let body = json!({"code": alice.code().await});
        let well = site.post("/weapp/session").json(&body).send().await;
        assert_eq!(well.status(), StatusCode::OK, "after {fault}");
    }
}

#[tokio::test]
async fn a_login_goes_on_when_its_phone_hangs_up() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let openid = text(&profile(&world, "alice").await["openid"]).to_owned();
    let code = alice.code().await;
    let slow = json!({"latency_ms": 500, "path": "/sns/jscode2session"});
    wechat(&world).post("/faults").json(&slow).send().await;

    let mut phone = TcpStream::connect(world.http).await.expect("connected");
    let host = world.http;
    let login = format!("GET /weapp/login HTTP/1.1\r\nhost: {host}\r\nx-wx-code: {code}\r\n\r\n");
    phone.write_all(login.as_bytes()).await.expect("sent");
    tokio::time::sleep(Duration::from_millis(100)).await;
    drop(phone);

    let sessions = || {
        let listed = world.command(&["session", "list", "--openid", &openid, "--json"]);
        let listed: Value = serde_json::from_slice(&listed.stdout).expect("JSON");
        listed["sessions"].as_array().expect("a list").len()
    };
    assert_eq!(sessions(), 0, "WeChat has not answered yet");
    let deadline = Instant::now() + PATIENCE;
    while sessions() == 0 {
        assert!(Instant::now() < deadline, "the login ended with its phone");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let site = world.site();
    let again = site.get("/weapp/login").header("x-wx-code", &code);
    assert_eq!(http::json(&again.send().await)["code"], 0);
    assert_eq!(sessions(), 1, "the same session");
}
