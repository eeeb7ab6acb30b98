//! The session server's RPC on the internal API, as a business server of Wafer 1 calls it.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use weappd_base::secret::Secret;
use weappd_wechat::open_data;

use super::{APPID, profile, wechat};
use crate::http;
use crate::world::{Phone, World, text};

/// Calls and gives the whole answer.
async fn call_at(world: &World, path: &str, name: &str, para: Value) -> Value {
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

async fn call(world: &World, name: &str, para: Value) -> Value {
    call_at(world, "/mina_auth/", name, para).await
}

/// `id_skey` with what a phone sends today.
async fn log_in(world: &World, phone: &Phone) -> Value {
    let code = phone.code().await;
    let data = phone.wx("user_info", &json!({})).await;
    let para = json!({"code": code, "encrypt_data": data["encryptedData"], "iv": data["iv"]});
    call(world, "qcloud.cam.id_skey", para).await
}

#[tokio::test]
async fn id_skey_auth_and_decrypt() {
    let world = World::dev().await;
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

/// The key WeChat gave weappd for a user. No API tells it: only the database knows.
fn session_key(world: &World, openid: &str) -> Secret {
    let ask = "import sqlite3, sys\n\
        store = sqlite3.connect(sys.argv[1])\n\
        print(store.execute('SELECT session_key FROM users WHERE openid = ?', sys.argv[2:]).fetchone()[0])";
    let told = Command::new("python3")
        .args(["-c", ask])
        .arg(world.dir().join(".weappd/weappd.db"))
        .arg(openid)
        .output()
        .expect("python3 (Debian package python3)");
    assert!(
        told.status.success(),
        "{}",
        String::from_utf8_lossy(&told.stderr)
    );
    Secret::new(String::from_utf8_lossy(&told.stdout).trim())
}

#[tokio::test]
async fn the_oldest_form_needs_no_iv_and_no_watermark() {
    let world = World::dev().await;
    let alice = world.phone("alice");
    let about = profile(&world, "alice").await;
    let code = alice.code().await;
    // The code alone makes WeChat's key known to weappd, and so to this test.
    let login = world
        .site()
        .get("/weapp/login")
        .header("x-wx-code", &code)
        .send()
        .await;
    assert_eq!(http::json(&login)["code"], 0);
    let key = session_key(&world, text(&about["openid"]));
    let iv = BASE64.decode(key.expose()).expect("base64");
    let iv = iv.try_into().expect("16 bytes");
    let data = json!({"openId": about["openid"], "nickName": "Old"});
    let data = open_data::encrypt(&key, &data.to_string(), iv).expect("encrypted");
    let para = json!({"code": code, "encrypt_data": data});
    let old = call(&world, "qcloud.cam.id_skey", para).await;
    assert_eq!(old["returnCode"], 0, "{old}");
    assert_eq!(old["returnData"]["user_info"]["nickName"], "Old");

    let (id, skey) = (&old["returnData"]["id"], &old["returnData"]["skey"]);
    let para = json!({"id": id, "skey": skey, "encrypt_data": data});
    let opened = call(&world, "qcloud.cam.decrypt", para).await;
    assert_eq!(opened["returnMessage"], "DECRYPT_SUCCESS", "{opened}");
    assert!(text(&opened["returnData"]).contains("\"Old\""), "{opened}");
}

#[tokio::test]
async fn every_refusal_has_its_number() {
    let world = World::dev().await;
    let alice = world.phone("alice");
    let session = log_in(&world, &alice).await["returnData"].take();
    let (id, skey) = (&session["id"], &session["skey"]);
    let no_data = "AAAAAAAAAAAAAAAAAAAAAA==";

    for (body, code, message) in [
        ("", 1009, "REQUEST_IS_NOT_JSON"),
        ("{\"interface\":", 1009, "REQUEST_IS_NOT_JSON"),
        ("{}", 1002, "NO_INTERFACENAME_PARA"),
        (
            r#"{"interface":{"interfaceName":"qcloud.cam.auth"}}"#,
            1011,
            "NO_PARA",
        ),
        (
            r#"{"interface":{"interfaceName":"x","para":{}}}"#,
            1010,
            "INTERFACENAME_PARA_ERR",
        ),
        (
            r#"{"interface":{"interfaceName":"qcloud.cam.auth","para":{}}}"#,
            1003,
            "PARA_ERR",
        ),
        (&" ".repeat(65 * 1024), 1009, "REQUEST_TOO_LARGE"),
    ] {
        let answer = http::json(
            &world
                .api()
                .post("/mina_auth/")
                .body(body.to_owned())
                .send()
                .await,
        );
        assert_eq!(
            (&answer["returnCode"], &answer["returnMessage"]),
            (&json!(code), &json!(message))
        );
        assert_eq!(answer["returnData"], "");
    }
    let login = |code: &str| json!({"code": code, "encrypt_data": no_data, "iv": no_data});
    let elsewhere = json!({"id": id, "skey": skey});
    let refused = call_at(&world, "/mina_auth/wxnobody/", "qcloud.cam.auth", elsewhere).await;
    assert_eq!(
        (&refused["returnCode"], &refused["returnMessage"]),
        (&json!(1012), &json!("NO_APPID"))
    );
    for (name, para, code, message) in [
        (
            "qcloud.cam.auth",
            json!({"id": id, "skey": "x"}),
            60012,
            "AUTH_FAIL",
        ),
        (
            "qcloud.cam.auth",
            json!({"id": "x", "skey": skey}),
            60012,
            "AUTH_FAIL",
        ),
        (
            "qcloud.cam.auth",
            json!({"id": 7, "skey": skey}),
            1003,
            "PARA_ERR",
        ),
        (
            "qcloud.cam.id_skey",
            login("never given"),
            40029,
            "WEIXIN_CODE_ERR",
        ),
        (
            "qcloud.cam.id_skey",
            login(&alice.code().await),
            60021,
            "DECRYPT_FAIL",
        ),
        (
            "qcloud.cam.decrypt",
            json!({"id": id, "skey": "x", "encrypt_data": no_data}),
            60021,
            "GET_SESSION_KEY_FAIL",
        ),
        (
            "qcloud.cam.decrypt",
            json!({"id": id, "skey": skey, "encrypt_data": "no data"}),
            60021,
            "GET_SESSION_KEY_SUCCESS_BUT_DECRYPT_FAIL",
        ),
        (
            "qcloud.cam.initdata",
            json!({"appid": "wxother", "secret": "s"}),
            1013,
            "INIT_APPINFO_FAIL",
        ),
    ] {
        let answer = call(&world, name, para).await;
        assert_eq!(
            (
                &answer["returnCode"],
                &answer["returnMessage"],
                &answer["returnData"]
            ),
            (&json!(code), &json!(message), &json!("")),
            "{name}"
        );
    }
    for (fault, code, message) in [
        ("reset", 1005, "WEIXIN_NET_ERR"),
        ("wrong_json", 1007, "WEIXIN_RETURN_ERR"),
    ] {
        let faults = json!({"fault": fault, "next": 10});
        wechat(&world).post("/faults").json(&faults).send().await;
        let answer = log_in(&world, &alice).await;
        assert_eq!(
            (&answer["returnCode"], &answer["returnMessage"]),
            (&json!(code), &json!(message))
        );
    }
    // None of it harmed the session.
    let known = call(&world, "qcloud.cam.auth", json!({"id": id, "skey": skey})).await;
    assert_eq!(known["returnMessage"], "AUTH_SUCCESS");
}
