//! What no honest phone sends: each is refused in clear words or cut off, in bounded
//! memory and time, and the next honest phone notices nothing.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio_rustls::TlsConnector;
use weappd_base::fair_timer::FairTimer;

use crate::http::{self, connector};
use crate::process::PATIENCE;
use crate::raw::{self, RawClient};
use crate::upstream;
use crate::world::{APPID, TestWorld, WorldRecipe, text};

/// By how much weappd may grow under any of this, in KiB.
const GROWTH_KIB: u64 = 24 * 1024;
/// Bodies the front door takes.
const MAX_BODY: usize = 24 * 1024 * 1024;

/// A weappd of little patience, before an app that reads what it gets at `/` and ignores
/// it at `/deaf`.
struct BadInputTarget {
    world: TestWorld,
    tls: TlsConnector,
    /// How many requests the app got in whole.
    reached: Arc<AtomicUsize>,
    idle_kib: u64,
}

impl BadInputTarget {
    async fn new() -> Self {
        let reached = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&reached);
        let app = upstream::serve(Router::new().fallback(move |request: Request| async move {
            if request.uri().path().starts_with("/deaf") {
                std::future::pending::<()>().await;
            }
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                if frame.is_err() {
                    return "cut";
                }
            }
            seen.fetch_add(1, Ordering::SeqCst);
            "whole"
        }));
        let world = WorldRecipe::new()
            .site(&format!("proxy = \"{app}\""))
            .edge(&format!(
                "head_timeout_secs = 1\nhandshake_timeout_secs = 1\nkeep_alive_secs = 2\n\
                 body_timeout_secs = 1\nsend_timeout_secs = 2\nanswer_timeout_secs = 2\n\
                 min_upload_rate = 65536\nmax_body_bytes = {MAX_BODY}"
            ))
            .sections("[files]\nupload_idle_secs = 1\nmax_upload_bytes = 4194304")
            .sections("[tunnel]\nkey = \"the-key-of-the-tunnel\"\npush_body_bytes = 1048576")
            .serve();
        let tls = connector(&world.ca(), &[b"http/1.1"]);
        let mut victim = Self {
            world,
            tls,
            reached,
            idle_kib: 0,
        };
        // Everything has run once: what comes now is growth.
        let mut phone = victim.world.phone("warm");
        phone.log_in().await;
        phone.get("/").await;
        victim.idle_kib = victim.world.pss_kib();
        victim
    }

    /// A connection to the site.
    async fn site(&self) -> RawClient {
        RawClient::tls(self.world.https, &self.tls).await
    }

    /// A connection to the site or to another door.
    async fn reach(&self, addr: SocketAddr) -> RawClient {
        if addr == self.world.https {
            self.site().await
        } else {
            RawClient::plain(addr).await
        }
    }

    /// Asks the site with these very bytes.
    async fn ask(&self, bytes: impl AsRef<[u8]>) -> String {
        raw::ask_tls(self.world.https, &self.tls, bytes).await
    }

    /// Honest phones are served, nothing has crashed, nothing has grown.
    async fn is_well(&self) {
        let mut phone = self.world.phone("honest");
        phone.log_in().await;
        assert_eq!(phone.user().await["code"], 0);
        let app = phone.get("/shop").await;
        assert_eq!(app.body(), "whole");
        assert_eq!(self.world.api().get("/healthz").send().await.status(), 200);
        let now = self.world.pss_kib();
        assert!(
            now < self.idle_kib + GROWTH_KIB,
            "{} KiB grew to {now} KiB",
            self.idle_kib
        );
        let said = self.world.transcript();
        assert!(!said.contains("panicked"), "{said}");
    }
}

/// The end of a head that closes its connection.
const CLOSE: &str = "Host: localhost\r\nConnection: close\r\n\r\n";

