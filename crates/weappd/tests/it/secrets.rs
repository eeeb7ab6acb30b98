//! Secrets stay where they belong: a whole session of everything, logged as loudly as can
//! be, and then every word weappd said is searched for every secret that went through it.

mod services;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use md5::{Digest as _, Md5};
use rustix::process::Signal;
use serde_json::{Value, json};
use sha1::Sha1;

use crate::http::{self, HttpAnswer, TestClient, connector};
use crate::raw;
use crate::tunnel::PhoneSocket;
use crate::upstream;
use crate::world::{APP_SECRET, APPID, TestWorld, WorldRecipe, text};

/// A mini program that an old business server registers, and its secret.
const OTHER_APPID: &str = "wxfedcba9876543210";
const OTHER_SECRET: &str = "07he55ec2e7000000000000badc0de11";

const TUNNEL_KEY: &str = "7u77e1-s1gna7ure-key-9f338d1f0ecc37d2";

/// A business server that tells its environment to whoever asks, and nothing to its log.
const APP_JS: &str = "require('http').createServer((ask, answer) => { \
    ask.resume(); \
    ask.on('end', () => answer.end(ask.url === '/env' ? JSON.stringify(process.env) : '{\"code\":0}')); \
    }).listen(process.env.PORT, '127.0.0.1');\n";

/// Secrets by name.
#[derive(Clone, Default)]
struct KnownSecrets(Arc<Mutex<Vec<(String, String)>>>);

impl KnownSecrets {
    fn add(&self, name: &str, secret: &str) {
        assert!(secret.len() >= 16, "{name} is too short to be searched for");
        let mut all = self.0.lock().expect("whole");
        all.push((name.to_owned(), secret.to_owned()));
        // As it stands in a URL or in JSON within JSON.
        let mut escaped = String::new();
        for byte in secret.bytes() {
            match byte {
                b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => {
                    escaped.push(char::from(byte));
                }
                _ => escaped.extend(["%", &format!("{byte:02X}")]),
            }
        }
        if escaped != secret {
            all.push((format!("{name}, escaped"), escaped));
        }
    }

    fn of(&self, name: &str) -> Vec<String> {
        let all = self.0.lock().expect("whole");
        let named = all.iter().filter(|(one, _)| one == name);
        named.map(|(_, secret)| secret.clone()).collect()
    }

    /// Panics if any secret but the ones named `but` stands in `text`.
    fn absent_from(&self, place: &str, text: &[u8], but: &[&str]) {
        for (name, secret) in self.0.lock().expect("whole").iter() {
            if but.iter().any(|but| name.starts_with(but)) {
                continue;
            }
            let at = text
                .windows(secret.len())
                .position(|window| window == secret.as_bytes());
            if let Some(at) = at {
                let around = &text[at.saturating_sub(300)..(at + 300).min(text.len())];
                panic!(
                    "{name} stands in {place}: …{}…",
                    String::from_utf8_lossy(around)
                );
            }
        }
    }
}

/// A WeChat between weappd and the simulated one, which notes every session key.
fn eavesdropper(wechat: std::net::SocketAddr, secrets: &KnownSecrets) -> std::net::SocketAddr {
    let secrets = secrets.clone();
    upstream::serve(Router::new().fallback(move |request: Request| {
        let (secrets, path) = (secrets.clone(), request.uri().to_string());
        async move {
            let client = TestClient::http(wechat, "127.0.0.1");
            let answer = client.get(&path).send().await;
            assert!(
                path.contains(APP_SECRET),
                "weappd shows its secret to WeChat"
            );
            if let Some(key) = http::json(&answer)["session_key"].as_str() {
                secrets.add("session_key", key);
            }
            answer.map(axum::body::Body::from)
        }
    }))
}

/// Answers that hold no secret unless they are asked to.
struct AllAnswers {
    secrets: KnownSecrets,
    count: usize,
}

