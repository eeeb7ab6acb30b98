//! WeChat's API by its own names in an unchanged program: led to weappd, over https with the
//! certificate checked, over plain HTTP, and without a token.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::http::{self, TestClient};
use crate::process::free_port;
use crate::world::{TestWorld, WorldRecipe, text};

const NAME: &str = "api.weixin.qq.com";
const CHECK: &str = "/wxa/msg_sec_check";

/// An app that weappd runs, and one that has been told to trust nobody new.
fn serve() -> (TestWorld, SocketAddr) {
    let at = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let world = WorldRecipe::new()
        .site(
            "routes = [{ path = \"/\", app = \"app\" }, \
             { path = \"/doubt\", app = \"doubter\" }]",
        )
        .edge("redirect = false")
        .internal(&format!("wechat_https = \"{at}\""))
        .file("app.js", include_str!("stand_in/app.js"))
        .sections(
            "[app]\nrun = \"node app.js\"\n\
             [apps.doubter]\nrun = \"node app.js\"\nenv = { NODE_EXTRA_CA_CERTS = \"\" }",
        )
        .serve();
    (world, at)
}

/// A call that WeChat answers well only for a user it knows, and never without a token.
async fn call(world: &TestWorld) -> Value {
    world.phone("alice").log_in().await;
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let alice = http::json(&wechat.get("/phone/alice").send().await);
    json!({"version": 2, "scene": 1, "openid": text(&alice["openid"]), "content": "hello"})
}

