//! Orders, refunds and their like: WeChat hears that one is done when the app says so, and
//! not before.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use weappd_base::secret::Secret;
use weappd_wechat::message::{MessageKey, encrypt, msg_signature, signature};

use super::support::{APPID, KEY, Mood, Setting, TOKEN, World, mini_app, opened, until};
use crate::config::{AnswerWhen, Config, InboxConfig, PushChannel};

const DONE: &str = r#"{"ErrCode":0,"ErrMsg":"success"}"#;
const SOLD_OUT: &str = r#"{"ErrCode":1,"ErrMsg":"sold out"}"#;

fn setting(mood: Mood) -> Setting {
    Setting {
        config: Config {
            inbox: InboxConfig {
                first_pause_ms: 3_600_000,
                longest_pause_ms: 3_600_000,
                ..InboxConfig::default()
            },
            ..Config::default()
        },
        mini_apps: vec![mini_app(APPID, Some(TOKEN), None)],
        mood,
        ..Setting::default()
    }
}

fn signed_by(token: &str) -> String {
    let signature = signature(&Secret::new(token), "1714112400", "n");
    format!("signature={signature}&timestamp=1714112400&nonce=n")
}

fn order(number: &str, buyer: &str) -> Value {
    json!({"ToUserName": "gh_1", "FromUserName": "oWX", "CreateTime": 1_700_000_000,
        "MsgType": "event", "Event": "xpay_goods_deliver_notify", "OpenId": buyer,
        "OutTradeNo": number, "Env": 0})
}

fn game_order(number: &str, buyer: &str) -> Value {
    let payload = json!({"OpenId": buyer, "OutTradeNo": number, "Env": 0});
    json!({"ToUserName": "gh_1", "FromUserName": "oWX", "CreateTime": 1, "MsgType": "event",
        "Event": "minigame_h5_goods_deliver_notify",
        "MiniGame": {"Payload": payload.to_string(), "PayEventSig": "x", "IsMock": false}})
}

/// `ErrCode` as WeChat reads it.
fn is_done(status: u16, text: &str) -> bool {
    let words: Value = serde_json::from_str(text).unwrap_or_default();
    status == 200
        && (text.is_empty()
            || text == "success"
            || words["ErrCode"] == 0
            || text.contains("<ErrCode>0</ErrCode>"))
}

impl World {
    /// A push, answered: whether WeChat takes it for done, and the words.
    async fn told(&self, message: &Value) -> (bool, String) {
        let said = self.push(&signed_by(TOKEN), message.to_string()).await;
        (is_done(said.status, &said.text), said.text)
    }

    fn buyers(&self) -> Vec<String> {
        let got = self.app.got.lock();
        let buyers = got.iter().map(|message| message.openid.clone());
        buyers.map(Option::unwrap_or_default).collect()
    }

    fn mood(&self, mood: Mood) {
        *self.app.mood.lock() = mood;
    }
}

#[tokio::test]
async fn the_apps_own_words_are_wechats_answer_and_a_repeats() {
    let world = World::of(setting(Mood::Says(200, DONE))).await;
    for _ in 0..3 {
        let told = world.told(&order("order00001", "oB")).await;
        assert_eq!(told, (true, DONE.to_owned()));
    }
    assert_eq!(world.buyers(), ["oB"]);
    let xml = "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><MsgType><![CDATA[event]]></MsgType>\
        <Event><![CDATA[xpay_coin_pay_notify]]></Event><OpenId><![CDATA[oC]]></OpenId>\
        <OutTradeNo>20260101</OutTradeNo></xml>";
    for _ in 0..2 {
        let said = world.push(&signed_by(TOKEN), xml).await;
        let done = "<xml><ErrCode>0</ErrCode><ErrMsg><![CDATA[success]]></ErrMsg></xml>";
        assert_eq!((said.status, said.text.as_str()), (200, done));
    }
    let body: Value = serde_json::from_str(&world.app.got.lock()[1].body).expect("JSON");
    assert_eq!(body["OutTradeNo"], "20260101");
    assert_eq!(world.buyers(), ["oB", "oC"]);
}

