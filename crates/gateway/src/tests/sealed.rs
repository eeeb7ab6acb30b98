//! Calls that go out encrypted and signed, to a WeChat that proves them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Map, Value, json};
use weappd_base::clock::Clock;
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::api_sign::{FreshBytes, KeyTexts, SealedChannel, SignatureHeaders};

use super::support::{APPID, Setting, World, mini_app, serve};
use crate::config::{ApiSecurity, GatewayApp};

const NOW: UnixSecs = UnixSecs::new(1_714_112_445);
const PATH: &str = "/wxa/msg_sec_check";

/// Ours and WeChat's; RSA keys take their time to make.
static PAIRS: LazyLock<[KeyPair; 2]> =
    LazyLock::new(|| [(); 2].map(|()| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key")));

fn keys(ours: usize) -> KeyTexts {
    KeyTexts {
        appid: APPID.to_owned(),
        symmetric_key: Secret::new("otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY="),
        symmetric_key_sn: "5e".to_owned(),
        private_key: Secret::new(PAIRS[ours].serialize_pem()),
        private_key_sn: format!("{ours}a"),
        their_key: PAIRS[1 - ours].public_key_pem(),
        their_key_sn: format!("{}a", 1 - ours),
    }
}

/// How WeChat answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Mood {
    #[default]
    Well,
    Plain,
    Refuses,
    Stale,
    Forged,
    Unnamed,
    Old,
    Elsewhere,
    Page,
}

/// A WeChat that takes sealed calls only.
struct Wechat {
    channel: SealedChannel,
    mood: Mutex<Mood>,
    tokens: Mutex<u32>,
    /// What was asked, in plain, with the query it came with.
    asked: Mutex<Vec<(String, Map<String, Value>)>>,
}

async fn answer(State(wechat): State<Arc<Wechat>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if path == "/cgi-bin/stable_token" {
        *wechat.tokens.lock() += 1;
        let token = format!("t{}", wechat.tokens.lock());
        return json!({"access_token": token, "expires_in": 7200})
            .to_string()
            .into_response();
    }
    let text = |name: &str| parts.headers.get(name).and_then(|text| text.to_str().ok());
    let body = body.collect().await.expect("a body").to_bytes();
    let body = String::from_utf8_lossy(&body).into_owned();
    let stamp = SignatureHeaders {
        appid: text("Wechatmp-AppId").unwrap_or_default(),
        timestamp: text("Wechatmp-TimeStamp").unwrap_or_default(),
        signature: text("Wechatmp-Signature").unwrap_or_default(),
        ..SignatureHeaders::default()
    };
    match wechat.channel.open(path, stamp, &body, NOW) {
        Ok(fields) => wechat.asked.lock().push((query, fields)),
        Err(problem) => panic!("{problem}: {body}"),
    }
    let mood = *wechat.mood.lock();
    let said = json!({"errcode": 0, "errmsg": "ok", "result": {"suggest": "pass"}});
    let Value::Object(fields) = said.clone() else {
        unreachable!()
    };
    let at = if mood == Mood::Old {
        NOW - Duration::from_secs(301)
    } else {
        NOW
    };
    let signed_path = if mood == Mood::Elsewhere {
        "/wxa/plugin"
    } else {
        path
    };
    let fresh = FreshBytes {
        iv: [1; 12],
        n: [2; 16],
    };
    let sealed = wechat.channel.seal(signed_path, fields, at, fresh);
    let mut sealed = sealed.expect("sealed");
    match mood {
        Mood::Plain => return said.to_string().into_response(),
        Mood::Page => return "<html>502</html>".into_response(),
        Mood::Refuses => {
            let refusal = json!({"errcode": 40234, "errmsg": "invalid signature", "more": "x"});
            return refusal.to_string().into_response();
        }
        Mood::Stale => {
            *wechat.mood.lock() = Mood::Well;
            return r#"{"errcode":42001,"errmsg":"access_token expired"}"#.into_response();
        }
        Mood::Forged => sealed.body = sealed.body.replace("\"data\":\"", "\"data\":\"A"),
        Mood::Unnamed => sealed.serial = "another".to_owned(),
        _ => {}
    }
    let headers = [
        ("Wechatmp-AppId", sealed.appid),
        ("Wechatmp-TimeStamp", sealed.timestamp.to_string()),
        ("Wechatmp-Serial", sealed.serial),
        ("Wechatmp-Signature", sealed.signature),
    ];
    (headers, sealed.body).into_response()
}

async fn world(paths: Option<Vec<String>>) -> (World, Arc<Wechat>) {
    let wechat = Arc::new(Wechat {
        channel: SealedChannel::new(&keys(1)).expect("keys"),
        mood: Mutex::default(),
        tokens: Mutex::default(),
        asked: Mutex::default(),
    });
    let router = Router::new()
        .fallback(answer)
        .with_state(Arc::clone(&wechat));
    let setting = Setting {
        endpoint: Some(serve(router)),
        mini_apps: vec![GatewayApp {
            api_security: Some(ApiSecurity {
                keys: keys(0),
                paths,
            }),
            ..mini_app(APPID, None, None)
        }],
        ..Setting::default()
    };
    (World::of(setting).await, wechat)
}

#[tokio::test]
async fn an_app_sends_and_gets_plain_json() {
    let (world, wechat) = world(None).await;
    let said = world
        .post(
            &format!("{PATH}?scene=2&lang=%E4%B8%AD"),
            r#"{"content":"hi"}"#,
        )
        .await;
    assert_eq!(said.status, 200);
    let answer: Value = serde_json::from_str(&said.text).expect("JSON");
    assert_eq!(
        answer,
        json!({"errcode": 0, "errmsg": "ok", "result": {"suggest": "pass"}})
    );
    let asked = wechat.asked.lock();
    let fields = json!({"scene": "2", "lang": "中", "content": "hi"});
    assert_eq!(
        *asked,
        [(
            "access_token=t1".to_owned(),
            fields.as_object().expect("fields").clone()
        )]
    );
}

#[tokio::test]
async fn what_is_not_proven_is_never_passed_on() {
    let (world, wechat) = world(None).await;
    for mood in [
        Mood::Plain,
        Mood::Page,
        Mood::Forged,
        Mood::Unnamed,
        Mood::Old,
        Mood::Elsewhere,
    ] {
        *wechat.mood.lock() = mood;
        let said = world.post(PATH, "{}").await;
        assert_eq!((said.status, said.errcode()), (502, -808_021), "{mood:?}");
        assert!(!said.text.contains("suggest"), "{}", said.text);
    }
}

#[tokio::test]
async fn a_refusal_in_plain_is_passed_on_as_number_and_text() {
    let (world, wechat) = world(None).await;
    *wechat.mood.lock() = Mood::Refuses;
    let said = world.post(PATH, "{}").await;
    assert_eq!(
        said.text,
        r#"{"errcode":40234,"errmsg":"invalid signature"}"#
    );
}

#[tokio::test]
async fn a_stale_token_is_still_renewed_and_the_call_sealed_anew() {
    let (world, wechat) = world(None).await;
    *wechat.mood.lock() = Mood::Stale;
    let said = world.post(PATH, "{}").await;
    assert_eq!((said.status, said.errcode()), (200, 0));
    let asked = wechat.asked.lock();
    let queries: Vec<_> = asked.iter().map(|(query, _)| query.as_str()).collect();
    assert_eq!(queries, ["access_token=t1", "access_token=t2"]);
}

#[tokio::test]
async fn only_json_objects_can_be_sealed() {
    let (world, wechat) = world(None).await;
    for body in ["[]", "a=b", "\u{0}"] {
        let said = world.post(PATH, body).await;
        assert_eq!((said.status, said.errcode()), (400, -808_020), "{body}");
    }
    let long = format!(r#"{{"content":"{}"}}"#, "a".repeat(300 * 1024));
    assert_eq!(world.post(PATH, long).await.errcode(), -808_020);
    assert_eq!(wechat.asked.lock().len(), 0);
}

#[tokio::test]
async fn the_configured_paths_are_sealed_and_no_others() {
    let (world, wechat) = world(Some(vec!["/wxa/new".to_owned()])).await;
    assert_eq!(world.post("/wxa/new", "{}").await.errcode(), 0);
    assert_eq!(wechat.asked.lock().len(), 1);
    let app = world.gateway.shared();
    let sealer = |method, path| {
        let headers = http::HeaderMap::new();
        app.sealer(None, &method, path, &headers).is_some()
    };
    assert!(sealer(http::Method::POST, "/wxa/new"));
    assert!(!sealer(http::Method::GET, "/wxa/new"));
    assert!(!sealer(http::Method::POST, PATH));
}

#[tokio::test]
async fn bad_keys_are_found_at_the_start() {
    let app = GatewayApp {
        api_security: Some(ApiSecurity {
            keys: KeyTexts {
                symmetric_key: Secret::new("short"),
                ..keys(0)
            },
            paths: None,
        }),
        ..mini_app(APPID, None, None)
    };
    let (clock, _) = Clock::manual(NOW.get());
    let tokens = weappd_base::random::RandomSource::system();
    let error = crate::sealed::ApiSealers::build(&[app], clock, tokens).expect_err("bad keys");
    assert!(error.to_string().contains(APPID) && !error.hint().is_empty());
}
