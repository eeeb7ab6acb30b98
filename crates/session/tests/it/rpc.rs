//! The session server's RPC, as a business server of Wafer 1 calls it.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::{Value, json};
use weappd_wechat::open_data;

use crate::wechat::{session_key, user_data};
use crate::world::{APP, Answer, World, send};

/// Calls at the path that names the mini program.
async fn named(world: &World, appid: &str, name: &str, para: Value) -> Value {
    let body = json!({"interface": {"interfaceName": name, "para": para}});
    let path = format!("/mina_auth/{appid}");
    let answer = at(world, &path, Body::from(body.to_string())).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer.json
}

async fn at(world: &World, path: &str, body: Body) -> Answer {
    send(world.router(APP), "POST", path, &[], body).await
}

async fn log_in(world: &World, code: &str, openid: &str) -> Value {
    world.wechat.code(code, openid);
    let (data, iv) = user_data(APP, openid, "Band");
    let para = json!({"code": code, "encrypt_data": data, "iv": iv});
    named(world, APP, "qcloud.cam.id_skey", para).await
}

#[tokio::test(flavor = "multi_thread")]
async fn login_check_and_decrypt() {
    let world = World::new().await;
    let first = log_in(&world, "c1", "o1").await;
    assert_eq!(first["returnMessage"], "NEW_SESSION_SUCCESS", "{first}");
    assert_eq!(first["returnData"]["user_info"]["nickName"], "Band");
    assert_eq!(first["returnData"]["duration"], 2_592_000);
    let again = log_in(&world, "c2", "o1").await;
    assert_eq!(again["returnMessage"], "UPDATE_SESSION_SUCCESS");
    let (id, skey) = (&again["returnData"]["id"], &again["returnData"]["skey"]);
    assert_eq!(*id, first["returnData"]["id"]);
    assert_ne!(*skey, first["returnData"]["skey"]);

    let auth = world
        .rpc("qcloud.cam.auth", json!({"id": id, "skey": skey}))
        .await;
    assert_eq!(auth["returnMessage"], "AUTH_SUCCESS");
    assert_eq!(auth["returnData"]["user_info"]["openId"], "o1");
    for para in [
        json!({"id": "x", "skey": skey}),
        json!({"id": id, "skey": "x"}),
        json!({"id": id, "skey": ""}),
        json!({"id": id, "skey": "k".repeat(5000)}),
    ] {
        let auth = world.rpc("qcloud.cam.auth", para).await;
        assert_eq!(
            (
                &auth["returnCode"],
                &auth["returnMessage"],
                &auth["returnData"]
            ),
            (&json!(60012), &json!("AUTH_FAIL"), &json!(""))
        );
    }

    let mut iv = [0; 16];
    let key = session_key("o1");
    // The oldest form takes the key as its iv.
    iv.copy_from_slice(&{
        let mut bytes = [7; 16];
        bytes[..2].copy_from_slice(b"o1");
        bytes
    });
    let text = r#"{"openGId":"g1"}"#;
    let data = open_data::encrypt(&key, text, iv).expect("encrypts");
    let para = json!({"id": id, "skey": skey, "encrypt_data": data});
    let opened = world.rpc("qcloud.cam.decrypt", para).await;
    assert_eq!(opened["returnMessage"], "DECRYPT_SUCCESS");
    assert_eq!(opened["returnData"], text);
    let para = json!({"id": id, "skey": skey, "encrypt_data": "AAAA"});
    let closed = world.rpc("qcloud.cam.decrypt", para).await;
    assert_eq!(closed["returnCode"], 60021);
    assert_eq!(
        closed["returnMessage"],
        "GET_SESSION_KEY_SUCCESS_BUT_DECRYPT_FAIL"
    );
    let para = json!({"id": id, "skey": "x", "encrypt_data": data});
    let closed = world.rpc("qcloud.cam.decrypt", para).await;
    assert_eq!(closed["returnMessage"], "GET_SESSION_KEY_FAIL");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_form_needs_no_iv_and_no_watermark() {
    let world = World::new().await;
    world.wechat.code("c1", "o1");
    let mut iv = [7; 16];
    iv[..2].copy_from_slice(b"o1");
    let data = open_data::encrypt(&session_key("o1"), r#"{"nickName":"Old"}"#, iv);
    let para = json!({"code": "c1", "encrypt_data": data.expect("encrypts")});
    let login = named(&world, APP, "qcloud.cam.id_skey", para).await;
    assert_eq!(
        login["returnData"]["user_info"],
        json!({"nickName": "Old", "openId": "o1"})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn every_failure_has_its_code() {
    let world = World::impatient().await;
    let id_skey = "qcloud.cam.id_skey";
    let (data, iv) = user_data(APP, "o1", "Band");
    let para = |code: &str| json!({"code": code, "encrypt_data": data, "iv": iv});
    let code_and_word = |answer: Value| {
        (
            answer["returnCode"].as_i64().expect("a code"),
            answer["returnMessage"].as_str().expect("a word").to_owned(),
        )
    };
    let refused = named(&world, APP, id_skey, para("none")).await;
    assert_eq!(
        code_and_word(refused),
        (40029, "WEIXIN_CODE_ERR".to_owned())
    );
    world.wechat.answer("odd", json!({"openid": "o1"}));
    let odd = named(&world, APP, id_skey, para("odd")).await;
    assert_eq!(code_and_word(odd), (1007, "WEIXIN_RETURN_ERR".to_owned()));
    world.wechat.code("c2", "o2");
    let closed = named(&world, APP, id_skey, para("c2")).await;
    assert_eq!(code_and_word(closed), (60021, "DECRYPT_FAIL".to_owned()));
    world.wechat.silent(true);
    let late = named(&world, APP, id_skey, para("late")).await;
    assert_eq!(code_and_word(late), (1005, "WEIXIN_NET_ERR".to_owned()));
    world.wechat.silent(false);
    // Two mini programs are configured: a call that names none means none.
    let unnamed = world.rpc(id_skey, para("c3")).await;
    assert_eq!(code_and_word(unnamed), (1012, "NO_APPID".to_owned()));
    let nobodys = named(&world, "wx_none", id_skey, para("c3")).await;
    assert_eq!(code_and_word(nobodys), (1012, "NO_APPID".to_owned()));
    let auth = json!({"id": "i", "skey": "s"});
    let nobodys = named(&world, "wx_none", "qcloud.cam.auth", auth).await;
    assert_eq!(code_and_word(nobodys), (1012, "NO_APPID".to_owned()));
    let init = json!({"appid": "a", "secret": "s"});
    let init = world.rpc("qcloud.cam.initdata", init).await;
    assert_eq!(code_and_word(init), (1013, "INIT_APPINFO_FAIL".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_path_that_names_a_mini_program_knows_no_other_ones_sessions() {
    let world = World::new().await;
    let login = log_in(&world, "c1", "o1").await;
    let para = json!({
        "id": login["returnData"]["id"], "skey": login["returnData"]["skey"],
    });
    let here = named(&world, APP, "qcloud.cam.auth", para.clone()).await;
    assert_eq!(here["returnCode"], 0);
    let there = crate::world::OTHER_APP;
    let there = named(&world, there, "qcloud.cam.auth", para).await;
    assert_eq!(there["returnCode"], 60012);
}

#[tokio::test(flavor = "multi_thread")]
async fn among_several_the_call_itself_may_name_the_mini_program() {
    let world = World::new().await;
    let other = crate::world::OTHER_APP;
    let login = log_in(&world, "c1", "o1").await;
    let para = json!({
        "id": login["returnData"]["id"], "skey": login["returnData"]["skey"],
    });
    let ask = async |path: &str, appid: Value, name: &str, para: &Value| {
        let interface = json!({"interfaceName": name, "appid": appid, "para": para});
        let body = json!({"interface": interface}).to_string();
        let answer = at(&world, path, Body::from(body)).await;
        answer.json["returnCode"].clone()
    };
    let check = "qcloud.cam.auth";
    for path in ["/mina_auth/", "/mina_auth", "/mina_auth/index.php"] {
        for (appid, code) in [
            (json!(APP), 0),
            (json!(other), 60012),
            (json!("wx0000000000000000"), 1012),
            // Nobody is named: anybody's session.
            (json!(""), 0),
            (json!(7), 0),
            (Value::Null, 0),
        ] {
            assert_eq!(
                ask(path, appid.clone(), check, &para).await,
                code,
                "{path} {appid}"
            );
        }
    }
    // The path's word counts before the call's.
    for path in [
        format!("/mina_auth/{APP}/"),
        format!("/mina_auth/{APP}/index.php"),
    ] {
        assert_eq!(ask(&path, json!(other), check, &para).await, 0, "{path}");
    }

    world.wechat.code("c2", "o2");
    let (data, iv) = user_data(APP, "o2", "Band");
    let para = json!({"code": "c2", "encrypt_data": data, "iv": iv});
    let begin = "qcloud.cam.id_skey";
    assert_eq!(ask("/mina_auth/", Value::Null, begin, &para).await, 1012);
    assert_eq!(
        ask("/mina_auth/index.php", json!(APP), begin, &para).await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn any_method_and_content_type_and_no_endless_body() {
    let world = World::new().await;
    let body = r#"{"interface":{"interfaceName":"x","para":{}}}"#;
    for (method, kind) in [
        ("POST", "text/plain"),
        ("POST", "application/x-www-form-urlencoded"),
        ("PUT", "nonsense"),
    ] {
        let headers = [("Content-Type", kind)];
        let answer = world
            .call(method, "/mina_auth", &headers, Body::from(body))
            .await;
        assert_eq!(answer.json["returnCode"], 1010);
    }
    let large = at(&world, "/mina_auth/", Body::from(" ".repeat(65_537))).await;
    assert_eq!(large.status, StatusCode::OK);
    assert_eq!(large.json["returnCode"], 1009);
    assert_eq!(large.json["returnMessage"], "REQUEST_TOO_LARGE");
    let nested = "[".repeat(60_000);
    let nested = at(&world, "/mina_auth/", Body::from(nested)).await;
    assert_eq!(nested.json["returnMessage"], "REQUEST_IS_NOT_JSON");
}