impl AllAnswers {
    /// Looks through an answer which may hold the secrets named `but`.
    fn see(&mut self, what: &str, answer: &HttpAnswer, but: &[&str]) {
        self.count += 1;
        self.secrets.absent_from(what, answer.body(), but);
        let head = format!("{:?}", answer.headers());
        self.secrets
            .absent_from(&format!("the head of {what}"), head.as_bytes(), but);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_weappd_says_holds_a_secret() {
    for level in ["debug", "trace"] {
        let secrets = KnownSecrets::default();
        secrets.add("AppSecret", APP_SECRET);
        secrets.add("tunnel key", TUNNEL_KEY);
        secrets.add("registered secret", OTHER_SECRET);
        let recipe = WorldRecipe::new();
        let wechat = eavesdropper(recipe.wechat, &secrets);
        let world = recipe
            .wechat_by(wechat)
            .log(level)
            .site("dialects = [\"wafer1\", \"wafer2\"]")
            .file("app.js", APP_JS)
            .sections(&format!(
                "[app]\nrun = \"node app.js\"\n[tunnel]\nkey = \"{TUNNEL_KEY}\""
            ))
            .sections("[session]\nrpc_initdata = true")
            .serve();
        world.app_ready().await;
        let key = fs::read_to_string(world.dir().join("site.key")).expect("site.key");
        for line in key
            .lines()
            .filter(|line| line.len() > 40 && !line.contains("KEY"))
        {
            secrets.add("private key", line);
        }
        let env = http::json(&world.site().get("/env").send().await);
        secrets.add("WEAPPD_TOKEN", text(&env["WEAPPD_TOKEN"]));

        let mut answers = AllAnswers {
            secrets: secrets.clone(),
            count: 0,
        };
        let skey = good_day(&world, &secrets, &mut answers).await;
        tunnels(&world, &secrets, &mut answers, &skey).await;
        bad_day(&world, &secrets, &mut answers, &skey).await;
        commands(&world, &secrets);
        assert!(answers.count > 30, "{} answers", answers.count);
        assert!(secrets.of("session_key").len() >= 3);

        let said = world.transcript();
        assert!(said.contains("DEBUG"), "it is logged loudly: {said}");
        assert_eq!(said.contains("TRACE"), level == "trace");
        secrets.absent_from("what weappd printed", said.as_bytes(), &[]);
        // Before and after the last words: the write-ahead log is there, then folded in.
        let searched = search_files(&world.dir().join(".weappd"), &secrets);
        assert!(
            searched.iter().any(|name| name.ends_with("weappd.db")),
            "{searched:?}"
        );
        assert!(
            searched.iter().any(|name| name.ends_with("-wal")),
            "{searched:?}"
        );
        let (dir, _) = world.end(Signal::TERM);
        search_files(&dir.path().join(".weappd"), &secrets);
    }
}

/// Searches every file under `dir`; gives their names.
fn search_files(dir: &Path, secrets: &KnownSecrets) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            names.extend(search_files(&path, secrets));
        } else if kind.is_file() {
            let name = path.display().to_string();
            // The database must know with what a registered mini program speaks to
            // WeChat. Session keys stand in it sealed.
            let but: &[&str] = if name.contains(".db") {
                &["registered secret"]
            } else {
                &[]
            };
            secrets.absent_from(&name, &fs::read(&path).expect("a file"), but);
            names.push(name);
        }
    }
    names
}

