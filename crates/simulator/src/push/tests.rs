//! Pushes over a real socket, to a server that checks them as production does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::Notify;
use weappd_base::secret::Secret;
use weappd_base::tasks::Tasks;
use weappd_base::unix_time::UnixSecs;
use weappd_wechat::envelope::BodyFormat;
use weappd_wechat::message::{self, MessageCodec, MessageKey, PushSignature};

use crate::http::simulator_world::{NOW, SimulatorWorld};

const KEY: &str = "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG";

/// What the server got, and how it is to behave.
#[derive(Default)]
struct Server {
    got: Mutex<Vec<(Value, String)>>,
    heard: Notify,
    /// How many requests it leaves without an answer.
    silent: AtomicUsize,
    answer: Mutex<String>,
}

type Asked = State<Arc<Server>>;

async fn echo(Query(query): Query<Value>) -> String {
    let of = |name: &str| query[name].as_str().unwrap_or_default().to_owned();
    let token = Secret::new("token");
    if message::is_signed(&token, &of("timestamp"), &of("nonce"), &of("signature")) {
        of("echostr")
    } else {
        "ERR".to_owned()
    }
}

async fn take(State(server): Asked, Query(query): Query<Value>, body: String) -> String {
    server.got.lock().push((query, body));
    server.heard.notify_one();
    let quiet = |left: usize| left.checked_sub(1);
    let order = Ordering::SeqCst;
    if server.silent.fetch_update(order, order, quiet).is_ok() {
        std::future::pending::<()>().await;
    }
    server.answer.lock().clone()
}

