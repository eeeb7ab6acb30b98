//! A user's phone number and session key, asked of WeChat through the gateway; and what the
//! command line shows of a user.

use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::{Json, Router};
use hyper::{Method, StatusCode};
use serde_json::{Value, json};
use weappd_base::clock::Clock;
use weappd_base::secret::Secret;
use weappd_wechat::message::signature;

use crate::http;
use crate::process::PATIENCE;
use crate::upstream::{self, RefusingPort};
use crate::world::{APPID, TestPhone, TestWorld, WorldRecipe, text};

const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.49(0x18003137) NetType/WIFI Language/zh_CN";

fn serve() -> TestWorld {
    let app = RefusingPort::new().addr();
    WorldRecipe::new()
        .site(&format!("proxy = \"{app}\""))
        .log("debug")
        .serve()
}

async fn log_in(world: &TestWorld, phone: &TestPhone) -> Value {
    let code = phone.code().await;
    let site = world.site();
    let login = site.post("/weapp/session").header("user-agent", IPHONE);
    let login = login.json(&json!({"code": code})).send().await;
    assert_eq!(login.status(), StatusCode::OK, "{login:?}");
    http::json(&login)
}

/// Asks under `/weapp/session` with the session `skey`.
async fn post(world: &TestWorld, what: &str, skey: &str, body: &Value) -> (StatusCode, Value) {
    let path = format!("/weapp/session{what}");
    let site = world.site();
    let answer = site.post(&path).header("x-wx-skey", skey).json(body);
    let answer = answer.send().await;
    (answer.status(), http::json(&answer))
}

async fn is_key_valid(world: &TestWorld, skey: &str) -> Value {
    let site = world.site();
    let answer = site.get("/weapp/session/key").header("x-wx-skey", skey);
    http::json(&answer.send().await)["valid"].clone()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test]
async fn a_number_is_proven_told_to_the_app_and_shown_to_nobody_else() {
    let world = serve();
    let alice = world.phone("alice");
    let login = log_in(&world, &alice).await;
    let skey = text(&login["skey"]);
    let code = alice.wx("phone_number", &json!({})).await["code"].clone();
    let (status, proven) = post(&world, "/phone", skey, &json!({"code": code})).await;
    assert_eq!(status, StatusCode::OK, "{proven}");
    let number = text(&proven["user"]["phone"]["pure_phone_number"]).to_owned();
    let (_, again) = post(&world, "/phone", skey, &json!({"code": code})).await;
    assert_eq!(again, proven, "a retry is the same answer");
    let (status, bad) = post(&world, "/phone", skey, &json!({"code": "never given"})).await;
    assert_eq!(
        (status, &bad["error"]["errcode"]),
        (StatusCode::BAD_REQUEST, &json!(40029))
    );

    // The business server asks who calls.
    let api = world.api();
    let who = api
        .get("/weapp/session")
        .header("x-wx-skey", skey)
        .send()
        .await;
    assert_eq!(http::json(&who)["user"]["phone"], proven["user"]["phone"]);

    // The session key, checked, reset, and dropped by WeChat.
    assert_eq!(is_key_valid(&world, skey).await, true);
    let before = alice.wx("we_run_data", &json!({})).await;
    let (status, reset) = post(&world, "/key/reset", skey, &json!({})).await;
    assert_eq!((status, &reset), (StatusCode::OK, &json!({"valid": true})));
    let after = alice.wx("we_run_data", &json!({})).await;
    for data in [&before, &after] {
        let (status, opened) = post(&world, "/decrypt", skey, data).await;
        assert_eq!((status, &opened["kind"]), (StatusCode::OK, &json!("werun")));
    }
    alice.wx("expire_session", &json!({})).await;
    assert_eq!(is_key_valid(&world, skey).await, false);
    alice.code().await;
    let sealed = alice.wx("user_info", &json!({})).await;
    let sealed = json!({"encryptedData": sealed["encryptedData"], "iv": sealed["iv"]});
    let (status, gone) = post(&world, "/decrypt", skey, &sealed).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert_eq!(gone["error"]["code"], "bad_user_data");

    let log = world.transcript();
    assert!(!log.contains(&number), "{log}");
    assert!(!log.contains(text(&code)), "{log}");
}

