//! The session server's RPC on the internal API, as a business server of Wafer 1 calls it.

use serde_json::{Value, json};

use super::{APPID, profile, wechat};
use crate::http;
use crate::world::{TestPhone, TestWorld, text};

/// Calls and gives the whole answer.
async fn call_at(world: &TestWorld, path: &str, name: &str, para: Value) -> Value {
    let body = json!({
        "version": 1, "componentName": "MA",
        "interface": {"interfaceName": name, "para": para},
    });
    let answer = http::json(&world.api().post(path).json(&body).send().await);
    assert_eq!(
        (&answer["version"], &answer["componentName"]),
        (&json!(1), &json!("MA"))
    );
    answer
}

async fn call(world: &TestWorld, name: &str, para: Value) -> Value {
    call_at(world, "/mina_auth/", name, para).await
}

/// `id_skey` with what a phone sends today.
async fn log_in(world: &TestWorld, phone: &TestPhone) -> Value {
    let code = phone.code().await;
    let data = phone.wx("user_info", &json!({})).await;
    let para = json!({"code": code, "encrypt_data": data["encryptedData"], "iv": data["iv"]});
    call(world, "qcloud.cam.id_skey", para).await
}

#[tokio::test]
async fn id_skey_auth_and_decrypt() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let about = profile(&world, "alice").await;
    let first = log_in(&world, &alice).await;
    assert_eq!(
        (&first["returnCode"], &first["returnMessage"]),
        (&json!(0), &json!("NEW_SESSION_SUCCESS"))
    );
    let data = &first["returnData"];
    assert_eq!(data["user_info"]["nickName"], about["nickName"]);
    assert_eq!(data["duration"], 2_592_000);
    let again = log_in(&world, &alice).await;
    assert_eq!(again["returnMessage"], "UPDATE_SESSION_SUCCESS");
    assert_eq!(again["returnData"]["id"], data["id"]);

    let (id, skey) = (&again["returnData"]["id"], &again["returnData"]["skey"]);
    for path in ["/mina_auth/", "/mina_auth", &format!("/mina_auth/{APPID}/")] {
        let pair = json!({"id": id, "skey": skey});
        let known = call_at(&world, path, "qcloud.cam.auth", pair).await;
        assert_eq!(known["returnMessage"], "AUTH_SUCCESS", "{path}");
        assert_eq!(known["returnData"]["user_info"]["openId"], about["openid"]);
    }
    let number = alice.wx("phone_number", &json!({})).await;
    let para = json!({
        "id": id, "skey": skey,
        "encrypt_data": number["encryptedData"], "iv": number["iv"],
    });
    let opened = call(&world, "qcloud.cam.decrypt", para).await;
    assert_eq!(opened["returnMessage"], "DECRYPT_SUCCESS", "{opened}");
    let opened: Value = serde_json::from_str(text(&opened["returnData"])).expect("JSON");
    assert_eq!(opened["watermark"]["appid"], APPID);
    assert!(opened["phoneNumber"].is_string(), "{opened}");

    // What was opened here is a session for phones too.
    let mut alice = alice;
    alice.skey = Some(text(skey).to_owned());
    assert_eq!(alice.user().await["data"]["nickName"], about["nickName"]);
}

#[tokio::test]
async fn the_oldest_form_needs_no_iv_and_no_watermark() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let about = profile(&world, "alice").await;
    let code = alice.code().await;
    let data = alice.wx("user_info", &json!({})).await;
    let data = text(&data["encryptData"]);
    let para = json!({"code": code, "encrypt_data": data});
    let old = call(&world, "qcloud.cam.id_skey", para).await;
    assert_eq!(old["returnCode"], 0, "{old}");
    let user = &old["returnData"]["user_info"];
    assert_eq!(user["openId"], about["openid"]);
    assert_eq!(user["nickName"], about["nickName"]);
    assert!(user["watermark"].is_null(), "{user}");

    let (id, skey) = (&old["returnData"]["id"], &old["returnData"]["skey"]);
    let para = json!({"id": id, "skey": skey, "encrypt_data": data});
    let opened = call(&world, "qcloud.cam.decrypt", para).await;
    assert_eq!(opened["returnMessage"], "DECRYPT_SUCCESS", "{opened}");
    assert!(
        text(&opened["returnData"]).contains(text(&about["openid"])),
        "{opened}"
    );
}

