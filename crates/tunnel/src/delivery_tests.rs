//! Callbacks: in order, once, and again where that is safe.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::world::{ClosedPort, OK, ReceivedCallback, TestPhone, TestWorld, soon};

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
