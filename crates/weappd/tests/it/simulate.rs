//! `weappd simulate` as the tests of another stack use it: its document, its options.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use axum::Router;
use axum::extract::Query;
use axum::routing::post;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use weappd_base::secret::Secret;
use weappd_wechat::message::{MessageCodec, MessageKey, PushSignature};

use crate::browser;
use crate::http::TestClient;
use crate::process::{PATIENCE, WeappdProcess};
use crate::upstream;
use crate::world::WEAPPD;

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

fn simulate(options: &[&str]) -> (WeappdProcess, SocketAddr) {
    let mut command = Command::new(WEAPPD);
    command.args(["simulate", "--port", "0", "--appid", "wxtest"]);
    let mut simulator = WeappdProcess::spawn("weappd simulate", command.args(options));
    let address = simulator.expect_line("its address", |line| {
        let (_, rest) = line.split_once("http://")?;
        rest.split(['/', ' ']).next()?.parse().ok()
    });
    (simulator, address)
}

#[test]
fn the_node_example_of_the_document_works() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/simulator.md");
    let document = fs::read_to_string(document).expect("docs/simulator.md");
    let (_, rest) = document.split_once("```js\n").expect("an example");
    let (example, _) = rest.split_once("```").expect("its end");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("login.test.mjs");
    fs::write(&file, example).expect("the example");

    let (_simulator, address) = simulate(&[]);
    let mut command = Command::new("node");
    command
        .args(["--test", "--test-reporter=tap"])
        .arg(&file)
        .env("WECHAT", format!("http://{address}"));
    let mut node = WeappdProcess::spawn("node --test", &mut command);
    let status = node.wait(Duration::from_mins(1));
    let said = node.transcript();
    assert!(
        status.is_some_and(|status| status.success()) && said.contains("# pass 4"),
        "{status:?}\n{said}"
    );
}

#[tokio::test]
async fn the_push_options_reach_a_server() {
    let (told, mut heard) = mpsc::unbounded_channel::<(Value, String)>();
    let server = upstream::serve(Router::new().route(
        "/weapp/message",
        post(async move |Query(query): Query<Value>, body: String| {
            told.send((query, body)).expect("a listener");
            "success"
        }),
    ));
    let url = format!("http://{server}/weapp/message");
    let (_simulator, address) = simulate(&[
        "--push-url",
        &url,
        "--push-token",
        "token",
        "--push-aes-key",
        KEY,
        "--push-format",
        "xml",
    ]);
    let phone = TestClient::http(address, &address.to_string());
    let said = phone
        .post("/phone/alice/say")
        .json(&json!({ "text": "hello" }))
        .send()
        .await;
    assert_eq!(said.status(), 200);

    let got = tokio::time::timeout(PATIENCE, heard.recv()).await;
    let (query, body) = got.expect("in time").expect("a message");
    let of = |name: &str| query[name].as_str().unwrap_or_default();
    let mailbox = MessageCodec {
        appid: "wxtest".to_owned(),
        token: Secret::new("token"),
        key: MessageKey::parse(&Secret::new(KEY)).expect("a key"),
    };
    let stamp = PushSignature {
        timestamp: of("timestamp"),
        nonce: of("nonce"),
        msg_signature: of("msg_signature"),
    };
    let message = mailbox.open(stamp, &body).expect("safe mode");
    assert!(message.contains("<Content><![CDATA[hello]]></Content>"));
}

#[test]
fn its_own_page_shows_and_does_what_it_says() {
    let (_simulator, address) = simulate(&[]);
    browser::play("desk", &format!("http://{address}/"));
}

#[test]
fn push_options_that_cannot_work_are_refused() {
    let url = "http://127.0.0.1:1/";
    for (options, code) in [
        (vec!["--push-url", url], 2),
        (vec!["--push-token", "t"], 2),
        (vec!["--push-url", "ftp://a/", "--push-token", "t"], 1),
        (
            vec![
                "--push-url",
                "https://a/",
                "--push-token",
                "t",
                "--push-trust",
                "/nowhere.pem",
            ],
            1,
        ),
        (
            vec![
                "--push-url",
                url,
                "--push-token",
                "t",
                "--push-aes-key",
                "short",
            ],
            1,
        ),
        (
            vec![
                "--push-url",
                url,
                "--push-token",
                "t",
                "--push-mode",
                "safe",
            ],
            1,
        ),
    ] {
        let mut command = Command::new(WEAPPD);
        let done = command.args(["simulate", "--port", "0"]).args(&options);
        let done = done.output().expect("weappd simulate");
        assert_eq!(done.status.code(), Some(code), "{options:?}");
    }
}