#[tokio::test]
async fn nothing_but_a_yes_is_told_as_one() {
    let world = World::of(setting(Mood::Says(200, SOLD_OUT))).await;
    let first = order("order00001", "oB");
    assert_eq!(world.told(&first).await, (false, SOLD_OUT.to_owned()));
    // WeChat comes again, and the app is asked again, at once.
    for mood in [
        Mood::Says(500, "oops"),
        Mood::Says(404, "success"),
        Mood::Says(200, "<html>an error page</html>"),
        Mood::Away,
    ] {
        let before = *world.app.tried.lock();
        world.mood(mood);
        let (done, words) = world.told(&first).await;
        assert!(!done && words.contains("\"ErrCode\":-1"), "{words}");
        assert_eq!(*world.app.tried.lock(), before + 1);
    }
    world.mood(Mood::Says(200, ""));
    assert_eq!(world.told(&first).await, (true, "success".to_owned()));
    world.mood(Mood::Says(500, ""));
    assert_eq!(world.told(&first).await, (true, "success".to_owned()));
}

#[tokio::test]
async fn a_late_app_is_not_done_and_then_done_and_never_asked_twice_at_once() {
    let mut late = setting(Mood::Hangs);
    late.config.inbox.reply_wait_ms = 300;
    let world = World::of(late).await;
    let first = order("order00001", "oB");
    let pushes = (0..3).map(|_| world.told(&first));
    for (done, words) in futures_util::future::join_all(pushes).await {
        assert!(!done, "{words}");
    }
    assert_eq!(*world.app.tried.lock(), 1);
    // While the first is still under way, a repeat joins it.
    let taken = until("it is taken", || {
        world.app.release();
        world.app.got.lock().len() == 1
    });
    tokio::join!(world.told(&first), taken);
    assert_eq!(world.told(&first).await, (true, "success".to_owned()));
    assert_eq!(*world.app.tried.lock(), 1);
}

#[tokio::test]
async fn three_copies_at_once_are_one_delivery_and_hear_the_same() {
    let world = World::of(setting(Mood::Says(200, DONE))).await;
    let first = order("order00001", "oB");
    let pushes = (0..3).map(|_| world.told(&first));
    for told in futures_util::future::join_all(pushes).await {
        assert_eq!(told, (true, DONE.to_owned()));
    }
    assert_eq!(*world.app.tried.lock(), 1);
}

#[tokio::test]
async fn a_restart_forgets_no_answer() {
    let before = World::of(setting(Mood::Says(200, DONE))).await;
    let (first, second) = (order("T1", "oB"), order("T2", "oB"));
    assert!(before.told(&first).await.0);
    before.mood(Mood::Says(500, ""));
    assert!(!before.told(&second).await.0);
    before.stop.ask();
    assert!(before.tasks.finish(Duration::from_secs(5)).await);
    before.gateway.close().await;
    let after = World::of(Setting {
        dir: Some(before.dir.clone()),
        ..setting(Mood::Says(200, ""))
    })
    .await;
    assert_eq!(after.told(&first).await, (true, DONE.to_owned()));
    assert!(after.told(&second).await.0);
    assert_eq!(after.app.got.lock().len(), 1);
}

#[tokio::test]
async fn one_order_is_one_however_often_wechat_counts() {
    let world = World::of(setting(Mood::Says(200, DONE))).await;
    let messages = [
        json!({"Event": "xpay_refund_notify", "OpenId": "oB", "MchRefundId": "R1"}),
        json!({"Event": "xpay_complaint_notify", "OpenId": "oB", "ComplaintId": "C1"}),
        json!({"Event": "xpay_not_known_yet_notify", "OpenId": "oB", "Some": "thing"}),
    ];
    for message in &messages {
        for tries in 0..3 {
            let mut message = message.clone();
            message["MsgType"] = "event".into();
            message["FromUserName"] = "oWX".into();
            message["RetryTimes"] = tries.into();
            assert_eq!(world.told(&message).await, (true, DONE.to_owned()));
        }
    }
    assert_eq!(world.buyers(), ["oB", "oB", "oB"]);
    // Another number, another buyer and another mini program's are others.
    for other in [order("T1", "oB"), order("T2", "oB"), order("T1", "oC")] {
        assert!(world.told(&other).await.0);
    }
    assert_eq!(world.app.got.lock().len(), 6);
}

