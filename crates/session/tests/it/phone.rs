//! The phone number a user shows: by code, encrypted, and what may go wrong with either.

use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use weappd_session::Config;
use weappd_wechat::open_data;
use weappd_wechat::{CallError, WechatCall, WechatCalls};

use crate::platform::{asked, error};
use crate::wechat::session_key;
use crate::world::{APP, Answer, OTHER_APP, World, send};

const PHONE: (&str, &str) = ("POST", "/phone");

#[tokio::test(flavor = "multi_thread")]
async fn a_code_proves_a_number_which_is_kept_and_told_and_forgotten() {
    let (mut world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let who = asked(&world, ("GET", ""), &skey, &Value::Null).await;
    assert!(who.json["user"].get("phone").is_none(), "{who:?}");
    let mut heard = world.tap.subscribe().expect("a tap that is on");
    let code = platform.wx("alice", "phone_number").await["code"].clone();
    let answer = asked(&world, PHONE, &skey, &json!({"code": code})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let phone = answer.json["user"]["phone"].clone();
    let pure = phone["pure_phone_number"]
        .as_str()
        .expect("a number")
        .to_owned();
    assert_eq!(phone["phone_number"], format!("+86{pure}"));
    assert_eq!(phone["country_code"], "86");
    assert_eq!(phone["verified_at"], 1_800_000_000);

    // A retry, in the air or lost, is the same answer; WeChat was asked once.
    let again = asked(&world, PHONE, &skey, &json!({"code": code})).await;
    assert_eq!(again.json, answer.json);
    assert_eq!(platform.called(), 1);

    world.restart().await;
    for at in [0, 20] {
        world.hand.advance(at);
        let who = asked(&world, ("GET", ""), &skey, &Value::Null).await;
        assert_eq!(who.json["user"]["phone"], phone);
    }
    // Another login of the user knows it too.
    let second = platform.log_in(&world, "alice").await;
    let who = asked(&world, ("GET", ""), &second, &Value::Null).await;
    assert_eq!(who.json["user"]["phone"], phone);

    let gone = asked(&world, ("DELETE", "/phone"), &skey, &Value::Null).await;
    assert_eq!(gone.status, 204);
    for skey in [&skey, &second] {
        let who = asked(&world, ("GET", ""), skey, &Value::Null).await;
        assert!(who.json["user"].get("phone").is_none(), "{who:?}");
    }
    let mut drawn = String::new();
    while let Ok(hop) = heard.try_recv() {
        drawn = format!("{drawn}{} {}\n", hop.name, hop.detail);
    }
    assert!(
        drawn.contains("phone number") && drawn.contains("phone_number"),
        "{drawn}"
    );
    assert!(!drawn.contains(&pure), "{drawn}");
    assert!(!drawn.contains(code.as_str().expect("a code")), "{drawn}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_is_its_users_and_good_once() {
    let (world, platform) = World::simulated(Config::default()).await;
    let alice = platform.log_in(&world, "alice").await;
    let bob = platform.log_in(&world, "bob").await;
    let code = platform.wx("alice", "phone_number").await["code"].clone();
    let stolen = asked(&world, PHONE, &bob, &json!({"code": code})).await;
    assert_eq!(
        (stolen.status.as_u16(), error(&stolen)),
        (400, "foreign_code")
    );
    assert_eq!(stolen.json["error"]["errcode"], 40003);
    let good = asked(&world, PHONE, &alice, &json!({"code": code})).await;
    assert_eq!(good.status, 200, "{good:?}");
    let stolen = asked(&world, PHONE, &bob, &json!({"code": code})).await;
    assert_eq!(stolen.status, 400, "not even in these seconds: {stolen:?}");
    world.hand.advance(11);
    let used = asked(&world, PHONE, &alice, &json!({"code": code})).await;
    assert_eq!((used.status.as_u16(), error(&used)), (400, "bad_code"));
    assert_eq!(used.json["error"]["errcode"], 40029);

    // A code of the login is none of the button.
    let login = platform.wx("alice", "login").await["code"].clone();
    let wrong = asked(&world, PHONE, &alice, &json!({"code": login})).await;
    assert_eq!(error(&wrong), "bad_code");
    platform.wx_elsewhere("alice", "login").await;
    let code = platform.wx_elsewhere("alice", "phone_number").await["code"].clone();
    let foreign = asked(&world, PHONE, &alice, &json!({"code": code})).await;
    assert_eq!(
        (foreign.status.as_u16(), error(&foreign)),
        (400, "foreign_code")
    );

    // Five minutes are too long.
    let code = platform.wx("alice", "phone_number").await["code"].clone();
    world.hand.advance(301);
    let old = asked(&world, PHONE, &alice, &json!({"code": code})).await;
    assert_eq!(error(&old), "bad_code");
}

/// A phone number as WeChat encrypts it.
fn sealed(key_of: &str, appid: &str, at: i64) -> Value {
    let plain = json!({
        "phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86",
        "watermark": {"timestamp": at, "appid": appid},
    });
    encrypted(key_of, &plain)
}

fn encrypted(key_of: &str, plain: &Value) -> Value {
    let data = open_data::encrypt(&session_key(key_of), &plain.to_string(), [9; 16]);
    json!({"encryptedData": data.expect("encrypts"), "iv": open_data::iv_text([9; 16])})
}

#[tokio::test(flavor = "multi_thread")]
async fn an_encrypted_number_is_taken_if_it_is_ours_and_new() {
    let mut world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let now = 1_800_000_000;
    for (body, code) in [
        (sealed("o1", APP, now - 3601), "bad_user_data"),
        (sealed("o1", OTHER_APP, now), "bad_user_data"),
        (sealed("o2", APP, now), "bad_user_data"),
        (json!({}), "bad_request"),
        (json!({"code": ""}), "bad_request"),
        (json!({"code": 7}), "bad_request"),
        (json!({"code": "x", "number": "1"}), "bad_request"),
        (json!({"code": "x".repeat(513)}), "bad_request"),
        // Nobody here can ask WeChat.
        (json!({"code": "x"}), "no_access_token"),
        (
            encrypted(
                "o1",
                &json!({"openGId": "g", "watermark": {"timestamp": now, "appid": APP}}),
            ),
            "wrong_kind",
        ),
        (
            encrypted(
                "o1",
                &json!({
                    "phoneNumber": "drop table", "purePhoneNumber": "drop table", "countryCode": "86",
                    "watermark": {"timestamp": now, "appid": APP},
                }),
            ),
            "bad_user_data",
        ),
    ] {
        let answer = asked(&world, PHONE, &skey, &body).await;
        assert_eq!(error(&answer), code, "{answer:?}");
    }
    let answer = asked(&world, PHONE, &skey, &sealed("o1", APP, now - 60)).await;
    assert_eq!(
        answer.json["user"]["phone"]["phone_number"],
        "+8613580006666"
    );
    world.restart().await;
    let who = asked(&world, ("GET", ""), &skey, &Value::Null).await;
    assert_eq!(who.json["user"]["phone"]["verified_at"], now - 60);
    assert_eq!(who.json["user"]["info"]["nickName"], "o1", "the rest stays");
    let nobody = asked(&world, PHONE, "nobody", &json!({"code": "x"})).await;
    assert_eq!(error(&nobody), "session_unknown");
}

/// A WeChat that tells one number for every code, its country code as a number.
#[derive(Debug)]
struct Telling;

impl WechatCalls for Telling {
    fn call<'a>(
        &'a self,
        appid: &'a str,
        _: WechatCall,
    ) -> BoxFuture<'a, Result<Value, CallError>> {
        let info = json!({
            "phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": 86,
            "watermark": {"timestamp": 1_800_000_000, "appid": appid},
        });
        std::future::ready(Ok(json!({"errcode": 0, "phone_info": info}))).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_says_what_proved_it_and_a_code_is_not_outdone() {
    let mut world = World::calling(Config::default(), Arc::new(Telling)).await;
    let skey = world.log_in("c1", "o1").await;
    let shown = |answer: &Answer| {
        let phone = &answer.json["user"]["phone"];
        let text = |name: &str| phone[name].as_str().unwrap_or("none").to_owned();
        (text("source"), text("pure_phone_number"))
    };
    let (by_code, encrypted_only) = (
        ("code".to_owned(), "13580006666".to_owned()),
        ("encrypted_data".to_owned(), "13580006666".to_owned()),
    );
    let now = 1_800_000_000;
    let same = sealed("o1", APP, now);
    let answer = asked(&world, PHONE, &skey, &same).await;
    assert_eq!(shown(&answer), encrypted_only, "{answer:?}");
    // The same number by a code is proven better from then on.
    let answer = asked(&world, PHONE, &skey, &json!({"code": "x"})).await;
    assert_eq!(shown(&answer), by_code, "{answer:?}");
    let answer = asked(&world, PHONE, &skey, &same).await;
    assert_eq!(shown(&answer), by_code);
    world.restart().await;
    // Another number that only came encrypted does not take its place.
    let other = json!({
        "phoneNumber": "13999999999", "purePhoneNumber": "13999999999", "countryCode": "86",
        "watermark": {"timestamp": now, "appid": APP},
    });
    let other = encrypted("o1", &other);
    let second = world.log_in("c2", "o1").await;
    for skey in [&second, &skey] {
        let answer = asked(&world, PHONE, skey, &other).await;
        assert_eq!(
            (answer.status.as_u16(), error(&answer)),
            (409, "proven_by_code")
        );
    }
    let (router, nothing) = (world.router(APP), axum::body::Body::empty());
    let users = send(router, "GET", "/users?openid=o1", &[], nothing).await;
    assert_eq!(users.json["users"][0]["phone_source"], "code");
    let who = asked(&world, ("GET", ""), &skey, &Value::Null).await;
    assert_eq!(shown(&who), by_code);
    // Taken back, the user may show any number again, and it says how it came.
    let gone = asked(&world, ("DELETE", "/phone"), &skey, &Value::Null).await;
    assert_eq!(gone.status, 204);
    let answer = asked(&world, PHONE, &skey, &other).await;
    let told = ("encrypted_data".to_owned(), "13999999999".to_owned());
    assert_eq!(shown(&answer), told);
}

/// A WeChat that always fails in one way.
#[derive(Debug)]
struct Failing(CallError);

impl WechatCalls for Failing {
    fn call<'a>(&'a self, _: &'a str, _: WechatCall) -> BoxFuture<'a, Result<Value, CallError>> {
        std::future::ready(Err(self.0.clone())).boxed()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_of_wechat_has_a_status_and_a_code() {
    let refused = |errcode| CallError::Refused {
        errcode,
        errmsg: "no".to_owned(),
    };
    for (failure, status, code) in [
        (refused(40029), 400, "bad_code"),
        (refused(40163), 400, "bad_code"),
        (refused(40013), 400, "foreign_code"),
        (refused(45011), 429, "too_many_calls"),
        (refused(-1), 503, "wechat_busy"),
        (refused(40125), 502, "wechat_refused"),
        (CallError::Unreachable, 502, "wechat_unreachable"),
        (CallError::Timeout, 504, "wechat_timeout"),
        (CallError::Malformed, 502, "wechat_malformed"),
        (CallError::NoToken, 501, "no_access_token"),
    ] {
        let calls = Arc::new(Failing(failure));
        let world = World::calling(Config::default(), calls).await;
        let skey = world.log_in("c1", "o1").await;
        let answer = asked(&world, PHONE, &skey, &json!({"code": "x"})).await;
        assert_eq!((answer.status.as_u16(), error(&answer)), (status, code));
        if status != 400 {
            let answer = asked(&world, ("GET", "/key"), &skey, &Value::Null).await;
            assert_eq!((answer.status.as_u16(), error(&answer)), (status, code));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_does_not_make_weappd_ask_wechat_without_end() {
    let config = Config {
        logins_per_minute_per_user: 2,
        ..Config::default()
    };
    let (world, platform) = World::simulated(config).await;
    let skey = platform.log_in(&world, "alice").await;
    let mut statuses = Vec::new();
    for n in 0..4 {
        let answer = asked(&world, PHONE, &skey, &json!({"code": format!("x{n}")})).await;
        statuses.push((answer.status.as_u16(), error(&answer).to_owned()));
    }
    let told = statuses
        .iter()
        .map(|(status, code)| (*status, code.as_str()));
    let told: Vec<_> = told.collect();
    let (bad, many) = ((400, "bad_code"), (429, "too_many_calls"));
    assert_eq!(told, [bad, bad, many, many]);
    assert_eq!(platform.called(), 2);
    let bob = platform.log_in(&world, "bob").await;
    let answer = asked(&world, PHONE, &bob, &json!({"code": "x"})).await;
    assert_eq!(error(&answer), "bad_code", "another user is another bucket");
}
