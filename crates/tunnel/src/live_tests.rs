//! The whole room over real sockets: business servers, phones, callbacks, pushes.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_websockets::Message;
use weappd_base::fair_timer::FairTimer;
use weappd_base::secret::Secret;

use crate::signature;
use crate::tunnels::WS_PATH;
use crate::world::{KEY, TestPhone, TestWorld, soon};

#[tokio::test]
async fn a_conversation() {
    let world = TestWorld::new();
    let (id, mut phone) = world.phone().await;
    phone.sends("ping").await;
    assert_eq!(phone.hears().await, "pong");
    phone.says("你好: \"hi\"").await;
    let missed = world.say(&[&id], "hello").await;
    assert_eq!(missed, json!({ "invalidTunnelIds": [] }));
    assert_eq!(
        phone.hears().await,
        r#"message:{"type":"speak","content":"hello"}"#
    );
    phone.sends("close").await;
    let (code, texts) = phone.sees_close().await;
    assert_eq!((code, texts), (1000, vec![]));
    let heard = world.business.hears(|all| all.len() >= 3).await;
    let told: Vec<_> = heard
        .iter()
        .map(|got| (got.kind.as_str(), got.seq))
        .collect();
    assert_eq!(told, [("connect", 1), ("message", 2), ("close", 3)]);
    assert!(heard.iter().all(|got| got.tunnel == id));
    let content = heard[1].content.as_deref().expect("a message");
    assert_eq!(
        content,
        r#"{"type":"speak","content":{"word":"你好: \"hi\""}}"#
    );
    let missed = world.say(&[&id], "gone").await;
    assert_eq!(missed, json!({ "invalidTunnelIds": [id] }));
    world.end().await;
}

#[tokio::test]
async fn content_goes_on_as_it_came() {
    let world = TestWorld::new();
    let (_, mut phone) = world.phone().await;
    for packet in [
        "message:not json",
        "message",
        "pong",
        "信:x",
        "message:{\"a\" : 1}",
    ] {
        phone.sends(packet).await;
    }
    let heard = world.business.hears(|all| all.len() >= 4).await;
    let contents: Vec<_> = heard[1..]
        .iter()
        .filter_map(|got| got.content.clone())
        .collect();
    assert_eq!(contents, ["not json", "", "{\"a\" : 1}"]);
}

