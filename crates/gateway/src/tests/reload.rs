//! Other settings and mini programs while calls and messages go on.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::sync::Semaphore;
use weappd_base::secret::Secret;
use weappd_wechat::message::signature;

use super::support::{
    APPID, Mood, OTHER, Setting, TOKEN, Wechat, World, fake_app, mini_app, until,
};
use crate::config::{Config, GatewayApp, InboxConfig, TokenMode};
use crate::deliver::DeliverMessage;
use crate::gateway::GatewaySettings;

fn signed() -> String {
    let signature = signature(&Secret::new(TOKEN), "1714037059", "486452656");
    format!("signature={signature}&timestamp=1714037059&nonce=486452656")
}

fn text(id: u32) -> String {
    json!({"FromUserName": "o1", "CreateTime": 1, "MsgType": "text", "Content": "x", "MsgId": id})
        .to_string()
}

fn quick() -> InboxConfig {
    InboxConfig {
        first_pause_ms: 10,
        longest_pause_ms: 20,
        signature_hours: 0,
        ..InboxConfig::default()
    }
}

fn taking(inbox: InboxConfig, mood: Mood) -> Setting {
    Setting {
        config: Config {
            inbox,
            ..Config::default()
        },
        mini_apps: vec![mini_app(APPID, Some(TOKEN), None)],
        mood,
        ..Setting::default()
    }
}

fn with_secret(appid: &str, secret: &str) -> GatewayApp {
    let mut app = mini_app(appid, None, None);
    app.credential.secret = Secret::new(secret);
    app
}

/// Time goes on until something is so.
async fn time_until(world: &World, what: &str, so: impl Fn() -> bool) {
    until(what, || {
        world.hand.advance(1);
        so()
    })
    .await;
}

#[tokio::test]
async fn a_token_is_kept_for_its_secret_and_asked_for_anew_for_another() {
    let mut world = World::new().await;
    world.call("/wxa/x").await;
    let two = [mini_app(APPID, None, None), mini_app(OTHER, None, None)];
    let settings = GatewaySettings {
        mini_apps: two.to_vec(),
        ..world.settings.clone()
    };
    world.reload(settings).await;
    world.call(&format!("/wxa/x?from_appid={APPID}")).await;
    world.call(&format!("/wxa/x?from_appid={OTHER}")).await;
    assert_eq!(world.wechat.used(), ["t1", "t1", "t2"]);
    let settings = GatewaySettings {
        mini_apps: vec![with_secret(APPID, "another")],
        ..world.settings.clone()
    };
    world.reload(settings).await;
    world.call("/wxa/x").await;
    assert_eq!(world.wechat.used().last().map(String::as_str), Some("t3"));
    let asked = world.wechat.asked.lock().last().cloned();
    assert_eq!(asked.expect("a question").1["secret"], "another");
    let gone = world.call(&format!("/wxa/x?from_appid={OTHER}")).await;
    assert_ne!(gone.errcode(), 0, "it is not served any more: {gone:?}");
    assert_eq!(world.wechat.questions(), 3);
}

#[tokio::test]
async fn a_call_under_way_ends_with_what_it_began_with() {
    let mut world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    *world.wechat.gate.lock() = Some(Arc::clone(&gate));
    let gateway = world.gateway.clone();
    let (elsewhere, endpoint) = Wechat::served();
    let settings = GatewaySettings {
        wechat_endpoint: endpoint,
        config: Config {
            allow: vec!["/sns".to_owned()],
            ..Config::default()
        },
        ..world.settings.clone()
    };
    let wechat = Arc::clone(&world.wechat);
    let (said, ()) = tokio::join!(world.call("/wxa/x"), async {
        // The call waits for its token.
        while wechat.questions() == 0 && gate.available_permits() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let staged = gateway.prepare(settings.clone()).await.expect("good");
            gateway.commit(staged);
            gate.add_permits(100);
        }
    });
    assert_eq!((said.status, world.wechat.used().len()), (200, 1));
    world.settings = settings;
    assert_ne!(world.call("/wxa/x").await.errcode(), 0, "not allowed now");
    let token = world.call("/token").await;
    assert_ne!(token.status, 200, "no bearer");
    assert_eq!(elsewhere.questions(), 0);
    world.call("/sns/x?access_token=own").await;
    assert_eq!(elsewhere.used(), ["own"]);
}

#[tokio::test]
async fn what_waits_goes_to_the_new_place() {
    let mut world = World::of(taking(quick(), Mood::Away)).await;
    let said = world.push(&signed(), text(1)).await;
    assert_eq!(said.text, "success");
    time_until(&world, "it is tried", || *world.app.tried.lock() > 0).await;
    let app = fake_app(Mood::Says(200, ""));
    let settings = GatewaySettings {
        deliver: Arc::clone(&app) as Arc<dyn DeliverMessage>,
        ..world.settings.clone()
    };
    world.reload(settings).await;
    time_until(&world, "it arrives", || app.got.lock().len() == 1).await;
    assert_eq!(app.got.lock()[0].body, text(1));
    assert!(world.app.got.lock().is_empty());
}

