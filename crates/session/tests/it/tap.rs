//! What the sequence diagram is told: every step, and no secret.

use serde_json::json;
use weappd_base::tap::TapPeer;

use crate::wechat::{session_key, user_data};
use crate::world::{APP, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_login_is_drawn_step_by_step_with_its_secrets_masked() {
    let world = World::new().await;
    let mut heard = world.tap.subscribe().expect("a tap that is on");
    let code = "code-0123456789";
    let skey = world.log_in(code, "o1").await;
    world.user(&skey).await;
    let (data, iv) = user_data(APP, "o2", "Band");
    world.wechat.code("code-of-the-rpc", "o2");
    let para = json!({"code": "code-of-the-rpc", "encrypt_data": data, "iv": iv});
    world.rpc("qcloud.cam.id_skey", para).await;
    let mut hops = Vec::new();
    while let Ok(hop) = heard.try_recv() {
        hops.push(hop);
    }
    let drawn: Vec<_> = hops
        .iter()
        .map(|hop| (hop.from, hop.to, hop.name.as_str(), hop.who.as_deref()))
        .collect();
    let (phone, weappd, wechat, app) = (
        TapPeer::Phone,
        TapPeer::Weappd,
        TapPeer::Wechat,
        TapPeer::App,
    );
    assert_eq!(
        drawn,
        [
            (phone, weappd, "code", None),
            (weappd, wechat, "jscode2session", None),
            (wechat, weappd, "jscode2session", Some("o1")),
            (weappd, phone, "skey", Some("o1")),
            (phone, weappd, "who am I?", Some("o1")),
            (weappd, phone, "userInfo", Some("o1")),
            (app, weappd, "mina_auth", None),
            (weappd, app, "mina_auth", None),
        ]
    );
    assert_eq!(hops[5].detail["data"]["nickName"], "o1");
    for hop in hops {
        let text = hop.detail.to_string();
        for secret in [&skey, code, "code-of-the-rpc", session_key("o1").expose()] {
            assert!(!text.contains(secret), "{}: {text}", hop.name);
        }
    }
}
