//! Calls as apps make them.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use serde_json::Value;
use tower::ServiceExt as _;

use super::support::{APPID, BEARER, SECRET, Said, Setting, World, mini_app, until};
use crate::config::Config;
use crate::http::in_front_of;

#[tokio::test]
async fn a_call_gets_a_token_and_keeps_everything_else() {
    let world = World::new().await;
    let request = Request::post("/wxa/x?a=%E5%BE%AE&from_appid=wxba5fad812f8e6fb9")
        .header("content-type", "text/x-own")
        .header("x-wx-openid", "o1")
        .header("authorization", "Bearer secret")
        .body(Body::from("{\"a\":1}"))
        .expect("a request");
    let said = world.send(request).await;
    assert_eq!((said.status, said.text.as_str()), (200, "{\"a\":1}"));
    assert_eq!(said.headers["x-kept"], "yes");
    assert!(!said.headers.contains_key("x-gone"));
    assert_eq!(said.headers["x-openapi-seqid"].len(), 32);
    let calls = world.wechat.calls.lock();
    let (path, headers, _) = &calls[0];
    assert_eq!(path, "/wxa/x?access_token=t1&a=%E5%BE%AE");
    assert_eq!(headers["content-type"], "text/x-own");
    assert!(!headers.contains_key("x-wx-openid") && !headers.contains_key("authorization"));
    let asked = world.wechat.asked.lock();
    assert_eq!(asked[0].0, "/cgi-bin/stable_token");
    assert_eq!(asked[0].1["appid"], APPID);
    assert_eq!(asked[0].1["force_refresh"], false);
}

#[tokio::test]
async fn every_method_goes_through() {
    let world = World::new().await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"] {
        let request = Request::builder()
            .method(method)
            .uri("/any/path/at_all")
            .body(Body::empty())
            .expect("a request");
        let said = world.send(request).await;
        assert_eq!(said.status, 200, "{method}");
    }
    assert_eq!(world.wechat.used(), ["t1"; 6]);
}

#[tokio::test]
async fn a_given_token_is_kept_and_none_is_fetched() {
    let world = World::new().await;
    world.wechat.rejects("own", 40001);
    let said = world.call("/wxa/x?access_token=own").await;
    assert_eq!((said.status, said.errcode()), (200, 40001));
    assert_eq!(world.wechat.used(), ["own"]);
    assert_eq!(world.wechat.questions(), 0);
}

#[tokio::test]
async fn calls_with_credentials_of_their_own_go_untouched() {
    for appids in [&["wx1"][..], &["wx1", "wx2"]] {
        let world = World::of(Setting {
            mini_apps: appids.iter().map(|id| mini_app(id, None, None)).collect(),
            ..Setting::default()
        })
        .await;
        let paths = [
            "/sns/oauth2/access_token?appid=wxOA&secret=s&code=c&grant_type=authorization_code",
            "/sns/oauth2/refresh_token?appid=wxOA&grant_type=refresh_token&refresh_token=r",
            "/sns/userinfo?access_token=u&openid=o&lang=zh_CN",
            "/sns/auth?access_token=u&openid=o",
            "/sns/component/jscode2session?appid=wxA&js_code=c&component_access_token=ct",
            "/cgi-bin/component/api_component_token",
            "/cgi-bin/component/api_create_preauthcode?component_access_token=ct",
            "/wxa/getwxadevinfo?component_access_token=ct",
            "/cgi-bin/ticket/getticket?access_token=oa&type=jsapi",
            "/cgi-bin/menu/create?access_token=oa",
        ];
        for path in paths {
            let said = world.post(path, "{\"a\":1}").await;
            assert_eq!(
                (said.status, said.text.as_str()),
                (200, "{\"a\":1}"),
                "{path}"
            );
        }
        let calls = world.wechat.calls.lock();
        let called: Vec<_> = calls.iter().map(|(path, ..)| path.as_str()).collect();
        assert_eq!(called, paths);
        assert_eq!(world.wechat.questions(), 0);
    }
}

#[tokio::test]
async fn the_mini_program_is_chosen_by_query_or_header() {
    let world = World::of(Setting {
        mini_apps: vec![mini_app("wx1", None, None), mini_app("wx2", None, None)],
        ..Setting::default()
    })
    .await;
    assert_eq!(world.call("/wxa/x?from_appid=wx2").await.status, 200);
    for header in ["x-wx-appid", "x-weappd-appid", "x-wx-from-appid"] {
        let request = Request::get("/wxa/x")
            .header(header, "wx1")
            .body(Body::empty())
            .expect("a request");
        assert_eq!(world.send(request).await.status, 200, "{header}");
    }
    let appids: Vec<Value> = world
        .wechat
        .asked
        .lock()
        .iter()
        .map(|a| a.1["appid"].clone())
        .collect();
    assert_eq!(appids, ["wx2", "wx1"]);
    let none = world.call("/wxa/x").await;
    assert_eq!((none.status, none.errcode()), (400, -808_004));
    let unknown = world.call("/wxa/x?from_appid=wx3").await;
    assert_eq!((unknown.status, unknown.errcode()), (400, -808_003));
}

#[tokio::test]
async fn only_allowed_paths_are_called() {
    let world = World::of(Setting {
        config: Config {
            allow: vec!["/wxa/business".to_owned()],
            ..Config::default()
        },
        ..Setting::default()
    })
    .await;
    assert_eq!(
        world.call("/wxa/business/getuserphonenumber").await.status,
        200
    );
    let refused = world.call("/wxa/businesses").await;
    assert_eq!((refused.status, refused.errcode()), (403, -808_001));
    assert!(refused.text.contains("gateway.allow"));
    assert!(refused.headers.contains_key("x-openapi-seqid"));
    let sly = world.call("/wxa/business/%2e%2e/other").await;
    assert_eq!((sly.status, sly.errcode()), (400, -808_002));
    assert_eq!(world.wechat.calls.lock().len(), 1);
}

