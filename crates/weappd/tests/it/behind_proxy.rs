//! `tls = "off"` behind a TLS proxy, as nginx or a balancer in the cloud stands there: what
//! phones and apps are told, who is counted, and what the log says when something is amiss.

use hyper::Method;
use serde_json::Value;

use crate::http::{self, HttpAnswer, TestClient};
use crate::upstream::{self, RefusingPort, echo, seen};
use crate::world::{APPID, TestWorld, WorldRecipe, text};

/// A site without TLS in front of an app.
fn site(edge: &str) -> TestWorld {
    let app = upstream::serve(echo());
    WorldRecipe::new()
        .long_form()
        .edge(edge)
        .sections(&format!(
            "[sites.\"shop.test\"]\ntls = \"off\"\nproxy = \"{app}\"\n\
             [miniapps.{APPID}]\nsecret = {{ env = \"WEAPP_SECRET\" }}\n\
             [tunnel]\nkey = \"the-key-of-the-tunnel\"\nissuer = \"weappd\"\n\
             [session]\nlogins_per_minute_per_ip = 2"
        ))
        .serve()
}

/// What the proxy says of a client.
type HeaderWords<'a> = &'a [(&'a str, &'a str)];

const NGINX: HeaderWords<'static> = &[
    ("x-forwarded-for", "203.0.113.9"),
    ("x-forwarded-proto", "https"),
];

async fn ask(
    world: &TestWorld,
    method: Method,
    path: &str,
    words: HeaderWords<'_>,
    body: &str,
) -> HttpAnswer {
    let client = TestClient::http(world.http, "shop.test");
    let ask = words
        .iter()
        .fold(client.request(method, path), |ask, (name, value)| {
            ask.header(name, value)
        });
    ask.body(body.to_owned()).send().await
}

async fn log_in(world: &TestWorld, words: HeaderWords<'_>) -> HttpAnswer {
    let code = world.phone("alice").code().await;
    let words = [words, &[("x-wx-code", code.as_str())]].concat();
    ask(world, Method::GET, "/weapp/login", &words, "").await
}

fn skey_of(answer: &HttpAnswer) -> String {
    let told: Value = http::json(answer);
    text(&told["data"]["skey"]).to_owned()
}

const FORM: &str = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.gif\"\r\n\r\n\
     GIF89a\x01\0\x01\0\0\0\0;\r\n--b--\r\n";

#[tokio::test]
async fn addresses_for_phones_are_https_and_clients_are_counted_apart() {
    let world = site("trusted_proxies = [\"loopback\"]");
    let answer = log_in(&world, NGINX).await;
    assert_eq!(answer.status(), 200);
    let skey = skey_of(&answer);

    let forwarded = [("forwarded", "for=\"[2001:db8::1]:47\";proto=https")];
    for words in [NGINX, &forwarded] {
        let words = [words, &[("x-wx-skey", skey.as_str())]].concat();
        let multipart = [
            &words[..],
            &[("content-type", "multipart/form-data; boundary=b")],
        ]
        .concat();
        let answer = ask(&world, Method::POST, "/weapp/upload", &multipart, FORM).await;
        let told = http::json(&answer);
        let url = text(&told["data"]["imgUrl"]);
        assert!(url.starts_with("https://shop.test/weapp/files/"), "{told}");
        let answer = ask(&world, Method::GET, "/weapp/tunnel", &words, "").await;
        let told = http::json(&answer);
        let url = text(&told["data"]["connectUrl"]);
        assert!(url.starts_with("wss://shop.test/weapp/ws/"), "{told}");
        // What Django and Express look at.
        let answer = ask(&world, Method::POST, "/pay", &words, "").await;
        assert_eq!(seen(&answer, "x-forwarded-proto"), ["https"]);
        assert_eq!(seen(&answer, "host"), ["shop.test"]);
    }

    // Two logins a minute for each client, not for the proxy.
    let code =
        async |words: HeaderWords<'_>| http::json(&log_in(&world, words).await)["code"].clone();
    assert_eq!(code(NGINX).await, 0);
    assert_ne!(code(NGINX).await, 0);
    let forged = [("x-forwarded-for", "6.6.6.6, 203.0.113.9")];
    assert_ne!(code(&forged).await, 0);
    let other = [("x-forwarded-for", "198.51.100.7")];
    assert_eq!(code(&other).await, 0);
    world
        .says("access 203.0.113.9:0 shop.test GET /weapp/login 200")
        .await;
    world
        .says("access 198.51.100.7:0 shop.test GET /weapp/login 200")
        .await;
}

#[tokio::test]
async fn without_a_named_proxy_nobody_is_believed_and_the_log_says_so_once() {
    let world = site("");
    for _ in 0..3 {
        let answer = ask(&world, Method::GET, "/", NGINX, "").await;
        assert_eq!(seen(&answer, "x-forwarded-for"), ["127.0.0.1"]);
        assert_eq!(seen(&answer, "x-forwarded-proto"), ["http"]);
    }
    world.says("trusted_proxies = [\"loopback\"]").await;
    let told = world.transcript().matches("[edge] trusted_proxies").count();
    assert_eq!(told, 1, "{}", world.transcript());
}

#[tokio::test]
async fn a_host_that_is_no_site_is_named_beside_those_that_are() {
    let world = site("");
    for _ in 0..20 {
        let answer = world.plain().get("/").send().await;
        assert_eq!(answer.status(), 421);
    }
    world
        .says("no site has this name; there are shop.test")
        .await;
    for scanned in 0..50 {
        let client = world.plain().named(&format!("host{scanned}.test"));
        assert_eq!(client.get("/").send().await.status(), 421);
    }
    // Whatever else was logged meanwhile: the last request's line is there.
    world.says("host49.test GET / 421").await;
    let transcript = world.transcript();
    let told: Vec<_> = transcript
        .lines()
        .filter(|line| line.contains("no site has"))
        .collect();
    assert!(told.len() <= 8, "{told:?}");
    let of_address = told.iter().filter(|line| line.contains("for 127.0.0.1 is"));
    assert_eq!(of_address.count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_business_server_that_cannot_be_reached_is_named() {
    let dead = RefusingPort::new();
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{}\"", dead.addr()))
        .serve();
    for _ in 0..5 {
        assert_eq!(world.site().get("/").send().await.status(), 502);
    }
    world.says("the business server cannot be reached").await;
    let transcript = world.transcript();
    let told: Vec<_> = transcript
        .lines()
        .filter(|line| line.contains("cannot be reached"))
        .collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(&dead.addr().to_string()), "{told:?}");
    assert!(told[0].contains("refused"), "{told:?}");
}