/// Name, bytes, and the status they are answered with.
fn heads() -> Vec<(&'static str, String, u16)> {
    let long = "x".repeat(40_000);
    let many = (0..200).fold(String::new(), |mut all, n| {
        let _ = write!(all, "X-{n}: y\r\n");
        all
    });
    vec![
        (
            "a long header",
            format!("GET / HTTP/1.1\r\nX: {long}\r\n{CLOSE}"),
            431,
        ),
        (
            "many headers",
            format!("GET / HTTP/1.1\r\n{many}{CLOSE}"),
            431,
        ),
        (
            "a long target",
            format!("GET /{} HTTP/1.1\r\n{CLOSE}", &long[..9_000]),
            414,
        ),
        (
            "a longer target",
            format!(
                "GET /{}{long}{long} HTTP/1.1\r\n{CLOSE}",
                "y".repeat(70_000)
            ),
            431,
        ),
        (
            "a long skey",
            format!(
                "GET /weapp/user HTTP/1.1\r\nX-WX-Skey: {}\r\n{CLOSE}",
                &long[..8_000]
            ),
            200,
        ),
        (
            "a long code",
            format!(
                "GET /weapp/login HTTP/1.1\r\nX-WX-Code: {}\r\n{CLOSE}",
                &long[..8_000]
            ),
            200,
        ),
        ("no host", "GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (
            "a foreign host",
            "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n".to_owned(),
            421,
        ),
        (
            "another expectation",
            format!("POST / HTTP/1.1\r\nExpect: tea\r\nContent-Length: 1\r\n{CLOSE}"),
            417,
        ),
        (
            "a body of a tenth of an exabyte",
            format!("POST / HTTP/1.1\r\nContent-Length: 100000000000000000\r\n{CLOSE}"),
            413,
        ),
        (
            "an upload of a terabyte",
            format!("POST /weapp/upload HTTP/1.1\r\nContent-Length: 1000000000000\r\n{CLOSE}"),
            413,
        ),
        (
            "a tunnel that is none",
            format!("GET /weapp/ws/{} HTTP/1.1\r\n{CLOSE}", &long[..4_000]),
            404,
        ),
    ]
}

#[tokio::test]
async fn heads_that_are_too_much_have_their_statuses() {
    let victim = BadInputTarget::new().await;
    let long = "x".repeat(8_000);
    for (name, head, status) in heads() {
        let answer = victim.ask(&head).await;
        assert_eq!(raw::status(&answer), status, "{name}: {answer}");
        if let 400 | 413 | 414 | 417 | 421 | 431 = status {
            assert!(answer.contains("\"message\""), "{name}: {answer}");
        }
    }
    let user = victim
        .ask(format!(
            "GET /weapp/user HTTP/1.1\r\nX-WX-Skey: {}\r\n{CLOSE}",
            &long[..8_000]
        ))
        .await;
    assert!(user.contains("ERR_SKEY_INVALID"), "{user}");
    let login = victim
        .ask(format!(
            "GET /weapp/login HTTP/1.1\r\nX-WX-Code: {}\r\n{CLOSE}",
            &long[..8_000]
        ))
        .await;
    assert!(login.contains("ERR_HEADER_MISSED"), "{login}");

    // The operator sees them.
    for status in [400, 413, 414, 417, 421, 431] {
        victim.world.says(&format!(" {status} ")).await;
    }

    // A line that never ends.
    let mut raw = victim.site().await;
    drop(raw.say("GET / HTTP/1.1\r\nX: ").await);
    let sent = raw.pour(&[b'x'; 16 * 1024], MAX_BODY).await;
    assert!(sent < MAX_BODY, "{sent} bytes of a header were taken");
    assert_eq!(
        victim.reached.load(Ordering::SeqCst),
        1,
        "only the warm-up reached the app"
    );
    victim.is_well().await;
}

