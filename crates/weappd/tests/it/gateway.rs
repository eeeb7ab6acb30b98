//! WeChat's two doors: messages on their way to the app, calls without a token, and the
//! commands that show what waits and who is logged in.

use std::net::SocketAddr;
use std::process::Output;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::http::{self, TestClient};
use crate::process::PATIENCE;
use crate::upstream::{self, RefusingPort};
use crate::world::{APPID, TestWorld, WorldRecipe, text};

const TOKEN: &str = "a message token";
const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";
/// What programs that weappd did not start show the internal API.
const INTERNAL_TOKEN: &str = "1e7e57a9900000000000000000c0ffee";

/// A message as it reached the app.
type AppRequest = (HeaderMap, String);

/// An app that takes messages, answers `status`, and tells the test.
fn app(status: StatusCode) -> (Router, mpsc::UnboundedReceiver<AppRequest>) {
    let (told, heard) = mpsc::unbounded_channel();
    let take = async move |headers: HeaderMap, body: String| {
        told.send((headers, body)).expect("a listener");
        status
    };
    (Router::new().route("/weapp/message", post(take)), heard)
}

async fn next(heard: &mut mpsc::UnboundedReceiver<AppRequest>) -> AppRequest {
    let told = tokio::time::timeout(PATIENCE, heard.recv()).await;
    told.expect("in time").expect("a message")
}

/// weappd before the app at `app`, and a WeChat that pushes to it in safe mode.
fn serve(app: SocketAddr) -> TestWorld {
    // The simulator starts first and must know already where weappd will be.
    let front = Arc::new(OnceLock::<SocketAddr>::new());
    let behind = Arc::clone(&front);
    let road = upstream::serve_raw(move |mut wechat| {
        let behind = behind.get().copied();
        async move {
            let Some(at) = behind else { return };
            let mut weappd = TcpStream::connect(at).await.expect("weappd");
            drop(tokio::io::copy_bidirectional(&mut wechat, &mut weappd).await);
        }
    });
    let url = format!("http://localhost:{}/weapp/message", road.port());
    let push = [
        ["--push-url", &url],
        ["--push-token", TOKEN],
        ["--push-aes-key", KEY],
        ["--push-mode", "safe"],
    ];
    let world = WorldRecipe::simulating(push.as_flattened())
        .site(&format!("proxy = \"{app}\""))
        .miniapp(&format!(
            "message_token = \"{TOKEN}\"\nencoding_aes_key = \"{KEY}\""
        ))
        .edge("redirect = false")
        .internal(&format!("token = \"{INTERNAL_TOKEN}\""))
        .sections("[gateway.inbox]\nfirst_pause_ms = 50\nlongest_pause_ms = 100\nmax_refusals = 2")
        .serve();
    front.set(world.http).expect("once");
    world
}

/// Has WeChat push a text of alice's.
async fn push(world: &TestWorld, content: &str, is_forged: bool) -> Value {
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let asked = json!({
        "user": "alice",
        "message": {"MsgType": "text", "Content": content},
        "forged": is_forged,
    });
    http::json(&wechat.post("/push/send").json(&asked).send().await)
}

async fn openid(world: &TestWorld) -> String {
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let alice = http::json(&wechat.get("/phone/alice").send().await);
    text(&alice["openid"]).to_owned()
}