/// Starts the server; gives it and its address.
fn server() -> (Arc<Server>, String) {
    let server = Arc::new(Server::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let router = Router::new()
        .route("/weapp/message", get(echo).post(take))
        .with_state(Arc::clone(&server));
    Tasks::new().spawn(async move {
        axum::serve(listener, router).await.expect("it serves");
    });
    (server, format!("http://{address}/weapp/message"))
}

impl Server {
    /// The next message that comes, within a bound.
    async fn next(&self) -> (Value, String) {
        loop {
            if let Some(got) = self.got.lock().pop() {
                return got;
            }
            let heard = tokio::time::timeout(Duration::from_secs(10), self.heard.notified());
            heard.await.expect("a push");
        }
    }
}

fn mailbox() -> MessageCodec {
    MessageCodec {
        appid: "wx1".to_owned(),
        token: Secret::new("token"),
        key: MessageKey::parse(&Secret::new(KEY)).expect("a key"),
    }
}

fn open((query, body): &(Value, String)) -> Result<String, weappd_wechat::Error> {
    let of = |name: &str| query[name].as_str().unwrap_or_default();
    mailbox().open(
        PushSignature {
            timestamp: of("timestamp"),
            nonce: of("nonce"),
            msg_signature: of("msg_signature"),
        },
        body,
    )
}

fn settings(url: &str, mode: &str, format: &str) -> Value {
    json!({
        "url": url, "token": "token", "encoding_aes_key": KEY, "mode": mode, "format": format,
    })
}

#[tokio::test]
async fn every_mode_and_format_arrives_as_production_reads_it() {
    let world = SimulatorWorld::new();
    let (server, url) = server();
    let alice = world.log_in("alice").await;
    for format in ["json", "xml"] {
        for mode in ["plain", "compatible", "safe"] {
            let set_to = world.post("/push", settings(&url, mode, format)).await;
            assert_eq!(set_to["push"][0]["mode"], mode, "{set_to}");
            let sent = json!({
                "user": "alice",
                "message": { "MsgType": "text", "Content": "你好" },
            });
            let delivery = world.post("/push/send", sent).await;
            assert_eq!(delivery["acknowledged"], true, "{delivery}");
            let got = server.next().await;
            assert_eq!(got.0["openid"], alice.as_str());
            let text = if mode == "plain" {
                assert!(got.0.get("msg_signature").is_none());
                got.1
            } else {
                assert_eq!(got.0["encrypt_type"], "aes");
                let shows = got.1.contains("你好");
                assert_eq!(shows, mode == "compatible");
                open(&got).expect("it opens")
            };
            if format == "json" {
                let read: Value = serde_json::from_str(&text).expect("JSON");
                assert_eq!(read["FromUserName"], alice.as_str());
                assert_eq!(read["CreateTime"], NOW);
                assert!(read["MsgId"].as_u64().is_some_and(|id| id > 1 << 53));
            } else {
                assert!(
                    text.contains("<Content><![CDATA[你好]]></Content>"),
                    "{text}"
                );
                assert!(text.contains("<MsgId>24"));
            }
        }
    }
}

#[tokio::test]
async fn an_address_must_echo_before_it_is_set() {
    let world = SimulatorWorld::new();
    let (_server, url) = server();
    let mut wrong = settings(&url, "safe", "json");
    wrong["token"] = json!("another");
    let refused = world.send("POST", "/push", wrong.to_string()).await;
    assert_eq!(refused.status(), http::StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/push").await, json!({ "push": [] }));
    // Unverified it can be set; asked later, it still does not echo.
    wrong["verify"] = json!(false);
    world.post("/push", wrong).await;
    let asked = world.post("/push/verify", json!({})).await;
    assert!(
        asked["errMsg"]
            .as_str()
            .is_some_and(|told| told.contains("echostr"))
    );
    world.post("/push", settings(&url, "safe", "json")).await;
    let asked = world.post("/push/verify", json!({})).await;
    assert_eq!(asked, json!({ "verified": true }));
    assert_eq!(world.post("/push", json!({})).await, json!({ "push": [] }));

    for bad in [
        json!({ "url": "https://127.0.0.1/", "token": "t" }),
        json!({ "url": "nowhere", "token": "t" }),
        json!({ "url": url }),
        json!({ "url": url, "token": "t", "mode": "safe" }),
        json!({ "url": url, "token": "t", "encoding_aes_key": "short" }),
        json!({ "url": url, "token": "t", "appid": "wx9" }),
    ] {
        let refused = world.send("POST", "/push", bad.to_string()).await;
        assert_eq!(refused.status(), http::StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn a_silent_server_is_tried_three_times_with_the_same_message() {
    let world = SimulatorWorld::new();
    let (server, url) = server();
    world
        .post("/settings", json!({ "push_deadline_ms": 50 }))
        .await;
    world.post("/push", settings(&url, "safe", "json")).await;
    let sent = json!({ "user": "alice", "message": { "MsgType": "text", "Content": "hi" } });

    server.silent.store(2, Ordering::SeqCst);
    let third = world.post("/push/send", sent.clone()).await;
    assert_eq!(third["acknowledged"], true);
    let statuses = third["attempts"].as_array().expect("attempts").iter();
    let statuses: Vec<_> = statuses.map(|one| one["status"].as_u64()).collect();
    assert_eq!(statuses, [Some(0), Some(0), Some(200)]);
    let got: Vec<_> = server.got.lock().drain(..).collect();
    let texts: Vec<_> = got.iter().map(|one| open(one).expect("it opens")).collect();
    assert!(texts.len() == 3 && texts.iter().all(|text| *text == texts[0]));
    assert_ne!(got[0].0["nonce"], got[1].0["nonce"]);

    server.silent.store(9, Ordering::SeqCst);
    let lost = world.post("/push/send", sent).await;
    assert_eq!(lost["acknowledged"], false);
    assert_eq!(lost["attempts"].as_array().map(Vec::len), Some(3));
    let calls = world.get("/calls?path=/weapp/message").await;
    // One echo and six messages.
    assert_eq!(calls["calls"].as_array().map(Vec::len), Some(7));
}

#[tokio::test]
async fn replies_are_read_and_forgeries_are_forged() {
    let world = SimulatorWorld::new();
    let (server, url) = server();
    world.post("/push", settings(&url, "safe", "json")).await;
    let reply = r#"{"MsgType":"transfer_customer_service"}"#;
    *server.answer.lock() =
        mailbox().seal(BodyFormat::Json, reply, (UnixSecs::new(NOW), "1"), [3; 16]);
    let mut sent = json!({
        "user": "alice",
        "message": { "MsgType": "event", "Event": "debug_demo", "CreateTime": 5 },
    });
    let delivery = world.post("/push/send", sent.clone()).await;
    assert_eq!(delivery["reply"]["MsgType"], "transfer_customer_service");
    assert_eq!(delivery["message"]["CreateTime"], 5, "what is given stays");
    assert!(
        delivery["message"].get("MsgId").is_none(),
        "events have none"
    );
    assert!(open(&server.next().await).is_ok());
    sent["forged"] = json!(true);
    world.post("/push/send", sent).await;
    assert!(matches!(
        open(&server.next().await),
        Err(weappd_wechat::Error::MessageSignature)
    ));
    let shapeless = json!({ "user": "alice", "message": {} });
    let refused = world.post("/push/send", shapeless).await;
    assert!(
        refused["errMsg"]
            .as_str()
            .is_some_and(|told| told.contains("MsgType"))
    );
}

#[tokio::test]
async fn what_users_and_checks_do_is_pushed() {
    let world = SimulatorWorld::new();
    let (server, url) = server();
    let alice = world.log_in("alice").await;
    let nowhere = json!({ "user": "alice", "message": { "MsgType": "event" } });
    let refused = world.send("POST", "/push/send", nowhere.to_string()).await;
    assert_eq!(refused.status(), http::StatusCode::CONFLICT);

    world
        .post("/settings", json!({ "media_check_delay_ms": 1 }))
        .await;
    world.post("/push", settings(&url, "plain", "json")).await;
    let next = async || -> Value { serde_json::from_str(&server.next().await.1).expect("JSON") };
    let said = world
        .post("/phone/alice/say", json!({ "text": "hello" }))
        .await;
    let got = next().await;
    assert_eq!(
        (got["Content"].as_str(), got["MsgId"].to_string()),
        (
            Some("hello"),
            said["msgid"].as_str().expect("an id").to_owned()
        )
    );
    world
        .post(
            "/phone/alice/enter_session",
            json!({ "session_from": "shop" }),
        )
        .await;
    assert_eq!(next().await["SessionFrom"], "shop");
    world
        .post("/phone/alice/subscribe", json!({ "template_id": "TPL" }))
        .await;
    let got = next().await;
    assert_eq!(got["List"]["SubscribeStatusString"], "accept");
    let message = json!({ "touser": alice, "template_id": "TPL", "data": {} });
    let sent = world.call("/cgi-bin/message/subscribe/send", message).await;
    let got = next().await;
    assert_eq!(got["Event"], "subscribe_msg_sent_event");
    assert_eq!(got["List"]["MsgID"], sent["msgid"].to_string());

    for (media, errcode, suggest) in [
        ("https://example.com/cat.png", 0, json!("pass")),
        ("https://example.com/risky.png", 0, json!("risky")),
        ("https://example.com/missing.png", -1008, Value::Null),
    ] {
        let asked = json!({
            "media_url": media, "media_type": 2, "version": 2, "scene": 1, "openid": alice,
        });
        let told = world.call("/wxa/media_check_async", asked).await;
        let got = next().await;
        assert_eq!(got["Event"], "wxa_media_check");
        assert_eq!(got["trace_id"], told["trace_id"]);
        assert_eq!(got["errcode"], errcode);
        assert_eq!(got["result"]["suggest"], suggest, "{media}");
    }
    assert!(world.tasks.finish(Duration::from_secs(10)).await);
}

#[tokio::test]
async fn an_https_address_shows_a_certificate_that_is_trusted() {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    let (server, address) = server();
    let secure = tls_before(&address, &made);
    let world = SimulatorWorld::new();
    let message = json!({"user": "alice", "message": {"MsgType": "text", "Content": "hi"}});

    // Nobody on this machine knows the certificate.
    let mut asked = settings(&secure, "safe", "json");
    let refused = world.post("/push", asked.clone()).await;
    let why = refused["errMsg"].as_str().expect("a reason");
    assert!(why.contains("certificate"), "{why}");

    asked["trust"] = made.cert.pem().into();
    let set = world.post("/push", asked.clone()).await;
    assert_eq!(set["push"][0]["url"], secure.as_str());
    let delivery = world.post("/push/send", message).await;
    assert_eq!(delivery["acknowledged"], true, "{delivery}");
    assert!(open(&server.next().await).expect("it opens").contains("hi"));

    // A certificate that signed nothing here is not enough, and none is no certificate.
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("made");
    asked["trust"] = other.cert.pem().into();
    assert!(world.post("/push", asked.clone()).await["errMsg"].is_string());
    asked["trust"] = "no certificate".into();
    let refused = world.post("/push", asked.clone()).await;
    assert!(
        refused["errMsg"]
            .as_str()
            .expect("a reason")
            .contains("trust")
    );
    asked["url"] = address.into();
    assert!(world.post("/push", asked).await["errMsg"].is_string());
}

/// A listener with TLS before an address; gives its own address.
fn tls_before(address: &str, made: &rcgen::CertifiedKey<rcgen::KeyPair>) -> String {
    let chain = vec![made.cert.der().clone()];
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(chain, key.expect("a key"))
        .expect("a certificate");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let (host, path) = address
        .trim_start_matches("http://")
        .split_once('/')
        .expect("a path");
    let host = host.to_owned();
    Tasks::new().spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            // Whoever does not believe the certificate hangs up here.
            let Ok(mut tls) = acceptor.accept(tcp).await else {
                continue;
            };
            let mut plain = tokio::net::TcpStream::connect(&host)
                .await
                .expect("the server");
            drop(tokio::io::copy_bidirectional(&mut tls, &mut plain).await);
        }
    });
    format!("https://127.0.0.1:{port}/{path}")
}