#[tokio::test]
async fn bytes_that_are_no_request_reach_nobody() {
    let victim = BadInputTarget::new().await;
    for bytes in [
        &b"GET /a%00b HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
        b"GET /%zz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /a\0b HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: loc\0alhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-WX-Skey\0: b\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\nHost: localhost\n\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    ] {
        let answer = victim.ask(bytes).await;
        assert_eq!(raw::status(&answer), 400, "{}: {answer}", bytes.escape_ascii());
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(
        victim.reached.load(Ordering::SeqCst),
        1,
        "only the warm-up reached the app"
    );
    // On the HTTP port, before the redirect, and on the internal API.
    for addr in [victim.world.http, victim.world.internal] {
        let answer = raw::ask(addr, "GET /a\0b HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(raw::status(&answer), 400, "{answer}");
    }
    // Names that are no UTF-8 are the app's own affair, but come escaped.
    let answer = victim
        .ask(format!("GET /a\u{ff}\u{fe}?\"<`> HTTP/1.1\r\n{CLOSE}"))
        .await;
    assert_eq!(raw::status(&answer), 200, "{answer}");
    let bytes = [b"GET /a\xff\xfe HTTP/1.1\r\n", CLOSE.as_bytes()].concat();
    assert_eq!(raw::status(&victim.ask(bytes).await), 200);
    assert_eq!(
        victim.world.site().get("/%ff%FE").send().await.status(),
        200
    );
    victim.is_well().await;
}

/// Sends a byte at a time until the door has had enough; how long that took.
async fn drip(mut raw: RawClient, head: &str) -> (Duration, String) {
    let begun = FairTimer::start();
    let mut bytes = head.bytes().chain(std::iter::repeat(b'x'));
    while begun.elapsed() < PATIENCE {
        let byte = bytes.next().unwrap_or(b'x');
        if raw.say([byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        if raw.is_answered().await {
            break;
        }
    }
    let took = begun.fair();
    (took, raw.rest().await)
}

#[tokio::test]
async fn slow_heads_and_slow_handshakes_are_cut_off() {
    let victim = BadInputTarget::new().await;
    let limit = Duration::from_secs(10);
    let head = "GET / HTTP/1.1\r\nX-Slow: ";
    let (site, plain, inside) = tokio::join!(
        async { drip(victim.site().await, head).await },
        async { drip(RawClient::plain(victim.world.http).await, head).await },
        // A ClientHello that never ends.
        async {
            drip(
                RawClient::plain(victim.world.https).await,
                "\u{16}\u{3}\u{1}\u{2}",
            )
            .await
        },
    );
    for (took, answer) in [site, plain, inside] {
        assert!(took < limit, "{took:?}");
        assert!(matches!(raw::status(&answer), 0 | 408), "{answer}");
    }
    // Nobody who says nothing stays.
    for addr in [victim.world.http, victim.world.https] {
        let begun = FairTimer::start();
        raw::ask(addr, "").await;
        assert!(begun.fair() < limit);
    }
    victim.is_well().await;
}

#[tokio::test]
async fn bodies_that_stop_or_drip_are_given_up() {
    let victim = BadInputTarget::new().await;
    let mut phone = victim.world.phone("slow");
    phone.log_in().await;
    let skey = phone.skey.clone().unwrap_or_default();
    let post = |path: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-WX-Skey: {skey}\r\n{more}Content-Length: 100000\r\n\r\n"
        )
    };
    let form = "Content-Type: multipart/form-data; boundary=b\r\n";
    let part = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n";
    let whole = |head: String, body: &str| head + body;
    let (site, inside) = (victim.world.https, victim.world.internal);
    let stopped = [
        (site, whole(post("/weapp/upload", form), part)),
        (site, post("/weapp/session", "")),
        (site, post("/shop", "")),
        // Patient with its own machine, but not for ever.
        (inside, post("/mina_auth/", "")),
    ];
    let stopped = stopped.map(async |(addr, bytes)| {
        let mut raw = victim.reach(addr).await;
        raw.say(&bytes).await.expect("sent");
        (bytes, raw.rest().await)
    });
    // A body that drips, though it never stops.
    let dripping = [
        post("/shop", ""),
        post("/weapp/session", ""),
        whole(post("/weapp/upload", form), part),
    ];
    let dripping = dripping.map(async |head| {
        let mut raw = victim.site().await;
        raw.say(&head).await.expect("sent");
        let (took, answer) = drip(raw, "").await;
        assert!(took < Duration::from_secs(15), "{head}: {took:?}");
        (head, answer)
    });
    let (stopped, dripping) = tokio::join!(join_all(stopped), join_all(dripping));
    for (asked, answer) in stopped.into_iter().chain(dripping) {
        assert!(
            matches!(raw::status(&answer), 0 | 200 | 400 | 408),
            "{asked}: {answer}"
        );
        assert!(!answer.contains("whole"), "{asked}: {answer}");
    }
    victim.is_well().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_are_cut_off_in_bounded_memory() {
    let victim = BadInputTarget::new().await;
    let mut phone = victim.world.phone("endless");
    phone.log_in().await;
    let skey = phone.skey.clone().unwrap_or_default();
    let form = "Content-Type: multipart/form-data; boundary=b\r\n";
    let part =
        "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.gif\"\r\n\r\nGIF89a";
    let text_part = "--b\r\nContent-Disposition: form-data; name=\"note\"\r\n\r\n";
    let site = victim.world.https;
    let inside = victim.world.internal;
    let cases: [(&str, SocketAddr, &str, &str, &[u16]); 10] = [
        ("/shop", site, "", "", &[413]),
        ("/deaf", site, "", "", &[413, 504]),
        ("/weapp/session", site, "", "{\"code\":\"", &[413]),
        ("/weapp/login", site, "", "", &[200, 413]),
        ("/weapp/upload", site, form, part, &[413]),
        ("/weapp/upload", site, form, text_part, &[400, 413]),
        ("/weapp/upload", site, form, "--b\r\nX: ", &[400, 413]),
        ("/mina_auth/", inside, "", "{\"version\":1,\"x\":\"", &[200]),
        ("/get/wsurl", inside, "", "{\"data\":\"", &[200]),
        ("/ws/push", inside, "", "{\"data\":\"", &[200]),
    ];
    let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for (path, addr, kind, begin, statuses) in cases {
        for _ in 0..2 {
            let mut raw = victim.reach(addr).await;
            let head = format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nX-WX-Skey: {skey}\r\n{kind}Transfer-Encoding: chunked\r\n\r\n"
            );
            let begin = match begin {
                "" => String::new(),
                begin => format!("{:x}\r\n{begin}\r\n", begin.len()),
            };
            raw.say(head + &begin).await.expect("sent");
            let sent = raw.pour(chunk.as_bytes(), 4 * MAX_BODY).await;
            assert!(sent < 4 * MAX_BODY, "{path} took {sent} bytes");
            let answer = raw.heard();
            let status = raw::status(&answer);
            assert!(
                status == 0 || statuses.contains(&status),
                "{path} {begin}: {answer}"
            );
        }
        let now = victim.world.pss_kib();
        assert!(
            now < victim.idle_kib + GROWTH_KIB,
            "{path} {begin}: {} KiB grew to {now} KiB",
            victim.idle_kib
        );
    }
    let uploads = std::fs::read_dir(victim.world.dir().join(".weappd/files"));
    let left = uploads.map_or(0, Iterator::count);
    assert!(left <= 1, "what was cut off is not kept: {left} entries");
    victim.is_well().await;
}

#[tokio::test]
async fn forms_that_are_bombs_are_refused() {
    let victim = BadInputTarget::new().await;
    let mut phone = victim.world.phone("bomber");
    phone.log_in().await;
    let skey = phone.skey.clone().unwrap_or_default();
    let part = "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n";
    let file = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"f.png\"\r\n\r\n\u{89}PNG\r\n";
    let headers = "X: y\r\n".repeat(20_000);
    for (name, body) in [
        ("10,000 parts", part.repeat(10_000) + "--b--\r\n"),
        ("10,000 files", file.repeat(10_000) + "--b--\r\n"),
        (
            "20,000 headers",
            format!("--b\r\n{headers}\r\nx\r\n--b--\r\n"),
        ),
        (
            "a name without end",
            format!(
                "--b\r\nContent-Disposition: form-data; name=\"{}\"\r\n\r\nx\r\n--b--\r\n",
                "n".repeat(500_000)
            ),
        ),
        ("no end", part.to_owned()),
        ("no form", "hello".to_owned()),
        ("nothing", String::new()),
    ] {
        let site = victim.world.site();
        let answer = site
            .post("/weapp/upload")
            .header("x-wx-skey", &skey)
            .header("content-type", "multipart/form-data; boundary=b")
            .body(body)
            .send()
            .await;
        assert!(
            matches!(answer.status().as_u16(), 400 | 413 | 415),
            "{name}: {answer:?}"
        );
        let told = http::json(&answer);
        assert_eq!(told["code"], -1, "{name}: {told}");
        assert!(!text(&told["error"]).is_empty());
    }
    victim.is_well().await;
}

#[tokio::test]
async fn json_that_is_none_is_told_in_each_dialects_words() {
    let victim = BadInputTarget::new().await;
    let (site, api) = (victim.world.site(), victim.world.api());
    let deep = "[".repeat(30_000);
    let deep_object = "{\"a\":".repeat(10_000);
    let bodies = [
        "",
        "{",
        "nonsense",
        "[]",
        "1",
        "\"x\"",
        "null",
        "{\"code\":1}",
        "{\"code\":null}",
        "{\"code\":\"a\",\"code\":\"b\"",
        "\u{feff}{}",
        &deep,
        &deep_object,
    ];
    for body in bodies {
        let shown = &body[..body.len().min(20)];
        let native = site
            .post("/weapp/session")
            .body(body.to_owned())
            .send()
            .await;
        assert_eq!(native.status(), 400, "{shown}");
        assert_eq!(
            http::json(&native)["error"]["code"],
            "bad_request",
            "{shown}"
        );
        let rpc = api.post("/mina_auth/").body(body.to_owned()).send().await;
        assert_eq!(rpc.status(), 200, "{shown}");
        let code = http::json(&rpc)["returnCode"].as_i64();
        assert!(matches!(code, Some(1002 | 1009)), "{shown}: {code:?}");
        for path in ["/get/wsurl", "/ws/push"] {
            let tunnel = api.post(path).body(body.to_owned()).send().await;
            assert_eq!(tunnel.status(), 200, "{shown}");
            let code = http::json(&tunnel)["code"].as_i64();
            assert!(matches!(code, Some(2 | 4)), "{path} {shown}: {code:?}");
        }
    }
    let bytes = site
        .post("/weapp/session")
        .body(&b"{\"code\":\"\xff\xfe\"}"[..])
        .send()
        .await;
    assert_eq!(bytes.status(), 400);
    let bytes = api
        .post("/mina_auth/")
        .body(&b"\xff\xfe{}"[..])
        .send()
        .await;
    assert_eq!(http::json(&bytes)["returnCode"], 1009);
    victim.is_well().await;
}

/// `GET /weapp/login` with these three.
async fn log_in(world: &TestWorld, code: &str, data: &str, iv: &str) -> Value {
    let site = world.site();
    let ask = site.get("/weapp/login").header("x-wx-code", code);
    let ask = ask
        .header("x-wx-encrypted-data", data)
        .header("x-wx-iv", iv);
    http::json(&ask.send().await)
}

#[tokio::test]
async fn base64_that_lost_its_plus_signs_is_understood_and_garbage_is_not() {
    let victim = BadInputTarget::new().await;
    let world = &victim.world;
    let phone = world.phone("base64");
    let mut lost = 0;
    // Until one had a plus sign to lose.
    for _ in 0..40 {
        let code = phone.code().await;
        let data = phone.wx("user_info", &json!({})).await;
        let (encrypted, iv) = (text(&data["encryptedData"]), text(&data["iv"]));
        // HTTP itself takes spaces from both ends of a header.
        if [encrypted, iv]
            .iter()
            .any(|one| one.starts_with('+') || one.ends_with('+'))
        {
            continue;
        }
        lost += encrypted.matches('+').count();
        let answer = log_in(
            world,
            &code,
            &encrypted.replace('+', " "),
            &iv.replace('+', " "),
        )
        .await;
        assert_eq!(answer["code"], 0, "{answer}");
        if lost > 0 {
            break;
        }
    }
    assert!(lost > 0, "no data of 40 had a plus sign");

    // Line breaks, as other libraries put them, in the RPC.
    let code = phone.code().await;
    let data = phone.wx("user_info", &json!({})).await;
    let encrypted = text(&data["encryptedData"]);
    let (head, tail) = encrypted.split_at(76);
    let rpc = json!({"version": 1, "componentName": "MA", "interface": {
        "interfaceName": "qcloud.cam.id_skey",
        "para": {"code": code, "encrypt_data": format!("{head}\r\n{tail}\n"), "iv": data["iv"]},
    }});
    let answer = world.api().post("/mina_auth/").json(&rpc).send().await;
    assert_eq!(http::json(&answer)["returnCode"], 0);

    for (name, encrypted, iv) in [
        ("garbage", "!!!!", text(&data["iv"])),
        ("cut", &encrypted[..encrypted.len() / 2], text(&data["iv"])),
        ("an iv that is none", encrypted, "AAAA"),
        ("empty", "", text(&data["iv"])),
        ("not a block", "QUJD", text(&data["iv"])),
    ] {
        let code = phone.code().await;
        let answer = log_in(world, &code, encrypted, iv).await;
        assert_eq!(answer["code"], -1, "{name}: {answer}");
        let words = text(&answer["error"]);
        assert!(
            words.starts_with("ERR_IN_DECRYPT_DATA") || words.starts_with("ERR_HEADER_MISSED"),
            "{name}: {answer}"
        );
    }
    // Somebody else's data, though it is whole.
    let stranger = world.phone("stranger");
    stranger.code().await;
    let theirs = stranger.wx("user_info", &json!({})).await;
    let code = phone.code().await;
    let answer = log_in(
        world,
        &code,
        text(&theirs["encryptedData"]),
        text(&theirs["iv"]),
    )
    .await;
    assert!(
        text(&answer["error"]).starts_with("ERR_IN_DECRYPT_DATA"),
        "{answer}"
    );
    victim.is_well().await;
}

#[tokio::test]
async fn codes_are_good_once() {
    let victim = BadInputTarget::new().await;
    let world = &victim.world;
    let phone = world.phone("twice");
    let site = world.site();
    // Sent twice in a moment (a phone on a bad line): the same session.
    let code = phone.code().await;
    let ask = || site.get("/weapp/login").header("x-wx-code", &code).send();
    let (one, two) = tokio::join!(ask(), ask());
    let (one, two) = (http::json(&one), http::json(&two));
    assert_eq!(one["code"], 0, "{one}");
    assert_eq!(one["data"]["skey"], two["data"]["skey"]);

    // Spent elsewhere.
    let code = phone.code().await;
    let spend = format!(
        "/sns/jscode2session?appid={APPID}&secret={}&js_code={code}&grant_type=authorization_code",
        crate::world::APP_SECRET
    );
    let wechat = http::TestClient::http(world.wechat, "127.0.0.1");
    let first = http::json(&wechat.get(&spend).send().await);
    assert!(first["openid"].is_string(), "{first}");
    let late = http::json(
        &site
            .get("/weapp/login")
            .header("x-wx-code", &code)
            .send()
            .await,
    );
    assert_eq!(late["code"], -1);
    assert!(text(&late["error"]).contains("40163"), "{late}");
    let native = site
        .post("/weapp/session")
        .json(&json!({"code": code}))
        .send()
        .await;
    assert_eq!(native.status(), 401);
    let native = http::json(&native);
    assert_eq!(
        (&native["error"]["code"], &native["error"]["errcode"]),
        (&json!("bad_code"), &json!(40163)),
        "{native}"
    );
    for made_up in ["", "x", "\u{7f}", "0", &"c".repeat(512), &"c".repeat(513)] {
        if made_up.bytes().all(|byte| byte.is_ascii_graphic()) {
            let answer = http::json(
                &site
                    .get("/weapp/login")
                    .header("x-wx-code", made_up)
                    .send()
                    .await,
            );
            assert_eq!(answer["code"], -1, "{answer}");
        }
    }
    victim.is_well().await;
}

#[tokio::test]
async fn a_session_that_was_not_visited_expires() {
    let world = WorldRecipe::new()
        .miniapp("session_duration_secs = 1")
        .serve();
    let mut phone = world.phone("late");
    phone.log_in().await;
    // Time itself is what this waits for.
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    assert_eq!(phone.user().await, json!({"code": -1, "data": {}}));
    let native = phone.get("/weapp/session").await;
    assert_eq!(native.status(), 401);
    assert_eq!(http::json(&native)["error"]["code"], "session_expired");
    phone.log_in().await;
    assert_eq!(phone.user().await["code"], 0);
}

#[tokio::test]
async fn wechat_out_of_order_is_told_in_words() {
    let nobody = upstream::RefusingPort::new();
    let world = WorldRecipe::new().wechat_by(nobody.addr()).serve();
    let phone = world.phone("alice");
    let code = phone.code().await;
    let site = world.site();
    let wafer = http::json(
        &site
            .get("/weapp/login")
            .header("x-wx-code", &code)
            .send()
            .await,
    );
    assert_eq!(wafer["code"], -1);
    assert!(
        text(&wafer["error"]).starts_with("ERR_GET_SESSION_KEY"),
        "{wafer}"
    );
    let native = site
        .post("/weapp/session")
        .json(&json!({"code": code}))
        .send()
        .await;
    assert_eq!(native.status(), 502);
    assert_eq!(http::json(&native)["error"]["code"], "wechat_unreachable");
    let said = world.transcript();
    assert!(!said.contains(&code), "{said}");
}
