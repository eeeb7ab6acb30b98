//! Names that WeChat writes in no JSON: raw control characters, half an emoji; and data that
//! a phone percent-encoded. Their users log in like everybody.

use axum::body::Body;
use axum::http::StatusCode;
use serde_json::json;
use weappd_wechat::open_data;

use crate::wechat::{session_key, user_data};
use crate::world::{APP, World};

/// User data whose name stands between the quotes as it is.
fn raw_named(openid: &str, nick: &str) -> (String, String) {
    let plain = format!(
        "{{\"openId\":\"{openid}\",\"nickName\":\"{nick}\",\"gender\":1,\"language\":\"zh_CN\",\
         \"watermark\":{{\"timestamp\":1800000000,\"appid\":\"{APP}\"}}}}"
    );
    let data = open_data::encrypt(&session_key(openid), &plain, [9; 16]);
    (data.expect("encrypts"), open_data::iv_text([9; 16]))
}

const ODD: [(&str, &str); 5] = [
    ("\u{14}三木", "\u{14}三木"),
    ("a\tb\nc", "a\tb\nc"),
    ("木\\ud83d", "木\u{fffd}"),
    ("\\ude00\\ud83d\\ude00", "\u{fffd}😀"),
    ("\u{0}\u{1f}", "\u{0}\u{1f}"),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_dialect_logs_in_whoever_has_an_odd_name() {
    let world = World::new().await;
    for (n, (written, read)) in ODD.into_iter().enumerate() {
        let openid = format!("o{n}");
        let (data, iv) = raw_named(&openid, written);
        for dialect in ["native", "wafer2", "wafer1", "rpc"] {
            let code = format!("{dialect}{n}");
            world.wechat.code(&code, &openid);
            let headers = [
                ("X-WX-Code", code.as_str()),
                ("X-WX-Encrypted-Data", &data),
                ("X-WX-IV", &iv),
            ];
            let skey = match dialect {
                "native" => {
                    let body = json!({"code": code, "encryptedData": data, "iv": iv});
                    let answer = world.native(&body).await;
                    assert_eq!(answer.status, StatusCode::OK, "{written:?}: {answer:?}");
                    assert_eq!(answer.json["user"]["info"]["nickName"], read);
                    answer.json["skey"].clone()
                }
                "wafer2" => {
                    let answer = world.get("/weapp/login", &headers).await;
                    assert_eq!(answer.json["data"]["userinfo"]["nickName"], read);
                    answer.json["data"]["skey"].clone()
                }
                "wafer1" => {
                    let answer = world.get("/login", &headers).await;
                    answer.json["session"]["skey"].clone()
                }
                _ => {
                    let para = json!({"code": code, "encrypt_data": data, "iv": iv});
                    let interface = json!({"interfaceName": "qcloud.cam.id_skey", "para": para});
                    let body = Body::from(json!({"interface": interface}).to_string());
                    let path = format!("/mina_auth/{APP}/");
                    let answer = world.call("POST", &path, &[], body).await.json;
                    assert_eq!(answer["returnData"]["user_info"]["nickName"], read);
                    answer["returnData"]["skey"].clone()
                }
            };
            let skey = skey
                .as_str()
                .unwrap_or_else(|| panic!("{dialect} {written:?}"));
            assert_eq!(world.user(skey).await["data"]["nickName"], read);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_name_in_raw_data_and_in_a_profile_is_read() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let raw = "{\"nickName\":\"\u{14}签\\ud83d\"}";
    let signature = open_data::raw_data_signature(raw, &session_key("o1"));
    for (body, read) in [
        (
            json!({"rawData": raw, "signature": signature}).to_string(),
            "\u{14}签\u{fffd}",
        ),
        // What JSON.stringify makes of a name that was cut inside an emoji.
        (r#"{"nickName":"三木\ud83d"}"#.to_owned(), "三木\u{fffd}"),
    ] {
        let headers = [("X-WX-Skey", skey.as_str())];
        let answer = world
            .call("PUT", "/weapp/session/profile", &headers, Body::from(body))
            .await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        assert_eq!(answer.json["user"]["info"]["nickName"], read);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_was_percent_encoded_is_taken() {
    let world = World::new().await;
    let (data, _) = user_data(APP, "o1", "Band");
    let iv = open_data::iv_text([0xfb; 16]);
    assert!(iv.contains('+') && iv.contains('='), "{iv}");
    // The first block alone depends on the iv; made anew with this one.
    let plain = json!({
        "openId": "o1", "nickName": "Band", "watermark": {"timestamp": 1, "appid": APP},
    });
    let with_iv = open_data::encrypt(&session_key("o1"), &plain.to_string(), [0xfb; 16]);
    let with_iv = with_iv.expect("encrypts");
    assert_ne!(data, with_iv);
    let encoded = |text: &str| {
        text.replace('+', "%2B")
            .replace('/', "%2F")
            .replace('=', "%3D")
    };
    for (n, iv_sent, data_sent) in [
        (1, encoded(&iv), with_iv.clone()),
        (2, encoded(&iv).replace("%2B", "%2b"), with_iv.clone()),
        (3, encoded(&iv), encoded(&with_iv)),
        (4, encoded(&iv).replace('%', "%25"), encoded(&with_iv)),
    ] {
        let code = format!("c{n}");
        world.wechat.code(&code, "o1");
        let body = json!({"code": code, "encryptedData": data_sent, "iv": iv_sent});
        let answer = world.native(&body).await;
        assert_eq!(answer.status, StatusCode::OK, "{n}: {answer:?}");
        assert_eq!(answer.json["user"]["info"]["nickName"], "Band");
    }
}
