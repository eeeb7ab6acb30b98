//! Compatibility with WeChat's cloud hosting at the front door of a real `weappd serve`:
//! what is internal stays inside, and nobody but a configured gateway is believed.

use std::net::SocketAddr;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpSocket;

use crate::http::{self, TestClient};
use crate::old_software::OldSoftware;
use crate::upstream::{self, echo, seen};
use crate::world::{TestWorld, WorldRecipe, text};

/// Where the gateway of these tests calls from.
const GATEWAY: &str = "127.0.0.9:0";

/// An app with a service beside it, behind a gateway.
fn serve() -> TestWorld {
    let app = upstream::serve(echo());
    WorldRecipe::new()
        .site(&format!(
            "routes = [{{ path = \"/\", proxy = \"{app}\" }}, \
             {{ path = \"/mine\", proxy = \"{app}\", session = \"require\" }}]\n\
             services.other = {{ proxy = \"{app}\", session = \"require\" }}"
        ))
        .miniapp("message_token = \"a message token\"")
        .edge("redirect = false\nwechat_gateways = [\"127.0.0.9\"]")
        .serve()
}

#[tokio::test]
async fn nothing_internal_is_reached_from_outside() {
    let world = serve();
    let site = TestClient::http(world.http, "localhost");
    // The paths of the internal API and of the cloud's own sidecar are the app's here.
    for path in [
        "/get/wsurl",
        "/ws/push",
        "/mina_auth/",
        "/token",
        "/cgi-bin/token",
        "/wxa/msg_sec_check",
        "/sns/jscode2session",
        "/_/pay/unifiedOrder",
        "/_/cos/getauth",
        "/_/cos/metaid/encode",
        "/%5F/cos/getauth",
        "//_/cos/getauth",
        "/inside/_/cos/getauth",
        "/.tencentcloudbase/wx/cloudbase_access_token",
        "/sessions",
        "/apps",
    ] {
        let answer = site.post(path).body("{}").send().await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(!seen(&answer, "host").is_empty(), "{path}: not the app");
        assert!(seen(&answer, "x-wx-openid").is_empty(), "{path}");
    }
    // The name under which apps find WeChat's API means nothing at the front.
    for host in ["api.weixin.qq.com", "127.0.0.1:8081"] {
        let ask = TestClient::http(world.http, host);
        let answer = ask.get("/cgi-bin/token").send().await;
        assert_eq!(answer.status(), 421, "{host}");
    }
    // Anybody may ask what WeChat's console asks; the app hears nothing of it.
    let probe = "{\"action\":\"CheckContainerPath\"}";
    let answer = site.post("/weapp/message").body(probe).send().await;
    assert_eq!(
        (answer.status().as_u16(), &answer.body()[..]),
        (200, b"success".as_slice())
    );
    let other = "{\"action\":\"other\"}";
    let answer = site.post("/weapp/message").body(other).send().await;
    assert_eq!(answer.status(), 403);
}

/// One request from an address of loopback, as bytes; the whole answer.
async fn from(at: &str, to: SocketAddr, lines: &str) -> String {
    let socket = TcpSocket::new_v4().expect("a socket");
    let at: SocketAddr = at.parse().expect("an address");
    socket.bind(at).expect("an address of loopback");
    // weappd may listen on every address of both families.
    let to = SocketAddr::from(([127, 0, 0, 1], to.port()));
    let mut tcp = socket.connect(to).await.expect("connected");
    let request = format!("GET {lines}Host: localhost\r\nConnection: close\r\n\r\n");
    tcp.write_all(request.as_bytes()).await.expect("sent");
    let mut heard = Vec::new();
    tcp.read_to_end(&mut heard).await.expect("an answer");
    String::from_utf8_lossy(&heard).to_ascii_lowercase()
}

