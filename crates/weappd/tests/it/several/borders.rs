//! The border between two mini programs, attacked: a session of one is nobody's on a site of
//! the other, whatever the request says of itself, and nothing of one's user opens to the
//! other's.

use hyper::Method;
use serde_json::{Value, json};

use super::{OTHER, OWN_SITE, PNG, avatar, get, logged_in, page, serve};
use crate::http::{self, HttpAnswer, TestClient};
use crate::upstream::{self, seen};
use crate::world::{APPID, TestWorld, text};

/// Every endpoint of a site that asks who is calling, and the app.
const DOORS: [(&str, &str); 15] = [
    ("GET", "/weapp/session"),
    ("PUT", "/weapp/session/profile"),
    ("POST", "/weapp/session/decrypt"),
    ("POST", "/weapp/session/phone"),
    ("DELETE", "/weapp/session/phone"),
    ("GET", "/weapp/session/key"),
    ("POST", "/weapp/session/key/reset"),
    ("POST", "/weapp/session/avatar"),
    ("POST", "/weapp/upload"),
    ("GET", "/weapp/tunnel"),
    ("GET", "/"),
    ("GET", "/WEAPP/session"),
    ("POST", "/anything%2Felse"),
    ("GET", "/;/weapp/session"),
    // The last: a session is not ended from abroad.
    ("DELETE", "/weapp/session"),
];

/// What a liar says of the mini program the request is of.
fn lies() -> Vec<Vec<(&'static str, String)>> {
    let referer = ("referer", page(OTHER));
    let named = ("x-weappd-appid", OTHER.to_owned());
    let told = ("x-wx-appid", OTHER.to_owned());
    let spelt = ("x_wx_appid", OTHER.to_owned());
    let user = ("x-wx-openid", "mallory".to_owned());
    let from = ("x-wx-from-appid", OTHER.to_owned());
    vec![
        vec![],
        vec![referer.clone()],
        vec![named.clone()],
        vec![told.clone(), user.clone()],
        vec![spelt.clone(), from.clone()],
        vec![referer, named, told, spelt, user, from],
    ]
}

