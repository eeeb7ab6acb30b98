//! Messages as WeChat pushes them, and as the app gets them.

use std::time::Duration;

use serde_json::{Value, json};
use weappd_base::metrics::{MetricRegistry, exposition};
use weappd_base::secret::Secret;
use weappd_wechat::envelope;
use weappd_wechat::message::{MessageKey, encrypt, msg_signature, signature};

use super::support::{APPID, KEY, Mood, OTHER, Setting, TOKEN, World, mini_app, opened, until};
use crate::config::{Config, InboxConfig};
use crate::inbox::ReplayScope;

fn vector(pointer: &str) -> String {
    let text = include_str!("../../../wechat/tests-data/wechat-vectors.json");
    let all: Value = serde_json::from_str(text).expect("the vectors are JSON");
    let found = all.pointer(pointer).and_then(Value::as_str);
    found.expect(pointer).to_owned()
}

/// Quick to try again, and with few tries.
fn quick() -> InboxConfig {
    InboxConfig {
        first_pause_ms: 10,
        longest_pause_ms: 20,
        max_refusals: 3,
        // The official examples are of several years.
        signature_hours: 0,
        ..InboxConfig::default()
    }
}

fn plain(inbox: InboxConfig) -> Setting {
    Setting {
        config: Config {
            inbox,
            ..Config::default()
        },
        mini_apps: vec![mini_app(APPID, Some(TOKEN), None)],
        ..Setting::default()
    }
}

fn safe(inbox: InboxConfig) -> Setting {
    Setting {
        mini_apps: vec![mini_app(APPID, Some(TOKEN), Some(KEY))],
        ..plain(inbox)
    }
}

fn signed() -> String {
    let signature = signature(&Secret::new(TOKEN), "1714037059", "486452656");
    format!("signature={signature}&timestamp=1714037059&nonce=486452656")
}

fn text(id: u32, openid: &str) -> String {
    json!({"ToUserName": "gh_1", "FromUserName": openid, "CreateTime": 1, "MsgType": "text",
        "Content": "你好", "MsgId": id})
    .to_string()
}

/// A safe push of `message`, its envelope in XML.
fn sealed(message: &str) -> (String, String) {
    let key = MessageKey::parse(&Secret::new(KEY)).expect("a key");
    let encrypt = encrypt(&key, APPID, message, [7; 16]);
    let signature = msg_signature(&Secret::new(TOKEN), "5", "n", &encrypt);
    (
        format!("timestamp=5&nonce=n&encrypt_type=aes&msg_signature={signature}&signature=x"),
        format!(
            "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><Encrypt><![CDATA[{encrypt}]]></Encrypt></xml>"
        ),
    )
}

impl World {
    async fn got(&self, count: usize) -> Vec<String> {
        until("the messages arrive", || self.app.got.lock().len() >= count).await;
        let got = self.app.got.lock();
        got.iter().map(|message| message.body.clone()).collect()
    }

    /// Time goes on until something is so.
    async fn time_until(&self, what: &str, so: impl Fn() -> bool) {
        until(what, || {
            self.hand.advance(1);
            so()
        })
        .await;
    }
}

#[tokio::test]
async fn the_official_url_check_is_answered() {
    let world = World::of(plain(quick())).await;
    let of = |name: &str| vector(&format!("/message_push/get/{name}"));
    let query = format!(
        "signature={}&timestamp={}&nonce={}&echostr={}",
        of("signature"),
        of("timestamp"),
        of("nonce"),
        of("echostr")
    );
    let said = world.check_url(&query).await;
    assert_eq!((said.status, said.text), (200, of("echostr")));
    assert_eq!(said.headers["x-content-type-options"], "nosniff");
    for bad in [query.replace("signature=f", "signature=e"), String::new()] {
        let said = world.check_url(&bad).await;
        assert_eq!(said.status, 403);
        assert_eq!(said.text, "ERR_WHEN_CHECK_SIGNATURE");
    }
}