#[tokio::test]
async fn the_gateways_user_and_the_sessions_user_are_one() {
    let world = serve();
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let skey = alice.skey.clone().expect("logged in");
    let bearer = format!("Authorization: Bearer {skey}\r\n");
    let gateway = "X-Wx-Source: wx_client\r\nX-Wx-Client-Ip: 203.0.113.5\r\n";
    let appid = crate::world::APPID;

    // Without the gateway's address its words mean nothing, with or without a session.
    let claim = format!("{gateway}X-Wx-Openid: mallory\r\nX-Wx-Appid: {appid}\r\n");
    let heard = from(
        "127.0.0.1:0",
        world.http,
        &format!("/mine HTTP/1.1\r\n{claim}"),
    )
    .await;
    assert!(heard.starts_with("http/1.1 401"), "{heard}");
    let own = format!("/mine HTTP/1.1\r\n{claim}{bearer}");
    let heard = from("127.0.0.1:0", world.http, &own).await;
    assert!(heard.starts_with("http/1.1 200"), "{heard}");
    assert!(
        !heard.contains("mallory") && !heard.contains("203.0.113.5"),
        "{heard}"
    );

    // With it, they do; the session says what the gateway left open.
    let heard = from(GATEWAY, world.http, &format!("/mine HTTP/1.1\r\n{claim}")).await;
    assert!(heard.contains("x-wx-openid: mallory"), "{heard}");
    assert!(heard.contains("x-forwarded-for: 203.0.113.5"), "{heard}");
    let heard = from(
        GATEWAY,
        world.http,
        &format!("/mine HTTP/1.1\r\n{gateway}{bearer}"),
    )
    .await;
    assert!(heard.starts_with("http/1.1 200"), "{heard}");
    assert!(
        heard.contains("x-wx-openid: o") && heard.contains("x-wx-unionid: "),
        "{heard}"
    );
    // Another mini program's user is nobody.
    let foreign = "X-Wx-Openid: mallory\r\nX-Wx-Appid: wxffffffffffffffff\r\n";
    let heard = from(GATEWAY, world.http, &format!("/mine HTTP/1.1\r\n{foreign}")).await;
    assert!(heard.starts_with("http/1.1 401"), "{heard}");

    // A service wants its session, whatever path it is asked for.
    let other = "/ HTTP/1.1\r\nX-WX-SERVICE: other\r\n";
    let heard = from("127.0.0.1:0", world.http, other).await;
    assert!(heard.starts_with("http/1.1 401"), "{heard}");
    let heard = from("127.0.0.1:0", world.http, &format!("{other}{bearer}")).await;
    assert!(heard.starts_with("http/1.1 200"), "{heard}");
    world.says("203.0.113.5").await;
}

/// An Express app that leaves `/admin` and `/account` to weappd.
fn serve_express() -> TestWorld {
    let modules = OldSoftware::install().modules().display().to_string();
    let app = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/clients/guarded.js");
    WorldRecipe::new()
        .site(
            "routes = [{ path = \"/\", app = \"app\" }, \
             { path = \"/admin/*\", app = \"app\", session = \"require\" }, \
             { path = \"= /account\", app = \"app\", session = \"require\" }]",
        )
        .sections(&format!(
            "[app]\nrun = \"node '{}'\"\nenv = {{ NODE_PATH = '{modules}' }}",
            app.display()
        ))
        .edge("redirect = false")
        .serve()
}

#[tokio::test]
async fn express_takes_no_stranger_for_somebody_however_the_path_is_spelt() {
    const BEFORE: [&str; 7] = ["/", "//", "/./", "/x/../", "/%2e/", "/;/", "/x%2f../"];
    const NAMES: [&str; 9] = [
        "admin",
        "ADMIN",
        "aDmin",
        "%61dmin",
        "%41dmin",
        "%2561dmin",
        "account",
        "Account",
        "acc%6funt",
    ];
    const AFTER: [&str; 15] = [
        "", "/", "//", "/x", "/.", "/x/..", "?x", "%2Fx", "%5Cx", ";x", ";a=b/x", "%20", "%3Fx",
        ".", "%0a",
    ];
    let world = serve_express();
    world.app_ready().await;
    let site = world.site();
    let login = site.post("/weapp/session");
    let code = world.phone("alice").code().await;
    let login = login.json(&serde_json::json!({"code": code})).send().await;
    let told = http::json(&login);
    let (skey, openid) = (
        text(&told["skey"]),
        text(&told["user"]["openid"]).to_lowercase(),
    );
    let mut protected = 0;
    for before in BEFORE {
        for name in NAMES {
            for after in AFTER {
                let path = format!("{before}{name}{after}");
                let ask = async |more: &str| {
                    let lines = format!("{path} HTTP/1.1\r\n{more}");
                    from("127.0.0.1:0", world.http, &lines).await
                };
                let stranger = ask("X-WX-OPENID: mallory\r\nX_WX_OPENID: mallory\r\n").await;
                let refused = stranger.starts_with("http/1.1 4");
                assert!(
                    refused || stranger.contains("\"open\""),
                    "{path}: {stranger}"
                );
                let known = ask(&format!("X-WX-Skey: {skey}\r\n")).await;
                if known.contains("\"admin\"") || known.contains("\"account\"") {
                    assert!(refused && known.contains(&openid), "{path}: {known}");
                    protected += 1;
                }
            }
        }
    }
    assert!(protected > 200, "only {protected} spellings were Express's");
}