async fn knock(
    site: &TestClient,
    (method, path): (&str, &str),
    credential: &[(&'static str, String)],
    lies: &[(&'static str, String)],
) -> HttpAnswer {
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    let mut ask = site.request(method, path);
    for (name, value) in credential.iter().chain(lies) {
        ask = ask.header(name, value);
    }
    ask.json(&json!({"nickName": "mallory", "code": "c"}))
        .send()
        .await
}

#[tokio::test]
async fn a_session_of_one_is_nobodys_on_a_site_of_the_other() {
    let world = serve(upstream::serve(upstream::echo()));
    let (user, skey) = logged_in(&world, "alice", APPID).await;
    let own_site = world.plain().named(OWN_SITE);
    let id = text(&user["id"]).to_owned();
    let credentials = [
        vec![("x-wx-skey", skey.clone())],
        vec![("x-wx-id", id.clone()), ("x-wx-skey", skey.clone())],
        vec![("authorization", format!("Bearer {skey}"))],
    ];
    for credential in &credentials {
        for lies in lies() {
            for door in DOORS {
                let answer = knock(&own_site, door, credential, &lies).await;
                // The old SDKs' refusal is a 200 with words of theirs.
                let words = String::from_utf8_lossy(answer.body());
                let refused = answer.status() == 401 || words.contains("ERR_INVALID_SESSION");
                assert!(refused, "{door:?} {lies:?} {answer:?}");
            }
            let user = knock(&own_site, ("GET", "/weapp/user"), credential, &lies).await;
            let told = http::json(&user);
            assert_ne!(told["code"], 0, "{told}");
            assert!(told["data"]["openId"].is_null(), "{told}");
        }
    }
    // At home it still holds, and knows nothing of all that.
    let home = world.site();
    let shown = http::json(&get(&home, "/weapp/session", &skey).await);
    assert_eq!(shown["user"], user);
    let echo = get(&home, "/members", &skey).await;
    assert_eq!(seen(&echo, "x-wx-appid"), [APPID]);
    let log = world.transcript();
    assert!(!log.contains(&skey), "no skey in the log");
}

/// A phone of `alice` that runs `appid`.
async fn phone(world: &TestWorld, what: &str, appid: &str) -> Value {
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let asked = wechat.post(&format!("/phone/alice/{what}"));
    http::json(&asked.json(&json!({"appid": appid})).send().await)
}

#[tokio::test]
async fn what_is_of_one_does_not_open_to_the_other_of_the_same_person() {
    let world = serve(upstream::serve(upstream::echo()));
    let site = world.site();
    let post = async |what: &str, skey: &str, body: &Value| {
        let ask = site.post(&format!("/weapp/session{what}"));
        let ask = ask
            .header("x-wx-skey", skey)
            .header("referer", &page(APPID));
        let answer = ask.json(body).send().await;
        (answer.status().as_u16(), http::json(&answer))
    };
    let (_, mine) = logged_in(&world, "alice", APPID).await;
    let (_, theirs) = logged_in(&world, "alice", OTHER).await;

    // Data that WeChat sealed for one mini program.
    let sealed = phone(&world, "we_run_data", APPID).await;
    let (status, opened) = post("/decrypt", &theirs, &sealed).await;
    assert!(status >= 400 && opened["data"].is_null(), "{opened}");
    let (status, opened) = post("/decrypt", &mine, &sealed).await;
    assert_eq!(
        (status, &opened["kind"]),
        (200, &json!("werun")),
        "{opened}"
    );

    // A phone number's code, and the number sealed.
    let number = phone(&world, "phone_number", APPID).await;
    let code = json!({"code": number["code"]});
    let (status, told) = post("/phone", &theirs, &code).await;
    assert!(status >= 400 && told["user"].is_null(), "{told}");
    let sealed = json!({"encryptedData": number["encryptedData"], "iv": number["iv"]});
    let (status, told) = post("/phone", &theirs, &sealed).await;
    assert!(status >= 400 && told["user"].is_null(), "{told}");
    let (status, told) = post("/phone", &mine, &sealed).await;
    assert_eq!(status, 200, "{told}");
    let shown = http::json(&get(&site, "/weapp/session", &theirs).await);
    assert!(shown["user"]["phone"].is_null(), "{shown}");

    // A key that is reset for one is the other's still.
    let before = phone(&world, "we_run_data", APPID).await;
    let (status, reset) = post("/key/reset", &theirs, &json!({})).await;
    assert_eq!(status, 200, "{reset}");
    let key = http::json(&get(&site, "/weapp/session/key", &mine).await);
    assert_eq!(key["valid"], true, "{key}");
    let (status, opened) = post("/decrypt", &mine, &before).await;
    assert_eq!(status, 200, "{opened}");

    // Names and pictures are kept apart.
    let put = site.request(Method::PUT, "/weapp/session/profile");
    let put = put
        .header("x-wx-skey", &mine)
        .json(&json!({"nickName": "here"}));
    assert_eq!(put.send().await.status(), 200);
    assert_eq!(avatar(&site, &mine, PNG).await.status(), 200);
    let shown = http::json(&get(&site, "/weapp/session", &theirs).await);
    assert_ne!(shown["user"]["info"]["nickName"], "here", "{shown}");

    // Logging one out leaves the other in.
    let out = site.request(Method::DELETE, "/weapp/session");
    let out = out
        .header("x-wx-skey", &theirs)
        .header("referer", &page(APPID));
    assert!(out.send().await.status().is_success());
    assert_eq!(get(&site, "/weapp/session", &theirs).await.status(), 401);
    assert_eq!(get(&site, "/weapp/session", &mine).await.status(), 200);
}

#[tokio::test]
async fn a_site_takes_no_logins_and_no_messages_of_strangers() {
    let world = serve(upstream::serve(upstream::echo()));
    let own_site = world.plain().named(OWN_SITE);
    // A code of the site's neighbour, whatever it is called.
    for lies in lies() {
        let code = phone(&world, "login", APPID).await["code"].clone();
        let mut ask = own_site.post("/weapp/session").json(&json!({"code": code}));
        for (name, value) in &lies {
            ask = ask.header(name, value);
        }
        let answer = ask.send().await;
        assert_eq!(answer.status(), 401, "{lies:?} {answer:?}");
        assert_eq!(http::json(&answer)["error"]["code"], "bad_code", "{lies:?}");
        let old = own_site
            .get("/weapp/login")
            .header("x-wx-code", text(&code));
        let told = http::json(&old.send().await);
        assert_ne!(told["code"], 0, "{told}");
    }
    // Messages signed for the neighbour.
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    for path in ["/weapp/message", "/weapp/message/", "/WEAPP/message"] {
        let url = format!("http://{OWN_SITE}:{}{path}", world.http.port());
        let push = json!({"appid": APPID, "url": url, "token": "one", "verify": true});
        let set = wechat.post("/push").json(&push).send().await;
        assert_ne!(set.status(), 200, "{path} {set:?}");
    }
}