#[tokio::test]
async fn cloud_hostings_own_paths_are_refused_with_words() {
    let world = World::new().await;
    let inner = Router::new().fallback(|| async { "inner" });
    let router = in_front_of(world.gateway.clone(), inner);
    for (path, host) in [
        ("/_/pay/unifiedOrder", "api.weixin.qq.com"),
        ("/_/pay/refund?from_appid=wx9", "127.0.0.1:8081"),
        ("/_/cos/getauth", "api.weixin.qq.com"),
        ("/_/cos/metaid/encode", "localhost"),
    ] {
        let request = Request::post(path)
            .header("host", host)
            .body(Body::from("{}"))
            .expect("a request");
        let said = Said::read(router.clone().oneshot(request)).await;
        assert_eq!((said.status, said.errcode()), (501, -808_014), "{path}");
        assert_eq!(said.headers["x-openapi-seqid"].len(), 32);
    }
    assert_eq!(world.wechat.questions(), 0);
    assert!(world.wechat.calls.lock().is_empty());
    let request = Request::get("/_/pay/refund")
        .header("host", "evil.example")
        .body(Body::empty())
        .expect("a request");
    let said = Said::read(router.oneshot(request)).await;
    assert_eq!(said.errcode(), -808_010, "a browser learns nothing");
}

#[tokio::test]
async fn an_unreachable_wechat_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let world = World::of(Setting {
        endpoint: Some(endpoint),
        ..Setting::default()
    })
    .await;
    let said = world.call("/wxa/x?access_token=own").await;
    assert_eq!((said.status, said.errcode()), (502, -808_006));
    let said = world.call("/wxa/x").await;
    assert_eq!((said.status, said.errcode()), (502, -808_006));
}

#[tokio::test]
async fn wechats_host_and_paths_come_before_the_internal_api() {
    let world = World::new().await;
    let inner = Router::new()
        .route("/weapp/user", get(|| async { "inner" }))
        .fallback(|| async { "nobody" });
    let router = in_front_of(world.gateway.clone(), inner);
    let ask = async |path: &str, headers: &[(&'static str, &'static str)]| {
        let mut request = Request::get(path).body(Body::empty()).expect("a request");
        for (name, value) in headers {
            let value = http::HeaderValue::from_static(value);
            request.headers_mut().insert(*name, value);
        }
        let answer = router.clone().oneshot(request).await.expect("an answer");
        answer.status().as_u16()
    };
    assert_eq!(ask("/weapp/user", &[("host", "127.0.0.1:8081")]).await, 200);
    assert_eq!(world.wechat.calls.lock().len(), 0);
    for (path, host) in [
        ("/wxa/x", "127.0.0.1:8081"),
        ("/weapp/user", "api.weixin.qq.com"),
        ("/cgi-bin/x", "API.weixin.qq.com:80"),
        ("/cv/x", "[::1]:8081"),
        ("/weapp/user", "api2.weixin.qq.com"),
        ("/sns/userinfo", "SH.api.weixin.qq.com:80"),
        ("/weapp/user", "sz.api.weixin.qq.com"),
        ("/any", "hk.api.weixin.qq.com:443"),
    ] {
        assert_eq!(ask(path, &[("host", host)]).await, 200, "{path} {host}");
    }
    assert_eq!(world.wechat.calls.lock().len(), 8);
    for host in [
        "mp.weixin.qq.com",
        "x.api.weixin.qq.com",
        "api2.weixin.qq.com.evil.example",
    ] {
        assert_eq!(ask("/wxa/x", &[("host", host)]).await, 403, "{host}");
    }
    for headers in [
        [("host", "evil.example"), ("accept", "*/*")],
        [("host", "127.0.0.1"), ("origin", "http://evil.example")],
        [("host", "127.0.0.1"), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(ask("/wxa/x", &headers).await, 403, "{headers:?}");
    }
    assert_eq!(ask("/token", &[("host", "127.0.0.1")]).await, 401);
    assert_eq!(world.wechat.calls.lock().len(), 8);
}

#[tokio::test]
async fn the_tap_sees_calls_and_no_secret() {
    let world = World::new().await;
    let mut heard = world.tap.subscribe().expect("a tap");
    world.wechat.next_token("a-long-token-of-wechats", 7200);
    world.wechat.rejects("a-long-token-of-wechats", 42001);
    world.wechat.next_token("another-token-of-wechats", 7200);
    let said = world
        .post("/wxa/msg_sec_check", "{\"content\":\"hi\"}")
        .await;
    assert_eq!(said.status, 200);
    let mut names = Vec::new();
    while let Ok(hop) = heard.try_recv() {
        let text = serde_json::to_string(&*hop).expect("JSON");
        assert!(!text.contains("token-of-wechats"), "{text}");
        assert!(!text.contains(SECRET) && !text.contains(BEARER), "{text}");
        names.push(format!("{:?}>{:?} {}", hop.from, hop.to, hop.name));
    }
    assert_eq!(
        names,
        [
            "App>Weappd msg_sec_check",
            "Weappd>Wechat stable_token",
            "Wechat>Weappd stable_token",
            "Weappd>Wechat msg_sec_check",
            "Wechat>Weappd msg_sec_check",
            "Weappd>Wechat stable_token",
            "Wechat>Weappd stable_token",
            "Weappd>Wechat msg_sec_check",
            "Wechat>Weappd msg_sec_check",
            "Weappd>App msg_sec_check",
        ]
    );
    until("all tasks end", || world.tasks.is_empty()).await;
}