#[tokio::test]
async fn one_buyers_refused_order_holds_up_nobody() {
    let mut setting = setting(Mood::Says(500, ""));
    setting.config.inbox.at_once = 64;
    let world = World::of(setting).await;
    assert!(!world.told(&order("T0", "oA")).await.0);
    world.mood(Mood::Says(200, DONE));
    // His own next order neither.
    assert!(world.told(&order("T9", "oA")).await.0);
    world.mood(Mood::Hangs);
    let orders: Vec<_> = (1..=40)
        .map(|n| order(&format!("T{n}"), &format!("oB{n}")))
        .collect();
    let pushes = futures_util::future::join_all(orders.iter().map(|order| world.told(order)));
    let served = async {
        // All 40 are with the app at once.
        until("all go side by side", || *world.app.tried.lock() == 42).await;
        until("all are taken", || {
            world.app.release();
            world.app.got.lock().len() == 41
        })
        .await;
    };
    let (told, ()) = tokio::join!(pushes, served);
    assert!(told.iter().all(|(done, _)| *done));
    assert_eq!(world.buyers().iter().collect::<BTreeSet<_>>().len(), 41);
}

#[tokio::test]
async fn once_on_the_disk_is_enough_where_the_mini_program_says_so() {
    let stored = |mood| Setting {
        mini_apps: vec![crate::config::GatewayApp {
            answer: AnswerWhen::Stored,
            ..mini_app(APPID, Some(TOKEN), None)
        }],
        ..setting(mood)
    };
    let world = World::of(stored(Mood::Says(500, ""))).await;
    let first = order("T1", "oB");
    assert_eq!(world.told(&first).await, (true, "success".to_owned()));
    until("it is tried", || *world.app.tried.lock() == 1).await;
    world.mood(Mood::Says(200, DONE));
    world.hand.advance(2 * 3600);
    assert!(world.told(&first).await.0);
    until("it is taken", || world.app.got.lock().len() == 1).await;
    // What must be answered with words is not answered without the app.
    world.mood(Mood::Says(500, ""));
    let waybill = json!({"MsgType": "event", "Event": "add_waybill", "OrderID": "1", "BizID": "b"});
    assert!(!world.told(&waybill).await.0);
}

#[tokio::test]
async fn a_refund_query_is_answered_by_the_app_or_not_at_all() {
    let words = r#"{"ErrCode":0,"IosRefundQueryResponse":{"result_code":1,"evidence":"e"}}"#;
    let world = World::of(setting(Mood::Says(200, words))).await;
    let query = |number: &str| {
        json!({"MsgType": "event", "Event": "xpay_subscribe_ios_refund_query_notify",
            "FromUserName": "", "pay_order_id": number, "refund_time": "1767225600"})
    };
    assert_eq!(world.told(&query("T1")).await, (true, words.to_owned()));
    world.mood(Mood::Says(200, "success"));
    assert_eq!(world.told(&query("T1")).await, (true, words.to_owned()));
    assert!(!world.told(&query("T2")).await.0);
    // Nobody asks any more: it does not wait for days.
    world.hand.advance(61);
    world.told(&query("T2")).await;
    let letters = world.gateway.dead_letters(9).await.expect("reads");
    assert_eq!(letters.len(), 1);
}

#[tokio::test]
async fn documents_and_receipts_are_told_apart() {
    let words = r#"{"ResultCode":0,"ResultMsg":"ok","WayBillID":"SF1"}"#;
    let world = World::of(setting(Mood::Says(200, words))).await;
    let waybill = json!({"ToUserName": "gh_1", "FromUserName": "oWX", "CreateTime": 5,
        "MsgType": "event", "Event": "add_waybill", "OrderID": "1", "BizID": "b", "Token": "t"});
    for _ in 0..2 {
        let (_, told) = world.told(&waybill).await;
        let told: Value = serde_json::from_str(&told).expect("JSON");
        assert_eq!(told["WayBillID"], "SF1");
        assert_eq!(
            (&told["ToUserName"], &told["Token"]),
            (&json!("oWX"), &json!("t"))
        );
    }
    assert_eq!(world.app.got.lock().len(), 1);
    // A receipt says that it arrived, whatever the app does.
    world.mood(Mood::Says(500, ""));
    for event in [
        json!({"Event": "wxa_media_check", "trace_id": "1"}),
        json!({"Event": "user_authorization_revoke", "OpenID": "oU", "RevokeInfo": "8"}),
        json!({"Event": "trade_manage_remind_shipping", "transaction_id": "1"}),
    ] {
        let mut event = event;
        event["MsgType"] = "event".into();
        event["FromUserName"] = "oWX".into();
        assert_eq!(world.told(&event).await, (true, "success".to_owned()));
    }
}

