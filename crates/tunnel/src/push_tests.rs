//! Pushes: what is taken, who gets it, and what waits.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_websockets::Message;

use crate::live_tests::{ASK, path_of};
use crate::world::{TestPhone, TestWorld, soon};

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
