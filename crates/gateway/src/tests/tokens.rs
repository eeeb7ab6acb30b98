//! One token for all: fetched once, renewed ahead, replaced once.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::support::{APPID, BEARER, SECRET, Said, Setting, World, until};
use crate::config::{Config, TokenMode};

#[tokio::test]
async fn a_hundred_callers_ask_once() {
    let world = World::new().await;
    let gate = Arc::new(Semaphore::new(0));
    *world.wechat.gate.lock() = Some(Arc::clone(&gate));
    let calls = futures_util::future::join_all((0..100).map(|_| world.call("/wxa/x")));
    let opened = async {
        // Everybody is waiting by the time the answer is let go.
        tokio::task::yield_now().await;
        gate.add_permits(100);
    };
    let (said, ()) = tokio::join!(calls, opened);
    assert!(said.iter().all(|said| said.status == 200));
    assert_eq!(world.wechat.used(), ["t1"; 100].map(str::to_owned));
    assert_eq!(world.wechat.questions(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_ahead_while_it_is_used() {
    let world = World::new().await;
    world.call("/wxa/x").await;
    world.hand.advance(6899);
    world.call("/wxa/x").await;
    assert_eq!(world.wechat.questions(), 1);
    world.hand.advance(1);
    // The old one is still good: nobody waits for the new one.
    let gate = Arc::new(Semaphore::new(0));
    *world.wechat.gate.lock() = Some(Arc::clone(&gate));
    for _ in 0..3 {
        world.call("/wxa/x").await;
    }
    assert_eq!(world.wechat.used(), ["t1"; 5]);
    gate.add_permits(1);
    until("a second question", || world.wechat.questions() == 2).await;
    until("the flight landed", || world.tasks.is_empty()).await;
    world.call("/wxa/x").await;
    assert_eq!(world.wechat.used().last().map(String::as_str), Some("t2"));
    // Unused past its end, it is fetched when somebody needs it.
    world.hand.advance(8000);
    *world.wechat.gate.lock() = None;
    world.call("/wxa/x").await;
    assert_eq!(world.wechat.used().last().map(String::as_str), Some("t3"));
}

#[tokio::test]
async fn a_rejected_token_is_replaced_and_the_call_made_once_more() {
    for errcode in [40001, 40014, 42001] {
        let world = World::new().await;
        world.wechat.rejects("t1", errcode);
        let said = world.post("/wxa/x", "{\"body\":1}").await;
        assert_eq!((said.status, said.text.as_str()), (200, "{\"body\":1}"));
        assert_eq!(world.wechat.used(), ["t1", "t2"]);
        let asked = world.wechat.asked.lock();
        assert!(asked.iter().all(|(_, body)| body["force_refresh"] == false));
    }
}

#[tokio::test]
async fn other_errors_are_nobodys_but_the_apps() {
    let world = World::new().await;
    world.wechat.rejects("t1", 45009);
    assert_eq!(world.call("/wxa/x").await.errcode(), 45009);
    assert_eq!(world.wechat.used(), ["t1"]);
    assert_eq!(world.wechat.questions(), 1);
}

#[tokio::test]
async fn a_new_token_is_forced_only_if_wechat_calls_the_rejected_one_current() {
    let world = World::new().await;
    for token in ["a", "a", "b", "b"] {
        world.wechat.next_token(token, 7200);
    }
    world.wechat.rejects("a", 40001);
    assert_eq!(world.call("/wxa/x").await.status, 200);
    assert_eq!(world.wechat.used(), ["a", "b"]);
    let forced = || -> Vec<Value> {
        let asked = world.wechat.asked.lock();
        asked
            .iter()
            .map(|(_, body)| body["force_refresh"].clone())
            .collect()
    };
    assert_eq!(forced(), [json!(false), json!(false), json!(true)]);
    // Again, too soon for WeChat: the answer goes back as it is.
    world.wechat.rejects("b", 40001);
    world.hand.advance(29);
    assert_eq!(world.call("/wxa/y").await.errcode(), 40001);
    assert_eq!(world.wechat.used(), ["a", "b", "b"]);
    assert_eq!(forced().len(), 4);
    // WeChat has just said that it is the current one: it is not asked again.
    assert_eq!(world.call("/wxa/z").await.errcode(), 40001);
    assert_eq!(forced().len(), 4);
    world.wechat.next_token("b", 7200);
    world.wechat.next_token("c", 7200);
    world.hand.advance(31);
    assert_eq!(world.call("/wxa/x").await.status, 200);
    assert_eq!(world.wechat.used().last().map(String::as_str), Some("c"));
    assert_eq!(forced().len(), 6);
}

#[tokio::test]
async fn there_is_no_loop() {
    let world = World::new().await;
    world.wechat.rejects("*", 40001);
    assert_eq!(world.call("/wxa/x").await.errcode(), 40001);
    assert_eq!(world.wechat.used(), ["t1", "t2"]);
    // A path that fails with fresh tokens is not helped by more of them.
    for _ in 0..5 {
        assert_eq!(world.call("/wxa/x").await.errcode(), 40001);
    }
    assert_eq!(world.wechat.used().len(), 7);
    assert_eq!(world.wechat.questions(), 2);
}

#[tokio::test]
async fn a_body_too_long_to_keep_is_sent_once() {
    let world = World::of(Setting {
        config: Config {
            replay_bytes: 10,
            spool_bytes: 0,
            ..Config::default()
        },
        ..Setting::default()
    })
    .await;
    world.wechat.rejects("t1", 40001);
    let said = world.post("/wxa/x", vec![b'x'; 11]).await;
    assert_eq!(said.errcode(), 40001);
    assert_eq!(world.wechat.used(), ["t1"]);
    // The next call finds a better token.
    until("a second question", || world.wechat.questions() == 2).await;
    until("the flight landed", || world.tasks.is_empty()).await;
    assert_eq!(world.post("/wxa/x", vec![b'x'; 10]).await.status, 200);
    assert_eq!(world.wechat.used(), ["t1", "t2"]);
}

#[tokio::test]
async fn an_upload_is_sent_again_after_an_ended_token() {
    for length in [300_000, 400 * 1024, 3_000_000] {
        let world = World::new().await;
        world.wechat.rejects("t1", 42001);
        let body: Vec<u8> = (0..length).map(|n: u32| (n % 251) as u8).collect();
        let said = world
            .post("/cgi-bin/media/upload?type=image", body.clone())
            .await;
        assert_eq!(said.status, 200);
        assert_eq!(world.wechat.used(), ["t1", "t2"]);
        let calls = world.wechat.calls.lock();
        assert!(calls.iter().all(|(.., sent)| *sent == body));
    }
}

#[tokio::test]
async fn a_token_that_wechat_called_current_is_asked_for_again_soon() {
    let world = World::new().await;
    for token in ["a", "a", "a", "a", "b"] {
        world.wechat.next_token(token, 7200);
    }
    world.wechat.rejects("a", 40001);
    // Asked, forced, and told that it is the current one.
    assert_eq!(world.call("/wxa/x").await.errcode(), 40001);
    assert_eq!(world.wechat.questions(), 3);
    assert_eq!(world.call("/wxa/x").await.errcode(), 40001);
    assert_eq!(world.wechat.questions(), 3);
    // Still so a second later; then somebody renews it.
    world.hand.advance(1);
    assert_eq!(world.call("/wxa/x").await.errcode(), 40001);
    assert_eq!(world.wechat.questions(), 4);
    world.hand.advance(1);
    assert_eq!(world.call("/wxa/x").await.errcode(), 40001);
    assert_eq!(world.wechat.questions(), 4, "not twice as soon");
    world.hand.advance(1);
    assert_eq!(world.call("/wxa/x").await.status, 200);
    assert_eq!(world.wechat.used().last().map(String::as_str), Some("b"));
    // However long it goes on, there are few questions.
    let world = World::new().await;
    for _ in 0..100 {
        world.wechat.next_token("a", 7200);
    }
    world.wechat.rejects("a", 40001);
    for _ in 0..120 {
        world.call("/wxa/x").await;
        world.hand.advance(1);
    }
    assert!(
        world.wechat.questions() < 20,
        "{}",
        world.wechat.questions()
    );
}

#[tokio::test]
async fn wechats_no_is_told_with_advice_and_not_asked_for_again_at_once() {
    for errcode in [40164, 40013, 40125, 40243] {
        let world = World::new().await;
        let no = json!({"errcode": errcode, "errmsg": format!("no, {SECRET} rid: 1-2-3")});
        world.wechat.tokens.lock().push_back(no);
        for _ in 0..3 {
            let said = world.call("/wxa/x").await;
            assert_eq!((said.status, said.errcode()), (200, errcode));
            assert!(said.text.contains("what to do") && said.text.contains("rid: 1-2-3"));
            assert!(!said.text.contains(SECRET), "{}", said.text);
        }
        assert_eq!(
            (world.wechat.questions(), world.wechat.calls.lock().len()),
            (1, 0)
        );
        world.hand.advance(10);
        assert_eq!(world.call("/wxa/x").await.status, 200);
        assert_eq!(world.wechat.used(), ["t2"]);
    }
}

#[tokio::test]
async fn a_rejected_token_that_cannot_be_replaced_is_told_with_the_reason() {
    let world = World::new().await;
    world.call("/wxa/x").await;
    world.wechat.rejects("t1", 42001);
    let no = json!({"errcode": 40164, "errmsg": "invalid ip 1.2.3.4 rid: 1-2-3"});
    world.wechat.tokens.lock().push_back(no);
    let said = world.call("/wxa/x").await;
    assert_eq!((said.status, said.errcode()), (200, 40164));
    assert!(said.text.contains("what to do"), "{}", said.text);
    // Where WeChat only cannot be heard, the app gets its first answer.
    let world = World::new().await;
    world.call("/wxa/x").await;
    world.wechat.rejects("t1", 42001);
    world.wechat.tokens.lock().push_back(json!("rubbish"));
    assert_eq!(world.call("/wxa/x").await.errcode(), 42001);
}

#[tokio::test]
async fn a_busy_wechat_is_asked_twice() {
    let world = World::new().await;
    let busy = json!({"errcode": -1, "errmsg": "system error"});
    world.wechat.tokens.lock().push_back(busy);
    assert_eq!(world.call("/wxa/x").await.status, 200);
    assert_eq!(world.wechat.questions(), 2);
}

#[tokio::test]
async fn classic_tokens_are_fetched_where_configured_and_never_in_a_race() {
    let world = World::of(Setting {
        config: Config {
            token: TokenMode::Classic,
            ..Config::default()
        },
        ..Setting::default()
    })
    .await;
    world.call("/wxa/x").await;
    {
        let asked = world.wechat.asked.lock();
        assert_eq!(asked[0].0, "/cgi-bin/token");
        let query = asked[0].1.as_str().expect("a query");
        assert!(query.contains("grant_type=client_credential") && query.contains(APPID));
    }
    // Another program fetches tokens too, and ends ours.
    world.wechat.rejects("t1", 40001);
    assert_eq!(world.call("/wxa/x").await.errcode(), 40001);
    world.hand.advance(10);
    assert_eq!(world.call("/wxa/x").await.status, 200);
    assert_eq!(world.wechat.used(), ["t1", "t1", "t1", "t2"]);
}

async fn ask_centre(world: &World, request: Request) -> Said {
    world.send(request).await
}

#[tokio::test]
async fn the_centre_tells_tokens_to_those_it_knows() {
    let world = World::new().await;
    for bearer in ["", "Bearer", "Bearer wrong", "Basic the-apps-own-token"] {
        let request = Request::get("/token")
            .header("authorization", bearer)
            .body(Body::empty())
            .expect("a request");
        let said = ask_centre(&world, request).await;
        assert_eq!((said.status, said.errcode()), (401, -808_011), "{bearer}");
    }
    assert_eq!(world.wechat.questions(), 0);
    let request = |uri: &str| {
        Request::get(uri)
            .header("authorization", format!("Bearer {BEARER}"))
            .body(Body::empty())
            .expect("a request")
    };
    let said = ask_centre(&world, request(&format!("/token?appid={APPID}"))).await;
    assert_eq!(said.text, r#"{"access_token":"t1","expires_in":7200}"#);
    assert_eq!(said.headers["cache-control"], "no-store");
    world.hand.advance(100);
    let said = ask_centre(&world, request("/token")).await;
    assert_eq!(said.text, r#"{"access_token":"t1","expires_in":7100}"#);
    let said = ask_centre(&world, request("/token?appid=wx3")).await;
    assert_eq!(said.errcode(), -808_003);
}

#[tokio::test]
async fn the_centre_tells_no_page_a_token_whatever_bearer_it_has() {
    let world = World::new().await;
    let rejected = r#"{"rejected":"t1"}"#;
    for (method, body, allowed) in [("GET", "", 200), ("POST", rejected, 200), ("PUT", "", 405)] {
        let asked = world.wechat.questions();
        let ask = async |name: &'static str, value: &'static str| {
            let request = Request::builder()
                .method(method)
                .uri("/token")
                .header("authorization", format!("Bearer {BEARER}"))
                .header(name, value)
                .body(Body::from(body))
                .expect("a request");
            ask_centre(&world, request).await
        };
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "none"),
            ("host", "evil.example"),
            ("host", "evil.example:8081"),
        ] {
            let said = ask(name, value).await;
            let told = (said.status, said.errcode());
            assert_eq!(told, (403, -808_010), "{method} {name} {value}");
            assert!(!said.text.contains("access_token"), "{}", said.text);
        }
        assert_eq!(world.wechat.questions(), asked);
        assert_eq!(ask("host", "127.0.0.1:8081").await.status, allowed);
    }
}

#[tokio::test]
async fn the_centre_replaces_a_token_somebody_was_rejected_with() {
    let world = World::new().await;
    world.call("/wxa/x").await;
    let replace = async |body: &str| {
        let request = Request::post("/token")
            .header("authorization", format!("Bearer {BEARER}"))
            .body(Body::from(body.to_owned()))
            .expect("a request");
        ask_centre(&world, request).await
    };
    // Old news: the current one is another.
    let said = replace(r#"{"rejected":"t0"}"#).await;
    assert!(said.text.contains("\"t1\""), "{}", said.text);
    assert_eq!(world.wechat.questions(), 1);
    let said = replace(r#"{"rejected":"t1"}"#).await;
    assert!(said.text.contains("\"t2\""), "{}", said.text);
    for bad in ["rubbish", "[null,\"t2\"]", "[\"t2\"]"] {
        assert_eq!(replace(bad).await.errcode(), -808_012, "{bad}");
    }
    assert_eq!(world.wechat.questions(), 2);
}

#[tokio::test]
async fn programs_that_fetch_tokens_themselves_get_the_shared_one() {
    let world = World::new().await;
    world.call("/wxa/x").await;
    let path = format!("/cgi-bin/token?grant_type=client_credential&appid={APPID}&secret={SECRET}");
    let said = world.call(&path).await;
    assert_eq!(said.text, r#"{"access_token":"t1","expires_in":7200}"#);
    let body = json!({"appid": APPID, "secret": SECRET, "grant_type": "client_credential"});
    let said = world.post("/cgi-bin/stable_token", body.to_string()).await;
    assert_eq!(said.text, r#"{"access_token":"t1","expires_in":7200}"#);
    assert_eq!(world.wechat.questions(), 1);
    // Whoever does not know the secret is WeChat's to judge.
    let body = json!({"appid": APPID, "secret": "guessed"});
    world.post("/cgi-bin/stable_token", body.to_string()).await;
    assert_eq!(world.wechat.questions(), 2);
    assert_eq!(world.wechat.asked.lock()[1].1["secret"], "guessed");
}