/// What every day brings: logins in all dialects, checks, an upload, the app.
async fn good_day(world: &TestWorld, secrets: &KnownSecrets, answers: &mut AllAnswers) -> String {
    let phone = world.phone("alice");
    let site = world.site();
    let mut skeys = Vec::new();
    for path in ["/weapp/login", "/login"] {
        let code = phone.code().await;
        secrets.add("code", &code);
        let data = phone.wx("user_info", &json!({})).await;
        let ask = site
            .get(path)
            .header("x-wx-code", &code)
            .header("x-wx-encrypted-data", text(&data["encryptedData"]))
            .header("x-wx-iv", text(&data["iv"]));
        let answer = ask.send().await;
        let told = http::json(&answer);
        let skey = [&told["data"]["skey"], &told["session"]["skey"]];
        let skey = skey.into_iter().find_map(Value::as_str);
        let skey = skey.unwrap_or_else(|| panic!("no skey: {told}")).to_owned();
        answers.see(path, &answer, &[]);
        secrets.add("skey", &skey);
        skeys.push((skey, told["session"]["id"].clone()));
    }
    let (skey, _) = skeys[0].clone();
    let (old_skey, id) = skeys[1].clone();
    for path in [
        "/weapp/user",
        "/weapp/session",
        "/shop",
        "/weapp/files/none",
    ] {
        answers.see(
            path,
            &site.get(path).header("x-wx-skey", &skey).send().await,
            &[],
        );
        let bearer = site
            .get(path)
            .header("authorization", &format!("Bearer {skey}"));
        answers.see(path, &bearer.send().await, &[]);
    }
    let old = site
        .get("/user")
        .header("x-wx-id", text(&id))
        .header("x-wx-skey", &old_skey);
    answers.see("/user", &old.send().await, &[]);

    // The native dialect, to its end.
    let code = phone.code().await;
    secrets.add("code", &code);
    let native = site
        .post("/weapp/session")
        .json(&json!({"code": code}))
        .send()
        .await;
    let short = text(&http::json(&native)["skey"]).to_owned();
    answers.see("POST /weapp/session", &native, &[]);
    secrets.add("skey", &short);
    let bye = site.request(hyper::Method::DELETE, "/weapp/session");
    let bye = bye
        .header("authorization", &format!("Bearer {short}"))
        .send()
        .await;
    assert_eq!(bye.status(), 204);

    let body = "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.gif\"\r\n\r\nGIF89a\r\n--b--\r\n";
    let upload = site
        .post("/weapp/upload")
        .header("x-wx-skey", &skey)
        .header("content-type", "multipart/form-data; boundary=b")
        .body(body);
    let upload = upload.send().await;
    assert_eq!(http::json(&upload)["code"], 0, "{upload:?}");
    answers.see("/weapp/upload", &upload, &[]);
    session_server(world, secrets, answers).await;
    skey
}

/// What an old business server asks.
async fn session_server(world: &TestWorld, secrets: &KnownSecrets, answers: &mut AllAnswers) {
    let api = world.api();
    let call = |name: &str, para: Value| {
        json!({"version": 1, "componentName": "MA",
               "interface": {"interfaceName": format!("qcloud.cam.{name}"), "para": para}})
    };
    let phone = world.phone("bob");
    let code = phone.code().await;
    secrets.add("code", &code);
    let data = phone.wx("user_info", &json!({})).await;
    let (sealed, iv) = (&data["encryptedData"], &data["iv"]);
    let login = call(
        "id_skey",
        json!({"code": code, "encrypt_data": sealed, "iv": iv}),
    );
    let login = api.post("/mina_auth/").json(&login).send().await;
    let told = http::json(&login);
    assert_eq!(told["returnCode"], 0, "{told}");
    let (id, skey) = (&told["returnData"]["id"], &told["returnData"]["skey"]);
    answers.see("id_skey", &login, &[]);
    secrets.add("skey", text(skey));
    for (name, para, code) in [
        ("auth", json!({"id": id, "skey": skey}), 0),
        ("auth", json!({"id": "nobody", "skey": skey}), 60012),
        (
            "decrypt",
            json!({"id": id, "skey": skey, "encrypt_data": sealed, "iv": iv}),
            0,
        ),
        (
            "decrypt",
            json!({"id": id, "skey": skey, "encrypt_data": "AAAA", "iv": iv}),
            60021,
        ),
        (
            "initdata",
            json!({"appid": OTHER_APPID, "secret": OTHER_SECRET}),
            0,
        ),
        (
            "initdata",
            // PHP makes the word "Array" of it.
            json!({"appid": OTHER_APPID, "secret": [APP_SECRET]}),
            0,
        ),
        (
            "nonsense",
            json!({"skey": skey, "secret": APP_SECRET}),
            1010,
        ),
    ] {
        let answer = api.post("/mina_auth/").json(&call(name, para)).send().await;
        let told = http::json(&answer);
        assert_eq!(told["returnCode"], code, "{name}: {told}");
        answers.see(name, &answer, &[]);
    }
    for broken in [
        format!("{{\"secret\":\"{APP_SECRET}\",\"skey\":\"{}\"", text(skey)),
        format!("secret={APP_SECRET}"),
    ] {
        let answer = api.post("/mina_auth/").body(broken).send().await;
        answers.see("broken JSON", &answer, &[]);
    }
}

