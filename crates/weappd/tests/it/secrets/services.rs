//! The same for what WeChat is asked and what it pushes: access tokens, the keys of messages
//! and of sealed calls, phones, pictures, refusing apps; and for a database's password.

use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use hyper::Method;
use rcgen::{KeyPair, PKCS_RSA_SHA256};

use super::*;
use crate::upstream::RefusingPort;

const INTERNAL_TOKEN: &str = "1n7erna1-70ken-0f-the-house-5f1c";
const MESSAGE_TOKEN: &str = "me55age70kenWith26Characters";
const AES_KEY: &str = "Zb7dXqLw0R3tYk9mPv5sN1cHf8gJ2aUe6oTiB4xMzWQ";
const SYMMETRIC: &str = "otUpngOjU+nVQaWJIC3D/yMLV17RKaP6t4Ot9tbnzLY=";
const PASSWORD: &str = "pa55w0rd-0f-the-data6ase";
/// What no answer but WeChat's own is asked for.
const CALLS: [(&str, &str); 6] = [
    ("GET", "/cgi-bin/getcallbackip"),
    ("POST", "/wxa/msg_sec_check"),
    ("POST", "/wxa/getwxacodeunlimit"),
    ("POST", "/cgi-bin/message/custom/send"),
    ("GET", "/no/such/path?from_appid=wx0000000000000000"),
    ("POST", "/wxa/business/getuserphonenumber"),
];

