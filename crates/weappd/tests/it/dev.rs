//! `weappd dev`, from an empty directory to Ctrl-C, as somebody meets it who only has the
//! README.

mod callers;
mod ends;
mod logins;
mod messages;
mod output;
mod refusals;
mod rpc;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use hyper::StatusCode;
use serde_json::Value;

use crate::http::{self, HttpAnswer, TestClient};
use crate::world::{TestWorld, text};

/// The mini program of the simulated WeChat.
const APPID: &str = "wxde00000000000001";

/// What marks every answer of Wafer 1.
const MARK: &str = "F2C224D4-2BCE-4C64-AF9F-A6D872000D1A";

/// The simulated WeChat.
fn wechat(world: &TestWorld) -> TestClient {
    TestClient::http(world.wechat, &world.wechat.to_string())
}

/// Who WeChat says holds this phone.
async fn profile(world: &TestWorld, user: &str) -> Value {
    let path = format!("/phone/{user}");
    http::json(&wechat(world).get(&path).send().await)
}

/// A file of `dev/`.
fn fixture(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/dev");
    dir.join(name).display().to_string()
}

fn type_of(answer: &HttpAnswer) -> &str {
    answer.headers()["content-type"].to_str().expect("ascii")
}

#[tokio::test]
async fn the_first_run_needs_nothing_and_every_address_of_the_banner_answers() {
    let world = TestWorld::dev().await;

    for site in [world.plain(), world.site()] {
        let page = site.get("/").send().await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(type_of(&page).starts_with("text/html"));
        let text = String::from_utf8_lossy(page.body());
        assert!(text.contains("/_dev/main.js"), "{text}");
        let script = site.get("/_dev/main.js").send().await;
        assert_eq!(script.status(), StatusCode::OK);
        let config = http::json(&site.get("/_dev/config.json").send().await);
        assert_eq!(config["users"][1]["name"], "bob");
        assert_eq!(config["wechatUrl"], format!("http://{}", world.wechat));
    }
    let health = world.api().get("/healthz").send().await;
    assert_eq!(
        (health.status(), &health.body()[..]),
        (StatusCode::OK, &b"ok\n"[..])
    );
    let alice = profile(&world, "alice").await;
    assert_eq!(alice["appid"], APPID);
    assert!(
        world.transcript().contains(APPID),
        "the banner names the AppID"
    );
    // WeChat's server side: nobody without the secret gets a session key.
    let refused = wechat(&world)
        .get("/sns/jscode2session?appid=x")
        .send()
        .await;
    assert_eq!(http::json(&refused)["session_key"], Value::Null);

    let mode = |name: &str| {
        let about = std::fs::metadata(world.dir().join(".weappd").join(name)).expect(name);
        about.permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for secret in ["weappd.db", "dev-key.pem", "control.sock"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
}

#[tokio::test]
async fn a_picture_comes_back_as_it_was_sent() {
    let world = TestWorld::dev().await;
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let skey = alice.skey.clone().expect("logged in");
    // The smallest GIF: one grey pixel.
    let gif: &[u8] = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x80\x80\x80\x00\x00\x00,\
        \x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";
    let form = |file: &[u8]| {
        let mut body = b"--edge\r\nContent-Disposition: form-data; name=\"file\"; \
            filename=\"a.gif\"\r\nContent-Type: image/gif\r\n\r\n"
            .to_vec();
        body.extend_from_slice(file);
        body.extend_from_slice(b"\r\n--edge--\r\n");
        body
    };
    let site = world.site();
    let upload = |skey: &str| {
        site.post("/weapp/upload")
            .header("content-type", "multipart/form-data; boundary=edge")
            .header("x-wx-skey", skey)
            .body(form(gif))
            .send()
    };
    assert_eq!(upload("nobody").await.status(), StatusCode::UNAUTHORIZED);
    let stored = http::json(&upload(&skey).await);
    assert_eq!(stored["code"], 0, "{stored}");
    let url = text(&stored["data"]["imgUrl"]);
    let at = url.find("/weapp/files/").expect("a place under the site");
    let back = site.get(&url[at..]).send().await;
    assert_eq!(back.status(), StatusCode::OK);
    assert_eq!(type_of(&back), "image/gif");
    assert_eq!(&back.body()[..], gif);
}