fn letter(data: &str, key: &str) -> Value {
    let mut sum = Sha1::new();
    sum.update(data);
    sum.update(key);
    json!({
        "data": data, "dataEncode": "json", "tcId": hex::encode(Md5::digest(b"localhost")),
        "tcKey": key, "signature": hex::encode(sum.finalize()),
    })
}

/// A tunnel from its birth to its end, and business servers with the wrong key.
async fn tunnels(world: &TestWorld, secrets: &KnownSecrets, answers: &mut AllAnswers, skey: &str) {
    let api = world.api();
    let ask = json!({"receiveUrl": "https://localhost/weapp/tunnel", "protocolType": "wss"});
    let ask = ask.to_string();
    let wsurl = api
        .post("/get/wsurl")
        .json(&letter(&ask, TUNNEL_KEY))
        .send()
        .await;
    let told = http::json(&wsurl);
    assert_eq!(told["code"], 0, "{told}");
    answers.see("/get/wsurl", &wsurl, &[]);
    let data: Value = serde_json::from_str(text(&told["data"])).expect("JSON");
    let url = text(&data["connectUrl"]);
    let token = url.rsplit('/').next().expect("a token");
    secrets.add("connect token", token);
    let mut socket = PhoneSocket::open(world, url).await.expect("a tunnel");
    assert_eq!(socket.hears().await, "timeout:15");
    let content = json!({"type": "speak", "content": {"word": "hello"}}).to_string();
    let push = json!([{"type": "message", "tunnelIds": [data["tunnelId"]], "content": content}]);
    let push = letter(&push.to_string(), TUNNEL_KEY);
    answers.see(
        "/ws/push",
        &api.post("/ws/push").json(&push).send().await,
        &[],
    );
    assert_eq!(socket.hears().await, format!("message:{content}"));
    socket.sends("message:{\"type\":\"x\",\"content\":1}").await;
    drop(socket);

    for path in ["/get/wsurl", "/ws/push"] {
        let mut wrong = letter("[]", "another key of another server");
        answers.see(path, &api.post(path).json(&wrong).send().await, &[]);
        wrong["tcKey"] = json!(TUNNEL_KEY);
        answers.see(path, &api.post(path).json(&wrong).send().await, &[]);
        let broken = format!("{{\"tcKey\":\"{TUNNEL_KEY}\"");
        answers.see(path, &api.post(path).body(broken).send().await, &[]);
        let odd = json!({"data": {"tcKey": TUNNEL_KEY}, "tcKey": [TUNNEL_KEY]});
        answers.see(path, &api.post(path).json(&odd).send().await, &[]);
    }
    let site = world.site();
    let built_in = site
        .get("/weapp/tunnel")
        .header("x-wx-skey", skey)
        .send()
        .await;
    answers.see("/weapp/tunnel", &built_in, &[]);
    let used = site.get(&format!("/weapp/ws/{token}")).send().await;
    answers.see("a tunnel without an upgrade", &used, &[]);
}