#[tokio::test]
async fn a_user_is_shown_on_the_command_line() {
    let world = serve();
    let alice = world.phone("alice");
    let login = log_in(&world, &alice).await;
    let (skey, openid) = (text(&login["skey"]), text(&login["user"]["openid"]));
    let show = |which: &str| said(&world.command(&["session", "show", which]));
    assert!(
        show(openid).contains("phone         none\n"),
        "{}",
        show(openid)
    );
    let code = alice.wx("phone_number", &json!({})).await["code"].clone();
    let (_, proven) = post(&world, "/phone", skey, &json!({"code": code})).await;
    let number = text(&proven["user"]["phone"]["pure_phone_number"]);
    log_in(&world, &alice).await;

    let shown = show(openid);
    for known in [
        openid,
        APPID,
        "+86 ",
        "****",
        "2 kept, the newest given",
        "127.0.0.1",
    ] {
        assert!(shown.contains(known), "{known}: {shown}");
    }
    let device = "iPhone, iOS 17.5, WeChat 8.0.49, WIFI";
    assert_eq!(shown.matches(device).count(), 2, "{shown}");
    assert!(!shown.contains(number) && !shown.contains(skey), "{shown}");

    let told = said(&world.command(&["session", "show", openid, "--json"]));
    let told: Value = serde_json::from_str(&told).expect("JSON");
    let user = &told["users"][0];
    assert_eq!(
        (&user["openid"], &user["appid"]),
        (&json!(openid), &json!(APPID))
    );
    assert_eq!(user["sessions"].as_array().map(Vec::len), Some(2));
    assert_eq!(user["keys_given"].as_array().map(Vec::len), Some(2));

    let newest = user["sessions"][0]["session"].to_string();
    let one = show(&newest);
    assert!(one.contains(openid), "{one}");
    assert_eq!(one.matches(device).count(), 1, "{one}");

    for (which, words) in [
        ("999999", "no session has the number 999999"),
        ("nobody", "no user has the openid nobody"),
    ] {
        let output = world.command(&["session", "show", which]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(words), "{said}");
    }
    let elsewhere = ["session", "show", openid, "--appid", "wxffffffffffffffff"];
    assert_eq!(world.command(&elsewhere).status.code(), Some(1));
    assert_eq!(world.command(&["session", "show"]).status.code(), Some(2));
}

const MESSAGE_TOKEN: &str = "a message token";

type HeardUsers = Arc<Mutex<Vec<Value>>>;

/// Pushes an event as WeChat does in plain mode.
async fn push(world: &TestWorld, event: &Value) -> (StatusCode, String) {
    let at = Clock::system().unix_secs().get().to_string();
    let signature = signature(&Secret::new(MESSAGE_TOKEN), &at, "n");
    let path = format!("/weapp/message?signature={signature}&timestamp={at}&nonce=n");
    let answer = world.site().post(&path).json(event).send().await;
    let told = String::from_utf8_lossy(answer.body()).into_owned();
    (answer.status(), told)
}

#[tokio::test]
async fn what_a_user_withdraws_at_wechat_is_deleted_and_the_app_hears_of_it() {
    let heard = HeardUsers::default();
    let app = Router::new()
        .fallback(
            async |State(heard): State<HeardUsers>, Json(event): Json<Value>| {
                heard.lock().expect("a lock").push(event);
            },
        )
        .with_state(Arc::clone(&heard));
    let app = upstream::serve(app);
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{app}\""))
        .miniapp(&format!("message_token = \"{MESSAGE_TOKEN}\""))
        .serve();
    let alice = world.phone("alice");
    let login = log_in(&world, &alice).await;
    let (skey, openid) = (text(&login["skey"]), text(&login["user"]["openid"]));
    let code = alice.wx("phone_number", &json!({})).await["code"].clone();
    let (status, _) = post(&world, "/phone", skey, &json!({"code": code})).await;
    assert_eq!(status, StatusCode::OK);
    let site = world.site();
    let name = site.request(Method::PUT, "/weapp/session/profile");
    let name = name
        .header("x-wx-skey", skey)
        .json(&json!({"nickName": "三木"}));
    assert_eq!(name.send().await.status(), StatusCode::OK);
    let mut count = 0;
    for (info, phone, nick) in [("13", true, true), ("8", false, true), ("6", false, false)] {
        let event = json!({
            "ToUserName": "gh_1", "FromUserName": "oPlatform", "MsgType": "event",
            "CreateTime": Clock::system().unix_secs().get() + 5, "Event": "user_authorization_revoke",
            "OpenID": openid, "AppID": APPID, "RevokeInfo": info,
        });
        let told = push(&world, &event).await;
        assert_eq!(told, (StatusCode::OK, "success".to_owned()));
        count += 1;
        let told_to_app = async {
            while heard.lock().expect("a lock").len() < count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let in_time = tokio::time::timeout(PATIENCE, told_to_app).await;
        in_time.expect("the app hears of it");
        assert_eq!(heard.lock().expect("a lock")[count - 1]["RevokeInfo"], info);
        // By then it is gone here.
        let site = world.site();
        let who = site.get("/weapp/session").header("x-wx-skey", skey);
        let user = http::json(&who.send().await)["user"].clone();
        let seen = (
            user.get("phone").is_some(),
            user["info"].get("nickName").is_some(),
        );
        assert_eq!(seen, (phone, nick), "{info}: {user}");
    }
}