#[tokio::test]
async fn what_waits_for_a_mini_program_that_is_gone_stays_and_goes_when_it_is_back() {
    let mut world = World::of(taking(quick(), Mood::Away)).await;
    world.push(&signed(), text(1)).await;
    time_until(&world, "it is tried", || *world.app.tried.lock() > 0).await;
    let apps = world.settings.mini_apps.clone();
    let gone = GatewaySettings {
        mini_apps: vec![mini_app(OTHER, None, None)],
        ..world.settings.clone()
    };
    world.reload(gone).await;
    let said = world.push(&signed(), text(2)).await;
    assert_eq!(said.status, 404, "{said:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    let tried = *world.app.tried.lock();
    for _ in 0..20 {
        world.hand.advance(1);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(*world.app.tried.lock(), tried, "nobody is asked for it");
    assert_eq!(world.gateway.waiting().await.expect("open").waiting, 1);
    *world.app.mood.lock() = Mood::Says(200, "");
    let back = GatewaySettings {
        mini_apps: apps,
        ..world.settings.clone()
    };
    world.reload(back).await;
    time_until(&world, "it arrives", || world.app.got.lock().len() == 1).await;
}

#[tokio::test]
async fn the_first_mini_program_that_takes_messages_opens_the_queue() {
    let mut world = World::new().await;
    let file = world.dir.path().join("inbox.db");
    assert_eq!(world.push(&signed(), text(1)).await.status, 404);
    let taking = GatewaySettings {
        mini_apps: vec![mini_app(APPID, Some(TOKEN), None)],
        config: Config {
            inbox: quick(),
            ..Config::default()
        },
        ..world.settings.clone()
    };
    let staged = world.gateway.prepare(taking.clone()).await.expect("good");
    assert!(file.exists());
    drop(staged);
    assert!(!file.exists(), "no trace of what was not done");
    assert_eq!(world.push(&signed(), text(1)).await.status, 404);
    world.reload(taking.clone()).await;
    assert_eq!(world.push(&signed(), text(1)).await.text, "success");
    until("it arrives", || world.app.got.lock().len() == 1).await;
    let staged = world.gateway.prepare(taking).await.expect("good");
    drop(staged);
    assert!(file.exists());
}

#[tokio::test]
async fn a_key_that_is_none_is_told_and_nothing_changes() {
    let world = World::of(taking(quick(), Mood::Says(200, ""))).await;
    let bad = GatewaySettings {
        mini_apps: vec![mini_app(APPID, Some(TOKEN), Some("no key"))],
        ..world.settings.clone()
    };
    world.gateway.prepare(bad).await.expect_err("no key");
    let bad = GatewaySettings {
        wechat_endpoint: "nowhere".to_owned(),
        ..world.settings.clone()
    };
    world.gateway.prepare(bad).await.expect_err("no address");
    assert_eq!(world.push(&signed(), text(1)).await.text, "success");
}

#[tokio::test]
async fn a_hundred_reloads_leave_one_table_and_the_same_token() {
    let mut world = World::of(taking(quick(), Mood::Says(200, ""))).await;
    world.call("/wxa/x").await;
    let first = Arc::downgrade(&world.gateway.shared());
    let core = {
        let shared = world.gateway.shared();
        Arc::clone(shared.inbox.as_ref().expect("an inbox").core())
    };
    for _ in 0..100 {
        world.reload(world.settings.clone()).await;
    }
    assert!(first.upgrade().is_none());
    let shared = world.gateway.shared();
    assert_eq!(Arc::strong_count(&shared), 2, "this one and the room's");
    // This one, the table's, the dispatcher's.
    assert_eq!(Arc::strong_count(&core), 3);
    assert_eq!(Arc::strong_count(&shared.centres[0]), 1);
    world.call("/wxa/x").await;
    assert_eq!(world.wechat.used(), ["t1", "t1"]);
}

#[tokio::test]
async fn every_setting_counts_after_a_commit() {
    let mut world = World::of(taking(quick(), Mood::Says(200, ""))).await;
    let next = Config {
        allow: vec!["/wxa".to_owned()],
        token: TokenMode::Classic,
        max_request_bytes: 2000,
        max_answer_bytes: 2001,
        timeout_ms: 2002,
        replay_bytes: 2003,
        spool_bytes: 2004,
        inbox: InboxConfig {
            max_message_bytes: 2005,
            max_waiting: 2006,
            at_once: 7,
            deliver_timeout_ms: 2008,
            first_pause_ms: 2009,
            longest_pause_ms: 2010,
            max_age_hours: 11,
            max_refusals: 12,
            keep_hours: 13,
            signature_hours: 14,
            dead_days: 15,
            reply_to: vec!["text".to_owned()],
            reply_wait_ms: 2016,
        },
    };
    assert!(world.settings.config.restart_keys(&next).is_empty());
    let settings = GatewaySettings {
        config: next.clone(),
        ..world.settings.clone()
    };
    world.reload(settings).await;
    let shared = world.gateway.shared();
    let Config {
        // Read at each call.
        allow: _,
        max_request_bytes: _,
        max_answer_bytes: _,
        timeout_ms: _,
        replay_bytes: _,
        // Kept elsewhere too.
        token,
        spool_bytes,
        inbox,
    } = &shared.config;
    assert_eq!(shared.config, next);
    assert_eq!(shared.centres[0].parts.mode, *token);
    assert_eq!(shared.spool.most(), *spool_bytes);
    let InboxConfig {
        // Read at each push.
        max_message_bytes: _,
        signature_hours: _,
        reply_to: _,
        reply_wait_ms: _,
        // Read at each delivery, and between them.
        at_once: _,
        deliver_timeout_ms: _,
        first_pause_ms: _,
        longest_pause_ms: _,
        max_age_hours: _,
        max_refusals: _,
        keep_hours: _,
        dead_days: _,
        // The writer's.
        max_waiting,
    } = inbox;
    let open = shared.open_inbox().expect("an inbox");
    let delivery = open.core().delivery.load_full();
    assert!(open.config == *inbox && delivery.config == *inbox);
    assert_eq!(open.core().queue.max_waiting(), *max_waiting);
    assert_ne!(world.call("/sns/x").await.errcode(), 0, "not allowed");
    world.call("/wxa/x").await;
    let asked = world.wechat.asked.lock();
    assert_eq!(
        asked.last().map(|(path, _)| path.as_str()),
        Some("/cgi-bin/token")
    );
}