/// What a command printed.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Why a command failed.
fn complained(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `weappd inbox status` shows these numbers.
async fn inbox_has(world: &TestWorld, waiting: u64, dead: u64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = said(&world.command(&["inbox", "status", "--json"]));
        let status: Value = serde_json::from_str(&status).expect("JSON");
        if (&status["waiting"], &status["dead"]) == (&json!(waiting), &json!(dead)) {
            return;
        }
        assert!(Instant::now() < deadline, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn messages_reach_the_app_even_if_it_was_down() {
    let nobody = RefusingPort::new();
    let world = serve(nobody.addr());
    let openid = openid(&world).await;

    let pushed = push(&world, "while it was down", false).await;
    assert_eq!(pushed["acknowledged"], true, "{pushed}");
    inbox_has(&world, 1, 0).await;
    let status = said(&world.command(&["inbox", "status"]));
    assert!(status.starts_with("waiting for the app: 1\n"), "{status}");
    assert!(status.ends_with("\ndead letters: 0\n"), "{status}");

    let (app, mut heard) = app(StatusCode::OK);
    nobody.serve(app);
    let (headers, body) = next(&mut heard).await;
    let message: Value = serde_json::from_str(&body).expect("plain JSON");
    // Nobody else can pass for WeChat where the app takes them, however the app reads paths.
    for path in ["/WEAPP/message", "/weapp/message%2F", "/weapp/message/x"] {
        let forged = world.site().post(path).body(body.clone()).send().await;
        assert_eq!(forged.status(), StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(message["Content"], "while it was down");
    assert_eq!(message["FromUserName"], openid);
    assert_eq!(headers["x-wx-openid"], openid);
    assert_eq!(headers["x-wx-appid"], APPID);
    inbox_has(&world, 0, 0).await;

    let forged = push(&world, "forged", true).await;
    assert_eq!(forged["acknowledged"], false, "{forged}");
    assert_eq!(forged["attempts"][0]["status"], 403, "{forged}");
    // Nor is anybody believed who writes the message and its user himself.
    let plain = json!({"FromUserName": openid, "MsgType": "text", "MsgId": 1});
    let direct = world.plain().named("localhost");
    let direct = direct.post("/weapp/message").header("x-wx-openid", &openid);
    assert_eq!(direct.json(&plain).send().await.status(), 403);

    let pushed = push(&world, "while it was up", false).await;
    assert_eq!(pushed["acknowledged"], true, "{pushed}");
    let (_, body) = next(&mut heard).await;
    let message: Value = serde_json::from_str(&body).expect("plain JSON");
    assert_eq!(message["Content"], "while it was up", "and nothing forged");
}

#[tokio::test]
async fn messages_reach_the_app_after_a_reload() {
    let (app, mut heard) = app(StatusCode::OK);
    let world = serve(upstream::serve(app));
    for content in ["before any", "after one", "after two"] {
        let pushed = push(&world, content, false).await;
        assert_eq!(pushed["acknowledged"], true, "{pushed}");
        let (_, body) = next(&mut heard).await;
        let message: Value = serde_json::from_str(&body).expect("plain JSON");
        assert_eq!(message["Content"], content);
        said(&world.command(&["reload"]));
    }
    inbox_has(&world, 0, 0).await;
}

#[tokio::test]
async fn what_the_app_refuses_is_listed_and_replayed() {
    let (app, mut heard) = app(StatusCode::INTERNAL_SERVER_ERROR);
    let world = serve(upstream::serve(app));
    let none = said(&world.command(&["inbox", "list"]));
    assert_eq!(none, "no dead letters\n");
    push(&world, "never wanted", false).await;
    inbox_has(&world, 0, 1).await;
    for _ in 0..2 {
        next(&mut heard).await;
    }

    let table = said(&world.command(&["inbox", "list"]));
    let row = table.lines().nth(1).expect("a row");
    assert!(row.contains(APPID) && row.contains("text"), "{table}");
    let list = said(&world.command(&["inbox", "list", "--json"]));
    let list: Value = serde_json::from_str(&list).expect("JSON");
    assert!(text(&list[0]["body"]).contains("never wanted"), "{list}");

    let wrong = complained(&world.command(&["inbox", "replay", "999"]));
    assert!(wrong.contains("999"), "{wrong}");
    let id = list[0]["id"].to_string();
    let one = said(&world.command(&["inbox", "replay", &id]));
    assert_eq!(one, "1 dead letter is delivered anew\n");
    next(&mut heard).await;
    inbox_has(&world, 0, 1).await;
    let all = said(&world.command(&["inbox", "replay"]));
    assert_eq!(all, "1 dead letter is delivered anew\n");
    // weappd would wait for an app that this thread no longer runs.
    inbox_has(&world, 0, 1).await;
}

#[tokio::test]
async fn a_call_without_a_token_reaches_wechat() {
    let world = serve(RefusingPort::new().addr());
    let openid = {
        let mut alice = world.phone("alice");
        alice.log_in().await;
        openid(&world).await
    };
    let check = json!({"version": 2, "scene": 1, "openid": openid, "content": "hello"});
    let path = "/wxa/msg_sec_check";
    let answer = world.api().post(path).json(&check).send().await;
    assert_eq!(answer.status(), 200);
    assert!(!answer.headers()["x-openapi-seqid"].is_empty());
    let told = http::json(&answer);
    assert_eq!(told["errcode"], 0, "{told}");
    assert_eq!(told["result"]["suggest"], "pass", "{told}");

    // WeChat itself wants a token.
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let bare = http::json(&wechat.post(path).json(&check).send().await);
    assert_eq!(bare["errcode"], 41001, "{bare}");
}

#[tokio::test]
async fn every_documented_path_leads_to_wechat() {
    let listed = include_str!("../../../simulator/data/endpoints.tsv");
    let world = serve(RefusingPort::new().addr());
    let api = world.api();
    let mut count = 0;
    for (path, method) in listed.lines().filter_map(|line| line.split_once('\t')) {
        let method = method.trim().parse().expect("a method");
        let answer = api.request(method, path).body("{}").send().await;
        let is_ours = String::from_utf8_lossy(answer.body()).contains("\"errcode\":-808");
        assert!(!is_ours, "{path}: {answer:?}");
        assert!(
            answer.headers().contains_key("x-openapi-seqid"),
            "{path}: {answer:?}"
        );
        count += 1;
    }
    assert_eq!(count, 432);

    // All of them went under one token, fetched once.
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let asked = wechat.get("/calls?path=/cgi-bin/stable_token").send().await;
    let calls = http::json(&asked)["calls"]
        .as_array()
        .expect("a list")
        .len();
    assert_eq!(calls, 1 + 1, "one for weappd, one call of the path itself");
}

#[tokio::test]
async fn other_programs_are_told_the_access_token() {
    let world = serve(RefusingPort::new().addr());
    let api = world.api();
    let ask = |bearer: String| {
        let ask = api.get("/token").header("authorization", &bearer);
        async { http::json(&ask.send().await) }
    };
    for wrong in ["", "0", &INTERNAL_TOKEN[1..]] {
        let told = ask(format!("Bearer {wrong}")).await;
        assert_eq!(told["errcode"], -808_011, "{told}");
        assert!(
            told["errmsg"].to_string().contains("[internal] token"),
            "{told}"
        );
    }
    let told = ask(format!("Bearer {INTERNAL_TOKEN}")).await;
    let access_token = text(&told["access_token"]);
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let path = format!("/cgi-bin/getcallbackip?access_token={access_token}");
    let answer = http::json(&wechat.get(&path).send().await);
    assert!(answer["ip_list"].is_array(), "{answer}");

    // Known, but no phone's session came along.
    let known = api
        .get("/v1/session")
        .header("authorization", &format!("Bearer {INTERNAL_TOKEN}"));
    assert_eq!(
        http::json(&known.send().await)["error"]["code"],
        "no_session"
    );
    let nobody = api.get("/v1/session").header("authorization", "Bearer x");
    assert_eq!(
        http::json(&nobody.send().await)["error"]["code"],
        "no_token"
    );
}

#[tokio::test]
async fn sessions_are_listed_and_ended_from_the_command_line() {
    let world = serve(RefusingPort::new().addr());
    let (mut alice, mut bob) = (world.phone("alice"), world.phone("bob"));
    alice.log_in().await;
    alice.log_in().await;
    bob.log_in().await;
    let openid = openid(&world).await;

    let of_alice = ["session", "list", "--openid", &openid];
    let list = || {
        let list = said(&world.command(&[of_alice.as_slice(), &["--json"]].concat()));
        let list: Value = serde_json::from_str(&list).expect("JSON");
        list["sessions"].as_array().expect("a list").clone()
    };
    let sessions = list();
    assert_eq!(sessions.len(), 2, "{sessions:?}");
    let table = said(&world.command(&of_alice));
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains(APPID), "{table}");

    let wrong = complained(&world.command(&["session", "revoke", "999999"]));
    assert!(
        wrong.contains("no session has the number 999999"),
        "{wrong}"
    );
    let newest = sessions[0]["session"].to_string();
    let one = said(&world.command(&["session", "revoke", &newest]));
    assert_eq!(one, "1 session ended\n");
    assert_eq!(list().len(), 1);
    assert_eq!(alice.user().await["error"], "ERR_SKEY_INVALID");

    let elsewhere = ["--openid", &openid, "--appid", "wxffffffffffffffff"];
    let none = world.command(&[["session", "revoke"].as_slice(), &elsewhere].concat());
    assert_eq!(said(&none), "0 sessions ended\n");
    let rest = said(&world.command(&["session", "revoke", "--openid", &openid]));
    assert_eq!(rest, "1 session ended\n");
    assert_eq!(said(&world.command(&of_alice)), "no sessions\n");

    for unclear in [
        vec![],
        vec!["--openid", ""],
        vec!["--all", "--openid", &openid],
        vec!["--all", "--appid", APPID],
        vec!["1", "--appid", APPID],
    ] {
        let refused = world.command(&[["session", "revoke"].as_slice(), &unclear].concat());
        assert_eq!(refused.status.code(), Some(2), "{unclear:?}");
    }
    assert_eq!(bob.user().await["code"], 0);
    let all = said(&world.command(&["session", "revoke", "--all"]));
    assert_eq!(all, "1 session ended\n");
    assert_eq!(bob.user().await["error"], "ERR_SKEY_INVALID");
}
