//! An attacker who has a good `{encryptedData, iv}` of his own and may send any change of it:
//! AES-CBC notices none. He sees answers only, and must learn nothing from them: not from
//! their status, headers or body, whichever dialect he asks in. And he may not ask often.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use weappd_session::Config;
use weappd_wechat::open_data;

use crate::wechat::session_key;
use crate::world::{APP, World};

const NOW: i64 = 1_800_000_000;
const IV: [u8; 16] = [9; 16];

/// What no answer about data that does not open comes before.
const TOLD_AFTER: Duration = Duration::from_millis(20);

/// All that an attacker sees of an answer.
type Seen = (u16, Vec<(String, String)>, Vec<u8>);

async fn ask(world: &World, path: &str, headers: &[(&str, &str)], body: String) -> Seen {
    let method = if body.is_empty() { "GET" } else { "POST" };
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::from(body)).expect("a request");
    let response = world.router(APP).oneshot(request).await;
    let response = response.expect("an answer");
    let seen = headers_of(response.headers());
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body");
    (status, seen, body.to_bytes().to_vec())
}

fn headers_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let pairs = headers.iter().map(|(name, value)| {
        let value = value.to_str().expect("text");
        (name.to_string(), value.to_owned())
    });
    pairs.collect()
}

/// `encryptedData` and iv as bytes.
#[derive(Clone)]
struct Cipher {
    data: Vec<u8>,
    iv: [u8; 16],
}

impl Cipher {
    fn of(plain: &str) -> Self {
        let data = open_data::encrypt(&session_key("o1"), plain, IV).expect("encrypts");
        Self {
            data: base64(&data),
            iv: IV,
        }
    }

    fn texts(&self) -> (String, String) {
        (text(&self.data), text(&self.iv))
    }
}

fn base64(text: &str) -> Vec<u8> {
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    standard.decode(text).expect("base64")
}

