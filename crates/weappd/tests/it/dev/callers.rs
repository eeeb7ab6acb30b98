//! Who is calling: what an app is told about a phone, and whom the internal API answers.

use hyper::StatusCode;
use serde_json::Value;

use super::{APPID, MARK, fixture, profile};
use crate::http::{self, HttpAnswer};
use crate::world::{TestWorld, text};

/// `weappd dev -- node echo.js`.
async fn with_echo() -> TestWorld {
    let dir = tempfile::tempdir().expect("a temporary directory");
    TestWorld::dev_in(dir, &["--", "node", &fixture("echo.js")]).await
}

/// The values of a header as the app saw them.
fn seen<'a>(echo: &'a Value, name: &str) -> Vec<&'a str> {
    let headers = echo["headers"].as_array().expect("the headers");
    let of_name = headers.iter().filter(|pair| pair[0] == name);
    of_name.map(|pair| text(&pair[1])).collect()
}

/// Everything the app heard about who calls.
fn identity(echo: &Value) -> Vec<(&str, &str)> {
    let headers = echo["headers"].as_array().expect("the headers");
    // A fresh id each call; its own test is in the edge room.
    let other = ["x-wx-skey", "x-wx-id", "x-wx-call-id"];
    let mut told: Vec<_> = headers
        .iter()
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .filter(|(name, _)| name.replace('_', "-").starts_with("x-wx-"))
        .filter(|(name, _)| !other.contains(name))
        .collect();
    told.sort_unstable();
    told
}

#[tokio::test]
async fn an_app_learns_who_calls_from_weappd_and_never_from_the_client() {
    let world = with_echo().await;
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let skey = alice.skey.clone().expect("logged in");
    let about = profile(&world, "alice").await;
    let known = [
        ("x-wx-appid", APPID),
        ("x-wx-env", "weappd"),
        ("x-wx-openid", text(&about["openid"])),
        ("x-wx-source", "wx_client"),
        ("x-wx-unionid", text(&about["unionid"])),
    ];
    let native = format!("Bearer {skey}");
    // A valid session, in each way to show it.
    for (name, value) in [("x-wx-skey", &skey), ("authorization", &native)] {
        for site in [world.plain(), world.site()] {
            let asked = site.get("/orders?page=2").header(name, value);
            let echo = http::json(&asked.send().await);
            assert_eq!(echo["url"], "/orders?page=2");
            assert_eq!(identity(&echo), known, "shown in {name}");
        }
    }
    // The same with a client that claims to be somebody else; then without a session, and
    // with one that nobody knows.
    let unknown = "0".repeat(64);
    for (skey, told) in [(skey.as_str(), &known[..]), ("", &[]), (&unknown, &[])] {
        let site = world.site();
        let mut asked = site.post("/orders");
        if !skey.is_empty() {
            asked = asked.header("x-wx-skey", skey);
        }
        let echo = asked
            .header("x-wx-openid", "forged")
            .header("X-WX-OpenID", "forged")
            .header("x_wx_openid", "forged")
            .header("X_WX-OPENID", "forged")
            .header("x-wx-unionid", "forged")
            .header("x-wx-appid", "forged")
            .header("x-wx-source", "forged")
            .header("x-wx-from-openid", "forged")
            .header("x-wx-cloudbase-access-token", "forged")
            .send()
            .await;
        let echo = http::json(&echo);
        assert_eq!(echo["method"], "POST");
        assert_eq!(identity(&echo), told, "with skey {skey:?}");
        assert!(!echo.to_string().contains("forged"), "{echo}");
    }
}