/// Between weappd and the simulated WeChat: notes what one tells the other in confidence.
fn confidant(
    wechat: std::net::SocketAddr,
    secrets: &KnownSecrets,
) -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let (secrets, count) = (secrets.clone(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    let addr = upstream::serve(Router::new().fallback(move |request: Request| {
        let (secrets, counted) = (secrets.clone(), Arc::clone(&counted));
        async move {
            let (head, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.expect("a body");
            let client = TestClient::http(wechat, "127.0.0.1");
            let mut ask = client.request(head.method, &head.uri.to_string());
            for (name, value) in &head.headers {
                if !["host", "content-length", "connection"].contains(&name.as_str()) {
                    ask = ask.header(name.as_str(), value.to_str().unwrap_or_default());
                }
            }
            let answer = ask.body(body).send().await;
            counted.fetch_add(1, Ordering::Relaxed);
            if let Ok(told) = serde_json::from_slice::<Value>(answer.body()) {
                for name in ["session_key", "access_token"] {
                    if let Some(secret) = told[name].as_str() {
                        secrets.add(name, secret);
                    }
                }
            }
            answer.map(Body::from)
        }
    }));
    (addr, count)
}

fn key_lines(secrets: &KnownSecrets, name: &str, pem: &str) {
    for line in pem
        .lines()
        .filter(|line| line.len() > 40 && !line.contains("KEY"))
    {
        secrets.add(name, line);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_weappd_says_of_wechat_holds_a_secret() {
    let secrets = KnownSecrets::default();
    for (name, secret) in [
        ("AppSecret", APP_SECRET),
        ("internal token", INTERNAL_TOKEN),
        ("message token", MESSAGE_TOKEN),
        ("EncodingAESKey", AES_KEY),
        ("symmetric key", SYMMETRIC),
        ("tunnel key", TUNNEL_KEY),
    ] {
        secrets.add(name, secret);
    }
    let (ours, theirs) = [(); 2]
        .map(|()| KeyPair::generate_for(&PKCS_RSA_SHA256).expect("a key"))
        .into();
    key_lines(&secrets, "private key of calls", &ours.serialize_pem());
    let app = upstream::serve(upstream::echo());
    let gone = RefusingPort::new();
    let recipe = WorldRecipe::new();
    let wechat = recipe.wechat;
    let (between, calls) = confidant(wechat, &secrets);
    let world = recipe
        .wechat_by(between)
        .log("trace")
        .site(&format!(
            "routes = [{{ path = \"/\", proxy = \"{app}\" }}, {{ path = \"/gone\", proxy = \"{}\" }},\n\
             {{ path = \"/members\", proxy = \"{app}\", session = \"require\" }}]",
            gone.addr()
        ))
        .edge("redirect = false")
        .internal(&format!("token = \"{INTERNAL_TOKEN}\""))
        .miniapp(&format!(
            "message_token = \"{MESSAGE_TOKEN}\"\nencoding_aes_key = \"{AES_KEY}\"\n\
             [miniapp.api_security]\nsymmetric_key = \"{SYMMETRIC}\"\nsymmetric_key_sn = \"5e\"\n\
             private_key = '''{}'''\nprivate_key_sn = \"0a\"\n\
             wechat_certificate = '''{}'''\nwechat_certificate_sn = \"1a\"",
            ours.serialize_pem(),
            theirs.public_key_pem()
        ))
        .sections(&format!("[tunnel]\nkey = \"{TUNNEL_KEY}\""))
        .serve();
    let mut answers = AllAnswers {
        secrets: secrets.clone(),
        count: 0,
    };
    let skey = users(&world, &secrets, &mut answers).await;
    calls_and_tokens(&world, &secrets, &mut answers, &skey).await;
    letters(&world, &mut answers).await;
    doors(&world, &mut answers, &skey).await;
    operators(&world, &secrets);
    assert!(answers.count > 40, "{} answers", answers.count);
    assert!(calls.load(Ordering::Relaxed) > 8, "WeChat was asked");
    assert!(secrets.of("session_key").len() > 1 && !secrets.of("access_token").is_empty());

    let said = world.transcript();
    assert!(said.contains("TRACE") && said.contains("DEBUG"));
    secrets.absent_from("what weappd printed", said.as_bytes(), &[]);
    search_files(&world.dir().join(".weappd"), &secrets);
    let (dir, _) = world.end(Signal::TERM);
    search_files(&dir.path().join(".weappd"), &secrets);
}

/// A user and everything WeChat tells of her.
async fn users(world: &TestWorld, secrets: &KnownSecrets, answers: &mut AllAnswers) -> String {
    let (site, alice) = (world.site(), world.phone("alice"));
    let code = alice.code().await;
    secrets.add("code", &code);
    let login = site
        .post("/weapp/session")
        .json(&json!({"code": code}))
        .send()
        .await;
    let skey = text(&http::json(&login)["skey"]).to_owned();
    answers.see("a login", &login, &[]);
    secrets.add("skey", &skey);
    let number = alice.wx("phone_number", &json!({})).await;
    secrets.add("code", text(&number["code"]));
    let run = alice.wx("we_run_data", &json!({})).await;
    for (path, body) in [
        ("/phone", json!({"code": number["code"]})),
        ("/phone", json!({"code": number["code"]})),
        (
            "/phone",
            json!({"encryptedData": number["encryptedData"], "iv": number["iv"]}),
        ),
        ("/phone", json!({"code": "never given by anybody"})),
        ("/phone", json!({"secret": APP_SECRET})),
        ("/decrypt", run.clone()),
        (
            "/decrypt",
            json!({"encryptedData": run["iv"], "iv": run["encryptedData"]}),
        ),
        (
            "/decrypt",
            json!({"encryptedData": skey, "iv": skey, "kind": AES_KEY}),
        ),
        ("/key/reset", json!({})),
        ("/decrypt", run),
    ] {
        let ask = site.post(&format!("/weapp/session{path}"));
        let answer = ask.header("x-wx-skey", &skey).json(&body).send().await;
        answers.see(path, &answer, &[]);
    }
    for (method, path) in [
        (Method::GET, "/weapp/session/key"),
        (Method::DELETE, "/weapp/session/phone"),
        (Method::PUT, "/weapp/session/profile"),
        (Method::POST, "/weapp/session/avatar"),
    ] {
        let ask = site.request(method, path).header("x-wx-skey", &skey);
        answers.see(
            path,
            &ask.json(&json!({"nickName": APP_SECRET, "avatarUrl": 1}))
                .send()
                .await,
            &[],
        );
    }
    skey
}

/// What apps and other programs ask at the internal address.
async fn calls_and_tokens(
    world: &TestWorld,
    secrets: &KnownSecrets,
    answers: &mut AllAnswers,
    skey: &str,
) {
    let api = world.api();
    let body = json!({"version": 2, "scene": 1, "openid": "o", "content": "hello"});
    for (method, path) in CALLS {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let call = api.request(method, path).json(&body).send().await;
        answers.see(path, &call, &[]);
    }
    let right = format!("Bearer {INTERNAL_TOKEN}");
    for bearer in [&*right, "Bearer x", skey, ""] {
        for path in [
            "/token",
            "/token?force=1",
            "/token?appid=wx0",
            "/v1/session",
            "/v1/tunnels",
        ] {
            let told = api.get(path).header("authorization", bearer).send().await;
            let but: &[&str] = if bearer == right {
                &["access_token"]
            } else {
                &[]
            };
            answers.see(path, &told, but);
        }
    }
    // WeChat refuses the token in the middle of it, once and for good.
    let token = secrets.of("access_token").pop().expect("a token");
    let with = format!("/cgi-bin/getcallbackip?access_token={token}x");
    answers.see(
        "a call with its own token",
        &api.get(&with).send().await,
        &[],
    );
    let fault = format!(
        "/wxa/msg_sec_check?access_token={}&secret={APP_SECRET}",
        secrets.of("skey")[0]
    );
    answers.see(
        "a call with odd words",
        &api.post(&fault).json(&body).send().await,
        &[],
    );
}

/// What WeChat pushes, and what only looks like it.
async fn letters(world: &TestWorld, answers: &mut AllAnswers) {
    let wechat = TestClient::http(world.wechat, &world.wechat.to_string());
    let url = format!("http://localhost:{}/weapp/message", world.http.port());
    for key in [AES_KEY, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopq"] {
        let push = json!({"url": url, "token": MESSAGE_TOKEN, "encoding_aes_key": key});
        let set = wechat.post("/push").json(&push).send().await;
        assert_eq!(set.status(), 200, "{set:?}");
        let message = json!({"MsgType": "text", "Content": "hello"});
        let send = json!({"user": "alice", "message": message});
        let pushed = wechat.post("/push/send").json(&send).send().await;
        let told = http::json(&pushed);
        if key == AES_KEY {
            assert_eq!(told["acknowledged"], true, "{told}");
        }
    }
    for query in [
        String::new(),
        format!("?signature=x&token={MESSAGE_TOKEN}&timestamp=1&nonce=2"),
        format!("?msg_signature=x&timestamp=1&nonce=2&encrypt_type=aes&key={AES_KEY}"),
        format!("?signature=x&echostr=y&timestamp=1&nonce=2&secret={APP_SECRET}"),
    ] {
        let path = format!("/weapp/message{query}");
        for site in [world.site(), world.plain().named("localhost")] {
            // Whoever asks is told what he said, if he said it to nobody in particular.
            let but: [&str; 0] = [];
            answers.see(&path, &site.get(&path).send().await, &but);
            let body = json!({"Encrypt": AES_KEY, "ToUserName": MESSAGE_TOKEN});
            answers.see(&path, &site.post(&path).json(&body).send().await, &but);
        }
    }
}

/// What the front door says where nothing works.
async fn doors(world: &TestWorld, answers: &mut AllAnswers, skey: &str) {
    let site = world.site();
    for path in [
        format!("/gone?skey={skey}"),
        format!("/GONE/{skey}?secret={APP_SECRET}"),
        format!("/members%2f{skey}"),
        format!("/members;{skey}"),
        format!("/{skey}/../../x"),
        format!("/weapp/files/{skey}"),
        format!("/weapp/ws/{skey}"),
    ] {
        answers.see(&path, &site.get(&path).send().await, &["skey", "AppSecret"]);
        let ask = site
            .get(&path)
            .header("authorization", &format!("Bearer {skey}x"));
        let ask = ask
            .header("x-wx-service", APP_SECRET)
            .header("x-weappd-appid", APP_SECRET);
        let ask = ask.header(
            "referer",
            &format!("https://servicewechat.com/{APP_SECRET}/1/page-frame.html"),
        );
        // The app is told what the phone told.
        answers.see(&path, &ask.send().await, &["skey", "AppSecret"]);
    }
}

/// What an operator prints, and a configuration that is wrong all over.
fn operators(world: &TestWorld, secrets: &KnownSecrets) {
    for args in [
        &["check"][..],
        &["check", "--json"],
        &["session", "list"],
        &["session", "show", "1"],
        &["inbox", "list"],
        &["inbox", "show", "1"],
        &["sdk-config", "--host", "nobody"],
        &["serve"],
    ] {
        let output = world.command_with_secret(args);
        let said = [output.stdout, output.stderr].concat();
        secrets.absent_from(&format!("weappd {args:?}"), &said, &[]);
    }
    let lines = [
        format!(
            "[miniapp]\nappid = \"{APPID}\"\nsecret = \"{APP_SECRET}\"\nmessage_token = [\"{MESSAGE_TOKEN}\"]\n"
        ),
        format!(
            "[miniapp]\nappid = \"{APPID}\"\nsecret = \"{APP_SECRET}\"\nencoding_aes_key = \"{AES_KEY}x\"\n"
        ),
        format!("[miniapp]\nappid = \"{APPID}\"\nencoding_aes_keys = \"{AES_KEY}\"\n"),
        format!(
            "[miniapp]\nappid = \"{APPID}\"\n[miniapp.api_security]\nsymmetric_key = \"{SYMMETRIC}A\"\nprivate_key = \"{SYMMETRIC}\"\n"
        ),
        format!("[internal]\ntoken = {{ text = \"{INTERNAL_TOKEN}\" }}\n"),
        format!("[internal]\ntokens = \"{INTERNAL_TOKEN}\"\n"),
        format!("[internal]\ntoken = \"{INTERNAL_TOKEN}\n"),
    ];
    for text in lines {
        std::fs::write(world.dir().join("broken.toml"), &text).expect("broken.toml");
        for args in [
            &["check", "--config", "broken.toml"][..],
            &["serve", "--config", "broken.toml"],
        ] {
            let output = world.command_with_secret(args);
            assert!(!output.status.success(), "{text}");
            let said = [output.stdout, output.stderr].concat();
            secrets.absent_from(&format!("weappd {args:?} of {text}"), &said, &[]);
        }
    }
}

#[test]
fn a_databases_password_is_in_no_error() {
    let secrets = KnownSecrets::default();
    secrets.add("password", PASSWORD);
    let nobody = RefusingPort::new();
    for url in [
        format!("mysql://weappd:{PASSWORD}@{}/sessions", nobody.addr()),
        format!("mysql://weappd:{PASSWORD}@127.0.0.1:port/sessions"),
        format!("mysql://{PASSWORD}@127.0.0.1:1"),
        format!("mysql://weappd:{PASSWORD}@[::1/sessions"),
        format!("mysql://weappd:{PASSWORD}/sessions"),
        format!("postgres://weappd:{PASSWORD}@127.0.0.1/sessions"),
        format!("mysql://weappd:p@{PASSWORD}@127.0.0.1:1/sessions?ssl-mode=WRONG"),
        format!("mysql:weappd:{PASSWORD}"),
    ] {
        for written in [format!("\"{url}\""), url.clone(), format!("\"{url}")] {
            let lines = format!("[session]\nstore = {written}\nstore_wait_ms = 200");
            let recipe = WorldRecipe::new().site("proxy = 9").log("trace");
            let (code, said) = recipe.sections(&lines).fails();
            assert_ne!(code, Some(0), "{written}: {said}");
            let place = format!("what weappd said of {written}");
            secrets.absent_from(&place, said.as_bytes(), &[]);
        }
    }
}
