//! Calls weappd itself makes.

use axum::Router;
use http::Method;
use serde_json::json;
use weappd_wechat::{CallError, WechatCall, WechatCalls as _};

use super::support::{APPID, OTHER, SECRET, Setting, World, mini_app, serve, until};
use crate::config::Config;

fn post(path: &str, body: serde_json::Value) -> WechatCall {
    WechatCall {
        method: Method::POST,
        path: path.to_owned(),
        query: Vec::new(),
        body: Some(body),
    }
}

fn get(path: &str, query: &[(&str, &str)]) -> WechatCall {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    WechatCall {
        method: Method::GET,
        path: path.to_owned(),
        query: query.iter().map(owned).collect(),
        body: None,
    }
}

#[tokio::test]
async fn a_call_carries_the_shared_token_and_its_own_words() {
    let world = World::new().await;
    let said = world
        .gateway
        .call(APPID, post("/wxa/x", json!({"a": "微"})));
    assert_eq!(said.await, Ok(json!({"a": "微"})));
    let call = get("/wxa/y", &[("openid", "o&1"), ("from_appid", "wx3")]);
    assert!(format!("{call:?}").ends_with("/wxa/y)"), "{call:?}");
    assert_eq!(
        world.gateway.call(APPID, call).await,
        Ok(json!({"errcode": 0}))
    );
    world.call("/wxa/z").await;
    assert_eq!(world.wechat.used(), ["t1"; 3]);
    assert_eq!(world.wechat.questions(), 1);
    let calls = world.wechat.calls.lock();
    assert_eq!(calls[0].1["content-type"], "application/json");
    assert_eq!(calls[1].0, "/wxa/y?access_token=t1&openid=o%261");
}

#[tokio::test]
async fn a_rejected_token_is_replaced_once() {
    for errcode in [40001, 40014, 42001] {
        let world = World::new().await;
        world.wechat.rejects("t1", errcode);
        let body = json!({"body": 1});
        let said = world
            .gateway
            .call(APPID, post("/wxa/x", body.clone()))
            .await;
        assert_eq!(said, Ok(body));
        assert_eq!(world.wechat.used(), ["t1", "t2"]);
    }
    let world = World::new().await;
    world.wechat.rejects("*", 40001);
    let said = world.gateway.call(APPID, post("/wxa/x", json!({}))).await;
    assert!(
        matches!(said, Err(CallError::Refused { errcode: 40001, .. })),
        "{said:?}"
    );
    assert_eq!(world.wechat.used(), ["t1", "t2"]);
}

#[tokio::test]
async fn each_mini_program_has_its_token_and_strangers_have_none() {
    let world = World::of(Setting {
        mini_apps: vec![mini_app(APPID, None, None), mini_app(OTHER, None, None)],
        ..Setting::default()
    })
    .await;
    for (appid, token) in [(OTHER, "t1"), (APPID, "t2"), (OTHER, "t1")] {
        let said = world.gateway.call(appid, get("/wxa/x", &[])).await;
        assert_eq!(said, Ok(json!({"errcode": 0})));
        assert_eq!(world.wechat.used().last().map(String::as_str), Some(token));
    }
    for path in ["/wxa/x", "/sns/jscode2session"] {
        let said = world.gateway.call("wx3", get(path, &[])).await;
        assert_eq!(said, Err(CallError::NoToken), "{path}");
    }
    assert_eq!(world.wechat.calls.lock().len(), 3);
}

#[tokio::test]
async fn what_apps_may_call_does_not_bind_weappd_but_sly_paths_are_refused() {
    let world = World::of(Setting {
        config: Config {
            allow: vec!["/wxa/business".to_owned()],
            ..Config::default()
        },
        ..Setting::default()
    })
    .await;
    assert_eq!(world.call("/wxa/checksession").await.errcode(), -808_001);
    let said = world
        .gateway
        .call(APPID, get("/wxa/checksession", &[]))
        .await;
    assert_eq!(said, Ok(json!({"errcode": 0})));
    for (path, number) in [("/wxa/../x", -808_002), ("/wxa/x?y=1", -808_012)] {
        let said = world.gateway.call(APPID, get(path, &[])).await;
        let Err(CallError::Refused { errcode, .. }) = said else {
            panic!("{path}: {said:?}");
        };
        assert_eq!(errcode, number, "{path}");
    }
}

#[tokio::test]
async fn failures_are_told_apart_and_show_no_secret() {
    let world = World::new().await;
    let no = json!({"errcode": 40125, "errmsg": format!("no, {SECRET}")});
    world.wechat.tokens.lock().push_back(no);
    let said = world.gateway.call(APPID, get("/wxa/x", &[])).await;
    let told = format!("{said:?}");
    assert!(
        matches!(said, Err(CallError::Refused { errcode: 40125, .. })),
        "{told}"
    );
    assert!(!told.contains(SECRET), "{told}");
    world.hand.advance(10);
    let said = world.gateway.call(APPID, post("/wxa/x", json!([1]))).await;
    assert_eq!(said, Err(CallError::Malformed), "a list");
    let long = json!({"long": "x".repeat(1024 * 1024)});
    let said = world.gateway.call(APPID, post("/wxa/x", long)).await;
    assert_eq!(said, Err(CallError::Malformed), "longer than is read");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let world = World::of(Setting {
        endpoint: Some(endpoint),
        ..Setting::default()
    })
    .await;
    let said = world.gateway.call(APPID, get("/wxa/x", &[])).await;
    assert_eq!(said, Err(CallError::Unreachable));
}

#[tokio::test]
async fn a_wechat_that_says_nothing_ends_with_the_time() {
    let silent = Router::new().fallback(std::future::pending::<()>);
    let world = World::of(Setting {
        endpoint: Some(serve(silent)),
        config: Config {
            timeout_ms: 100,
            ..Config::default()
        },
        ..Setting::default()
    })
    .await;
    let call = get("/wxa/x", &[("access_token", "own")]);
    assert_eq!(
        world.gateway.call(APPID, call).await,
        Err(CallError::Timeout)
    );
    until("all tasks end", || world.tasks.is_empty()).await;
}
