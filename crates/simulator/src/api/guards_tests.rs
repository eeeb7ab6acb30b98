//! Addresses, frozen secrets, quotas, and calls encrypted and signed.

use std::sync::LazyLock;

use http::Request;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Map, Value, json};
use tower::ServiceExt as _;
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::api_sign::{FreshBytes, KeyTexts, SealedBody, SealedChannel, SignatureHeaders};

use crate::http::simulator_world::{NOW, SimulatorWorld, bytes_of, json_of};

const SYMMETRIC: &str = "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=";
const RISK: &str = "/wxa/msg_sec_check";

static PAIRS: LazyLock<[KeyPair; 2]> =
    LazyLock::new(|| [(); 2].map(|()| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key")));

#[tokio::test]
async fn tokens_are_refused_by_address_and_for_a_frozen_secret() {
    let world = SimulatorWorld::new();
    let classic = "/cgi-bin/token?appid=wx1&secret=s1&grant_type=client_credential";
    let stable = json!({"grant_type": "client_credential", "appid": "wx1", "secret": "s1"});
    for (settings, number, text) in [
        (
            json!({"ip_allow_list": ["8.8.8.8"]}),
            40164,
            "invalid ip 127.0.0.1",
        ),
        (
            json!({"ip_allow_list": ["127.0.0.1"], "secret_frozen": true}),
            40243,
            "frozen",
        ),
    ] {
        world.post("/settings", settings).await;
        for said in [
            world.get(classic).await,
            world.post("/cgi-bin/stable_token", stable.clone()).await,
        ] {
            assert_eq!(said["errcode"], number);
            let errmsg = said["errmsg"].as_str().expect("a text");
            assert!(
                errmsg.contains(text) && errmsg.contains("rid: "),
                "{errmsg}"
            );
        }
    }
    world
        .post("/settings", json!({"secret_frozen": false}))
        .await;
    assert!(world.get(classic).await["access_token"].is_string());
}

#[tokio::test]
async fn quotas_count_and_are_cleared_as_often_as_they_may() {
    let world = SimulatorWorld::new();
    let token = world.token().await;
    let at = |path: &str| format!("{path}?access_token={token}");
    let ips = at("/cgi-bin/getcallbackip");
    let asked = json!({"cgi_path": "/cgi-bin/getcallbackip"});
    let quota = async || {
        world
            .post(&at("/cgi-bin/openapi/quota/get"), asked.clone())
            .await
    };
    let per_day = json!({"per_day": {"/cgi-bin/getcallbackip": 2}});
    world.post("/settings", per_day).await;
    world.get(&ips).await;
    assert_eq!(
        quota().await["quota"],
        json!({"daily_limit": 2, "used": 1, "remain": 1})
    );
    world.get(&ips).await;
    assert_eq!(world.get(&ips).await["errcode"], 45009);
    let one = at("/cgi-bin/openapi/quota/clear");
    assert_eq!(world.post(&one, asked.clone()).await["errcode"], 0);
    assert!(world.get(&ips).await["ip_list"].is_array());
    let strange = json!({"cgi_path": "/nowhere"});
    assert_eq!(world.post(&one, strange).await["errcode"], 76021);

    let all = at("/cgi-bin/clear_quota");
    let wrong = world.post(&all, json!({"appid": "wx2"})).await;
    assert_eq!(wrong["errcode"], 40013);
    for _ in 0..10 {
        assert_eq!(
            world.post(&all, json!({"appid": "wx1"})).await["errcode"],
            0
        );
    }
    let v2 = "/cgi-bin/clear_quota/v2?appid=wx1&appsecret=";
    assert_eq!(
        world.post(&format!("{v2}s2"), json!({})).await["errcode"],
        40125
    );
    assert_eq!(
        world.post(&format!("{v2}s1"), json!({})).await["errcode"],
        48006
    );
    assert_eq!(quota().await["quota"]["used"], 0);

    let check = at("/cgi-bin/callback/check");
    let said = world.post(&check, json!({"action": "dns"})).await;
    assert_eq!(said["dns"][0]["ip"], "127.0.0.1");
    assert!(said.get("ping").is_none());
}

/// The mini program's side.
fn channel() -> SealedChannel {
    SealedChannel::new(&KeyTexts {
        appid: "wx1".to_owned(),
        symmetric_key: Secret::new(SYMMETRIC),
        symmetric_key_sn: "5e".to_owned(),
        private_key: Secret::new(PAIRS[0].serialize_pem()),
        private_key_sn: "0a".to_owned(),
        their_key: PAIRS[1].public_key_pem(),
        their_key_sn: "1a".to_owned(),
    })
    .expect("keys")
}

async fn send(world: &SimulatorWorld, sealed: SealedBody) -> axum::response::Response {
    let uri = format!("{RISK}?access_token={}", world.token().await);
    let request = Request::post(uri)
        .header("Wechatmp-AppId", sealed.appid)
        .header("Wechatmp-TimeStamp", sealed.timestamp.get())
        .header("Wechatmp-Signature", sealed.signature)
        .body(axum::body::Body::from(sealed.body))
        .expect("a request");
    world.router.clone().oneshot(request).await.expect("said")
}

#[tokio::test]
async fn sealed_calls_are_proven_and_answered_sealed() {
    let world = SimulatorWorld::new();
    let set = json!({
        "symmetric_key": SYMMETRIC, "symmetric_key_sn": "5e",
        "public_key": PAIRS[0].public_key_pem(), "public_key_sn": "0a",
        "private_key": PAIRS[1].serialize_pem(), "private_key_sn": "1a",
        "required": [RISK],
    });
    assert_eq!(
        world.post("/api_security", set).await,
        json!({"wx1": [RISK]})
    );
    let plain = format!("{RISK}?access_token={}", world.token().await);
    assert_eq!(
        world.post(&plain, json!({"content": "x"})).await["errcode"],
        40234
    );

    let channel = channel();
    let fresh = FreshBytes {
        iv: [1; 12],
        n: [2; 16],
    };
    let seal = |at| {
        channel
            .seal(RISK, Map::new(), UnixSecs::new(at), fresh)
            .expect("sealed")
    };
    let answer = send(&world, seal(NOW)).await;
    let header = |name: &str| answer.headers()[name].to_str().expect("text").to_owned();
    let [appid, at, serial, signature] = ["appid", "timestamp", "serial", "signature"]
        .map(|name| header(&format!("wechatmp-{name}")));
    let stamp = SignatureHeaders {
        appid: &appid,
        timestamp: &at,
        signature: &signature,
        serial: Some(&serial),
        old: None,
    };
    let body = String::from_utf8(bytes_of(answer).await).expect("text");
    let fields = channel
        .open(RISK, stamp, &body, UnixSecs::new(NOW))
        .expect("proven");
    // It was understood: a text without a version is what WeChat complains of.
    assert_ne!(fields["errcode"], 40234);
    assert_ne!(fields["errcode"], 44002);

    let late = json_of(send(&world, seal(NOW - 301)).await).await;
    assert_eq!(late["errcode"], 40234);
    let forged = SealedBody {
        body: seal(NOW).body,
        ..seal(NOW - 1)
    };
    assert_eq!(json_of(send(&world, forged).await).await["errcode"], 40234);
    let bad = world
        .post("/api_security", json!({"symmetric_key": "x"}))
        .await;
    assert_ne!(bad["errMsg"], Value::Null);
    assert_eq!(world.post("/api_security", json!({})).await, json!({}));
}