/// The number and the words of a refusal, which carries nothing else.
fn refusal(answer: &Value) -> (i64, &str) {
    assert_eq!(answer["returnData"], "", "{answer}");
    let code = answer["returnCode"].as_i64().expect("a number");
    (code, text(&answer["returnMessage"]))
}

#[tokio::test]
async fn what_is_no_call_has_its_number() {
    let world = TestWorld::dev().await;
    let api = world.api();
    let called = |body: &str| format!("{{\"interface\":{{\"interfaceName\":{body}}}}}");
    for (body, code, message) in [
        (String::new(), 1009, "REQUEST_IS_NOT_JSON"),
        ("{\"interface\":".to_owned(), 1009, "REQUEST_IS_NOT_JSON"),
        (" ".repeat(65 * 1024), 1009, "REQUEST_TOO_LARGE"),
        ("{}".to_owned(), 1002, "NO_INTERFACENAME_PARA"),
        (called(r#""qcloud.cam.auth""#), 1011, "NO_PARA"),
        (called(r#""x","para":{}"#), 1010, "INTERFACENAME_PARA_ERR"),
        (called(r#""qcloud.cam.auth","para":{}"#), 1003, "PARA_ERR"),
    ] {
        let answer = api.post("/mina_auth/").body(body).send().await;
        assert_eq!(answer.status(), 200);
        assert_eq!(refusal(&http::json(&answer)), (code, message));
    }
}

#[tokio::test]
async fn every_refusal_has_its_number() {
    let world = TestWorld::dev().await;
    let alice = world.phone("alice");
    let session = log_in(&world, &alice).await["returnData"].take();
    let (id, skey) = (&session["id"], &session["skey"]);
    let data = "AAAAAAAAAAAAAAAAAAAAAA==";
    let pair = |id: &Value, skey: &Value| json!({"id": id, "skey": skey});
    let sealed = |skey: &Value, data: &str| json!({"id": id, "skey": skey, "encrypt_data": data});
    let login = |code: &str| json!({"code": code, "encrypt_data": data, "iv": data});
    let other = json!("x");
    let app = json!({"appid": "wxother", "secret": "s"});
    let still_sealed = "GET_SESSION_KEY_SUCCESS_BUT_DECRYPT_FAIL";
    for (name, para, code, message) in [
        ("auth", pair(id, &other), 60012, "AUTH_FAIL"),
        ("auth", pair(&other, skey), 60012, "AUTH_FAIL"),
        ("auth", pair(&json!(7), skey), 60012, "AUTH_FAIL"),
        ("id_skey", login("never given"), 40029, "WEIXIN_CODE_ERR"),
        ("id_skey", login(&alice.code().await), 60021, "DECRYPT_FAIL"),
        (
            "decrypt",
            sealed(&other, data),
            60021,
            "GET_SESSION_KEY_FAIL",
        ),
        ("decrypt", sealed(skey, "no data"), 60021, still_sealed),
        ("initdata", app, 1013, "INIT_APPINFO_FAIL"),
    ] {
        let answer = call(&world, &format!("qcloud.cam.{name}"), para).await;
        assert_eq!(refusal(&answer), (code, message), "{name}");
    }
    let nobody = "/mina_auth/wxnobody/";
    let elsewhere = call_at(&world, nobody, "qcloud.cam.auth", pair(id, skey)).await;
    assert_eq!(refusal(&elsewhere), (1012, "NO_APPID"));
    for (fault, code, message) in [
        ("reset", 1005, "WEIXIN_NET_ERR"),
        ("wrong_json", 1007, "WEIXIN_RETURN_ERR"),
    ] {
        let faults = json!({"fault": fault, "next": 10});
        wechat(&world).post("/faults").json(&faults).send().await;
        let answer = log_in(&world, &alice).await;
        assert_eq!(refusal(&answer), (code, message));
    }
    // None of it harmed the session.
    let known = call(&world, "qcloud.cam.auth", pair(id, skey)).await;
    assert_eq!(known["returnMessage"], "AUTH_SUCCESS");
}
