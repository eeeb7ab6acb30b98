//! The front door of a real `weappd serve`: TLS, HTTP/1.1 and HTTP/2, redirects, the
//! proxy, sessions on the way to business servers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{any, get};
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::Method;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ProtocolVersion;
use rustls::pki_types::ServerName;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use weappd_base::tasks::Tasks;

use crate::http::{self, connector, connector_for};
use crate::process::PATIENCE;
use crate::raw::{self, RawClient};
use crate::upstream::{self, RefusingPort, echo, seen, serve_raw};
use crate::world::{APPID, TestWorld, WorldRecipe, text};

/// A server for the paths `/`, behind a real weappd.
fn before(upstream: SocketAddr) -> WorldRecipe {
    WorldRecipe::new().site(&format!("proxy = \"{upstream}\""))
}

#[tokio::test]
async fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let world = before(upstream::serve(echo())).serve();
    let versions = [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ];
    for (version, agreed) in versions {
        for (alpn, chosen) in [
            (&[b"h2".as_slice(), b"http/1.1"][..], Some(b"h2".as_slice())),
            (&[b"http/1.1"], Some(b"http/1.1")),
            (&[], None),
        ] {
            let tls = connector_for(&world.ca(), alpn, &[version]);
            let tcp = TcpStream::connect(world.https).await.expect("connected");
            let name = ServerName::try_from("localhost").expect("a name");
            // The intermediate came along, or this would fail.
            let stream = tls.connect(name, tcp).await.expect("a TLS handshake");
            let (_, state) = stream.get_ref();
            assert_eq!(state.protocol_version(), Some(agreed));
            assert_eq!(state.alpn_protocol(), chosen);
        }
    }
    // A ClientHello of TLS 1.1, which has no extension that says more.
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0x00, 0x2F, 1, 0]);
    let answer = raw::ask(world.https, hello).await;
    // An alert (21), or nothing: no handshake (22).
    assert!(!answer.starts_with('\u{16}'), "{answer:?}");
    // Plain HTTP on the TLS port does not take the door down.
    let answer = raw::ask(world.https, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(!answer.contains("200 OK"), "{answer}");
    let answer = world.site().get("/").send().await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn http2_and_http1_give_the_same_answers() {
    let world = before(upstream::serve(echo())).serve();
    let tls = connector(&world.ca(), &[b"h2"]);
    let tcp = TcpStream::connect(world.https).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = tls.connect(name, tcp).await.expect("a TLS handshake");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
    let tasks = Tasks::new();
    tasks.spawn(async { drop(connection.await) });
    let ask = |path: &str| {
        hyper::Request::builder()
            .uri(format!("https://localhost:{}{path}", world.https.port()))
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Empty::<Bytes>::new())
            .expect("a request")
    };
    // Several streams at a time on one connection.
    let (one, two, three) = tokio::join!(
        sender.clone().send_request(ask("/one?x=1")),
        sender.clone().send_request(ask("/weapp/user")),
        sender.send_request(ask("/%2e%2e/secret")),
    );
    let mut texts = Vec::new();
    for (answer, status) in [(one, 200), (two, 200), (three, 400)] {
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), status);
        let body = answer.into_body().collect().await.expect("a body");
        texts.push(String::from_utf8_lossy(&body.to_bytes()).into_owned());
    }
    assert!(texts[0].starts_with("GET /one?x=1\n"), "{}", texts[0]);
    assert!(texts[0].contains("cookie: a=1; b=2\n"), "{}", texts[0]);
    let host = format!("host: localhost:{}\n", world.https.port());
    assert!(texts[0].contains(&host), "{}", texts[0]);
    assert!(texts[1].contains("ERR_SKEY_INVALID"), "{}", texts[1]);
    assert!(texts[2].contains("bad_request"), "{}", texts[2]);
    let same = world.site().get("/one?x=1").send().await;
    assert!(same.body().starts_with(b"GET /one?x=1\n"));
}

#[tokio::test]
async fn plain_http_is_sent_on_to_https() {
    let world = before(upstream::serve(echo())).serve();
    let plain = world.plain().named("localhost");
    for (method, status) in [
        (Method::GET, 301),
        (Method::HEAD, 301),
        (Method::POST, 308),
        (Method::PUT, 308),
    ] {
        let answer = plain.request(method, "/a/b?c=%20d").send().await;
        assert_eq!(answer.status(), status);
        assert_eq!(
            answer.headers()["location"],
            format!("https://localhost:{}/a/b?c=%20d", world.https.port())
        );
    }
    let elsewhere = world.plain().named("evil.example").get("/").send().await;
    assert_eq!(elsewhere.status(), 421, "no open redirect");
}