#[tokio::test]
async fn the_official_safe_push_is_delivered_as_plain_json() {
    let world = World::of(safe(quick())).await;
    let of = |name: &str| vector(&format!("/message_push/safe/{name}"));
    let query = |msg_signature: &str| {
        format!(
            "signature={}&timestamp={}&nonce={}&openid={}&encrypt_type=aes&msg_signature={msg_signature}",
            of("signature"),
            of("timestamp"),
            of("nonce"),
            of("openid"),
        )
    };
    let body = json!({"ToUserName": "gh_97417a04a28d", "Encrypt": of("encrypt")}).to_string();
    let said = world.push(&query(&of("msg_signature")), body.clone()).await;
    assert_eq!((said.status, said.text.as_str()), (200, "success"));
    assert_eq!(world.got(1).await, [of("msg")]);
    let message = world.app.got.lock()[0].clone();
    assert_eq!(message.appid, APPID);
    assert_eq!(message.openid.as_deref(), Some(of("openid").as_str()));
    assert_eq!(message.kind, "event/debug_demo");
    // `signature` does not prove a message.
    let said = world.push(&query(&of("signature")), body).await;
    assert_eq!(said.status, 403);
    assert!(said.text.contains("signature"), "{}", said.text);
    // Nor is a message taken that is not encrypted.
    let said = world.push(&signed(), text(1, "o1")).await;
    assert_eq!(said.status, 403);
    assert!(said.text.contains("encrypted"), "{}", said.text);
}

#[tokio::test]
async fn the_classic_xml_push_is_delivered_as_json() {
    let of = |name: &str| vector(&format!("/wxbizmsgcrypt_classic/{name}"));
    let (token, key) = (of("token"), of("encoding_aes_key"));
    let world = World::of(Setting {
        mini_apps: vec![mini_app(&of("appid"), Some(&token), Some(&key))],
        ..plain(quick())
    })
    .await;
    let query = format!(
        "timestamp={}&nonce={}&msg_signature={}",
        of("dec/timestamp"),
        of("dec/nonce"),
        of("dec/msg_signature")
    );
    let body = format!(
        "<xml><Encrypt><![CDATA[{}]]></Encrypt></xml>",
        of("dec/encrypt")
    );
    assert_eq!(world.push(&query, body).await.text, "success");
    let got: Value = serde_json::from_str(&world.got(1).await[0]).expect("JSON");
    assert_eq!(
        got,
        json!({"URL": "http://wechat.laravel.so/server", "ToUserName": "asdasdasd",
            "FromUserName": "asdasdasdsadasd", "CreateTime": 1_234_567_898, "MsgType": "text",
            "Content": "hello", "MsgId": 12345})
    );
}

#[tokio::test]
async fn plain_and_compatible_pushes_are_delivered_in_both_formats() {
    let world = World::of(plain(quick())).await;
    let xml = "<xml><FromUserName><![CDATA[o2]]></FromUserName><MsgType><![CDATA[text]]></MsgType>\
        <MsgId>2</MsgId><Encrypt><![CDATA[QUFB]]></Encrypt></xml>";
    for body in [text(1, "o1"), xml.to_owned()] {
        let said = world.push(&signed(), body).await;
        assert_eq!((said.status, said.text.as_str()), (200, "success"));
    }
    let mut got = world.got(2).await;
    got.sort();
    assert_eq!(
        got[0],
        r#"{"FromUserName":"o2","MsgType":"text","MsgId":2}"#
    );
    assert_eq!(got[1], text(1, "o1"));
    let said = world
        .push("signature=0&timestamp=1&nonce=2", text(3, "o1"))
        .await;
    assert_eq!(said.status, 403);
    for garbage in ["", "hello", "{", "<xml>", "[1]"] {
        assert_eq!(
            world.push(&signed(), garbage).await.status,
            403,
            "{garbage}"
        );
    }
    assert_eq!(world.push(&signed(), vec![0xFF, 0xFE]).await.status, 400);
    assert_eq!(world.app.got.lock().len(), 2);
}

#[tokio::test]
async fn the_compatible_push_of_an_app_with_a_key_is_read_from_its_encrypted_half() {
    let world = World::of(safe(quick())).await;
    let (query, body) = sealed(&text(1, "o1"));
    let forged = "<FromUserName><![CDATA[forged]]></FromUserName><Encrypt>";
    let body = body.replace("<Encrypt>", forged);
    assert_eq!(world.push(&query, body).await.text, "success");
    assert_eq!(world.got(1).await, [text(1, "o1")]);
}

