//! A reload: what changes for whom, what stays, and that nothing piles up.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use weappd_base::secret::Secret;

use crate::business::BusinessServer;
use crate::config::{BusinessConfig, Config, OwnSites};
use crate::error::Error;
use crate::id::TunnelId;
use crate::tunnel::{ClockCheck, CloseReason, Tunnel};
use crate::world::{KEY, OK, TestPhone, TestWorld, soon};

const OTHER_KEY: &str = "another key of the same business";

fn other_business(host: &str) -> BusinessConfig {
    BusinessConfig {
        host: host.to_owned(),
        key: Secret::new("key"),
        ..BusinessConfig::default()
    }
}

fn business(world: &TestWorld) -> Option<Arc<BusinessServer>> {
    let table = world.tunnels.table();
    table.businesses.by_host(&world.host).cloned()
}

async fn code_of(world: &TestWorld, path: &str, data: Value) -> i64 {
    let body = world.envelope(&data.to_string()).to_string();
    world.post(path, body).await["code"]
        .as_i64()
        .expect("a number")
}

async fn code_of_issue(world: &TestWorld) -> i64 {
    let data = json!({ "receiveUrl": world.receive_url() });
    code_of(world, "/get/wsurl", data).await
}

#[tokio::test]
async fn a_changed_key_counts_for_tunnels_that_live() {
    let world = TestWorld::new();
    let (id, mut phone) = world.phone().await;
    let before = world.tunnels.stats();
    world.reload(|config| config.businesses[0].key = Secret::new(OTHER_KEY));
    let old = json!([{ "tunnelIds": [id], "type": "close" }]);
    assert_eq!(
        code_of(&world, "/ws/push", old).await,
        1,
        "signed with the old key"
    );
    world.business.set_key(OTHER_KEY);
    assert_eq!(
        world.say(&[&id], "hello").await,
        json!({ "invalidTunnelIds": [] })
    );
    assert!(phone.hears().await.contains("hello"));
    phone.says("hi").await;
    assert_eq!(world.business.hears_kinds(2).await, ["connect", "message"]);
    let after = world.tunnels.stats();
    assert_eq!((after.issued, after.opened), (before.issued, before.opened));
    phone.sends("close").await;
    assert_eq!(world.business.hears_kinds(3).await[2], "close");
    assert_eq!(world.tunnels.stats().callback_failures, 0);
    world.end().await;
}

#[tokio::test]
async fn a_callback_that_waits_goes_again_with_the_new_key_and_its_old_id() {
    let world = TestWorld::new();
    world.business.answers(|_, before| match before {
        0 => (Duration::ZERO, 500, "busy"),
        _ => (Duration::ZERO, 200, OK),
    });
    let (_, url) = world.get_wsurl().await;
    let _phone = TestPhone::open(&url).await;
    world.business.hears_kinds(1).await;
    let known = business(&world).expect("configured");
    world.reload(|config| config.businesses[0].key = Secret::new(OTHER_KEY));
    world.business.set_key(OTHER_KEY);
    let all = world.business.hears(|all| all.len() == 2).await;
    assert_eq!(all[0].webhook_id, all[1].webhook_id);
    assert_eq!(
        known.stats().retries,
        world.tunnels.stats().businesses[0].retries
    );
    world.end().await;
}