#[tokio::test]
async fn the_business_server_hears_who_really_calls() {
    let world = before(upstream::serve(echo())).serve();
    let answer = world
        .site()
        .post("/pay?id=1")
        .header("x-forwarded-for", "6.6.6.6")
        .header("x-forwarded-proto", "gopher")
        .header("x-real-ip", "6.6.6.6")
        .header("forwarded", "for=6.6.6.6")
        .header("connection", "x-drop-me, authorization")
        .header("x-drop-me", "1")
        .header("keep-alive", "timeout=5")
        .header("te", "trailers")
        .header("proxy-authorization", "Basic eDp5")
        .header("authorization", "Basic eDp5")
        .body("body")
        .send()
        .await;
    assert_eq!(answer.status(), 200);
    assert!(answer.body().starts_with(b"POST /pay?id=1\n"));
    assert!(answer.body().ends_with(b"\n\nbody"));
    for (name, values) in [
        ("x-forwarded-for", vec!["127.0.0.1"]),
        ("x-forwarded-proto", vec!["https"]),
        ("x-forwarded-host", vec!["localhost"]),
        ("x-real-ip", vec!["127.0.0.1"]),
        ("host", vec!["localhost"]),
        ("authorization", vec!["Basic eDp5"]),
        ("forwarded", vec![]),
        ("x-drop-me", vec![]),
        ("keep-alive", vec![]),
        ("te", vec![]),
        ("proxy-authorization", vec![]),
        ("connection", vec![]),
    ] {
        assert_eq!(seen(&answer, name), values, "{name}");
    }
}

#[tokio::test]
async fn the_business_servers_own_hop_headers_stay_behind() {
    let router = Router::new().fallback(|| async {
        Response::builder()
            .status(418)
            .header("keep-alive", "timeout=5")
            .header("x-private", "1")
            .header("connection", "keep-alive, x-private")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2")
            .body(Body::from("tea"))
            .expect("an answer")
    });
    let world = before(upstream::serve(router)).serve();
    let answer = world.site().get("/").send().await;
    assert_eq!(answer.status(), 418);
    assert_eq!(answer.body(), "tea");
    assert!(!answer.headers().contains_key("keep-alive"));
    assert!(!answer.headers().contains_key("x-private"));
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
}

/// What a phone would send; far more than all buffers on the way, those of the system too.
const WHOLE: u64 = 256 * 1024 * 1024;
/// The most that all buffers on the way hold together: the system's alone, of the four
/// sockets, are up to 40 MiB.
const ON_THE_WAY: u64 = 96 * 1024 * 1024;
/// How much of the echo is compared.
const COMPARED: u64 = 48 * 1024 * 1024;

/// [`WHOLE`] bytes in chunks that differ, and how many were taken.
fn long_body() -> (
    impl hyper::body::Body<Data = Bytes, Error = Infallible> + Send + Unpin,
    Arc<AtomicU64>,
) {
    const CHUNK: u64 = 64 * 1024;
    let taken = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&taken);
    let chunks = (0..WHOLE / CHUNK).map(move |n| {
        counter.fetch_add(CHUNK, Ordering::Relaxed);
        let byte = u8::try_from(n % 251).unwrap_or_default();
        Ok(Frame::data(Bytes::from(vec![byte; 64 * 1024])))
    });
    (StreamBody::new(futures_util::stream::iter(chunks)), taken)
}

/// Waits until nothing more is taken, and says how much was. A slow machine makes it less.
async fn settled(taken: &AtomicU64) -> u64 {
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let now = taken.load(Ordering::Relaxed);
        if now == before && now > 0 {
            return now;
        }
        before = now;
    }
}