#[tokio::test]
async fn an_app_is_told_where_the_phone_came_from() {
    let world = with_echo().await;
    let site = world.site();
    let asked = site.get("/_dev/").header("x-forwarded-for", "203.0.113.9");
    // The phone page; everything else is the app's.
    assert!(asked.send().await.body().starts_with(b"<!doctype html>"));
    let asked = site
        .get("/x")
        .header("x-forwarded-for", "203.0.113.9")
        .header("x-forwarded-proto", "http");
    let echo = http::json(&asked.send().await);
    assert_eq!(seen(&echo, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen(&echo, "x-forwarded-proto"), ["https"]);
    assert_eq!(seen(&echo, "host"), ["localhost"]);
}

#[tokio::test]
async fn a_wafer_1_session_is_known_to_the_app_too() {
    let world = with_echo().await;
    let alice = world.phone("alice");
    let code = alice.code().await;
    let site = world.site();
    let login = http::json(&site.get("/login").header("x-wx-code", &code).send().await);
    assert_eq!(login[MARK], 1, "{login}");
    let session = &login["session"];
    let (id, skey) = (text(&session["id"]), text(&session["skey"]));
    let about = profile(&world, "alice").await;
    for (id, openid) in [(id, Some(text(&about["openid"]))), ("another", None)] {
        let asked = site
            .get("/x")
            .header("x-wx-id", id)
            .header("x-wx-skey", skey);
        let echo = http::json(&asked.send().await);
        assert_eq!(
            seen(&echo, "x-wx-openid").first().copied(),
            openid,
            "{echo}"
        );
    }
}

fn error_of(answer: &HttpAnswer) -> String {
    text(&http::json(answer)["error"]["code"]).to_owned()
}

#[tokio::test]
async fn the_internal_api_answers_programs_on_this_machine_only() {
    let world = with_echo().await;
    let api = world.api();
    let rpc = r#"{"interface":{"interfaceName":"qcloud.cam.auth","para":{"id":"a","skey":"b"}}}"#;
    for (path, body) in [
        ("/mina_auth/", rpc),
        ("/get/wsurl", "{}"),
        ("/ws/push", "{}"),
    ] {
        let own = api.post(path).body(body).send().await;
        assert_eq!(own.status(), StatusCode::OK, "{path}");
        for origin in [
            "https://evil.example",
            &format!("http://{}", world.http),
            "null",
        ] {
            let page = api.post(path).header("origin", origin).body(body);
            let refused = page.send().await;
            assert_eq!(
                refused.status(),
                StatusCode::FORBIDDEN,
                "{path} from {origin}"
            );
            assert_eq!(error_of(&refused), "not_for_browsers");
        }
        // A name that an attacker's DNS points at 127.0.0.1.
        let lured = api
            .named("evil.example:8081")
            .post(path)
            .body(body)
            .send()
            .await;
        assert_eq!(lured.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(error_of(&lured), "not_for_browsers");
        // A page's own request, from whatever page.
        for site in ["cross-site", "same-origin", "same-site", "none"] {
            let page = api.post(path).header("sec-fetch-site", site).body(body);
            let refused = page.send().await;
            assert_eq!(refused.status(), StatusCode::FORBIDDEN, "{path} {site}");
        }
        // Names that only the operator can make good ones.
        for host in [
            "weappd",
            "wpad:8081",
            "10.0.0.7:8081",
            "203.0.113.9",
            "0.0.0.0",
        ] {
            let lured = api.named(host).post(path).body(body).send().await;
            assert_eq!(lured.status(), StatusCode::FORBIDDEN, "{path} {host}");
        }
        for host in ["localhost", "127.0.0.1", "[::1]:8081", "LOCALHOST:1"] {
            // What Node's fetch sends is no browser's.
            let named = api.named(host);
            let own = named.post(path).header("sec-fetch-mode", "cors");
            let own = own.body(body).send().await;
            assert_eq!(own.status(), StatusCode::OK, "{path} {host}");
        }
    }
    let nowhere = api.get("/v2").send().await;
    assert_eq!(
        (nowhere.status(), error_of(&nowhere)),
        (StatusCode::NOT_FOUND, "not_found".to_owned())
    );
}

#[tokio::test]
async fn the_internal_api_wants_the_apps_token() {
    let world = with_echo().await;
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let skey = alice.skey.clone().expect("logged in");
    let echo = http::json(&world.site().get("/x").send().await);
    assert_eq!(echo["internal"], format!("http://{}", world.internal));
    let token = format!("Bearer {}", text(&echo["token"]));
    let api = world.api();

    for path in ["/v1/session", "/v1/tunnels"] {
        let wrong = format!("{token}x");
        for given in [
            None,
            Some("Bearer "),
            Some("Bearer no"),
            Some(wrong.as_str()),
        ] {
            let asked = api.get(path).header("x-wx-skey", &skey);
            let asked = match given {
                Some(given) => asked.header("authorization", given),
                None => asked,
            };
            let refused = asked.send().await;
            assert_eq!(
                refused.status(),
                StatusCode::UNAUTHORIZED,
                "{path} {given:?}"
            );
            assert_eq!(error_of(&refused), "no_token");
        }
    }
    let asked = api.get("/v1/session").header("authorization", &token);
    let nobody = asked.send().await;
    assert_eq!(
        (nobody.status(), error_of(&nobody)),
        (StatusCode::UNAUTHORIZED, "no_session".to_owned())
    );
    let asked = api.get("/v1/session").header("authorization", &token);
    let who = http::json(&asked.header("x-wx-skey", &skey).send().await);
    let about = profile(&world, "alice").await;
    assert_eq!(
        (&who["openid"], &who["appid"]),
        (&about["openid"], &about["appid"])
    );
    let asked = api.get("/v1/tunnels").header("authorization", &token);
    assert!(http::json(&asked.send().await)["tunnels"].is_array());
    let signed = api.post("/v1/sign").header("x-wx-skey", &skey).body("text");
    let refused = signed.send().await;
    assert_eq!(
        (refused.status(), error_of(&refused)),
        (StatusCode::UNAUTHORIZED, "no_token".to_owned())
    );
    let signed = api.post("/v1/sign").header("authorization", &token);
    let signed = signed.header("x-wx-skey", &skey).body("text").send().await;
    let signed = http::json(&signed);
    assert_eq!(text(&signed["signature"]).len(), 64, "{signed}");
    assert_eq!(signed["openid"], about["openid"]);
    // The site never answers what is internal: these paths are the app's there.
    for path in [
        "/v1/session",
        "/v1/sign",
        "/mina_auth/",
        "/get/wsurl",
        "/ws/push",
        "/healthz",
    ] {
        let echo = http::json(&world.site().post(path).send().await);
        assert_eq!(echo["url"], path);
    }
}