#[tokio::test]
async fn every_sdk_gets_the_answer_it_reads() {
    let world = TestWorld::new();
    let data = json!({
        "receiveUrl": world.receive_url(),
        "protocolType": "wss",
        "skey": "as C# sends it",
    });
    let mut node2 = world.envelope(&data.to_string());
    node2["tcKey"] = json!(KEY);
    let mut csharp = node2.clone();
    csharp["dataEncode"] = json!("json");
    csharp["tcKey"] = Value::Null;
    let pretty = serde_json::to_string_pretty(&csharp).expect("JSON");
    for (path, body) in [
        ("/get/wsurl?uin=123", node2.to_string()),
        ("//get/wsurl", pretty),
        ("/base/get/wsurl", node2.to_string()),
        ("/base//get/wsurl", node2.to_string()),
    ] {
        let answer = world.post(path, body).await;
        assert_eq!(answer["code"], 0, "{path} {answer}");
        let text = answer["data"].as_str().expect("always text");
        assert_eq!(
            answer["signature"],
            signature::sign(text, &Secret::new(KEY))
        );
        let url = &serde_json::from_str::<Value>(text).expect("JSON")["connectUrl"];
        let start = format!("ws://{}{WS_PATH}/", world.address);
        assert!(
            url.as_str().is_some_and(|url| url.starts_with(&start)),
            "{url}"
        );
    }
    let packets = r#"[{"tunnelIds":["t2"],"type":"close"}]"#;
    let object = world
        .post("//ws/push", world.envelope(packets).to_string())
        .await;
    assert_eq!(object["data"], json!({ "invalidTunnelIds": ["t2"] }));
    let mut java = world.envelope(packets);
    java["dataEncode"] = json!("json");
    let text = world.post("/ws/push", java.to_string()).await;
    assert_eq!(text["data"], r#"{"invalidTunnelIds":["t2"]}"#);
}

#[tokio::test]
async fn refusals_have_numbers() {
    let world = TestWorld::with(|config| config.push_body_bytes = 4000);
    let packets = r#"[{"tunnelIds":[],"type":"close"}]"#;
    let good = world.envelope(packets);
    let with = |name: &str, value: Value| {
        let mut changed = good.clone();
        changed[name] = value;
        changed.to_string()
    };
    let content = |text: &str| {
        let data = json!([{ "tunnelIds": ["x"], "type": "message", "content": text }]);
        world.envelope(&data.to_string()).to_string()
    };
    for (body, code) in [
        (good.to_string(), 0),
        (with("tcKey", json!(KEY)), 0),
        (with("tcKey", json!("another")), 1),
        (with("data", json!(format!("{packets} "))), 1),
        (with("signature", json!("")), 1),
        (with("signature", Value::Null), 4),
        (with("data", Value::Null), 4),
        (with("data", json!([])), 2),
        (with("dataEncode", json!("xml")), 2),
        (with("tcId", json!("0123")), 6),
        ("not json".to_owned(), 2),
        (String::new(), 2),
        (world.envelope("{}").to_string(), 2),
        (world.envelope("[{}]").to_string(), 4),
        (
            world
                .envelope(r#"[{"tunnelIds":[],"type":"later"}]"#)
                .to_string(),
            0,
        ),
        (content("{}"), 0),
        (content("null"), 2),
        (content("hello"), 2),
        ("x".repeat(4001), 8),
    ] {
        let answer = world.post("/ws/push", body.clone()).await;
        assert_eq!(answer["code"], code, "{body} {answer}");
        assert!(answer["message"].is_string());
        assert!(!answer.to_string().contains(KEY));
    }
    for (url, code) in [
        (world.receive_url(), 0),
        ("http://127.0.0.1:1/tunnel".to_owned(), 5),
        ("https://evil.example.com/tunnel".to_owned(), 5),
    ] {
        let data = json!({ "receiveUrl": url }).to_string();
        let answer = world
            .post("/get/wsurl", world.envelope(&data).to_string())
            .await;
        assert_eq!(answer["code"], code, "{url} {answer}");
    }
    let answer = world
        .post("/get/wsurl", world.envelope("{}").to_string())
        .await;
    assert_eq!(answer["code"], 4);
}

#[tokio::test]
async fn tunnels_are_bounded() {
    let world = TestWorld::with(|config| config.max_tunnels = 1);
    let (id, _) = world.get_wsurl().await;
    let data = json!({ "receiveUrl": world.receive_url() }).to_string();
    let answer = world
        .post("/get/wsurl", world.envelope(&data).to_string())
        .await;
    assert_eq!(answer["code"], 7);
    world
        .push(json!([{ "tunnelIds": [id], "type": "close" }]))
        .await;
    world.get_wsurl().await;
}

#[tokio::test]
async fn the_newest_phone_wins() {
    let world = TestWorld::new();
    let (id, url) = world.get_wsurl().await;
    let mut old = TestPhone::open(&url).await;
    assert_eq!(old.hears().await, "timeout:15");
    let mut new = TestPhone::open(&url).await;
    assert_eq!(new.hears().await, "timeout:15");
    assert_eq!(old.sees_close().await, (1008, vec![]));
    world.say(&[&id], "to the new one").await;
    assert!(new.hears().await.contains("to the new one"));
    new.says("from the new one").await;
    assert_eq!(world.business.hears_kinds(2).await, ["connect", "message"]);
    new.sends("close").await;
    assert_eq!(new.sees_close().await.0, 1000);
    assert_eq!(world.business.hears_kinds(3).await[2], "close");
    world.end().await;
}

#[tokio::test]
async fn a_genuine_url_is_accepted_however_late_and_a_forged_one_never() {
    let world = TestWorld::with(|config| config.connect_ttl_secs = 1);
    let (id, url) = world.get_wsurl().await;
    let stats = async {
        while world.tunnels.stats().expired == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(stats).await;
    assert_eq!(
        TestPhone::open(&url).await.sees_close().await,
        (1008, vec![])
    );
    assert_eq!(
        world.say(&[&id], "x").await,
        json!({ "invalidTunnelIds": [id] })
    );
    assert_eq!(world.business.all().len(), 0, "no phone, no callback");
    let forged = format!("{}A", &url[..url.len() - 1]);
    let forged = if forged == url {
        format!("{}B", &url[..url.len() - 1])
    } else {
        forged
    };
    assert!(
        upgrade(&world, &path_of(&forged))
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        upgrade(&world, &format!("{WS_PATH}/x"))
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        upgrade(&world, &path_of(&url))
            .await
            .starts_with("HTTP/1.1 101")
    );
}

pub(crate) fn path_of(url: &str) -> String {
    let uri: http::Uri = url.parse().expect("a URL");
    uri.path().to_owned()
}

/// The rest of a head that asks for a WebSocket.
pub(crate) const ASK: &str = "host: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// Opens a raw WebSocket; gives the answer's head.
pub(crate) async fn raw(world: &TestWorld, path: &str) -> (TcpStream, String) {
    let mut socket = TcpStream::connect(world.address).await.expect("open");
    let ask = format!("GET {path} HTTP/1.1\r\n{ASK}");
    socket.write_all(ask.as_bytes()).await.expect("open");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon(socket.read_u8()).await.expect("open"));
    }
    (socket, String::from_utf8(head).expect("ascii"))
}

async fn upgrade(world: &TestWorld, path: &str) -> String {
    raw(world, path).await.1
}

#[tokio::test]
async fn what_is_no_websocket_is_told_so() {
    let world = TestWorld::new();
    let (_, url) = world.get_wsurl().await;
    let mut socket = TcpStream::connect(world.address).await.expect("open");
    let ask = format!(
        "GET {} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        path_of(&url)
    );
    socket.write_all(ask.as_bytes()).await.expect("open");
    let mut answer = String::new();
    soon(socket.read_to_string(&mut answer))
        .await
        .expect("text");
    assert!(answer.starts_with("HTTP/1.1 426"), "{answer}");
    assert!(answer.contains("sec-websocket-version: 13"));
}

#[tokio::test]
async fn who_breaks_the_rules_is_told_which_and_the_business_hears_close() {
    let world = TestWorld::new();
    let huge: Vec<u8> = [&[0x81, 0xff][..], &100_000_000u64.to_be_bytes(), &[0; 4]].concat();
    let long = 32 * 1024 + 9u32;
    let over: Vec<u8> = [&[0x81, 0xff][..], &u64::from(long).to_be_bytes(), &[0; 4]].concat();
    let wrongs: [(Vec<u8>, u16); 6] = [
        (b"\x81\x04ping".to_vec(), 1002),
        (b"\x81\x82\0\0\0\0\xff\xff".to_vec(), 1007),
        (huge, 1009),
        (over, 1009),
        (b"\x82\x81\0\0\0\0x".to_vec(), 1003),
        (b"\x88\x82\0\0\0\0\x03\xe9".to_vec(), 1001),
    ];
    for (at, (bytes, code)) in wrongs.into_iter().enumerate() {
        let (_, url) = world.get_wsurl().await;
        let (mut socket, _) = raw(&world, &path_of(&url)).await;
        let mut hello = [0; 12];
        soon(socket.read_exact(&mut hello)).await.expect("open");
        assert_eq!(&hello, b"\x81\x0atimeout:15");
        socket.write_all(&bytes).await.expect("open");
        let mut rest = Vec::new();
        let close = async {
            while rest.len() < 4 {
                rest.push(socket.read_u8().await.expect("open"));
            }
        };
        soon(close).await;
        assert_eq!(rest[0], 0x88);
        assert_eq!(u16::from_be_bytes([rest[2], rest[3]]), code);
        let told = world.business.hears_kinds(2 * (at + 1)).await;
        assert_eq!(told[2 * at..], ["connect", "close"]);
    }
    assert_eq!(world.tunnels.stats().violations, 4);
    assert_eq!(world.tunnels.stats().tunnels, 0);
}

#[tokio::test]
async fn a_websocket_ping_is_answered_with_its_payload() {
    let world = TestWorld::new();
    let (_, mut phone) = world.phone().await;
    phone.sends_raw(Message::ping("beat")).await;
    let answer = phone.next().await.expect("open");
    assert!(answer.is_pong());
    assert_eq!(&answer.as_payload()[..], b"beat");
}

#[tokio::test]
async fn a_message_in_many_pieces_is_one() {
    let world = TestWorld::new();
    let (_, url) = world.get_wsurl().await;
    let (mut socket, _) = raw(&world, &path_of(&url)).await;
    socket.set_nodelay(true).expect("a socket");
    for byte in b"\x01\x84\0\0\0\0mess\x00\x84\0\0\0\0age:\x89\x80\0\0\0\0\x80\x82\0\0\0\0{}" {
        socket.write_all(&[*byte]).await.expect("open");
        tokio::task::yield_now().await;
    }
    let heard = world.business.hears(|all| all.len() >= 2).await;
    assert_eq!(heard[1].content.as_deref(), Some("{}"));
}

#[tokio::test]
async fn a_silent_phone_is_gone_after_two_and_a_half_heartbeats() {
    let world = TestWorld::with(|config| config.heartbeat_secs = 1);
    let (id, url) = world.get_wsurl().await;
    let (mut socket, _) = raw(&world, &path_of(&url)).await;
    for _ in 0..8 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        socket
            .write_all(b"\x81\x84\0\0\0\0ping")
            .await
            .expect("open");
    }
    let silence = FairTimer::start();
    let heard = world.business.hears(|all| all.len() >= 2).await;
    assert_eq!((heard[1].kind.as_str(), &heard[1].tunnel), ("close", &id));
    // Whoever speaks every two heartbeats stays, even if the keeper comes late.
    let (silent, fair) = (silence.elapsed(), silence.fair());
    assert!(silent >= Duration::from_secs(2), "{silent:?}");
    assert!(fair < Duration::from_secs(6), "{fair:?}");
    assert_eq!(world.tunnels.stats().closed_silent, 1);
    world.end().await;
}