#[tokio::test]
async fn a_repeated_push_is_delivered_once() {
    let world = World::of(plain(quick())).await;
    let event = json!({"FromUserName": "o1", "CreateTime": 5, "MsgType": "event",
        "Event": "user_enter_tempsession", "SessionFrom": "x"});
    for _ in 0..3 {
        for body in [text(1, "o1"), event.to_string()] {
            assert_eq!(world.push(&signed(), body).await.text, "success");
        }
    }
    world.push(&signed(), text(2, "o1")).await;
    let got = world.got(3).await;
    assert_eq!(got, [text(1, "o1"), event.to_string(), text(2, "o1")]);
}

#[tokio::test]
async fn probes_are_answered_and_not_delivered() {
    let world = World::of(safe(quick())).await;
    for body in [
        r#"{"action":"CheckContainerPath"}"#,
        "<xml><action>CheckContainerPath</action></xml>",
    ] {
        let said = world.push("", body).await;
        assert_eq!((said.status, said.text.as_str()), (200, "success"));
    }
    let waiting = world.gateway.waiting().await.expect("reads");
    assert_eq!((waiting.waiting, *world.app.tried.lock()), (0, 0));
}

#[tokio::test]
async fn wechat_is_answered_whatever_the_app_does() {
    let world = World::of(Setting {
        mood: Mood::Hangs,
        ..plain(quick())
    })
    .await;
    let query = signed();
    let push = world.push(&query, text(1, "o1"));
    let said = tokio::time::timeout(Duration::from_secs(2), push).await;
    assert_eq!(said.expect("in time").text, "success");
}

#[tokio::test]
async fn what_came_while_the_app_was_away_arrives_in_each_users_order() {
    let world = World::of(Setting {
        mood: Mood::Away,
        ..plain(quick())
    })
    .await;
    for id in 1..=6 {
        let openid = if id % 2 == 0 { "even" } else { "odd" };
        assert_eq!(
            world.push(&signed(), text(id, openid)).await.text,
            "success"
        );
    }
    // Being away costs no message its life, however often it is tried.
    world
        .time_until("many tries", || *world.app.tried.lock() > 20)
        .await;
    assert!(
        world
            .gateway
            .dead_letters(10)
            .await
            .expect("reads")
            .is_empty()
    );
    *world.app.mood.lock() = Mood::Says(204, "");
    world
        .time_until("all arrive", || world.app.got.lock().len() == 6)
        .await;
    let got = world.app.got.lock();
    for openid in ["odd", "even"] {
        let ids: Vec<u64> = got
            .iter()
            .filter(|message| message.openid.as_deref() == Some(openid))
            .map(|message| serde_json::from_str::<Value>(&message.body).expect("JSON"))
            .map(|body| body["MsgId"].as_u64().expect("a number"))
            .collect();
        assert!(ids.is_sorted() && ids.len() == 3, "{openid}: {ids:?}");
    }
}

#[tokio::test]
async fn an_app_that_is_back_gets_what_waits_at_once() {
    let world = World::of(Setting {
        mood: Mood::Away,
        ..plain(InboxConfig {
            first_pause_ms: 3_600_000,
            longest_pause_ms: 3_600_000,
            ..quick()
        })
    })
    .await;
    world.push(&signed(), text(1, "o1")).await;
    until("a try", || *world.app.tried.lock() == 1).await;
    *world.app.mood.lock() = Mood::Says(200, "");
    // No hour goes by: the next message shows that the app is there.
    world.push(&signed(), text(2, "o2")).await;
    assert_eq!(world.got(2).await, [text(2, "o2"), text(1, "o1")]);
}