#[tokio::test]
async fn the_buyer_is_whom_the_message_speaks_for() {
    let world = World::of(setting(Mood::Says(200, DONE))).await;
    let gift = json!({"MsgType": "event", "Event": "minigame_deliver_goods",
        "MiniGame": {"OrderId": "1", "ToUserOpenid": "oG", "IsPreview": 0}});
    let xml_game = format!(
        "<xml><MsgType><![CDATA[event]]></MsgType><FromUserName><![CDATA[oWX]]></FromUserName>\
         <Event><![CDATA[minigame_coin_deliver_completed]]></Event><MiniGame>\
         <Payload><![CDATA[{}]]></Payload></MiniGame></xml>",
        json!({"OpenId": "oX", "OutTradeNo": "_1"})
    );
    world.told(&order("T1", "oB")).await;
    world.told(&gift).await;
    world.told(&game_order("T2", "oC")).await;
    let said = world.push(&signed_by(TOKEN), xml_game).await;
    assert!(is_done(said.status, &said.text), "{}", said.text);
    let nobodys = json!({"MsgType": "event", "Event": "xpay_wxpay_callback_notify",
        "FromUserName": "oWX", "BusinessCode": "1", "BusinessState": "a"});
    world.told(&nobodys).await;
    assert_eq!(world.buyers(), ["oB", "oG", "oC", "oX", ""]);
}

/// A safe push of `message`.
fn sealed(token: &str, message: &Value) -> (String, String) {
    let key = MessageKey::parse(&Secret::new(KEY)).expect("a key");
    let encrypt = encrypt(&key, APPID, &message.to_string(), [7; 16]);
    let proof = msg_signature(&Secret::new(token), "1714112400", "n", &encrypt);
    (
        format!("timestamp=1714112400&nonce=n&encrypt_type=aes&msg_signature={proof}"),
        json!({"ToUserName": "gh_1", "Encrypt": encrypt}).to_string(),
    )
}

#[tokio::test]
async fn in_safe_mode_games_are_answered_in_plain_and_payments_are_not() {
    let world = World::of(Setting {
        mini_apps: vec![mini_app(APPID, Some(TOKEN), Some(KEY))],
        ..setting(Mood::Says(200, DONE))
    })
    .await;
    let (query, body) = sealed(TOKEN, &game_order("T1", "oB"));
    for _ in 0..2 {
        assert_eq!(world.push(&query, body.clone()).await.text, DONE);
    }
    let (query, body) = sealed(TOKEN, &order("T1", "oB"));
    let said = world.push(&query, body.clone()).await.text;
    let words: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(opened(&words, &said).as_deref(), Some(DONE));
    // `success` is never encrypted, and a no of weappd's own has nothing to hide.
    world.mood(Mood::Says(200, "success"));
    let (query, body) = sealed(TOKEN, &order("T2", "oB"));
    assert_eq!(world.push(&query, body).await.text, "success");
}

#[tokio::test]
async fn a_second_push_configuration_has_a_path_a_token_and_a_key_of_its_own() {
    let channel = |path: &str, token: &str, key: Option<&str>| PushChannel {
        path: path.to_owned(),
        token: Secret::new(token),
        encoding_aes_key: key.map(Secret::new),
    };
    let mut late = setting(Mood::Says(200, DONE));
    late.config.inbox.reply_wait_ms = 4800;
    let world = World::of(Setting {
        mini_apps: vec![crate::config::GatewayApp {
            pushes: vec![
                channel("/weapp/game/deliver", "deliver", Some(KEY)),
                channel("/game-events", "events", None),
            ],
            ..mini_app(APPID, Some(TOKEN), None)
        }],
        ..late
    })
    .await;
    let (query, body) = sealed("deliver", &game_order("T1", "oB"));
    for path in ["/weapp/game/deliver", "/weapp/game/deliver/"] {
        let said = world.push_at(path, &query, body.clone()).await;
        assert_eq!((said.status, said.text.as_str()), (200, DONE), "{path}");
    }
    let text = json!({"MsgType": "event", "Event": "a_game_event", "FromUserName": "oB"});
    let said = world
        .push_at("/game-events", &signed_by("events"), text.to_string())
        .await;
    assert_eq!((said.status, said.text.as_str()), (200, "success"));
    // Each path has its own Token, and the mini program's own has its.
    for (path, token) in [
        ("/game-events", TOKEN),
        ("/game-events", "deliver"),
        ("/weapp/message", "events"),
        ("/weapp/game/deliver", "events"),
    ] {
        let said = world
            .push_at(path, &signed_by(token), text.to_string())
            .await;
        assert_eq!(said.status, 403, "{path} {token}");
    }
    // WeChat waits three seconds there.
    world.mood(Mood::Hangs);
    let began = std::time::Instant::now();
    let (query, body) = sealed("deliver", &game_order("T2", "oB"));
    let said = world.push_at("/weapp/game/deliver", &query, body).await;
    assert!(!is_done(said.status, &said.text), "{}", said.text);
    assert!(began.elapsed() < Duration::from_millis(4500));
}