fn text(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn phone(appid: &str, at: i64) -> String {
    json!({
        "phoneNumber": "13580006666", "purePhoneNumber": "13580006666", "countryCode": "86",
        "watermark": {"timestamp": at, "appid": appid},
    })
    .to_string()
}

fn user(openid: &str) -> String {
    format!(
        r#"{{"openId":"{openid}","nickName":"Band","gender":1,"language":"zh_CN","city":"","watermark":{{"timestamp":{NOW},"appid":"{APP}"}}}}"#
    )
}

/// Changes that an attacker tries, none of which leaves what `plain` says as it was.
fn changes(plain: &str) -> Vec<Cipher> {
    let good = Cipher::of(plain);
    let mut all = Vec::new();
    // Every byte of the iv: another letter, no letter, no UTF-8.
    for at in 0..16 {
        for bit in [0x01, 0x10, 0x20, 0x80, 0xff] {
            let mut changed = good.clone();
            changed.iv[at] ^= bit;
            all.push(changed);
        }
    }
    // Every block's first and last byte: garbage, and a change in the block after it; of the
    // last block but one the padding.
    for at in (0..good.data.len()).filter(|at| [0, 15].contains(&(at % 16))) {
        for bit in [0x01, 0x10, 0x80] {
            let mut changed = good.clone();
            changed.data[at] ^= bit;
            all.push(changed);
        }
    }
    // Blocks left out, doubled, alone.
    for cut in [16, 32, good.data.len() - 16] {
        for (from, to) in [(cut, good.data.len()), (0, cut)] {
            let mut changed = good.clone();
            changed.data = good.data[from..to].to_vec();
            all.push(changed);
        }
    }
    // No whole blocks, and nothing.
    for len in [0, 1, 15, 17] {
        let mut changed = good.clone();
        changed.data.truncate(len);
        all.push(changed);
    }
    // Whole and well-formed, but not what it should be.
    for wrong in [
        "not json".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "\u{0}".repeat(40),
        plain.replacen('{', "{{", 1),
        plain.replace(APP, "wx0000000000000002"),
        plain.replace("watermark", "watermarl"),
        plain
            .replace("nickName", "ni.kName")
            .replace("phoneNumber", "pho.eNumber"),
        plain.replace(&NOW.to_string(), "1"),
        user("o2"),
        user("o1").replace("openId", "ope.Id"),
        user("o1").replace("openId", "opemId"),
    ] {
        all.push(Cipher::of(&wrong));
    }
    // Sealed for another user.
    let data = open_data::encrypt(&session_key("o2"), plain, IV).expect("encrypts");
    all.push(Cipher {
        data: base64(&data),
        iv: IV,
    });
    all
}

fn unlimited() -> Config {
    Config {
        decrypt_failures_per_hour_per_user: 0,
        logins_per_minute_per_user: 0,
        wafer1: true,
        ..Config::default()
    }
}

/// The distinct answers to all of the questions.
async fn answers<F: Future<Output = Seen>>(asked: Vec<F>) -> BTreeSet<Seen> {
    join_all(asked).await.into_iter().collect()
}

fn one(seen: &BTreeSet<Seen>, what: &str) -> (u16, String) {
    let bodies: Vec<_> = seen
        .iter()
        .map(|(status, _, body)| (*status, String::from_utf8_lossy(body).into_owned()))
        .collect();
    assert_eq!(seen.len(), 1, "{what}: {bodies:#?}");
    bodies.into_iter().next().expect("one")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_learns_nothing_from_data_that_does_not_open() {
    let world = World::with(unlimited()).await;
    let skey = world.log_in("c1", "o1").await;
    let headers = [("X-WX-Skey", skey.as_str())];
    for (path, plain) in [
        ("/weapp/session/decrypt", phone(APP, NOW)),
        ("/weapp/session/decrypt", user("o1")),
        ("/weapp/session/phone", phone(APP, NOW)),
    ] {
        let body = |cipher: &Cipher| {
            let (data, iv) = cipher.texts();
            json!({"encryptedData": data, "iv": iv}).to_string()
        };
        let changes = changes(&plain);
        assert!(changes.len() > 100, "{}", changes.len());
        let asked = changes.iter();
        let asked = asked.map(|cipher| {
            let asked = ask(&world, path, &headers, body(cipher));
            async {
                let begun = Instant::now();
                let seen = asked.await;
                assert!(begun.elapsed() >= TOLD_AFTER, "the time tells nothing");
                seen
            }
        });
        let (status, said) = one(&answers(asked.collect()).await, path);
        assert_eq!(status, 409, "{said}");
        assert!(said.contains(r#""code":"bad_user_data""#), "{said}");
        assert!(said.contains("wx.login"), "it says what to do: {said}");
        let good = ask(&world, path, &headers, body(&Cipher::of(&plain))).await;
        assert_eq!(good.0, 200, "the data itself opens");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_learns_nothing_from_data_that_does_not_open() {
    let world = World::with(unlimited()).await;
    let plain = user("o1");
    let changes = changes(&plain);
    for dialect in ["native", "wafer2", "wafer1", "rpc"] {
        // A login takes user data of any age.
        let is_old = |cipher: &&Cipher| {
            let (data, iv) = cipher.texts();
            let opened = open_data::open(APP, &session_key("o1"), &data, Some(&iv));
            opened.is_ok_and(|data| data["watermark"]["timestamp"] == 1)
        };
        let asked = changes.iter().filter(|cipher| !is_old(cipher));
        let asked = asked.map(|cipher| {
            let (data, iv) = cipher.texts();
            let world = &world;
            // One code for all of them: while it is good, so are the tries.
            let code = format!("c {dialect}");
            world.wechat.code(&code, "o1");
            async move {
                let headers = [
                    ("X-WX-Code", code.as_str()),
                    ("X-WX-Encrypted-Data", &data),
                    ("X-WX-IV", &iv),
                ];
                match dialect {
                    "wafer2" => ask(world, "/weapp/login", &headers, String::new()).await,
                    "wafer1" => ask(world, "/login", &headers, String::new()).await,
                    "native" => {
                        let body = json!({"code": code, "encryptedData": data, "iv": iv});
                        ask(world, "/weapp/session", &[], body.to_string()).await
                    }
                    _ => {
                        let para = json!({"code": code, "encrypt_data": data, "iv": iv});
                        let call = json!({"interfaceName": "qcloud.cam.id_skey", "para": para});
                        let body = json!({"interface": call}).to_string();
                        ask(world, &format!("/mina_auth/{APP}/"), &[], body).await
                    }
                }
            }
        });
        // Empty data in headers is no data at all.
        let mut seen = answers(asked.collect()).await;
        seen.retain(|(_, _, body)| !String::from_utf8_lossy(body).contains("belong together"));
        let (_, said) = one(&seen, dialect);
        assert!(!said.contains("skey"), "{dialect}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_servers_decrypt_learns_nothing_either() {
    let world = World::with(unlimited()).await;
    let skey = world.log_in("c1", "o1").await;
    let headers = [("X-WX-Code", "c2")];
    world.wechat.code("c2", "o1");
    let login = ask(&world, "/login", &headers, String::new()).await;
    let login: Value = serde_json::from_slice(&login.2).expect("JSON");
    let id = login["session"]["id"].as_str().expect("an id");
    for plain in [phone(APP, NOW), user("o1")] {
        let call = |(data, iv): (String, Option<String>)| {
            let mut para = json!({"id": id, "skey": skey, "encrypt_data": data});
            if let Some(iv) = iv {
                para["iv"] = iv.into();
            }
            let call = json!({"interfaceName": "qcloud.cam.decrypt", "para": para});
            json!({"interface": call}).to_string()
        };
        let path = format!("/mina_auth/{APP}/");
        let mut bodies = Vec::new();
        for cipher in changes(&plain) {
            let (data, iv) = cipher.texts();
            // Data without its time is as good as any to a server that asks for no time.
            if open_data::open(APP, &session_key("o1"), &data, Some(&iv))
                .is_ok_and(|data| data["watermark"]["timestamp"] == 1)
            {
                continue;
            }
            bodies.push(call((data.clone(), Some(iv))));
            // The oldest form, whose iv is the key: C 0 C would tell it.
            bodies.push(call((data, None)));
        }
        let first = &Cipher::of(&plain).data[..16];
        let telling = [first, &[0; 16], first].concat();
        bodies.push(call((text(&telling), None)));
        let asked = bodies.into_iter().map(|body| ask(&world, &path, &[], body));
        let (status, said) = one(&answers(asked.collect()).await, &plain);
        assert_eq!(status, 200);
        assert!(said.contains("60021"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_end_in_a_refusal_that_a_new_login_does_not_lift() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let good = Cipher::of(&phone(APP, NOW));
    let mut bad = good.clone();
    bad.iv[0] ^= 0x80;
    let body = |cipher: &Cipher| {
        let (data, iv) = cipher.texts();
        json!({"encryptedData": data, "iv": iv}).to_string()
    };
    let paths = ["/weapp/session/decrypt", "/weapp/session/phone"];
    // What opens does not count, however often.
    for _ in 0..20 {
        let headers = [("X-WX-Skey", skey.as_str())];
        let seen = ask(&world, paths[0], &headers, body(&good)).await;
        assert_eq!(seen.0, 200);
    }
    for n in 0..10 {
        let headers = [("X-WX-Skey", skey.as_str())];
        let seen = ask(&world, paths[n % 2], &headers, body(&bad)).await;
        assert_eq!(seen.0, 409, "{n}");
    }
    for n in 0..3 {
        // Good or bad is not looked at any more, nor who opened which session.
        let skey = world.log_in_by_code(&format!("again {n}"), "o1").await;
        let headers = [("X-WX-Skey", skey.as_str())];
        for path in paths {
            let seen: BTreeSet<_> = [
                ask(&world, path, &headers, body(&bad)).await,
                ask(&world, path, &headers, body(&good)).await,
            ]
            .into();
            let (status, said) = one(&seen, path);
            assert_eq!(status, 429, "{said}");
            assert!(said.contains("too_many_failures"), "{said}");
            let retry = seen.iter().flat_map(|(_, headers, _)| headers);
            let retry: Vec<_> = retry.filter(|(name, _)| name == "retry-after").collect();
            assert_eq!(retry, [&("retry-after".to_owned(), "360".to_owned())]);
        }
    }
    // A login brings data too: the same count, and a code alone still logs in.
    world.wechat.code("c2", "o1");
    let (data, iv) = Cipher::of(&user("o1")).texts();
    let with_data = json!({"code": "c2", "encryptedData": data, "iv": iv});
    let answer = world.native(&with_data).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.json["error"]["code"], "too_many_failures");
    let answer = world.native(&json!({"code": "c2"})).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    // Nobody else is touched, and an hour forgives.
    let other = world.log_in("c3", "o2").await;
    let headers = [("X-WX-Skey", other.as_str())];
    let seen = ask(&world, paths[0], &headers, body(&bad)).await;
    assert_eq!(seen.0, 409);
    world.hand.advance(360);
    let headers = [("X-WX-Skey", skey.as_str())];
    let fresh = Cipher::of(&phone(APP, NOW + 360));
    let seen = ask(&world, paths[0], &headers, body(&fresh)).await;
    assert_eq!(seen.0, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_are_no_way_around_the_limit() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let headers = [("X-WX-Skey", skey.as_str())];
    let bodies: Vec<_> = changes(&phone(APP, NOW))
        .iter()
        .map(|cipher| {
            let (data, iv) = cipher.texts();
            json!({"encryptedData": data, "iv": iv}).to_string()
        })
        .collect();
    let asked = bodies
        .into_iter()
        .map(|body| ask(&world, "/weapp/session/decrypt", &headers, body));
    let seen = join_all(asked.collect::<Vec<_>>()).await;
    let looked_at = seen.iter().filter(|(status, ..)| *status != 429).count();
    assert_eq!(looked_at, 10);
}

/// What `tries` changes of one byte of the block before the last are answered: a padding
/// oracle, were one of them told apart from the others.
async fn attack(world: &World, skey: &str, good: &Cipher, tries: u8) -> BTreeSet<Seen> {
    let headers = [("X-WX-Skey", skey)];
    let at = good.data.len() - 17;
    let asked = (1..=tries).map(|change| {
        let mut changed = good.clone();
        changed.data[at] ^= change;
        changed.iv[usize::from(change) % 16] ^= change;
        let (data, iv) = changed.texts();
        let body = json!({"encryptedData": data, "iv": iv}).to_string();
        ask(world, "/weapp/session/phone", &headers, body)
    });
    answers(asked.collect()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_attack_that_forged_a_number_learns_and_leaves_nothing() {
    let world = World::with(unlimited()).await;
    let skey = world.log_in_by_code("c1", "o1").await;
    let headers = [("X-WX-Skey", skey.as_str())];
    for plain in [phone(APP, NOW), user("o1"), user("o1").replace(',', " , ")] {
        let seen = attack(&world, &skey, &Cipher::of(&plain), 255).await;
        assert_eq!(one(&seen, &plain).0, 409);
        let shown = world.get("/weapp/session", &headers).await;
        assert!(shown.json["user"].get("phone").is_none(), "{shown:?}");
        let known = world.get("/users?openid=o1", &[]).await;
        assert!(known.json["users"][0]["phone"].is_null(), "{known:?}");
    }

    // By what is configured of itself it ends after ten.
    let world = World::new().await;
    let skey = world.log_in_by_code("c1", "o1").await;
    let good = Cipher::of(&phone(APP, NOW));
    let seen = attack(&world, &skey, &good, 100).await;
    let told: BTreeSet<u16> = seen.iter().map(|(status, ..)| *status).collect();
    assert_eq!(told, [409, 429].into());
    let seen = attack(&world, &skey, &good, 3).await;
    assert_eq!(one(&seen, "afterwards").0, 429);
    let known = world.get("/users?openid=o1", &[]).await;
    assert!(known.json["users"][0]["phone"].is_null(), "{known:?}");
}