#[tokio::test]
async fn a_phone_that_vanishes_is_closed_once() {
    let world = TestWorld::new();
    let (id, phone) = world.phone().await;
    drop(phone);
    assert_eq!(world.business.hears_kinds(2).await, ["connect", "close"]);
    assert_eq!(
        world.say(&[&id], "x").await["invalidTunnelIds"],
        json!([id])
    );
    world.end().await;
}

#[tokio::test]
async fn the_built_in_endpoint_issues_tunnels_too() {
    let world = TestWorld::with(|config| {
        let host = config.businesses[0].host.clone();
        config.businesses[0].receive = Some(format!("http://{host}/weapp/tunnel"));
    });
    let host = world.receive_url();
    let host = host
        .trim_start_matches("http://")
        .trim_end_matches("/tunnel");
    let base = format!("ws://{}/", world.address);
    let issued = world
        .tunnels
        .issue(host, "/weapp/tunnel", &base)
        .expect("configured");
    assert!(
        issued
            .connect_url
            .starts_with(&format!("ws://{}{WS_PATH}/", world.address))
    );
    assert!(
        world
            .tunnels
            .issue("nobody.example.com", "/weapp/tunnel", &base)
            .is_err()
    );
    let mut phone = TestPhone::open(&issued.connect_url).await;
    assert_eq!(phone.hears().await, "timeout:15");
    let heard = world.business.hears(|all| !all.is_empty()).await;
    assert_eq!(heard[0].tunnel, issued.tunnel_id);
    let views = world.tunnels.list(10);
    assert_eq!((views.len(), views[0].state), (1, "open"));
    assert!(world.tunnels.list(0).is_empty());
}

#[tokio::test]
async fn lists_in_the_place_of_objects_are_refused() {
    let world = TestWorld::new();
    let data = json!({ "receiveUrl": world.receive_url() }).to_string();
    let good = world.envelope(&data);
    let list = json!([data, null, good["tcId"], null, good["signature"]]);
    let inner = json!([world.receive_url()]).to_string();
    let packet = json!([[["id"], "message", "{}"]]).to_string();
    for (path, body) in [
        ("/get/wsurl", list.clone()),
        ("/ws/push", list),
        ("/get/wsurl", world.envelope(&inner)),
        ("/ws/push", world.envelope(&packet)),
    ] {
        let answer = world.post(path, body.to_string()).await;
        assert_ne!(answer["code"], 0, "{path} {body}");
        let why = answer["message"].as_str().expect("a reason");
        assert!(why.contains("an object with named fields"), "{why}");
    }
    assert_eq!(world.post("/get/wsurl", good.to_string()).await["code"], 0);
}
