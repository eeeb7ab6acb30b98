//! Session keys that WeChat still takes, takes no more, and gives anew.

use serde_json::{Value, json};
use weappd_session::Config;

use crate::platform::{asked, error};
use crate::world::World;

const CHECK: (&str, &str) = ("GET", "/key");
const RESET: (&str, &str) = ("POST", "/key/reset");
const DECRYPT: (&str, &str) = ("POST", "/decrypt");

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_good_until_wechat_drops_it_and_good_again_after_a_login() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let answer = asked(&world, CHECK, &skey, &Value::Null).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json),
        (200, &json!({"valid": true}))
    );
    platform.wx("alice", "expire_session").await;
    let answer = asked(&world, CHECK, &skey, &Value::Null).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.json),
        (200, &json!({"valid": false}))
    );
    let reset = asked(&world, RESET, &skey, &Value::Null).await;
    assert_eq!(
        (reset.status.as_u16(), error(&reset)),
        (409, "session_key_expired")
    );
    // The session of weappd goes on meanwhile.
    let who = asked(&world, ("GET", ""), &skey, &Value::Null).await;
    assert_eq!(who.status, 200);
    platform.log_in(&world, "alice").await;
    let answer = asked(&world, CHECK, &skey, &Value::Null).await;
    assert_eq!(
        answer.json,
        json!({"valid": true}),
        "the key is the user's, not the session's"
    );
    let nobody = asked(&world, CHECK, "nobody", &Value::Null).await;
    assert_eq!(nobody.status, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_before_and_after_a_reset_opens() {
    let (mut world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let before = platform.wx("alice", "we_run_data").await;
    let reset = asked(&world, RESET, &skey, &Value::Null).await;
    assert_eq!(
        (reset.status.as_u16(), &reset.json),
        (200, &json!({"valid": true}))
    );
    // Asked again because the answer was lost: no second reset.
    let again = asked(&world, RESET, &skey, &Value::Null).await;
    assert_eq!(again.json, json!({"valid": true}));
    assert_eq!(platform.called(), 1);
    let after = platform.wx("alice", "we_run_data").await;
    for _ in 0..2 {
        for (data, when) in [(&before, "before"), (&after, "after")] {
            let opened = asked(&world, DECRYPT, &skey, data).await;
            assert_eq!(opened.status, 200, "{when}: {opened:?}");
            assert_eq!(opened.json["kind"], "werun");
        }
        let answer = asked(&world, CHECK, &skey, &Value::Null).await;
        assert_eq!(answer.json, json!({"valid": true}));
        world.restart().await;
    }
    // Later it is another reset.
    world.hand.advance(11);
    let called = platform.called();
    asked(&world, RESET, &skey, &Value::Null).await;
    assert_eq!(platform.called(), called + 1);
    let opened = asked(&world, DECRYPT, &skey, &after).await;
    assert_eq!(opened.status, 200, "the key before is kept: {opened:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_resets_at_once_are_one() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let resets = (0..8).map(|_| asked(&world, RESET, &skey, &Value::Null));
    for reset in futures_util::future::join_all(resets).await {
        assert_eq!(reset.json, json!({"valid": true}));
    }
    assert_eq!(platform.called(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_a_key_nobody_here_knows_is_told_by_its_code() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    // The phone logs in, and its code never comes here.
    platform.wx("alice", "login").await;
    let data = platform.wx("alice", "user_info").await;
    for what in [DECRYPT, ("POST", "/phone")] {
        let body = json!({"encryptedData": data["encryptedData"], "iv": data["iv"]});
        let answer = asked(&world, what, &skey, &body).await;
        assert_eq!(
            (answer.status.as_u16(), error(&answer)),
            (409, "bad_user_data")
        );
        let words = answer.json["error"]["message"].as_str().expect("words");
        assert!(words.contains("log in"), "{words}");
    }
    let answer = asked(&world, CHECK, &skey, &Value::Null).await;
    assert_eq!(answer.json, json!({"valid": false}));
    platform.log_in(&world, "alice").await;
    let data = platform.wx("alice", "user_info").await;
    let body = json!({"encryptedData": data["encryptedData"], "iv": data["iv"]});
    let answer = asked(&world, DECRYPT, &skey, &body).await;
    assert_eq!(answer.json["kind"], "user_info", "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_data_is_named_and_may_be_demanded() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    for (verb, kind) in [
        ("user_info", "user_info"),
        ("phone_number", "phone_number"),
        ("we_run_data", "werun"),
        ("group_info", "group"),
    ] {
        let data = platform.wx("alice", verb).await;
        let mut body = json!({"encryptedData": data["encryptedData"], "iv": data["iv"]});
        let opened = asked(&world, DECRYPT, &skey, &body).await;
        assert_eq!(
            (opened.status.as_u16(), &opened.json["kind"]),
            (200, &json!(kind))
        );
        assert!(opened.json["data"].is_object());
        body["kind"] = kind.into();
        let opened = asked(&world, DECRYPT, &skey, &body).await;
        assert_eq!(opened.status, 200, "{opened:?}");
        body["kind"] = "other".into();
        let opened = asked(&world, DECRYPT, &skey, &body).await;
        assert_eq!(
            (opened.status.as_u16(), error(&opened)),
            (400, "wrong_kind")
        );
        body["kind"] = "nonsense".into();
        let opened = asked(&world, DECRYPT, &skey, &body).await;
        assert_eq!(error(&opened), "bad_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_may_bring_what_wechat_signed() {
    let (world, platform) = World::simulated(Config::default()).await;
    let code = platform.wx("alice", "login").await["code"].clone();
    let data = platform.wx("alice", "user_info").await;
    let signed = |code: &Value, raw: &Value| json!({"code": code, "rawData": raw, "signature": data["signature"]});
    let forged = data["rawData"].as_str().expect("text").replace('a', "b");
    let refused = world.native(&signed(&code, &forged.into())).await;
    assert_eq!(
        (refused.status.as_u16(), error(&refused)),
        (400, "bad_signature")
    );
    let half = world.native(&json!({"code": code, "rawData": "{}"})).await;
    assert_eq!(error(&half), "bad_request");
    // The code is good for some seconds more, with the right data.
    let login = world.native(&signed(&code, &data["rawData"])).await;
    assert_eq!(login.status, 200, "{login:?}");
    let info = &login.json["user"]["info"];
    assert_eq!(info["nickName"], data["userInfo"]["nickName"]);
    assert_eq!(info["openId"], login.json["user"]["openid"]);
    let again = world.native(&signed(&code, &data["rawData"])).await;
    assert_eq!(again.json["skey"], login.json["skey"]);

    // All that getUserInfo gives at once.
    let mut all = signed(&code, &data["rawData"]);
    all["encryptedData"] = data["encryptedData"].clone();
    all["iv"] = data["iv"].clone();
    let all = world.native(&all).await;
    assert_eq!(all.json["skey"], login.json["skey"]);
    assert!(all.json["user"]["info"]["watermark"].is_object(), "{all:?}");

    // A phone number has a path of its own: here it would be kept in clear.
    let code = platform.wx("alice", "login").await["code"].clone();
    let number = platform.wx("alice", "phone_number").await;
    let mut body = json!({"code": code, "encryptedData": number["encryptedData"]});
    body["iv"] = number["iv"].clone();
    let stray = world.native(&body).await;
    assert_eq!(
        (stray.status.as_u16(), error(&stray)),
        (400, "bad_user_data")
    );

    // Signed with the key of a login before: not this one's.
    let code = platform.wx("alice", "login").await["code"].clone();
    let late = world.native(&signed(&code, &data["rawData"])).await;
    assert_eq!(error(&late), "bad_signature");
}