fn authority(world: &TestWorld) -> PathBuf {
    world.dir().join(".weappd/wechat-https/ca.pem")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unchanged_node_app_calls_wechat_over_https_without_a_token() {
    let (world, _) = serve();
    let call = call(&world).await;
    let site = world.plain().named("localhost");
    for way in [
        "request", "agent", "fetch", "module", "socket", "inner", "http2",
    ] {
        let answer = site.post(&format!("/{way}")).json(&call).send().await;
        assert_eq!(answer.status(), 200, "{way}: {answer:?}");
        let told = http::json(&answer);
        assert_eq!(told["result"]["suggest"], "pass", "{way}: {told}");

        let answer = site.post(&format!("/doubt/{way}")).json(&call).send().await;
        let why = String::from_utf8_lossy(answer.body());
        assert!(why == "SELF_SIGNED_CERT_IN_CHAIN", "{way}: {why}");
    }
    for path in [
        "/plain-request",
        "/plain-agent",
        "/plain-fetch",
        "/plain-socket",
        "/request?name=API2.weixin.qq.com",
        "/fetch?name=sh.api.weixin.qq.com",
        "/http2?name=sz.api.weixin.qq.com",
        "/plain-request?name=hk.api.weixin.qq.com",
        "/plain-fetch?name=api2.weixin.qq.com",
    ] {
        let answer = site.post(path).json(&call).send().await;
        assert_eq!(answer.status(), 200, "{path}: {answer:?}");
        let told = http::json(&answer);
        assert_eq!(told["result"]["suggest"], "pass", "{path}: {told}");
    }
    // Other TLS connections go where they always went.
    let path = format!("/other?port={}", world.https.port());
    let answer = site.get(&path).send().await;
    assert_eq!(answer.status(), 200, "{answer:?}");
    assert!(http::json(&answer).get("code").is_some(), "{answer:?}");

    let log = world.transcript();
    assert!(log.contains("as https://api.weixin.qq.com"), "{log}");
    assert!(!log.contains("access_token="), "{log}");
}

/// The head of the answer to one greeting.
async fn greeted(at: SocketAddr, greeting: &str) -> (TcpStream, String) {
    let mut tcp = TcpStream::connect(at).await.expect("connected");
    tcp.write_all(greeting.as_bytes()).await.expect("sent");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tcp.read_u8().await.expect("a whole head"));
    }
    (tcp, String::from_utf8(head).expect("text"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_with_a_proxy_setting_is_led_to_wechat_and_nowhere_else() {
    let (world, at) = serve();
    let call = call(&world).await;
    let ca = authority(&world);

    // As a name in a hosts file leads there: TLS at once.
    let direct = TestClient::https(at, NAME, &ca);
    let told = http::json(&direct.post(CHECK).json(&call).send().await);
    assert_eq!(told["result"]["suggest"], "pass", "{told}");
    // It stands in for WeChat's API and is no way to the rest of weappd, or of the machine.
    for (path, errcode) in [
        ("/v1/tunnels", 0),
        ("/token", -808_011),
        ("/_/pay/x", -808_014),
    ] {
        let answer = direct.get(path).send().await;
        let told: Value = serde_json::from_slice(answer.body()).unwrap_or_default();
        match errcode {
            0 => assert!(told.get("tunnels").is_none(), "{told}"),
            errcode => assert_eq!(told["errcode"], errcode, "{path}"),
        }
    }
    let page = direct.post(CHECK).header("origin", "https://evil.example");
    assert_eq!(page.json(&call).send().await.status(), 403);

    // Over plain HTTP by WeChat's own name, as a name in a hosts file leads there too.
    let by_name = TestClient::http(at, NAME);
    let told = http::json(&by_name.post(CHECK).json(&call).send().await);
    assert_eq!(told["result"]["suggest"], "pass", "{told}");

    let connect = format!("CONNECT {NAME}:443 HTTP/1.1\r\nHost: {NAME}:443\r\n\r\n");
    let (tcp, head) = greeted(at, &connect).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let name = rustls::pki_types::ServerName::try_from(NAME).expect("a name");
    let tls = http::connector(&ca, &[b"http/1.1"]);
    let mut tls = tls.connect(name, tcp).await.expect("a TLS handshake");
    let body = call.to_string();
    let request = format!(
        "POST {CHECK} HTTP/1.1\r\nhost: {NAME}\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    tls.write_all(request.as_bytes()).await.expect("sent");
    let mut told = String::new();
    tls.read_to_string(&mut told).await.expect("an answer");
    assert!(told.contains("\"pass\""), "{told}");

    for (greeting, status) in [
        ("CONNECT api.weixin.qq.com:22 HTTP/1.1\r\n\r\n", "403"),
        ("GET http://example.com/ HTTP/1.1\r\n\r\n", "403"),
        ("GET http://127.0.0.1:8081/token HTTP/1.1\r\n\r\n", "403"),
        ("GET / HTTP/1.1\r\nhost: 127.0.0.1:8083\r\n\r\n", "400"),
        ("CONNECT example.com:443 HTTP/1.1\r\n\r\n", "403"),
        ("CONNECT 127.0.0.1:22 HTTP/1.1\r\n\r\n", "403"),
    ] {
        let (_, head) = greeted(at, greeting).await;
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
    }
    let (_, head) = greeted(at, &"x".repeat(40_000)).await;
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_given_an_http_proxy_calls_wechat_over_plain_http() {
    let (world, at) = serve();
    let body = call(&world).await.to_string();
    let asked = |target: &str, host: &str| {
        format!(
            "POST {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    // What programs with `http_proxy` say, at the stand-in and at the internal API.
    let tunnel = "CONNECT api2.weixin.qq.com:80 HTTP/1.1\r\n\r\n";
    for (to, first, request) in [
        (at, "", asked(&format!("http://{NAME}{CHECK}"), NAME)),
        (
            at,
            "",
            asked(&format!("http://{NAME}:80{CHECK}"), &format!("{NAME}:80")),
        ),
        (
            at,
            "",
            asked(&format!("https://hk.{NAME}{CHECK}"), &format!("hk.{NAME}")),
        ),
        (at, tunnel, asked(CHECK, "api2.weixin.qq.com")),
        (
            world.internal,
            "",
            asked(&format!("http://{NAME}{CHECK}"), NAME),
        ),
        (
            world.internal,
            "",
            asked(&format!("http://sh.{NAME}{CHECK}"), &format!("sh.{NAME}")),
        ),
    ] {
        let mut tcp = match first {
            "" => TcpStream::connect(to).await.expect("connected"),
            first => greeted(to, first).await.0,
        };
        tcp.write_all(request.as_bytes()).await.expect("sent");
        let mut told = String::new();
        tcp.read_to_string(&mut told).await.expect("an answer");
        assert!(told.contains("\"pass\""), "{request}: {told}");
    }
}
