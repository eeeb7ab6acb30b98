//! An app's plain call, sealed by weappd on its way to WeChat, and the answer proven.

use rcgen::{KeyPair, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use crate::http::{self, TestClient};
use crate::world::{TestWorld, WorldRecipe, text};

const SYMMETRIC: &str = "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=";
const CHECK: &str = "/wxa/msg_sec_check";

fn pair() -> KeyPair {
    KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key")
}

/// Tells WeChat the mini program's public key, and what it signs with itself.
async fn set(world: &TestWorld, ours: &KeyPair, theirs: &KeyPair) {
    let keys = json!({
        "symmetric_key": SYMMETRIC, "symmetric_key_sn": "5e",
        "public_key": ours.public_key_pem(), "public_key_sn": "0a",
        "private_key": theirs.serialize_pem(), "private_key_sn": "1a",
        "required": [CHECK],
    });
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let answer = wechat.post("/api_security").json(&keys).send().await;
    assert_eq!(answer.status(), 200);
}

async fn check(world: &TestWorld, openid: &str) -> (u16, Value) {
    let asked = json!({"version": 2, "scene": 1, "openid": openid, "content": "你好"});
    let answer = world.api().post(CHECK).json(&asked).send().await;
    (answer.status().as_u16(), http::json(&answer))
}

#[tokio::test]
async fn an_app_calls_in_plain_and_wechat_gets_it_sealed() {
    let (ours, theirs) = (pair(), pair());
    let world = WorldRecipe::new()
        .site("proxy = 9")
        .miniapp(&format!(
            "[miniapp.api_security]\nsymmetric_key = \"{SYMMETRIC}\"\n\
             symmetric_key_sn = \"5e\"\nprivate_key = '''{}'''\nprivate_key_sn = \"0a\"\n\
             wechat_certificate = '''{}'''\nwechat_certificate_sn = \"1a\"",
            ours.serialize_pem(),
            theirs.public_key_pem()
        ))
        .serve();
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let profile = http::json(&wechat.get("/phone/alice").send().await);
    let openid = text(&profile["openid"]);

    // A WeChat that knows no keys refuses the signature; its number is passed on.
    let (status, refused) = check(&world, openid).await;
    assert_eq!((status, &refused["errcode"]), (200, &json!(40234)));

    set(&world, &ours, &theirs).await;
    let (status, said) = check(&world, openid).await;
    assert_eq!(status, 200);
    assert_eq!(
        (&said["errcode"], &said["result"]["suggest"]),
        (&json!(0), &json!("pass")),
        "{said}"
    );
    assert!(said.get("_appid").is_none());

    // An answer signed with another key is not WeChat's, whatever it says.
    set(&world, &ours, &pair()).await;
    let (status, withheld) = check(&world, openid).await;
    assert_eq!((status, &withheld["errcode"]), (502, &json!(-808_021)));
    assert!(withheld.get("result").is_none());
}