#[tokio::test]
async fn a_clock_set_back_holds_no_message_up() {
    let world = World::of(Setting {
        mood: Mood::Away,
        ..plain(InboxConfig {
            first_pause_ms: 20,
            longest_pause_ms: 20,
            ..quick()
        })
    })
    .await;
    world.hand.advance(3600);
    world.push(&signed(), text(1, "o1")).await;
    until("a try", || *world.app.tried.lock() == 1).await;
    // Nothing but the clock moves.
    world.hand.advance(-3600);
    until("another try", || *world.app.tried.lock() == 2).await;
    for (n, back) in [(3, -90), (4, -2)] {
        world.hand.advance(back);
        until("another try", || *world.app.tried.lock() >= n).await;
    }
}

#[tokio::test]
async fn what_the_app_refuses_for_days_becomes_a_dead_letter_and_can_be_replayed() {
    let world = World::of(Setting {
        mood: Mood::Says(500, "oops"),
        ..plain(InboxConfig {
            max_refusals: 0,
            ..quick()
        })
    })
    .await;
    world.push(&signed(), text(1, "o1")).await;
    world.push(&signed(), text(2, "o1")).await;
    // The first steps aside after ten refusals; then the second is tried too, and neither
    // is given up.
    world
        .time_until("many tries", || *world.app.tried.lock() >= 24)
        .await;
    let status = world.gateway.waiting().await.expect("reads");
    assert_eq!((status.waiting, status.dead, status.tried), (2, 0, 2));
    assert!(status.oldest.is_some());
    assert_eq!(status.why.as_deref(), Some("the app answered HTTP 500"));
    world.hand.advance(72 * 3600);
    let mut letters = Vec::new();
    for _ in 0..400 {
        world.hand.advance(1);
        letters = world.gateway.dead_letters(10).await.expect("reads");
        if letters.len() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    letters.sort_by_key(|letter| letter.id);
    assert_eq!(letters[0].body, text(1, "o1"));
    assert!(letters[0].tries > 3, "{}", letters[0].tries);
    assert_eq!(letters[0].why, "the app answered HTTP 500");
    *world.app.mood.lock() = Mood::Says(200, "");
    let replayed = world.gateway.replay(ReplayScope::One(letters[1].id)).await;
    assert_eq!(replayed.expect("replays"), 1);
    assert_eq!(world.got(1).await, [text(2, "o1")]);
    assert_eq!(
        world
            .gateway
            .replay(ReplayScope::All)
            .await
            .expect("replays"),
        1
    );
    assert_eq!(world.got(2).await, [text(2, "o1"), text(1, "o1")]);
}

#[tokio::test]
async fn who_sets_a_number_of_refusals_gets_dead_letters_sooner() {
    let world = World::of(Setting {
        mood: Mood::Says(500, "oops"),
        ..plain(quick())
    })
    .await;
    world.push(&signed(), text(1, "o1")).await;
    world
        .time_until("all tries", || *world.app.tried.lock() == 3)
        .await;
    let mut dead = 0;
    for _ in 0..400 {
        dead = world.gateway.waiting().await.expect("reads").dead;
        if dead == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((dead, *world.app.tried.lock()), (1, 3));
}

#[tokio::test]
async fn a_restart_delivers_what_waits_and_knows_what_was_pushed() {
    let before = World::of(Setting {
        mood: Mood::Away,
        ..plain(quick())
    })
    .await;
    before.push(&signed(), text(1, "o1")).await;
    before.push(&signed(), text(2, "o1")).await;
    before.stop.ask();
    assert!(before.tasks.finish(Duration::from_secs(5)).await);
    before.gateway.close().await;
    let said = before.push(&signed(), text(3, "o1")).await;
    assert_eq!(said.status, 503);
    let after = World::of(Setting {
        dir: Some(before.dir.clone()),
        ..plain(quick())
    })
    .await;
    // The first is due when its pause is over.
    after
        .time_until("both arrive", || after.app.got.lock().len() == 2)
        .await;
    after.push(&signed(), text(2, "o1")).await;
    after.push(&signed(), text(3, "o1")).await;
    let got = after.got(3).await;
    assert_eq!(got, [text(1, "o1"), text(2, "o1"), text(3, "o1")]);
}

#[tokio::test]
async fn too_long_and_too_many_are_refused() {
    let world = World::of(Setting {
        mood: Mood::Away,
        ..plain(InboxConfig {
            max_message_bytes: 1024,
            max_waiting: 1,
            ..quick()
        })
    })
    .await;
    assert_eq!(world.push(&signed(), vec![b'x'; 1025]).await.status, 413);
    assert_eq!(world.push(&signed(), text(1, "o1")).await.status, 200);
    assert_eq!(world.push(&signed(), text(2, "o1")).await.status, 503);
    assert_eq!(world.push(&signed(), text(1, "o1")).await.status, 200);
}

fn replying() -> InboxConfig {
    InboxConfig {
        reply_to: vec!["text".to_owned()],
        reply_wait_ms: 2000,
        ..quick()
    }
}

const TRANSFER: &str = r#"{"ToUserName":"o1","FromUserName":"gh_1","CreateTime":5,"MsgType":"transfer_customer_service"}"#;

#[tokio::test]
async fn the_apps_answer_goes_back_where_one_is_needed() {
    let world = World::of(Setting {
        mood: Mood::Says(200, TRANSFER),
        ..plain(replying())
    })
    .await;
    let said = world.push(&signed(), text(1, "o1")).await;
    assert_eq!(said.text, TRANSFER);
    let xml = "<xml><FromUserName>o1</FromUserName><MsgType>text</MsgType><MsgId>2</MsgId></xml>";
    let said = world.push(&signed(), xml).await;
    assert_eq!(
        said.text,
        "<xml><ToUserName><![CDATA[o1]]></ToUserName><FromUserName><![CDATA[gh_1]]></FromUserName>\
         <CreateTime>5</CreateTime><MsgType><![CDATA[transfer_customer_service]]></MsgType></xml>"
    );
    assert_eq!(said.headers["content-type"], "text/xml; charset=utf-8");
    // A repeated push hears what the first one heard, and a type that needs none nothing.
    let again = world.push(&signed(), xml).await;
    assert!(
        again.text.contains("transfer_customer_service"),
        "{}",
        again.text
    );
    assert_eq!(world.app.got.lock().len(), 2);
    let event = r#"{"FromUserName":"o1","MsgType":"event","Event":"x","CreateTime":1}"#;
    assert_eq!(world.push(&signed(), event).await.text, "success");
    *world.app.mood.lock() = Mood::Says(200, "success");
    assert_eq!(world.push(&signed(), text(3, "o1")).await.text, "success");
}

#[tokio::test]
async fn an_answer_to_an_encrypted_push_is_encrypted() {
    let world = World::of(Setting {
        mood: Mood::Says(200, TRANSFER),
        ..safe(replying())
    })
    .await;
    let (query, body) = sealed(&text(1, "o1"));
    let said = world.push(&query, body).await;
    assert!(envelope::read(&said.text).is_ok(), "{}", said.text);
    let fields = crate::xml::to_json(&said.text).expect("XML");
    let open = opened(&fields.into(), &said.text).expect("opens");
    assert!(open.contains("transfer_customer_service"), "{open}");
}

#[tokio::test]
async fn an_app_that_is_late_or_fails_is_not_waited_for() {
    let world = World::of(Setting {
        mood: Mood::Says(500, TRANSFER),
        ..plain(InboxConfig {
            reply_wait_ms: 200,
            ..replying()
        })
    })
    .await;
    assert_eq!(world.push(&signed(), text(1, "o1")).await.text, "success");
    *world.app.mood.lock() = Mood::Hangs;
    assert_eq!(world.push(&signed(), text(2, "o2")).await.text, "success");
}

#[tokio::test]
async fn a_message_goes_to_the_mini_program_that_signed_it() {
    let world = World::of(Setting {
        mini_apps: vec![
            mini_app(APPID, Some("another"), None),
            mini_app("wx2", Some(TOKEN), None),
            mini_app("wx3", None, None),
        ],
        ..plain(quick())
    })
    .await;
    world.push(&signed(), text(1, "o1")).await;
    world.got(1).await;
    assert_eq!(world.app.got.lock()[0].appid, "wx2");
}

#[tokio::test]
async fn at_a_path_of_its_own_only_the_mini_programs_own_messages_are_taken() {
    let world = World::of(Setting {
        mini_apps: vec![
            mini_app(APPID, Some(TOKEN), None),
            mini_app(OTHER, Some(TOKEN), None),
            mini_app("wx3", Some(TOKEN), None),
        ],
        ..plain(quick())
    })
    .await;
    let at = |appid: &str| format!("/weapp/message/{appid}");
    for (path, who, id) in [
        ("/weapp/message".to_owned(), APPID, 1),
        (at(OTHER), OTHER, 1),
        (at(APPID), APPID, 2),
    ] {
        let before = world.app.got.lock().len();
        let said = world.push_at(&path, &signed(), text(id, "o1")).await;
        assert_eq!(said.status, 200, "{path}");
        world.got(before + 1).await;
        assert_eq!(world.app.got.lock()[before].appid, who, "{path}");
    }
    // Not of this site, though the gateway knows it; and nobody.
    for appid in ["wx3", "wx9", "%77x2%2f"] {
        let said = world.push_at(&at(appid), &signed(), text(1, "o1")).await;
        assert_eq!(said.status, 404, "{appid}");
    }
}

#[tokio::test]
async fn what_another_has_signed_is_refused_at_a_path_of_ones_own() {
    let world = World::of(Setting {
        mini_apps: vec![
            mini_app(APPID, Some(TOKEN), None),
            mini_app(OTHER, Some("another"), None),
        ],
        ..plain(quick())
    })
    .await;
    let at_other = format!("/weapp/message/{OTHER}");
    let said = world.push_at(&at_other, &signed(), text(1, "o1")).await;
    assert_eq!(said.status, 403);
    assert_eq!(world.push(&signed(), text(1, "o1")).await.status, 200);
    world.got(1).await;
    assert_eq!(world.app.got.lock()[0].appid, APPID);
}

#[tokio::test]
async fn without_a_message_token_there_is_no_inbox() {
    let world = World::new().await;
    assert_eq!(world.push(&signed(), text(1, "o1")).await.status, 404);
    assert_eq!(world.check_url(&signed()).await.status, 404);
    assert!(!world.dir.path().join("inbox.db").exists());
}

#[tokio::test]
async fn calls_pushes_and_deliveries_are_counted_by_their_end() {
    let world = World::of(plain(quick())).await;
    let registry = MetricRegistry::new();
    world.gateway.register_metrics(&registry);
    let told = |line: &str| registry.text().lines().any(|told| told == line);
    // The app is away once, says no once, and takes it.
    *world.app.mood.lock() = Mood::Away;
    assert_eq!(world.push(&signed(), text(1, "o1")).await.status, 200);
    until("the app is away", || {
        told("weappd_gateway_deliveries_total{end=\"absent\"} 1")
    })
    .await;
    *world.app.mood.lock() = Mood::Says(500, "");
    until("the app says no, and once more to the end", || {
        world.hand.advance(1000);
        told("weappd_gateway_given_up_total 1")
    })
    .await;
    *world.app.mood.lock() = Mood::Says(200, "");
    assert_eq!(world.push(&signed(), text(2, "o1")).await.status, 200);
    until("the app takes it", || {
        told("weappd_gateway_deliveries_total{end=\"taken\"} 1")
    })
    .await;
    world
        .push("signature=x&timestamp=1&nonce=2", text(3, "o1"))
        .await;
    world.call("/wxa/x").await;
    world.call("/wxa/../x").await;
    world.wechat.rejects("*", 45009);
    world.call("/wxa/x").await;
    for line in [
        "weappd_gateway_pushes_total{end=\"taken\"} 2",
        "weappd_gateway_pushes_total{end=\"refused\"} 1",
        "weappd_gateway_pushes_total{end=\"failed\"} 0",
        "weappd_gateway_deliveries_total{end=\"refused\"} 3",
        "weappd_gateway_calls_total{end=\"done\"} 1",
        "weappd_gateway_calls_total{end=\"refused\"} 1",
        "weappd_gateway_calls_total{end=\"not_made\"} 1",
        "weappd_gateway_call_seconds_count 3",
    ] {
        assert!(told(line), "{line}\n{}", registry.text());
    }
    assert_eq!(exposition::problem(&registry.text()), None);
}
