//! The end: phones may come back, and business servers hear it.

use std::time::Duration;

use serde_json::json;

use crate::world::{ClosedPort, OK, TestPhone, TestWorld};

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