#[tokio::test]
async fn two_users_may_have_messages_of_one_number() {
    let world = World::of(setting(Mood::Says(200, ""))).await;
    for openid in ["oUSER1", "oUSER2", "oUSER1"] {
        let text = json!({"FromUserName": openid, "MsgType": "text", "Content": "hi",
            "MsgId": 7_000_000_000_000_001_i64});
        assert_eq!(world.told(&text).await.1, "success");
    }
    until("both arrive", || world.app.got.lock().len() == 2).await;
    assert_eq!(world.buyers(), ["oUSER1", "oUSER2"]);
}

#[tokio::test]
async fn json_as_users_write_it_is_taken() {
    let world = World::of(setting(Mood::Says(200, ""))).await;
    let texts = ["\u{1d}c", "a\tb", "a\nb\r", r"\ud83d", r"\ude00x", "\u{0}"];
    for (id, text) in texts.iter().enumerate() {
        let body = format!(
            "{{\"FromUserName\":\"o{id}\",\"MsgType\":\"text\",\"Content\":\"{text}\",\"MsgId\":1{id}}}"
        );
        let said = world.push(&signed_by(TOKEN), body).await;
        assert_eq!(
            (said.status, said.text.as_str()),
            (200, "success"),
            "{text:?}"
        );
    }
    until("all arrive", || world.app.got.lock().len() == texts.len()).await;
    for message in world.app.got.lock().iter() {
        let read: Value = serde_json::from_str(&message.body).expect("JSON for everybody");
        assert!(!read["Content"].as_str().expect("text").is_empty());
    }
}

#[tokio::test]
async fn long_numbers_of_xml_are_texts_as_in_wechats_json() {
    let world = World::of(setting(Mood::Says(200, ""))).await;
    let xml = "<xml><FromUserName><![CDATA[oU]]></FromUserName><CreateTime>1610969468</CreateTime>\
        <MsgType><![CDATA[event]]></MsgType><Event><![CDATA[subscribe_msg_sent_event]]></Event>\
        <SubscribeMsgSentEvent><List><TemplateId><![CDATA[t]]></TemplateId>\
        <MsgID>1864323726461255680</MsgID><ErrorCode>0</ErrorCode></List></SubscribeMsgSentEvent></xml>";
    world.push(&signed_by(TOKEN), xml).await;
    until("it arrives", || world.app.got.lock().len() == 1).await;
    let got: Value = serde_json::from_str(&world.app.got.lock()[0].body).expect("JSON");
    assert_eq!(got["CreateTime"], "1610969468");
    let item = &got["SubscribeMsgSentEvent"]["List"];
    assert_eq!(
        (&item["MsgID"], &item["ErrorCode"]),
        (&json!("1864323726461255680"), &json!("0"))
    );
}

#[tokio::test]
async fn an_old_signature_is_no_signature() {
    let world = World::of(setting(Mood::Says(200, ""))).await;
    let text = json!({"FromUserName": "o", "MsgType": "text", "MsgId": 1}).to_string();
    let at = |secs: i64| {
        let time = (1_714_112_445 + secs).to_string();
        let proof = signature(&Secret::new(TOKEN), &time, "n");
        format!("signature={proof}&timestamp={time}&nonce=n")
    };
    for days in [400, 2, -2] {
        let said = world.push(&at(-days * 86_400), text.clone()).await;
        assert_eq!(said.status, 403, "{days}");
        assert!(said.text.contains("clock"), "{}", said.text);
    }
    // A clock may be an hour off, or a whole night.
    for hours in [0, 1, -1, 12, -12] {
        let said = world.push(&at(hours * 3600), text.clone()).await;
        assert_eq!(said.status, 200, "{hours}: {}", said.text);
    }
}
