//! The whole room over real sockets: business servers, phones, callbacks, pushes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_websockets::Message;
use weappd_base::fair_timer::FairTimer;
use weappd_base::metrics::{MetricRegistry, exposition};
use weappd_base::secret::Secret;

use crate::signature;
use crate::tunnels::WS_PATH;
use crate::world::{ClosedPort, KEY, OK, ReceivedCallback, TestPhone, TestWorld, soon};

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

/// What was logged on this thread.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_callback_has_a_span_with_its_id_and_no_secret() {
    let buffer = LogBuffer::default();
    let lines = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || lines.clone())
        .finish();
    // Where there is only one, a line that another test's thread comes upon first is taken for
    // one that nobody hears.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _watched = tracing::subscriber::set_default(subscriber);
    let world = TestWorld::new();
    let (id, _phone) = world.phone().await;
    let connect = world.business.all().remove(0);
    let logged = || String::from_utf8_lossy(&buffer.0.lock()).into_owned();
    soon(async {
        while !logged().contains("took_ms") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let logged = logged();
    let line = logged.lines().find(|line| line.contains("took_ms"));
    let line = line.expect("logged");
    for part in [
        "callback{",
        &format!("request.id=\"{}\"", connect.webhook_id),
        &format!("tunnel.id={id}"),
        "kind=\"connect\"",
        "seq=1",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!logged.contains(KEY), "{logged}");
    world.end().await;
}

#[tokio::test]
async fn what_happens_is_counted() {
    let world = TestWorld::new();
    let registry = MetricRegistry::new();
    world.tunnels.register_metrics(&registry);
    let (id, mut phone) = world.phone().await;
    let (_, _unopened) = world.get_wsurl().await;
    phone.sends("message:{}").await;
    world.say(&[&id], "hi").await;
    world.business.hears_kinds(2).await;
    phone.sends("close").await;
    world.business.hears_kinds(3).await;
    soon(async {
        // An answer is counted a moment after it was given.
        while !registry
            .text()
            .contains("kind=\"close\",outcome=\"taken\"} 1\n")
        {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    let text = registry.text();
    assert_eq!(exposition::problem(&text), None, "{text}");
    for line in [
        "weappd_tunnel_tunnels{state=\"issued\"} 1",
        "weappd_tunnel_tunnels{state=\"open\"} 0",
        "weappd_tunnel_issued_total 2",
        "weappd_tunnel_opened_total 1",
        "weappd_tunnel_closes_total{cause=\"phone\"} 1",
        "weappd_tunnel_messages_total{way=\"in\"} 1",
        "weappd_tunnel_messages_total{way=\"out\"} 1",
        "weappd_tunnel_message_bytes_total{way=\"in\"} 2",
        "weappd_tunnel_message_bytes_total{way=\"out\"} 31",
        "weappd_tunnel_pushes_total 1",
        "weappd_tunnel_callbacks_total{kind=\"message\",outcome=\"taken\"} 1",
        "weappd_tunnel_callback_seconds_count 3",
        "weappd_tunnel_queued_bytes 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(
        text.contains("weappd_tunnel_callbacks_late{business="),
        "{text}"
    );
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
async fn what_php_and_libraries_make_of_a_push_is_taken() {
    let world = TestWorld::new();
    let (one, mut first) = world.phone().await;
    let (two, mut second) = world.phone().await;
    let packet = |ids: Value| json!({ "tunnelIds": ids, "type": "message", "content": "{}" });
    for (packets, receivers) in [
        (json!([packet(json!({ "0": one, "2": two }))]), 2),
        (json!([packet(json!([null, one, null, two]))]), 2),
        (json!([packet(json!({ "1": null, "4": two }))]), 1),
        (json!({ "3": packet(json!([one, two])) }), 2),
        (json!([null, packet(json!([two]))]), 1),
    ] {
        for mark in ["", "\u{feff}"] {
            let data = format!("{mark}{packets}");
            let body = format!("{mark}{}", world.envelope(&data));
            let answer = world.post("/ws/push", body).await;
            assert_eq!(
                (&answer["code"], &answer["data"]["invalidTunnelIds"]),
                (&json!(0), &json!([])),
                "{packets}: {answer}"
            );
            if receivers == 2 {
                assert_eq!(first.hears().await, "message:{}");
            }
            assert_eq!(second.hears().await, "message:{}");
        }
    }
}

#[tokio::test]
async fn a_refused_push_says_what_to_do() {
    let world = TestWorld::new();
    let content = json!({ "a": "x".repeat(64 * 1024) }).to_string();
    let packets = json!([{ "tunnelIds": [], "type": "message", "content": content }]);
    let long = world.envelope(&packets.to_string()).to_string();
    for (body, words) in [
        (
            long,
            "more than [tunnel] max_queue_bytes = 65536: send less, or raise it",
        ),
        ("\u{1f}\u{fffd}".to_owned(), "body: expected value"),
        (
            world.envelope("{}").to_string(),
            "data: an empty object is no list",
        ),
    ] {
        let answer = world.post("/ws/push", body).await;
        assert_eq!(answer["code"], 2, "{answer}");
        let message = answer["message"].as_str().expect("text");
        assert!(message.contains(words), "{message}");
    }
    let squeezed = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xab\xae\x05\0\x43\xbf\xa6\xa3\x02\0\0\0";
    for header in ["content-encoding: gzip\r\n", "Content-Encoding: br\r\n", ""] {
        let mut socket = TcpStream::connect(world.address).await.expect("open");
        let head = format!(
            "POST /ws/push HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{header}content-length: {}\r\n\r\n",
            squeezed.len()
        );
        socket.write_all(head.as_bytes()).await.expect("open");
        socket.write_all(squeezed).await.expect("open");
        let mut answer = String::new();
        soon(socket.read_to_string(&mut answer))
            .await
            .expect("text");
        assert!(answer.contains("it is compressed ("), "{answer}");
        assert!(answer.contains("send it as plain JSON"), "{answer}");
    }
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

const ASK: &str = "host: x\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
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
async fn a_push_reaches_everybody_once_in_order() {
    let world = TestWorld::new();
    let (first, mut one) = world.phone().await;
    let (second, mut two) = world.phone().await;
    let (waiting, url) = world.get_wsurl().await;
    let stranger = "02ca30d0-740a-4b02-9d74-6f5d7f78f3ec";
    for n in 0..50 {
        let ids = [&*first, &second, &first, &waiting, "t2", stranger, "t2"];
        let missed = world.say(&ids, &n.to_string()).await;
        assert_eq!(
            missed,
            json!({ "invalidTunnelIds": ["t2", stranger, "t2"] })
        );
    }
    assert_eq!(
        world.push(json!([])).await,
        json!({ "invalidTunnelIds": [] })
    );
    assert_eq!(world.say(&[], "x").await, json!({ "invalidTunnelIds": [] }));
    let mut three = TestPhone::open(&url).await;
    assert_eq!(three.hears().await, "timeout:15");
    for phone in [&mut one, &mut two, &mut three] {
        for n in 0..50 {
            let text = format!(r#"message:{{"type":"speak","content":"{n}"}}"#);
            assert_eq!(phone.hears().await, text);
        }
    }
    let stats = world.tunnels.stats();
    assert_eq!((stats.pushes, stats.deliveries), (51, 150));
    world.end().await;
}

#[tokio::test]
async fn what_waits_for_a_phone_is_bounded() {
    let world = TestWorld::with(|config| config.max_queue_bytes = 100);
    let (id, _) = world.get_wsurl().await;
    let content = json!({ "a": "x".repeat(50) }).to_string();
    let packet = json!([{ "tunnelIds": [id], "type": "message", "content": content }]);
    assert_eq!(
        world.push(packet.clone()).await,
        json!({ "invalidTunnelIds": [] })
    );
    let missed = json!({ "invalidTunnelIds": [], "undeliveredTunnelIds": [id] });
    assert_eq!(world.push(packet).await, missed);
}

#[tokio::test]
async fn a_business_server_may_close_a_tunnel() {
    let world = TestWorld::new();
    let (id, phone) = world.phone().await;
    let last = json!({ "type": "speak", "content": "last" }).to_string();
    world
        .push(json!([
            { "tunnelIds": [id], "type": "message", "content": last },
            { "tunnelIds": [id], "type": "close", "content": null },
            { "tunnelIds": [id], "type": "message", "content": last },
        ]))
        .await;
    let (code, texts) = phone.sees_close().await;
    assert_eq!(code, 1000);
    assert_eq!(texts, [format!("message:{last}").as_str(), "close"]);
    assert_eq!(world.business.hears_kinds(2).await, ["connect", "close"]);
    world.end().await;
}

#[tokio::test]
async fn a_slow_phone_is_let_go_and_others_are_not() {
    let world = TestWorld::new();
    let (slow, url) = world.get_wsurl().await;
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket");
    let mut stuck = socket.connect(world.address).await.expect("open");
    let ask = format!("GET {} HTTP/1.1\r\n{ASK}", path_of(&url));
    stuck.write_all(ask.as_bytes()).await.expect("open");
    let (quick, mut phone) = world.phone().await;
    let long = "x".repeat(30_000);
    let mut let_go = false;
    for _ in 0..2000 {
        // Neither is let go as silent, however long a busy machine takes.
        drop(stuck.write_all(b"\x8a\x80\0\0\0\0").await);
        phone.sends_raw(Message::pong("")).await;
        let missed = world.say(&[&slow, &quick], &long).await;
        assert_eq!(phone.hears().await.len(), long.len() + 37);
        if missed["invalidTunnelIds"] == json!([slow]) {
            let_go = true;
            break;
        }
        assert_eq!(missed["invalidTunnelIds"], json!([]));
    }
    assert!(let_go);
    assert_eq!(world.tunnels.stats().closed_slow, 1);
    let closed = |all: &[crate::world::ReceivedCallback]| {
        all.iter()
            .any(|got| got.kind == "close" && got.tunnel == slow)
    };
    world.business.hears(closed).await;
    drop(phone);
    world.end().await;
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
async fn callbacks_wait_for_a_business_server_that_is_down() {
    let port = ClosedPort::new();
    let world = TestWorld::without_business(&port);
    let (_, url) = world.get_wsurl().await;
    let mut phone = TestPhone::open(&url).await;
    assert_eq!(phone.hears().await, "timeout:15");
    phone.says("one").await;
    phone.says("two").await;
    phone.sends("close").await;
    assert_eq!(phone.sees_close().await.0, 1000);
    let retried = async {
        while world.tunnels.stats().callback_retries < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(retried).await;
    world.open_business(port);
    let told = world.business.hears_kinds(4).await;
    assert_eq!(told, ["connect", "message", "message", "close"]);
    let seqs: Vec<u32> = world.business.all().iter().map(|got| got.seq).collect();
    assert_eq!(seqs, [1, 2, 3, 4]);
    world.end().await;
}

#[tokio::test]
async fn connect_and_close_are_repeated_but_an_uncertain_message_is_not() {
    let world = TestWorld::new();
    world
        .business
        .answers(|got, before| match got.kind.as_str() {
            "connect" if before < 2 => (Duration::ZERO, 503, ""),
            "message" => (Duration::ZERO, 500, ""),
            "close" if before < 6 => (Duration::ZERO, 429, ""),
            _ => (Duration::ZERO, 200, OK),
        });
    let (_, mut phone) = world.phone().await;
    phone.says("one").await;
    phone.says("two").await;
    phone.sends("close").await;
    let told = world.business.hears_kinds(7).await;
    let kinds = [
        "connect", "connect", "connect", "message", "message", "close", "close",
    ];
    assert_eq!(told, kinds);
    let all = world.business.all();
    assert!(
        all[..3]
            .iter()
            .all(|got| got.webhook_id == all[0].webhook_id)
    );
    assert_ne!(all[2].webhook_id, all[3].webhook_id);
    drop(phone);
    let stats = world.tunnels.stats();
    assert_eq!((stats.callback_retries, stats.callback_failures), (3, 2));
    world.end().await;
}

#[tokio::test]
async fn a_business_server_that_tells_repeats_gets_uncertain_messages_again() {
    let world = TestWorld::with(|config| {
        config.businesses[0].dedupe = true;
        config.callback_timeout_ms = 200;
    });
    let asked = AtomicUsize::new(0);
    world.business.answers(move |got, _| {
        let is_one = got.content.as_ref().is_some_and(|it| it.contains("one"));
        let first = is_one && asked.fetch_add(1, Ordering::Relaxed) == 0;
        let pause = if first { 60 } else { 0 };
        (Duration::from_secs(pause), 200, OK)
    });
    let (_, mut phone) = world.phone().await;
    phone.says("one").await;
    phone.says("two").await;
    let is =
        |got: &ReceivedCallback, word| got.content.as_ref().is_some_and(|it| it.contains(word));
    let all = world
        .business
        .hears(|all| all.iter().any(|got| is(got, "two")))
        .await;
    // A busy machine may have more repeats than the one.
    let ids = |word| {
        all.iter()
            .filter(move |got| is(got, word))
            .map(|got| &got.webhook_id)
    };
    assert!(ids("one").count() >= 2, "{all:?}");
    assert!(ids("one").all(|id| Some(id) == ids("one").next()));
    let last_one = all.iter().rposition(|got| is(got, "one"));
    assert!(last_one < all.iter().position(|got| is(got, "two")));
}

#[tokio::test]
async fn what_a_business_server_refuses_is_not_repeated() {
    let world = TestWorld::new();
    world.business.answers(|got, _| match got.kind.as_str() {
        "connect" => (Duration::ZERO, 400, r#"{"code":9003}"#),
        _ => (Duration::ZERO, 200, r#"{"code":9004}"#),
    });
    let (_, mut phone) = world.phone().await;
    phone.says("one").await;
    phone.sends("close").await;
    let told = world.business.hears_kinds(3).await;
    assert_eq!(told, ["connect", "message", "close"]);
    world.end().await;
    assert_eq!(told.len(), 3);
}

#[tokio::test]
async fn a_business_server_that_lags_is_not_flooded_and_loses_nothing() {
    let world = TestWorld::new();
    world.business.answers(|_, before| {
        let pause = if before < 3 { 300 } else { 0 };
        (Duration::from_millis(pause), 200, OK)
    });
    let (id, phone) = world.phone().await;
    let mut phone = phone;
    let all = 2000;
    for n in 0..all {
        phone.sends(&format!("message:{n}")).await;
    }
    let waiting = world.tunnels.list(10)[0].waiting_callbacks;
    assert!(waiting <= 256, "{waiting}");
    phone.sends("close").await;
    let heard = world.business.hears(|heard| heard.len() >= all + 2).await;
    let contents: Vec<_> = heard.iter().filter_map(|got| got.content.clone()).collect();
    let expected: Vec<String> = (0..all).map(|n| n.to_string()).collect();
    assert_eq!(contents, expected);
    assert!(heard.iter().all(|got| got.tunnel == id));
    assert_eq!(heard.last().map(|got| got.kind.as_str()), Some("close"));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn however_a_tunnel_ends_close_is_told_once_and_last() {
    let world = TestWorld::new();
    let mut phones = Vec::new();
    for _ in 0..40 {
        phones.push(world.phone().await);
    }
    let ids: Vec<String> = phones.iter().map(|(id, _)| id.clone()).collect();
    let quiet: Vec<&String> = ids.iter().step_by(3).collect();
    let packet = json!([{ "tunnelIds": quiet, "type": "close" }]);
    let leaving = async {
        for (at, (_, mut phone)) in phones.into_iter().enumerate() {
            phone.says("bye").await;
            if at % 2 == 0 {
                phone.sends("close").await;
            }
        }
    };
    tokio::join!(leaving, world.push(packet));
    let closes = |all: &[crate::world::ReceivedCallback]| {
        all.iter().filter(|got| got.kind == "close").count()
    };
    world.business.hears(|all| closes(all) >= ids.len()).await;
    let business = std::sync::Arc::clone(&world.business);
    world.end().await;
    let all = business.all();
    for id in &ids {
        let of_one = all.iter().filter(|got| got.tunnel == *id);
        let kinds: Vec<_> = of_one.map(|got| got.kind.as_str()).collect();
        let closes = kinds.iter().filter(|kind| **kind == "close").count();
        assert_eq!(
            (closes, kinds[0], kinds[kinds.len() - 1]),
            (1, "connect", "close")
        );
    }
}

#[tokio::test]
async fn going_down_lets_phones_come_back() {
    let world = TestWorld::new();
    let (_, phone) = world.phone().await;
    let (_, url) = world.get_wsurl().await;
    let (_, late) = world.get_wsurl().await;
    let other = TestPhone::open(&url).await;
    world.stop.ask();
    let (code, texts) = phone.sees_close().await;
    assert_eq!((code, texts), (1001, vec![]), "never the packet `close`");
    assert_eq!(other.sees_close().await.0, 1001);
    assert_eq!(
        TestPhone::open(&late).await.sees_close().await,
        (1001, vec![])
    );
    let data = json!({ "receiveUrl": world.receive_url() }).to_string();
    let answer = world
        .post("/get/wsurl", world.envelope(&data).to_string())
        .await;
    assert_eq!(answer["code"], 7);
    let mut told = world.business.hears_kinds(4).await;
    told.sort();
    assert_eq!(told, ["close", "close", "connect", "connect"]);
    assert_eq!(world.tunnels.stats().tunnels, 0);
    world.end().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_business_server_that_never_answers() {
    // Longer than the test waits for the end.
    const NEVER: Duration = Duration::from_mins(10);
    let world = TestWorld::with(|config| config.callback_timeout_ms = 600_000);
    let mut phones = Vec::new();
    for _ in 0..3 {
        phones.push(world.phone().await);
    }
    world.business.answers(|_, _| (NEVER, 200, OK));
    world.stop.ask();
    for (_, phone) in phones {
        assert_eq!(phone.sees_close().await.0, 1001);
    }
    let tunnels = world.tunnels.clone();
    world.end().await;
    assert_eq!(tunnels.stats().callback_failures, 3);
}

#[tokio::test]
async fn a_stop_waits_for_a_business_server_that_listens_slowly() {
    let world = TestWorld::with(|config| config.callback_concurrency = 1);
    let mut phones = Vec::new();
    for _ in 0..5 {
        phones.push(world.phone().await);
    }
    // Together longer than a silence that ends the waiting.
    world
        .business
        .answers(|_, _| (Duration::from_secs(1), 200, OK));
    world.stop.ask();
    let tunnels = world.tunnels.clone();
    let business = world.business.clone();
    world.end().await;
    let closes = business.all().into_iter().filter(|got| got.kind == "close");
    assert_eq!(closes.count(), 5);
    assert_eq!(tunnels.stats().callback_failures, 0);
}

#[tokio::test]
async fn a_business_server_that_fails_each_close_is_asked_ever_more_seldom() {
    const PHONES: usize = 30;
    let world = TestWorld::new();
    let mut phones = Vec::new();
    for _ in 0..PHONES {
        phones.push(world.phone().await);
    }
    world.business.answers(|got, _| match &*got.kind {
        "close" => (Duration::ZERO, 500, "exception"),
        _ => (Duration::ZERO, 200, OK),
    });
    for (_, mut phone) in phones {
        phone.sends("close").await;
        assert_eq!(phone.sees_close().await.0, 1000);
    }
    let closes = |all: &[ReceivedCallback]| all.iter().filter(|got| got.kind == "close").count();
    world.business.hears(|all| closes(all) > PHONES).await;
    let trouble = world.tunnels.stats().businesses;
    assert_eq!(trouble[0].trouble.as_deref(), Some("status 500"));
    // Others are told what happens, as ever.
    let (_, mut phone) = world.phone().await;
    phone.says("still here").await;
    world
        .business
        .hears(|all| all.iter().any(|got| got.kind == "message"))
        .await;
    // It is mended: everybody's close is heard.
    world.business.answers(|_, _| (Duration::ZERO, 200, OK));
    let from = world.business.all().len();
    let heard = world
        .business
        .hears(move |all| closes(&all[from..]) >= PHONES)
        .await;
    let mut ids: Vec<_> = heard[from..]
        .iter()
        .filter(|got| got.kind == "close")
        .map(|got| &got.tunnel)
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), PHONES);
    let stats = world.tunnels.stats().businesses;
    assert_eq!((&stats[0].trouble, stats[0].given_up), (&None, 0));
    world.end().await;
}

#[tokio::test]
async fn a_forced_end_waits_for_nobody() {
    let port = ClosedPort::new();
    let world = TestWorld::without_business(&port);
    let (_, url) = world.get_wsurl().await;
    let mut phone = TestPhone::open(&url).await;
    assert_eq!(phone.hears().await, "timeout:15");
    world.stop.force();
    assert_eq!(phone.sees_close().await.0, 1001);
    world.end().await;
}

#[tokio::test]
async fn the_sequence_diagram_shows_no_key_and_no_token() {
    let world = TestWorld::new();
    let mut hops = world.tap.subscribe().expect("on");
    let data = json!({ "receiveUrl": world.receive_url() }).to_string();
    let mut ask = world.envelope(&data);
    ask["tcKey"] = json!(KEY);
    let answer = world.post("/get/wsurl", ask.to_string()).await;
    let data: Value = serde_json::from_str(answer["data"].as_str().expect("text")).expect("JSON");
    let url = data["connectUrl"].as_str().expect("text");
    let id = data["tunnelId"].as_str().expect("text");
    let mut phone = TestPhone::open(url).await;
    assert_eq!(phone.hears().await, "timeout:15");
    phone.sends("ping").await;
    phone.says("one").await;
    world.say(&[id], "two").await;
    phone.sends("close").await;
    let (_, _) = phone.sees_close().await;
    world.business.hears(|all| all.len() >= 3).await;
    let business = std::sync::Arc::clone(&world.business);
    world.end().await;
    let token = url.rsplit_once('/').expect("a path").1;
    let signature = ask["signature"].as_str().expect("text");
    let mut seen = Vec::new();
    while let Ok(hop) = hops.try_recv() {
        let text = hop.detail.to_string();
        assert!(!text.contains(KEY) && !text.contains(token) && !text.contains(signature));
        assert!(hop.who.as_deref().is_none_or(|who| who == id), "{hop:?}");
        seen.push(format!("{:?}->{:?} {}", hop.from, hop.to, hop.name));
    }
    for wanted in [
        "App->Weappd get/wsurl",
        "Weappd->App get/wsurl",
        "Phone->Weappd wx.connectSocket",
        "Weappd->Phone timeout",
        "Weappd->App connect",
        "App->Weappd connect",
        "Phone->Weappd ping",
        "Weappd->Phone pong",
        "Phone->Weappd message",
        "Weappd->App message",
        "App->Weappd ws/push",
        "Weappd->App ws/push",
        "Weappd->Phone message",
        "Phone->Weappd close",
        "Weappd->App close",
    ] {
        assert!(seen.iter().any(|hop| hop == wanted), "{wanted} in {seen:?}");
    }
    assert_eq!(business.all().len(), 3);
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