/// Mistakes, each with a secret where none should be.
async fn bad_day(world: &TestWorld, secrets: &KnownSecrets, answers: &mut AllAnswers, skey: &str) {
    let (site, api, plain) = (world.site(), world.api(), world.plain().named("localhost"));
    let token = secrets.of("WEAPPD_TOKEN").remove(0);
    let phone = world.phone("carol");
    for (name, data, iv) in [
        ("garbage", "!!!!", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ("no iv", "AAAA", ""),
        ("odd", "QUJDREVGR0g=", "QUJD"),
    ] {
        let code = phone.code().await;
        secrets.add("code", &code);
        let ask = site.get("/weapp/login").header("x-wx-code", &code);
        let ask = ask
            .header("x-wx-encrypted-data", data)
            .header("x-wx-iv", iv);
        answers.see(name, &ask.send().await, &[]);
        let spent = site
            .post("/weapp/session")
            .json(&json!({"code": code, "encryptedData": data}));
        answers.see(name, &spent.send().await, &[]);
    }
    let code = phone.code().await;
    secrets.add("code", &code);
    let broken = format!("{{\"code\":\"{code}\",");
    answers.see(
        "half a login",
        &site.post("/weapp/session").body(broken).send().await,
        &[],
    );
    for path in ["/weapp/user", "/nowhere", "/weapp/session", "/env2"] {
        for query in [format!("skey={skey}"), format!("token={token}&code={code}")] {
            let with = format!("{path}?{query}&secret={APP_SECRET}");
            answers.see(&with, &site.get(&with).send().await, &[]);
            // A redirect has to repeat what it redirects.
            let but = ["skey", "code", "WEAPPD_TOKEN", "AppSecret"];
            answers.see(&with, &plain.get(&with).send().await, &but);
        }
    }
    for (name, value) in [
        ("authorization", format!("Bearer {token}")),
        ("authorization", format!("Basic {skey}")),
        ("x-wx-skey", token.clone()),
        ("cookie", format!("skey={skey}")),
        ("origin", format!("https://{skey}.example")),
        ("referer", format!("https://localhost/?skey={skey}")),
    ] {
        for path in ["/weapp/user", "/shop"] {
            answers.see(name, &site.get(path).header(name, &value).send().await, &[]);
        }
        for path in ["/v1/session", "/v1/tunnels", "/weapp/user", "/none"] {
            answers.see(name, &api.get(path).header(name, &value).send().await, &[]);
        }
    }
    // Heads that are refused before anybody reads them.
    let tls = connector(&world.ca(), &[b"http/1.1"]);
    for head in [
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-WX-Skey: {skey}\0\r\n\r\n"),
        format!("GET /{skey}\0 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a/\r\nX-WX-Skey: {skey}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-WX-Skey {skey}\r\n\r\n"),
    ] {
        let answer = raw::ask_tls(world.https, &tls, head).await;
        secrets.absent_from("a refusal", answer.as_bytes(), &[]);
    }
}

/// What an operator prints.
fn commands(world: &TestWorld, secrets: &KnownSecrets) {
    for args in [
        &["check"][..],
        &["check", "--json"],
        &["app", "list"],
        &["app", "list", "--json"],
        &["app", "logs", "app"],
        &["app", "stop", "nobody"],
        &["serve"],
    ] {
        let output = world.command_with_secret(args);
        let said = [output.stdout, output.stderr].concat();
        secrets.absent_from(&format!("weappd {args:?}"), &said, &[]);
    }
    // The one that is meant to print a secret prints no other.
    let sdk = world.command_with_secret(&["sdk-config"]);
    secrets.absent_from("weappd sdk-config", &sdk.stdout, &["tunnel key"]);
    // A file whose every line is wrong shows its secrets to nobody.
    let broken = world.dir().join("broken.toml");
    let lines = format!(
        "domain = 1\nkey = \"{APP_SECRET}\"\nsecret = \"{APP_SECRET}\"\n[miniapp]\nappid = 1\nsecret = {APP_SECRET}\n\
         secret = {{ txt = \"{APP_SECRET}\" }}\n[tunnel]\nkey = [\"{TUNNEL_KEY}\"]\nkeys = \"{TUNNEL_KEY}\"\n"
    );
    for text in [
        lines.clone(),
        lines.replace(&format!("secret = {APP_SECRET}\n"), ""),
    ] {
        fs::write(&broken, text).expect("broken.toml");
        for args in [
            &["check", "--config", "broken.toml"][..],
            &["serve", "--config", "broken.toml"],
        ] {
            let output = world.command_with_secret(args);
            let said = [output.stdout, output.stderr].concat();
            secrets.absent_from(&format!("weappd {args:?}"), &said, &[]);
        }
    }
}
