//! What operators and developers see: spans, metrics, the sequence diagram; and what not.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Value, json};
use weappd_base::metrics::{MetricRegistry, exposition};

use crate::world::{KEY, TestPhone, TestWorld, soon};

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