/// Reads the beginning of an echo of [`long_body`], byte for byte.
async fn compare(answer: hyper::Response<hyper::body::Incoming>) {
    assert_eq!(answer.status(), 200);
    let mut body = answer.into_body();
    let mut read = 0_u64;
    while read < COMPARED {
        let frame = body.frame().await.expect("more");
        let Ok(data) = frame.expect("a whole body").into_data() else {
            continue;
        };
        for (at, byte) in (read..).zip(data.iter()) {
            let wanted = u8::try_from(at / (64 * 1024) % 251).unwrap_or_default();
            assert_eq!(*byte, wanted, "byte {at}");
        }
        read += u64::try_from(data.len()).unwrap_or_default();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_stream_both_ways_in_bounded_memory() {
    let pipe =
        Router::new().fallback(|request: Request| async { Response::new(request.into_body()) });
    let world = before(upstream::serve(pipe)).serve();
    let answer = world.site().post("/").body("warm").send().await;
    assert_eq!(answer.body(), "warm");
    let tasks = Tasks::new();
    for alpn in [b"http/1.1".as_slice(), b"h2"] {
        let tls = connector(&world.ca(), &[alpn]);
        let tcp = TcpStream::connect(world.https).await.expect("connected");
        let name = ServerName::try_from("localhost").expect("a name");
        let io = TokioIo::new(tls.connect(name, tcp).await.expect("a TLS handshake"));
        let request = hyper::Request::post("https://localhost/").header("host", "localhost");
        let (body, taken) = long_body();
        let talk = async {
            if alpn == b"h2" {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                        .await
                        .expect("HTTP/2");
                tasks.spawn(async { drop(connection.await) });
                let request = request.body(body).expect("a request");
                sender.send_request(request).await.expect("an answer")
            } else {
                let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
                    .await
                    .expect("HTTP/1.1");
                tasks.spawn(async { drop(connection.await) });
                let request = request.uri("/").body(body).expect("a request");
                sender.send_request(request).await.expect("an answer")
            }
        };
        let answer = tokio::time::timeout(PATIENCE, talk).await;
        let answer = answer.expect("the answer begins while the request goes on");
        // Nobody reads the echo: what is held on the way has an end.
        let held = settled(&taken).await;
        assert!(
            held < ON_THE_WAY,
            "{}: {held} bytes are on the way",
            String::from_utf8_lossy(alpn)
        );
        let compared = tokio::time::timeout(3 * PATIENCE, compare(answer)).await;
        compared.expect("the stream goes on");
    }
}

#[tokio::test]
async fn a_websocket_goes_through_the_proxy() {
    // Agrees, then echoes bytes.
    let upstream = serve_raw(|mut tcp| async move {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(tcp.read_u8().await.expect("a head"));
        }
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        assert!(head.contains("upgrade: websocket\r\n"), "{head}");
        let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\
            Upgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        tcp.write_all(answer.as_bytes()).await.expect("sent");
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = tcp.read(&mut buffer).await {
            tcp.write_all(&buffer[..count]).await.expect("sent");
        }
    });
    let world = before(upstream).serve();
    let tls = connector(&world.ca(), &[b"http/1.1"]);
    let mut phone = RawClient::tls(world.https, &tls).await;
    let ask = "GET /ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    phone.say(ask).await.expect("sent");
    let head = phone.until("101", |text| text.contains("\r\n\r\n")).await;
    assert_eq!(raw::status(&head), 101, "{head}");
    assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
    for word in ["one", "two\r\n\r\n", "three"] {
        phone.forget();
        phone.say(word).await.expect("sent");
        phone.until(word, |text| text == word).await;
    }
}

#[tokio::test]
async fn nobody_behind_is_502_and_silence_is_504() {
    let silent = serve_raw(|mut tcp| async move {
        let mut all = Vec::new();
        drop(tcp.read_to_end(&mut all).await);
    });
    let rude = serve_raw(|mut tcp| async move {
        let mut first = [0; 1];
        drop(tcp.read_exact(&mut first).await);
        drop(tcp.write_all(b"I speak no HTTP\r\n\r\n").await);
    });
    let nobody = RefusingPort::new();
    let world = WorldRecipe::new()
        .site(&format!(
            "routes = [\n  {{ path = \"/silent\", proxy = \"{silent}\" }},\n  \
             {{ path = \"/rude\", proxy = \"{rude}\" }},\n  {{ path = \"/nobody\", proxy = \"{}\" }},\n]",
            nobody.addr()
        ))
        .edge("answer_timeout_secs = 1")
        .serve();
    for (path, status, name) in [
        ("/silent", 504, "gateway_timeout"),
        ("/rude", 502, "bad_gateway"),
        ("/nobody", 502, "bad_gateway"),
        ("/elsewhere", 404, "not_found"),
    ] {
        let program = world.site().get(path).send().await;
        assert_eq!(program.status(), status, "{path}");
        assert_eq!(http::json(&program)["error"]["code"], name, "{path}");
        let site = world.site();
        let person = site.get(path).header("accept", "text/html").send().await;
        let page = String::from_utf8_lossy(person.body()).into_owned();
        assert!(page.starts_with("<!doctype html>"), "{page}");
    }
}

#[tokio::test]
async fn several_servers_take_turns_and_a_dead_one_is_passed_over() {
    let named =
        |name: &'static str| upstream::serve(Router::new().fallback(move || async move { name }));
    let (one, two, dead) = (named("one"), named("two"), RefusingPort::new());
    let world = WorldRecipe::new()
        .site(&format!(
            "proxy = [\"{one}\", \"{}\", \"{two}\"]",
            dead.addr()
        ))
        .serve();
    let mut heard = Vec::new();
    for _ in 0..12 {
        let answer = world.site().get("/").send().await;
        assert_eq!(answer.status(), 200);
        heard.push(String::from_utf8_lossy(answer.body()).into_owned());
    }
    for name in ["one", "two"] {
        let count = heard.iter().filter(|heard| *heard == name).count();
        assert!(count >= 3, "{heard:?}");
    }
}

/// The site of an app whose `/private` demands a session.
fn guarded() -> TestWorld {
    let app = upstream::serve(echo());
    WorldRecipe::new()
        .site(&format!(
            "proxy = \"{app}\"\nroutes = [\n  \
             {{ path = \"/private\", proxy = \"{app}\", session = \"require\" }},\n]"
        ))
        .serve()
}

#[tokio::test]
async fn a_route_that_demands_a_session_refuses_in_the_dialects_words() {
    let world = guarded();
    let site = world.site();
    let wafer2 = json!({"code": -1, "error": "ERR_SKEY_INVALID"});
    let magic = "F2C224D4-2BCE-4C64-AF9F-A6D872000D1A";
    for path in [
        "/private",
        "/private/a",
        "/private?x",
        "//private",
        "/./private",
        "/%70rivate",
    ] {
        let none = site.get(path).send().await;
        assert_eq!(none.status(), 401, "{path}");
        assert_eq!(http::json(&none), wafer2, "{path}");
    }
    let wrong = site
        .get("/private")
        .header("x-wx-skey", "0".repeat(64).as_str());
    let wrong = wrong.send().await;
    assert_eq!(wrong.status(), 401);
    assert_eq!(http::json(&wrong), wafer2);
    let old = site
        .get("/private")
        .header("x-wx-id", "who")
        .header("x-wx-skey", "none");
    let old = old.send().await;
    assert_eq!(old.status(), 200);
    let old = http::json(&old);
    assert_eq!(old[magic], 1, "{old}");
    assert_eq!(old["error"], "ERR_INVALID_SESSION", "{old}");
    // A browser gets a page.
    let person = site
        .get("/private")
        .header("accept", "text/html")
        .send()
        .await;
    assert_eq!(person.status(), 401);
    assert!(person.body().starts_with(b"<!doctype html>"));
    // What needs no session needs none.
    for path in ["/", "/privateer"] {
        assert_eq!(site.get(path).send().await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn who_calls_is_weappds_word_and_never_the_clients() {
    let world = guarded();
    let site = world.site();
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let openid = phone.user().await["data"]["openId"].clone();
    let skey = phone.skey.clone().expect("logged in");
    let lies = [
        "X-WX-OPENID",
        "x-wx-openid",
        "X_WX_OPENID",
        "x-wx_openid",
        "X-Wx-OpenId",
        "X-WX-UNIONID",
        "X-WX-APPID",
        "X-WX-SOURCE",
        "X-WX-FROM-OPENID",
        "X-WX-ENV",
        "X-WX-CALL-ID",
    ];
    let identities = ["x-wx-openid", "x-wx-appid", "x-wx-unionid", "x-wx-source"];

    // Without a session, with one that is none, and in plain bytes that no client sends.
    for skey in [None, Some("f".repeat(64))] {
        let mut ask = site.get("/").header("x-wx-note", "mine");
        if let Some(skey) = &skey {
            ask = ask.header("x-wx-skey", skey);
        }
        for lie in lies {
            ask = ask.header(lie, "liar");
        }
        let answer = ask.send().await;
        assert_eq!(answer.status(), 200);
        let heard = String::from_utf8_lossy(answer.body()).to_ascii_lowercase();
        assert!(!heard.contains("liar"), "{heard}");
        for name in identities {
            assert_eq!(seen(&answer, name), Vec::<String>::new(), "{name}");
        }
    }
    let tls = connector(&world.ca(), &[b"http/1.1"]);
    let bytes = "GET / HTTP/1.1\r\nhOST: localhost\r\nX-wX-oPENID: liar\r\nX_WX_OPENID:liar\r\n\
        x-wx-openid:\tliar\r\nConnection: close, x-wx-skey\r\n\r\n";
    let answer = raw::ask_tls(world.https, &tls, bytes).await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    assert!(!answer.contains("liar"), "{answer}");

    // With a session, each way to show it.
    for (name, value) in [
        ("x-wx-skey", skey.clone()),
        ("authorization", format!("Bearer {skey}")),
    ] {
        let mut ask = site.get("/private/x").header(name, &value);
        for lie in lies {
            ask = ask.header(lie, "liar");
        }
        let answer = ask.send().await;
        assert_eq!(answer.status(), 200, "{name}");
        assert_eq!(seen(&answer, "x-wx-openid"), [text(&openid)], "{name}");
        assert_eq!(seen(&answer, "x-wx-appid"), [APPID], "{name}");
        assert_eq!(seen(&answer, "x-wx-source"), ["wx_client"], "{name}");
        assert_eq!(seen(&answer, "x-wx-unionid").len(), 1, "{name}");
        let heard = String::from_utf8_lossy(answer.body()).to_ascii_lowercase();
        assert!(!heard.contains("liar"), "{heard}");
    }
}

#[tokio::test]
async fn users_of_one_mini_program_are_strangers_to_the_site_of_another() {
    let app = upstream::serve(echo());
    let site = |host: &str, appid: &str| {
        format!(
            "[sites.\"{host}\"]\ncert = \"site.crt\"\nkey = \"site.key\"\nminiapp = \"{appid}\"\n\
             proxy = \"{app}\"\nroutes = [{{ path = \"/private\", proxy = \"{app}\", session = \"require\" }}]\n"
        )
    };
    let other = "wxfedcba9876543210";
    let world = WorldRecipe::new()
        .long_form()
        .sections(&site("localhost", APPID))
        .sections(&site("other.example", other))
        .sections(&format!(
            "[miniapps.{APPID}]\nsecret = {{ env = \"WEAPP_SECRET\" }}\n\
             [miniapps.{other}]\nsecret = \"another secret\""
        ))
        .edge("redirect = false")
        .serve();
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let skey = phone.skey.clone().expect("logged in");
    // Over plain HTTP, where one certificate is as good as none.
    let (home, abroad) = (
        world.plain().named("localhost"),
        world.plain().named("other.example"),
    );
    let known = home.get("/private").header("x-wx-skey", &skey).send().await;
    assert_eq!(known.status(), 200);
    assert_eq!(seen(&known, "x-wx-appid"), [APPID]);
    let stranger = abroad
        .get("/private")
        .header("x-wx-skey", &skey)
        .send()
        .await;
    assert_eq!(stranger.status(), 401, "{stranger:?}");
    assert_eq!(http::json(&stranger)["error"], "ERR_SKEY_INVALID");
    let passing = abroad.get("/").header("x-wx-skey", &skey).send().await;
    assert_eq!(passing.status(), 200);
    assert_eq!(seen(&passing, "x-wx-openid"), Vec::<String>::new());
    let user = abroad
        .get("/weapp/user")
        .header("x-wx-skey", &skey)
        .send()
        .await;
    assert_eq!(http::json(&user)["code"], -1);
}

#[tokio::test]
async fn a_route_takes_over_what_weappd_would_answer() {
    let app = upstream::serve(echo());
    let world = WorldRecipe::new()
        .site(&format!(
            "dialects = [\"wafer1\", \"wafer2\"]\nproxy = \"{app}\"\n\
             routes = [{{ path = \"/weapp/login\", proxy = \"{app}\" }}, {{ path = \"= /user\", proxy = \"{app}\" }}]"
        ))
        .serve();
    let site = world.site();
    for path in [
        "/weapp/login",
        "/weapp/login/",
        "/user",
        "/nowhere",
        "/weapp/other",
    ] {
        let answer = site.get(path).header("x-wx-code", "c").send().await;
        assert_eq!(answer.status(), 200);
        let wanted = format!("GET {path}\n");
        assert!(answer.body().starts_with(wanted.as_bytes()), "{path}");
        assert_eq!(seen(&answer, "x-wx-code"), ["c"], "the app logs in itself");
    }
    let user = http::json(&site.get("/weapp/user").send().await);
    assert_eq!(user["error"], "ERR_SKEY_INVALID");
    let login = http::json(&site.get("/login").send().await);
    assert_eq!(login["error"], "ERR_LOGIN_FAILED", "{login}");
    let session = site.get("/weapp/session").send().await;
    assert_eq!(session.status(), 401);
    let check = world.command_with_secret(&["check"]);
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{told}");
    assert!(told.contains("takes over /weapp/login"), "{told}");
    assert!(told.contains("takes over /user"), "{told}");
}

#[tokio::test]
async fn the_second_site_has_its_own_routes_and_certificate() {
    let (one, two) = (
        upstream::serve(echo()),
        upstream::serve(Router::new().route("/", get(|| async { "two" }))),
    );
    let other = tempfile::tempdir().expect("a directory");
    let other_ca = crate::cert::issue(other.path(), &["two.example"], crate::cert::KeyForm::Sec1);
    let read = |name| std::fs::read(other.path().join(name)).expect("a file");
    let world = before(one)
        .file("two.crt", read("site.crt"))
        .file("two.key", read("site.key"))
        .sections(&format!(
            "[sites.\"two.example\"]\ncert = \"two.crt\"\nkey = \"two.key\"\nproxy = \"{two}\""
        ))
        .serve();
    let second = http::TestClient::https(world.https, "two.example", &other_ca);
    assert_eq!(second.get("/").send().await.body(), "two");
    assert!(
        world
            .site()
            .get("/")
            .send()
            .await
            .body()
            .starts_with(b"GET /\n")
    );
    // A connection made for one name is not good for the other.
    let tls = connector(&world.ca(), &[b"http/1.1"]);
    let ask = "GET / HTTP/1.1\r\nHost: two.example\r\nConnection: close\r\n\r\n";
    let answer = raw::ask_tls(world.https, &tls, ask).await;
    assert_eq!(raw::status(&answer), 421, "{answer}");
}

#[tokio::test]
async fn what_was_asked_is_answered_before_it_ends() {
    let (reached, mut was_reached) = tokio::sync::mpsc::channel::<()>(1);
    let (go, may_go) = tokio::sync::watch::channel(false);
    let slow = Router::new().route(
        "/slow",
        any(move || {
            let (reached, mut may_go) = (reached.clone(), may_go.clone());
            async move {
                reached.send(()).await.ok();
                drop(may_go.wait_for(|go| *go).await);
                "done"
            }
        }),
    );
    let mut world = before(upstream::serve(slow)).serve();
    let site = world.site();
    let tasks = Tasks::new();
    let (told, answer) = tokio::sync::oneshot::channel();
    tasks.spawn(async move { drop(told.send(site.get("/slow").send().await)) });
    was_reached.recv().await.expect("the app was asked");
    world.process().signal_leader(rustix::process::Signal::TERM);
    // It takes nobody new, and finishes what it holds.
    let gone = async {
        while TcpStream::connect(world.https).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let gone = tokio::time::timeout(PATIENCE, gone).await;
    gone.expect("the door closes");
    go.send_replace(true);
    assert_eq!(answer.await.expect("an answer").body(), "done");
    let ended = world.process().wait(PATIENCE).expect("weappd ends");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn a_business_servers_rest_is_told_at_its_beginning_and_its_end() {
    let (gone, live) = (RefusingPort::new(), upstream::serve(echo()));
    let addr = gone.addr();
    let world = WorldRecipe::new()
        .site(&format!("proxy = [\"{addr}\", \"{live}\"]"))
        .edge("upstream_rest_secs = 1")
        .serve();
    let site = world.site();
    let told = |what: &str| {
        let words = format!("the business server {addr} {what}");
        world.transcript().matches(&words).count()
    };
    for _ in 0..8 {
        assert_eq!(site.get("/").send().await.status(), 200);
    }
    world.says("it rests").await;
    assert_eq!((told("cannot be reached"), told("answers again")), (1, 0));
    gone.serve(Router::new().fallback(|| async { "back" }));
    let begun = std::time::Instant::now();
    while site.get("/").send().await.body() != "back" {
        assert!(begun.elapsed() < PATIENCE, "it is not tried");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.says("answers again").await;
    assert_eq!((told("cannot be reached"), told("answers again")), (1, 1));
}
