//! Logins: new users and old ones, codes sent twice, everything that WeChat may refuse.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tower::ServiceExt as _;
use weappd_base::tap::{TapEvent, TapPeer};
use weappd_session::Config;

use crate::wechat::{session_key, user_data};
use crate::world::{APP, OTHER_APP, World, send, skey};

#[tokio::test(flavor = "multi_thread")]
async fn a_wafer_2_login_gives_an_skey_that_is_who_logged_in() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    let (data, iv) = user_data(APP, "o1", "小程序 \"Band\"");
    let headers = [
        ("X-WX-Code", "c1"),
        ("X-WX-Encrypted-Data", &data),
        ("X-WX-IV", &iv),
    ];
    let answer = world.get("/weapp/login", &headers).await;
    assert_eq!(answer.json["code"], 0);
    assert_eq!(answer.json["data"]["userinfo"]["openId"], "o1");
    assert_eq!(answer.json["data"]["userinfo"]["watermark"]["appid"], APP);
    let skey = skey(&answer);
    assert_eq!(skey.len(), 76);
    let user = world.user(&skey).await;
    assert_eq!(user["code"], 0);
    assert_eq!(user["data"], answer.json["data"]["userinfo"]);
    assert_eq!(user["data"]["nickName"], "小程序 \"Band\"");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wafer_1_login_gives_id_and_skey() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    let (data, iv) = user_data(APP, "o1", "Band");
    let headers = [
        ("X-WX-Code", "c1"),
        ("X-WX-Encrypted-Data", &data),
        ("X-WX-IV", &iv),
    ];
    let answer = world.get("/login", &headers).await;
    assert_eq!(answer.json["F2C224D4-2BCE-4C64-AF9F-A6D872000D1A"], 1);
    let id = answer.json["session"]["id"].as_str().expect("an id");
    let skey = answer.json["session"]["skey"].as_str().expect("an skey");
    let session = [("X-WX-Id", id), ("X-WX-Skey", skey)];
    let user = world.get("/user", &session).await;
    assert_eq!(user.json["message"], "ok");
    assert_eq!(user.json["data"]["userInfo"]["nickName"], "Band");
    let other = [("X-WX-Id", "another"), ("X-WX-Skey", skey)];
    let user = world.get("/user", &other).await;
    assert_eq!(user.json["error"], "ERR_INVALID_SESSION");
    let user = world.get("/user", &[("X-WX-Skey", skey)]).await;
    assert_eq!(user.json["error"], "ERR_CHECK_LOGIN_FAILED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_alone_makes_a_user_and_keeps_what_is_known() {
    let world = World::new().await;
    world.wechat.answer(
        "c1",
        json!({"openid": "o1", "session_key": session_key("o1").expose(), "unionid": "u1"}),
    );
    let first = world.native(&json!({"code": "c1"})).await;
    assert_eq!(first.status, StatusCode::OK);
    let user = &first.json["user"];
    assert_eq!(user["info"], json!({"openId": "o1", "unionId": "u1"}));
    assert_eq!(user["unionid"], "u1");
    world.log_in("c2", "o1").await;
    world.wechat.code("c3", "o1");
    let third = world.native(&json!({"code": "c3"})).await;
    assert_eq!(third.json["user"]["info"]["nickName"], "o1");
    assert_eq!(third.json["user"]["unionid"], "u1", "told once, kept");
    assert_eq!(third.json["user"]["id"], first.json["user"]["id"]);
    assert_ne!(third.json["skey"], first.json["skey"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_code_gives_the_same_session_for_ten_seconds() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    let headers = [("X-WX-Code", "c1")];
    let first = skey(&world.get("/weapp/login", &headers).await);
    world.hand.advance(10);
    let second = skey(&world.get("/weapp/login", &headers).await);
    assert_eq!(first, second);
    assert_eq!(world.wechat.asked(), 1);
    world.hand.advance(1);
    let late = world.get("/weapp/login", &headers).await;
    let error = late.json["error"].as_str().expect("an error");
    assert!(error.starts_with("ERR_GET_SESSION_KEY\n"), "{error}");
    assert!(error.contains("40163"), "{error}");
    assert_eq!(world.user(&first).await["code"], 0, "the session stands");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_with_one_code_are_one_exchange_and_one_session() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    world.wechat.silent(true);
    let router = world.router(APP);
    let logins = (0..32).map(|_| {
        let headers = [("X-WX-Code", "c1")];
        let router = router.clone();
        async move { skey(&send(router, "GET", "/weapp/login", &headers, Body::empty()).await) }
    });
    let unlock = async {
        while world.wechat.asked() == 0 {
            tokio::task::yield_now().await;
        }
        world.wechat.silent(false);
    };
    let (skeys, ()) = tokio::join!(futures_util::future::join_all(logins), unlock);
    assert_eq!(world.wechat.asked(), 1);
    assert!(skeys.iter().all(|skey| *skey == skeys[0]), "one session");
    assert_eq!(world.last_visits().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_did_not_decrypt_may_be_sent_again_with_the_same_code() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    let (data, iv) = user_data(APP, "stale key", "Band");
    let broken = json!({"code": "c1", "encryptedData": data, "iv": iv});
    let failed = world.native(&broken).await;
    assert_eq!(failed.status, StatusCode::BAD_REQUEST);
    assert_eq!(failed.json["error"]["code"], "bad_user_data");
    assert_eq!(world.last_visits().await.len(), 0);
    let (data, iv) = user_data(APP, "o1", "Band");
    let right = json!({"code": "c1", "encryptedData": data, "iv": iv});
    let done = world.native(&right).await;
    assert_eq!(done.json["user"]["info"]["nickName"], "Band");
    assert_eq!(world.wechat.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn user_data_may_follow_its_code() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    let first = world.native(&json!({"code": "c1"})).await;
    let skey = first.json["skey"].as_str().expect("an skey");
    assert_eq!(world.user(skey).await["data"], json!({"openId": "o1"}));
    let (data, iv) = user_data(APP, "o1", "Band");
    let body = json!({"code": "c1", "encryptedData": data, "iv": iv});
    let second = world.native(&body).await;
    assert_eq!(second.json["skey"], skey);
    assert_eq!(world.user(skey).await["data"]["nickName"], "Band");
    assert_eq!(world.last_visits().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn base64_that_lost_its_plus_signs_is_understood() {
    let world = World::new().await;
    // Of some lengths of name the cipher text is sure to hold a plus sign.
    for n in 0..64 {
        let nick = "x".repeat(n);
        let (data, iv) = user_data(APP, "o1", &nick);
        if !data.contains('+') {
            continue;
        }
        world.wechat.code("c1", "o1");
        let spaced = data.replace('+', " ");
        let headers = [
            ("X-WX-Code", "c1"),
            ("X-WX-Encrypted-Data", spaced.as_str()),
            ("X-WX-IV", &iv),
        ];
        let answer = world.get("/weapp/login", &headers).await;
        assert_eq!(answer.json["data"]["userinfo"]["nickName"], nick);
        return;
    }
    panic!("no cipher text with a plus sign");
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_another_user_or_mini_program_is_refused() {
    let world = World::new().await;
    let (foreign, iv) = user_data(OTHER_APP, "o1", "Band");
    world.wechat.code("c1", "o1");
    let body = json!({"code": "c1", "encryptedData": foreign, "iv": iv});
    assert_eq!(
        world.native(&body).await.json["error"]["code"],
        "bad_user_data"
    );
    // The key fits, the name in it does not.
    let plain = json!({"openId": "o2", "watermark": {"appid": APP}}).to_string();
    let data = weappd_wechat::open_data::encrypt(&session_key("o1"), &plain, [9; 16]);
    world.wechat.code("c2", "o1");
    let body = json!({"code": "c2", "encryptedData": data.expect("data"), "iv": iv});
    let refused = world.native(&body).await;
    assert_eq!(refused.json["error"]["code"], "bad_user_data");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_wechats_reaches_every_dialect() {
    let world = World::new().await;
    for (errcode, status) in [
        (40029, 401),
        (40163, 401),
        (40226, 403),
        (45011, 429),
        (-1, 503),
        (40125, 502),
    ] {
        let answer = json!({"errcode": errcode, "errmsg": "no, rid: 1-2-3"});
        let code = format!("c{errcode}");
        world.wechat.answer(&code, answer);
        let native = world.native(&json!({"code": code})).await;
        assert_eq!(native.status.as_u16(), status);
        assert_eq!(native.json["error"]["errcode"], errcode);
        let wafer2 = world.get("/weapp/login", &[("X-WX-Code", &code)]).await;
        assert_eq!(wafer2.status, StatusCode::OK);
        assert_eq!(wafer2.json["code"], -1);
        let error = wafer2.json["error"].as_str().expect("an error");
        let (first, told) = error.split_once('\n').expect("two lines");
        assert_eq!(first, "ERR_GET_SESSION_KEY");
        let told: serde_json::Value = serde_json::from_str(told).expect("JSON");
        assert_eq!(told["errcode"], errcode);
        let wafer1 = world.get("/login", &[("X-WX-Code", &code)]).await;
        assert_eq!(wafer1.json["error"], "ERR_LOGIN_FAILED");
        let message = wafer1.json["message"].as_str().expect("a message");
        assert!(message.contains(&errcode.to_string()), "{message}");
    }
}

/// Waits until WeChat's answer to a login is there.
async fn answered(heard: &mut Receiver<Arc<TapEvent>>) {
    loop {
        let hop = heard.recv().await.expect("a tap that is on");
        if hop.answer && hop.from == TapPeer::Wechat && hop.detail.get("error").is_none() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_of_wechat_is_kept_for_its_code() {
    for dialect in ["native", "wafer2", "wafer1"] {
        let world = World::impatient().await;
        let mut heard = world.tap.subscribe().expect("a tap that is on");
        world.wechat.code("c1", "o1");
        world.wechat.silent(true);
        let headers = [("X-WX-Code", "c1")];
        let log_in = async || match dialect {
            "wafer2" => world.get("/weapp/login", &headers).await,
            "wafer1" => world.get("/login", &headers).await,
            _ => world.native(&json!({"code": "c1"})).await,
        };
        // It is told that it took too long, as ever, and WeChat is asked once.
        for _ in 0..2 {
            let late = log_in().await.json.to_string();
            assert!(late.contains("WeChat did not answer in time"), "{late}");
        }
        world.wechat.silent(false);
        answered(&mut heard).await;
        // Minutes later the phone tries again.
        world.hand.advance(200);
        let found = log_in().await.json;
        assert!(found.to_string().contains("skey"), "{dialect}: {found}");
        world.hand.advance(10);
        assert_eq!(log_in().await.json, found, "and once more, as any login");
        world.hand.advance(1);
        let used = log_in().await.json.to_string();
        assert!(used.contains("40163"), "{dialect}: {used}");
        assert_eq!(world.wechat.asked(), 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_refusal_is_forgotten() {
    let world = World::impatient().await;
    let mut heard = world.tap.subscribe().expect("a tap that is on");
    world.wechat.silent(true);
    let late = world.native(&json!({"code": "c1"})).await;
    assert_eq!(late.status, StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(late.json["error"]["code"], "wechat_timeout");
    world.wechat.silent(false);
    answered(&mut heard).await;
    world.wechat.code("c1", "o1");
    let again = async || world.native(&json!({"code": "c1"})).await.status;
    // The refusal may have been told an instant before it is forgotten.
    let mut status = again().await;
    if status == StatusCode::UNAUTHORIZED {
        status = again().await;
    }
    assert_eq!(status, StatusCode::OK);
}

/// A login by code from an address, with a browser.
async fn from(world: &World, dialect: &str, (address, agent): (&str, &str)) -> String {
    let request = match dialect {
        "wafer2" => Request::get("/weapp/login").header("x-wx-code", "c1"),
        "wafer1" => Request::get("/login").header("x-wx-code", "c1"),
        _ => Request::post("/weapp/session"),
    };
    let body = match dialect {
        "native" => Body::from(r#"{"code":"c1"}"#),
        _ => Body::empty(),
    };
    let mut request = request
        .header("user-agent", agent)
        .body(body)
        .expect("a request");
    let peer: SocketAddr = format!("{address}:4711").parse().expect("an address");
    request.extensions_mut().insert(ConnectInfo(peer));
    let answer = world.router(APP).oneshot(request).await.expect("an answer");
    let body = answer.into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().to_vec()).expect("text")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_good_for_whoever_brought_it_first() {
    const PHONE: &str = "Mozilla/5.0 (iPhone) MicroMessenger/8.0.49 NetType/WIFI Language/zh_CN";
    const ON_4G: &str = "Mozilla/5.0 (iPhone) MicroMessenger/8.0.49 NetType/4G Language/zh_CN";
    for dialect in ["native", "wafer2", "wafer1"] {
        let world = World::new().await;
        world.wechat.code("c1", "o1");
        let first = from(&world, dialect, ("192.0.2.1", PHONE)).await;
        assert!(first.contains("skey"), "{first}");
        for who in [
            ("192.0.2.1", PHONE),
            ("192.0.2.1", "x"),
            ("198.51.100.7", ON_4G),
        ] {
            assert_eq!(from(&world, dialect, who).await, first, "{who:?}");
        }
        // The code was overheard.
        for who in [("198.51.100.7", "curl/8"), ("2001:db8::1", "Mozilla/5.0")] {
            let who = (&*format_address(who.0), who.1);
            let refused = from(&world, dialect, who).await;
            assert!(
                refused.contains("40163") && !refused.contains("skey"),
                "{refused}"
            );
        }
        assert_eq!(world.wechat.asked(), 1);
        assert_eq!(from(&world, dialect, ("192.0.2.1", PHONE)).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_code_is_exchanged_nobody_else_gets_its_session() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    world.wechat.silent(true);
    let mine = from(&world, "native", ("192.0.2.1", "a phone"));
    let theirs = async {
        while world.wechat.asked() == 0 {
            tokio::task::yield_now().await;
        }
        let refused = from(&world, "native", ("198.51.100.7", "curl/8")).await;
        world.wechat.silent(false);
        refused
    };
    let (mine, theirs) = tokio::join!(mine, theirs);
    assert!(
        mine.contains("skey") && theirs.contains("40163"),
        "{theirs}"
    );
}

fn format_address(address: &str) -> String {
    if address.contains(':') {
        format!("[{address}]")
    } else {
        address.to_owned()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_or_broken_is_said() {
    let world = World::new().await;
    let none = world.get("/weapp/login", &[]).await;
    assert_eq!(none.json, json!({"code": -1, "error": "ERR_HEADER_MISSED"}));
    let half = [("X-WX-Code", "c"), ("X-WX-Encrypted-Data", "d")];
    let half = world.get("/weapp/login", &half).await;
    let error = half.json["error"].as_str().expect("an error");
    assert!(error.starts_with("ERR_IN_DECRYPT_DATA\n"), "{error}");
    let none = world.get("/login", &[]).await;
    assert_eq!(none.json["error"], "ERR_LOGIN_FAILED");
    let long = "c".repeat(513);
    for (body, status, code) in [
        (json!([1]).to_string(), 400, "bad_request"),
        ("{".to_owned(), 400, "bad_request"),
        (json!({"code": ""}).to_string(), 400, "bad_request"),
        (json!({"code": long}).to_string(), 400, "bad_request"),
        (
            json!({"code": "c", "iv": "i"}).to_string(),
            400,
            "bad_request",
        ),
        (
            json!({"code": "c", "iv": "i", "encryptedData": "d".repeat(40_000)}).to_string(),
            400,
            "bad_request",
        ),
        ("x".repeat(70_000), 413, "body_too_large"),
    ] {
        let body = Body::from(body);
        let answer = world.call("POST", "/weapp/session", &[], body).await;
        assert_eq!(answer.status.as_u16(), status);
        assert_eq!(answer.json["error"]["code"], code);
    }
    assert_eq!(world.wechat.asked(), 0, "no code was spent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_knows_only_its_own_mini_program() {
    let world = World::new().await;
    let here = world.log_in("c1", "o1").await;
    let headers = [("X-WX-Skey", here.as_str()), ("X-WX-APPID", APP)];
    let there = world.router(OTHER_APP);
    let answer = send(there, "GET", "/weapp/user", &headers, Body::empty()).await;
    assert_eq!(answer.json["error"], "ERR_SKEY_INVALID");
    assert_eq!(world.user(&here).await["code"], 0);
    let nowhere = world.router("wx_none");
    let body = Body::from(r#"{"code":"c"}"#);
    let answer = send(nowhere, "POST", "/weapp/session", &[], body).await;
    assert_eq!(answer.json["error"]["code"], "no_mini_program");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_session_leaves_when_there_are_too_many() {
    let mut world = World::with(Config {
        max_sessions_per_user: 3,
        ..Config::default()
    })
    .await;
    let mut skeys = Vec::new();
    for n in 0..5 {
        skeys.push(world.log_in(&format!("c{n}"), "o1").await);
    }
    let other = world.log_in("other", "o2").await;
    for round in ["in memory", "in the store"] {
        let mut valid = Vec::new();
        for skey in &skeys {
            valid.push(world.user(skey).await["code"] == 0);
        }
        assert_eq!(valid, [false, false, true, true, true], "{round}");
        assert_eq!(world.user(&other).await["code"], 0);
        world.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_log_in_at_once() {
    let world = World::new().await;
    let logins = (0..300).map(|n| {
        let world = &world;
        async move {
            // A hundred users, three phones each.
            let openid = format!("o{}", n % 100);
            (world.log_in(&format!("c{n}"), &openid).await, openid)
        }
    });
    let skeys = futures_util::future::join_all(logins).await;
    for (skey, openid) in &skeys {
        assert_eq!(world.user(skey).await["data"]["openId"], **openid);
    }
    assert_eq!(world.last_visits().await.len(), 300);
}

#[tokio::test]
async fn a_session_that_ended_takes_no_others_place() {
    let config = Config {
        max_sessions_per_user: 3,
        ..Config::default()
    };
    let world = World::with(config).await;
    let log_in = async |code: &'static str| world.log_in_by_code(code, "o1").await;
    let stands = async |skey: &str| world.user(skey).await["code"] == 0;
    let [first, second, third] = [log_in("a").await, log_in("b").await, log_in("c").await];
    let bearer = format!("Bearer {third}");
    let headers = [("Authorization", bearer.as_str())];
    let out = world
        .call("DELETE", "/weapp/session", &headers, Body::empty())
        .await;
    assert_eq!(out.status, StatusCode::NO_CONTENT);
    let fourth = log_in("d").await;
    assert!(stands(&first).await && stands(&second).await && stands(&fourth).await);
    let listed = world.sessions.list(None, "o1").await.expect("lists");
    assert_eq!(listed.len(), 3);
    let number = listed[1].session;
    assert_eq!(world.sessions.revoke_one(number).await.expect("ends"), 1);
    assert!(!stands(&second).await);
    let fifth = log_in("e").await;
    assert!(stands(&first).await && stands(&fourth).await && stands(&fifth).await);
    assert_eq!(world.sessions.revoke_all().await.expect("ends"), 3);
    let [sixth, seventh, eighth] = [log_in("f").await, log_in("g").await, log_in("h").await];
    assert!(stands(&sixth).await && stands(&seventh).await && stands(&eighth).await);
    let listed = world.sessions.list(None, "o1").await.expect("lists");
    assert_eq!(listed.len(), 3, "{listed:?}");
    let ended = world.sessions.revoke_user(None, "o1").await;
    assert_eq!(ended.expect("ends"), 3);
    let last = log_in("i").await;
    assert!(!stands(&eighth).await && stands(&last).await);
    let listed = world.sessions.list(None, "o1").await.expect("lists");
    assert_eq!(listed.len(), 1, "{listed:?}");
}