#[tokio::test]
async fn a_business_server_that_is_removed_hears_the_close_of_each_tunnel() {
    let world = TestWorld::new();
    let (id, phone) = world.phone().await;
    let (waiting, _) = world.get_wsurl().await;
    let removed = Arc::downgrade(&business(&world).expect("configured"));
    world.reload(|config| config.businesses = vec![other_business("other.example.com")]);
    let (code, texts) = phone.sees_close().await;
    assert_eq!(
        (code, texts),
        (1001, Vec::new()),
        "it may come back elsewhere"
    );
    let heard = world.business.hears(|all| all.len() == 2).await;
    assert_eq!((heard[1].kind.as_str(), &heard[1].tunnel), ("close", &id));
    assert_eq!(code_of_issue(&world).await, 6);
    let push = json!([{ "tunnelIds": [id, waiting], "type": "close" }]);
    assert_eq!(code_of(&world, "/ws/push", push).await, 6);
    let none = soon(async {
        while !world.tunnels.list(9).is_empty() || removed.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    none.await;
    // It may be named again, as a stranger.
    world.reload(|config| config.businesses = vec![other_business(&world.host)]);
    world.business.set_key("key");
    assert_eq!(code_of_issue(&world).await, 0);
    world.end().await;
}

#[tokio::test]
async fn tunnels_of_others_do_not_notice() {
    let world = TestWorld::new();
    let (id, mut phone) = world.phone().await;
    world.reload(|config| config.businesses.push(other_business("other.example.com")));
    let route = {
        let table = world.tunnels.table();
        let other = table.businesses.by_host("other.example.com");
        other.expect("added").own_route("/t").expect("its own host")
    };
    let issued = world
        .tunnels
        .issue_on(Arc::clone(&route), "ws://x")
        .expect("room");
    let theirs = json!([{ "tunnelIds": [issued.tunnel_id], "type": "close" }]);
    let told = world.push(theirs).await;
    assert_eq!(
        told["invalidTunnelIds"],
        json!([issued.tunnel_id]),
        "it is another's"
    );
    world.reload(|config| config.businesses.truncate(1));
    assert!(matches!(
        world.tunnels.issue_on(route, "ws://x"),
        Err(Error::UnknownBusiness(_))
    ));
    assert_eq!(
        world.say(&[&id], "still").await,
        json!({ "invalidTunnelIds": [] })
    );
    assert!(phone.hears().await.contains("still"));
    phone.says("yes").await;
    assert_eq!(world.business.hears_kinds(2).await, ["connect", "message"]);
    world.end().await;
}

#[tokio::test]
async fn the_same_settings_change_nothing_and_bad_ones_neither() {
    let world = TestWorld::new();
    let (id, mut phone) = world.phone().await;
    let before = business(&world).expect("configured");
    let (settings, gate) = (before.settings(), before.gate());
    let tokens = Arc::clone(&world.tunnels.table().tokens);
    world.reload(|_| {});
    let after = business(&world).expect("configured");
    assert!(Arc::ptr_eq(&before, &after) && Arc::ptr_eq(&settings, &after.settings()));
    assert!(Arc::ptr_eq(&gate, &after.gate()));
    assert!(Arc::ptr_eq(&tokens, &world.tunnels.table().tokens));

    let mut bad = world.config();
    bad.heartbeat_secs = 0;
    bad.businesses.clear();
    let refused = world.tunnels.prepare(bad).expect_err("it cannot work");
    assert!(matches!(refused, Error::Setting { field, .. } if field == "heartbeat_secs"));
    let mut unused = world.config();
    unused.businesses.clear();
    drop(world.tunnels.prepare(unused).expect("good settings"));
    world.say(&[&id], "as before").await;
    assert!(phone.hears().await.contains("as before"));
    world.end().await;
}

#[tokio::test]
async fn a_hundred_reloads_leave_nothing_behind() {
    let world = TestWorld::new();
    let (_, phone) = world.phone().await;
    let mut gone: Vec<Weak<BusinessServer>> = Vec::new();
    for at in 0..100 {
        world.reload(|config| {
            config.businesses.truncate(1);
            config.businesses[0].dedupe = at % 2 == 0;
            config
                .businesses
                .push(other_business(&format!("b{at}.example.com")));
            config.token_key = Secret::new(format!("key {at}"));
            config.connect_ttl_secs = 120 + at % 2;
            config.callback_concurrency = 3 + at as usize % 2;
        });
        let host = format!("b{at}.example.com");
        let issued = world.tunnels.issue(&host, "/t", "ws://x").expect("room");
        let id = TunnelId::parse(&issued.tunnel_id).expect("an id");
        let tunnel = world.tunnels.hub().find(id).expect("issued");
        gone.push(Arc::downgrade(&tunnel.route.business));
    }
    world.reload(|config| config.businesses.truncate(1));
    soon(async {
        while world.tunnels.list(9).len() > 1 || gone.iter().any(|one| one.strong_count() > 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
    assert_eq!(world.tunnels.table().businesses.all().count(), 1);
    drop(phone);
    world.business.hears_kinds(2).await;
    world.end().await;
}

/// Each key of the section is changed in one of the tests below. A new one must be looked at.
#[test]
fn no_setting_is_forgotten() {
    let Config {
        // `what_a_phone_is_told_counts_for_phones_that_open_then`:
        heartbeat_secs: _,
        connect_ttl_secs: _,
        token_key: _,
        // `limits_count_at_once`:
        max_message_bytes: _,
        max_queue_bytes: _,
        push_body_bytes: _,
        max_tunnels: _,
        public_url: _,
        callback_concurrency: _,
        drain_secs: _,
        // `a_shorter_timeout_counts_for_the_next_callback`:
        callback_timeout_ms: _,
        // `a_tunnel_that_lives_keeps_its_way_and_takes_a_shorter_one`:
        allow_http_receive: _,
        own_sites: _,
        // `every_setting_of_a_business_server_counts_after_a_reload`:
        businesses: _,
        // After a restart:
        node,
    } = Config::default();
    let (before, mut after) = (Config::default(), Config::default());
    after.node = node + 7;
    assert_eq!(before.restart_keys(&after), ["node"]);
    assert_eq!(after.restart_keys(&after), Vec::<&str>::new());
}

fn tunnel(world: &TestWorld, id: &str) -> Arc<Tunnel> {
    let id = TunnelId::parse(id).expect("an id");
    world.tunnels.hub().find(id).expect("it lives")
}

#[tokio::test]
async fn what_a_phone_is_told_counts_for_phones_that_open_then() {
    let world = TestWorld::new();
    let (id, _phone) = world.phone().await;
    let (early, early_url) = world.get_wsurl().await;
    world.reload(|config| {
        config.heartbeat_secs = 7;
        config.connect_ttl_secs = 1;
        config.token_key = Secret::new("kept");
    });
    let (late, late_url) = world.get_wsurl().await;
    let mut phones = Vec::new();
    for url in [early_url, late_url] {
        let mut phone = TestPhone::open(&url).await;
        assert_eq!(phone.hears().await, "timeout:7", "{url}");
        phones.push(phone);
    }
    let (id, early, late) = (
        tunnel(&world, &id),
        tunnel(&world, &early),
        tunnel(&world, &late),
    );
    let in_time = world.tunnels.hub().now().wrapping_add(7 * 2_400);
    assert_eq!(
        id.check(in_time, 10_000),
        ClockCheck::Fine,
        "it was told 15 s"
    );
    let end = ClockCheck::End(CloseReason::Silent);
    assert_eq!(late.check(in_time, 10_000), end);
    assert_eq!(early.check(in_time, 10_000), end);
    let (unopened, _) = world.get_wsurl().await;
    let in_time = world.tunnels.hub().now().wrapping_add(1_001);
    let end = ClockCheck::End(CloseReason::Expired);
    assert_eq!(tunnel(&world, &unopened).check(in_time, 10_000), end);
    world.end().await;
}

#[tokio::test]
async fn limits_count_at_once() {
    let world = TestWorld::new();
    let (id, mut phone) = world.phone().await;
    let before = world.config();
    world.reload(|config| {
        config.max_message_bytes = 50;
        config.max_queue_bytes = 50;
        config.callback_concurrency = 3;
        config.drain_secs = 9;
    });
    let known = business(&world).expect("configured");
    assert!(known.gate().available_permits() <= 3);
    assert_eq!(world.tunnels.table().config.drain_secs, 9);
    let long = json!({ "a": "x".repeat(100) }).to_string();
    let long = json!([{ "tunnelIds": [id], "type": "message", "content": long }]);
    assert_eq!(code_of(&world, "/ws/push", long.clone()).await, 2);
    world.reload(|config| config.push_body_bytes = 80);
    assert_eq!(code_of(&world, "/ws/push", long).await, 8);
    phone.says(&"x".repeat(100)).await;
    assert_eq!(phone.sees_close().await.0, 1009);
    world.reload(|config| {
        config.push_body_bytes = before.push_body_bytes;
        config.public_url = "wss://elsewhere.example.com".to_owned();
    });
    let (_, url) = world.get_wsurl().await;
    assert!(url.starts_with("wss://elsewhere.example.com/"), "{url}");
    world.reload(|config| config.max_tunnels = 1);
    assert_eq!(code_of_issue(&world).await, 7);
    world.reload(|config| config.drain_secs = 0);
    world.end().await;
}

#[tokio::test]
async fn a_tunnel_that_lives_keeps_its_way_and_takes_a_shorter_one() {
    let world = TestWorld::new();
    let (id, mut phone) = world.phone().await;
    world.reload(|config| config.allow_http_receive = false);
    assert_eq!(code_of_issue(&world).await, 5);
    phone.says("its URL was allowed").await;
    assert_eq!(world.business.hears_kinds(2).await, ["connect", "message"]);
    let (via, hosts) = (world.address, vec!["www.example.com".to_owned()]);
    world.reload(|config| {
        config.own_sites = OwnSites {
            via: Some(via),
            hosts,
            ..OwnSites::default()
        };
        config.businesses[0].receive = Some("https://www.example.com/hook".to_owned());
    });
    let target = tunnel(&world, &id).route.target();
    assert_eq!(target.url.to_string(), format!("http://{via}/hook"));
    let host = target.host.as_ref().expect("a Host to name");
    assert_eq!(host.as_bytes(), b"www.example.com");
    world.stop.ask();
    world.stop.force();
    world.end().await;
}

#[tokio::test]
async fn a_shorter_timeout_counts_for_the_next_callback() {
    let world = TestWorld::new();
    let (_, mut phone) = world.phone().await;
    world
        .business
        .answers(|_, _| (Duration::from_mins(1), 200, OK));
    world.reload(|config| config.callback_timeout_ms = 50);
    phone.says("nobody answers this in time").await;
    soon(async {
        while world.tunnels.stats().callback_failures == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    world.stop.ask();
    world.stop.force();
    world.end().await;
}

/// Each key of a business server: what it does to those that live.
#[tokio::test]
async fn every_setting_of_a_business_server_counts_after_a_reload() {
    let BusinessConfig {
        host: _,
        key: _,
        receive: _,
        receive_hosts: _,
        public_base: _,
        dedupe: _,
    } = BusinessConfig::default();
    let world = TestWorld::with(|config| config.public_url = String::new());
    let known = business(&world).expect("configured");
    let routed = |named: &str| {
        let route = known.route(named).ok()?;
        Some(route.target().url.to_string())
    };
    let named = "https://hooks.example.com/a";
    assert_eq!(routed(named), None);
    world.reload(|config| config.businesses[0].receive_hosts = vec!["hooks.example.com".into()]);
    assert_eq!(routed(named).as_deref(), Some(named));
    let route = known.route(named).expect("allowed");
    world.reload(|config| config.businesses[0].receive_hosts.clear());
    assert_eq!(
        routed(named),
        None,
        "it was remembered, and is not allowed now"
    );
    assert_eq!(route.target().url, named, "a tunnel that has it keeps it");
    world.reload(|config| config.businesses[0].receive = Some("https://a.example.com/b".into()));
    assert_eq!(route.target().url, "https://a.example.com/b");
    world.reload(|config| config.businesses[0].receive = None);
    assert_eq!(routed(&world.receive_url()), Some(world.receive_url()));
    world.reload(|config| config.businesses[0].public_base = Some("wss://p.example.com".into()));
    assert!(
        world
            .get_wsurl()
            .await
            .1
            .starts_with("wss://p.example.com/")
    );
    assert!(!known.settings().dedupe);
    world.reload(|config| config.businesses[0].dedupe = true);
    assert!(known.settings().dedupe);
    world.reload(|config| config.businesses[0].key = Secret::new(OTHER_KEY));
    assert!(known.settings().key.is(OTHER_KEY) && !known.settings().key.is(KEY));
    let hosts: BTreeSet<String> = ["b.example.com", &world.host].map(str::to_owned).into();
    world.reload(|config| config.businesses.push(other_business("b.example.com")));
    let table = world.tunnels.table();
    let all: BTreeSet<String> = table.businesses.all().map(|one| one.host.clone()).collect();
    assert_eq!(all, hosts);
    drop(table);
    world.end().await;
}
