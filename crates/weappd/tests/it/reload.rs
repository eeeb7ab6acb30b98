//! `weappd reload` and SIGHUP: what a changed weappd.toml changes, and what it leaves alone.

mod load;

use std::fs;
use std::net::SocketAddr;
use std::process::Output;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use rustix::process::Signal;
use tokio::net::TcpStream;

use crate::cert::{self, KeyForm};
use crate::files::{PNG, form, upload};
use crate::http::{self, TestClient};
use crate::process::{PATIENCE, free_ports};
use crate::raw::RawClient;
use crate::signals::hangups_count_again;
use crate::upstream;
use crate::world::{APPID, TestWorld, WorldRecipe};

impl TestWorld {
    /// Writes `to` in the place of `from` in weappd.toml.
    fn rewrite(&self, from: &str, to: &str) {
        let file = self.dir().join("weappd.toml");
        let toml = fs::read_to_string(&file).expect("weappd.toml");
        assert!(toml.contains(from), "no {from} in\n{toml}");
        fs::write(&file, toml.replacen(from, to, 1)).expect("weappd.toml");
    }

    /// `weappd reload`, which must succeed: what it says beside warnings.
    fn reload(&self) -> String {
        let output = self.command(&["reload"]);
        assert!(output.status.success(), "{}", words(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// The same after a change of weappd.toml.
    fn reload_with(&self, from: &str, to: &str) -> String {
        self.rewrite(from, to);
        self.reload()
    }
}

fn words(output: &Output) -> String {
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    format!("{out}{err}")
}

/// A server that answers every request with `word`.
fn answering(word: &'static str) -> SocketAddr {
    upstream::serve(axum::Router::new().fallback(move || async move { word }))
}

async fn said(site: &TestClient, path: &str) -> String {
    let answer = site.get(path).send().await;
    String::from_utf8_lossy(answer.body()).into_owned()
}

const ASK: &str = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test]
async fn sites_and_routes_change() {
    let (one, two) = (answering("one"), answering("two"));
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{one}\""))
        .file("page/index.html", "a page")
        .serve();
    let site = world.site();
    assert_eq!(said(&site, "/x").await, "one");
    // A connection that stays open sees the new table at its next request.
    let tls = http::connector(&world.ca(), &[]);
    let mut kept = RawClient::tls(world.https, &tls).await;
    kept.say(ASK).await.expect("sent");
    kept.until("one", |heard| heard.ends_with("one")).await;
    kept.forget();
    let told = world.reload_with(&format!("proxy = \"{one}\""), &format!("proxy = \"{two}\""));
    assert_eq!(told, "changed: proxy\n");
    assert_eq!(said(&site, "/x").await, "two");
    kept.say(ASK).await.expect("sent");
    kept.until("two", |heard| heard.ends_with("two")).await;
    let routes = format!(
        "routes = [{{ path = \"/\", proxy = \"{two}\" }}, {{ path = \"/page/*\", root = \".\" }}]"
    );
    world.reload_with(&format!("proxy = \"{two}\""), &routes);
    assert_eq!(said(&site, "/x").await, "two");
    assert_eq!(said(&site, "/page/").await, "a page");
    world.reload_with(&routes, &format!("proxy = \"{one}\""));
    assert_eq!(said(&site, "/page/").await, "one");
    // The same again changes nothing, and says so.
    let told = world.reload();
    assert!(told.contains("as it was"), "{told}");
}

#[tokio::test]
async fn listeners_come_and_go_and_certificates_are_read_anew() {
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{}\"", answering("one")))
        .serve();
    let [port] = free_ports();
    let more = SocketAddr::from(([127, 0, 0, 1], port));
    let own = format!("http = \"{}\"", world.http);
    world.reload_with(&own, &format!("http = [\"{}\", \"{more}\"]", world.http));
    let second = TestClient::http(more, "localhost");
    for client in [&world.plain().named("localhost"), &second] {
        let answer = client.get("/").send().await;
        assert!(answer.status().is_redirection(), "{answer:?}");
    }
    let told = words(&world.command(&["status"]));
    assert!(told.contains(&more.to_string()), "{told}");
    world.reload_with(
        &format!("http = [\"{}\", \"{more}\"]", world.http),
        &format!("http = \"{more}\""),
    );
    assert!(second.get("/").send().await.status().is_redirection());
    assert!(TcpStream::connect(world.http).await.is_err());

    // Another certificate at the same place, under another authority.
    let before = http::connector(&world.ca(), &[]);
    cert::issue(world.dir(), &["localhost"], KeyForm::default());
    world.reload();
    assert_eq!(said(&world.site(), "/").await, "one");
    let tcp = TcpStream::connect(world.https).await.expect("the site");
    let name = "localhost".try_into().expect("a name");
    let refused = before.connect(name, tcp).await;
    assert!(refused.is_err(), "the old certificate is still served");
}

#[tokio::test]
async fn limits_tokens_and_levels_change() {
    let app = upstream::serve(upstream::echo());
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{app}\""))
        .edge("max_body_bytes = 1000")
        .internal("token = \"first-token-of-the-internal-api-01\"")
        .sections("[files]\nmax_upload_bytes = 1000\n")
        .serve();
    let site = world.site();
    let large = || site.post("/x").body(vec![b'x'; 2000]).send();
    assert_eq!(large().await.status(), StatusCode::PAYLOAD_TOO_LARGE);
    world.reload_with("max_body_bytes = 1000", "max_body_bytes = 5000");
    assert_eq!(large().await.status(), StatusCode::OK);

    let api = world.api();
    let ask = |token: &str| {
        let bearer = format!("Bearer {token}");
        let api = api.clone();
        async move {
            let asked = api.get("/v1/session").header("authorization", &bearer);
            http::json(&asked.send().await)["error"]["code"].clone()
        }
    };
    let (first, second) = (
        "first-token-of-the-internal-api-01",
        "other-token-of-the-internal-api-02",
    );
    assert_eq!(ask(first).await, "no_session");
    assert_eq!(ask(second).await, "no_token");
    world.reload_with(first, second);
    assert_eq!(ask(first).await, "no_token");
    assert_eq!(ask(second).await, "no_session");

    let mut phone = world.phone("alice");
    phone.log_in().await;
    let file = || form("x.png", "image/png", &[PNG, &[0; 1500]].concat());
    let up = upload(&phone, &site, file()).await;
    assert_ne!(http::json(&up)["code"], 0);
    world.reload_with("max_upload_bytes = 1000", "max_upload_bytes = 10000");
    let up = upload(&phone, &site, file()).await;
    assert_eq!(http::json(&up)["code"], 0, "{up:?}");

    assert!(!world.transcript().contains(" DEBUG "));
    world.reload_with("level = \"info\"", "level = \"debug\"");
    let refused = upload(&phone, &site, form("x", "", &vec![b'x'; 20_000])).await;
    assert_ne!(http::json(&refused)["code"], 0);
    world.says(" DEBUG ").await;
    world.reload_with("level = \"debug\"", "level = \"warn\"");
    // The first was told by the log as well, the second is no warning.
    let told = world.transcript();
    assert_eq!(
        told.matches("reloaded; changed: log.level").count(),
        1,
        "{told}"
    );
}

#[tokio::test]
async fn mini_programs_come_change_and_go() {
    let world = WorldRecipe::new()
        .site(&format!(
            "proxy = \"{}\"",
            upstream::serve(upstream::echo())
        ))
        .serve();
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let mini = format!("[miniapp]\nappid = \"{APPID}\"\nsecret = {{ env = \"WEAPP_SECRET\" }}");
    let wrong = mini.replace(
        "{ env = \"WEAPP_SECRET\" }",
        "\"0123456789abcdef0123456789abcdef\"",
    );
    let told = world.reload_with(&mini, &wrong);
    assert!(told.contains("miniapp.secret"), "{told}");
    assert!(!told.contains("0123456789abcdef0123456789abcdef"));
    // Sessions stay; a login now fails at WeChat.
    assert_eq!(alice.user().await["code"], 0);
    let mut bob = world.phone("bob");
    let code = bob.code().await;
    let site = world.site();
    let refused = site.get("/weapp/login").header("x-wx-code", &code);
    assert_ne!(http::json(&refused.send().await)["code"], 0);
    world.reload_with(&wrong, &mini);
    bob.log_in().await;
    // Gone, and back: the session was kept.
    world.reload_with(&mini, "");
    let gone = alice.get("/weapp/user").await;
    assert!(!String::from_utf8_lossy(gone.body()).contains("\"code\":0"));
    world.reload_with("[wechat]", &format!("{mini}\n[wechat]"));
    assert_eq!(alice.user().await["code"], 0);
}

#[tokio::test]
async fn only_apps_that_changed_are_restarted() {
    const JS: &str = "require('http').createServer((q, a) => a.end(process.env.WORD + process.pid))\
                      .listen(process.env.PORT, '127.0.0.1');";
    let world = WorldRecipe::new()
        .file("app.js", JS)
        .site("routes = [{ path = \"/a/*\", app = \"a\" }, { path = \"/b/*\", app = \"b\" }]")
        .sections(
            "[apps.a]\nrun = \"node app.js\"\nenv = { WORD = \"a1-\" }\n\
             [apps.b]\nrun = \"node app.js\"\nenv = { WORD = \"b1-\" }\n",
        )
        .serve();
    let site = world.site();
    let (a, b) = (said(&site, "/a/").await, said(&site, "/b/").await);
    assert!(a.starts_with("a1-") && b.starts_with("b1-"), "{a} {b}");
    let told = world.reload_with("b1-", "b2-");
    assert_eq!(told, "changed: apps.b.env.WORD; app b restarts\n");
    // Meanwhile requests wait for it, as at any restart.
    until(async || said(&site, "/b/").await.starts_with("b2-")).await;
    assert_eq!(said(&site, "/a/").await, a);
    // A new one, and one that is gone.
    let c = "[apps.c]\nrun = \"node app.js\"\nenv = { WORD = \"c1-\" }\n[apps.b]";
    world.rewrite("[apps.b]", c);
    world.reload_with(
        "path = \"/a/*\", app = \"a\"",
        "path = \"/a/*\", app = \"c\"",
    );
    until(async || said(&site, "/a/").await.starts_with("c1-")).await;
    world.reload_with(
        "[apps.a]\nrun = \"node app.js\"\nenv = { WORD = \"a1-\" }\n",
        "",
    );
    until(async || {
        let list = words(&world.command(&["app", "list"]));
        !list.contains("a1-") && !list.lines().any(|line| line.starts_with("a "))
    })
    .await;
    assert_eq!(said(&site, "/b/").await.get(..3), Some("b2-"));
}

/// Waits until something is so.
async fn until(is_so: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "it never was so");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_says_why() {
    let _heard = hangups_count_again();
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{}\"", answering("one")))
        .serve();
    let site = world.site();
    let good = fs::read_to_string(world.dir().join("weappd.toml")).expect("weappd.toml");
    for (from, to, why) in [
        ("[edge]", "[edge", "unclosed table"),
        ("proxy = ", "proxi = ", "proxi"),
        (
            "cert = \"site.crt\"",
            "cert = \"nowhere.crt\"",
            "nowhere.crt",
        ),
        (
            "threads = 2",
            "threads = 2\nhead_timeout_secs = 0",
            "head_timeout_secs",
        ),
    ] {
        world.rewrite(from, to);
        let output = world.command(&["reload"]);
        let told = words(&output);
        assert!(!output.status.success(), "{from} -> {to}: {told}");
        assert!(
            told.contains(why) && told.contains("nothing changed"),
            "{told}"
        );
        assert_eq!(said(&site, "/").await, "one", "{from} -> {to}");
        fs::write(world.dir().join("weappd.toml"), &good).expect("weappd.toml");
    }
    // A port that another program has: found out after the file was checked.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken
        .local_addr()
        .map(|at| (taken, at))
        .expect("an address");
    let own = format!("http = \"{}\"", world.http);
    world.rewrite(
        &own,
        &format!("http = [\"{}\", \"{}\"]", world.http, taken.1),
    );
    let told = words(&world.command(&["reload"]));
    assert!(told.contains("another program"), "{told}");
    // By signal, the log says it.
    world.signal(Signal::HUP);
    world
        .says("weappd.toml was not taken, and nothing changed")
        .await;
    fs::write(world.dir().join("weappd.toml"), &good).expect("weappd.toml");
    world.signal(Signal::HUP);
    world.says("reloaded; weappd.toml is as it was").await;
    assert_eq!(said(&site, "/").await, "one");
}

#[tokio::test]
async fn who_asks_is_answered_in_their_language_and_the_log_is_english() {
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{}\"", answering("one")))
        .serve();
    let zh = ["--lang", "zh"];
    let status = words(&world.command(&[&["status"], &zh[..]].concat()));
    assert!(
        status.contains("内部接口") && status.contains("已运行"),
        "{status}"
    );
    let done = words(&world.command(&[&["reload"], &zh[..]].concat()));
    assert!(done.contains("weappd.toml 没有变化"), "{done}");
    world.says("reloaded; weappd.toml is as it was").await;
    world.rewrite("threads = 2", "threads = 2\nthreds = 2");
    let refused = words(&world.command(&[&["reload"], &zh[..]].concat()));
    for told in ["未知的键 `threds`", "什么都没有改变"] {
        assert!(refused.contains(told), "{refused}");
    }
    world.says("unknown key `threds`").await;
    let english = words(&world.command(&["reload", "--lang", "en"]));
    assert!(english.contains("unknown key `threds`"), "{english}");
    let log = world.transcript();
    assert!(!log.contains("未知") && !log.contains("没有变化"), "{log}");
}

#[tokio::test]
async fn what_needs_a_restart_is_named() {
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{}\"", answering("one")))
        .serve();
    let internal = format!("listen = \"{}\"", world.internal);
    let [port] = free_ports();
    world.rewrite(&internal, &format!("listen = \"127.0.0.1:{port}\""));
    world.rewrite("threads = 2", "threads = 3");
    let told = world.reload_with("[log]", "[log]\nformat = \"json\"");
    for key in ["edge.threads", "internal.listen", "log.format"] {
        let (_, restart) = told.split_once("after a restart of weappd: ").expect(&told);
        assert!(restart.contains(key), "{told}");
    }
    // The internal API is where the apps were told.
    let health = world.api().get("/healthz").send().await;
    assert_eq!(health.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_file_that_is_not_its_own_is_named() {
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{}\"", answering("one")))
        .serve();
    let own = world.command(&["reload", "--config", "./weappd.toml"]);
    assert!(own.status.success(), "{}", words(&own));
    assert!(!words(&own).contains("was started with"), "{}", words(&own));
    let copy = world.dir().join("other.toml");
    fs::copy(world.dir().join("weappd.toml"), copy).expect("a copy");
    // The running weappd is found, and reads what it was started with.
    for name in ["other.toml", "nowhere.toml"] {
        let other = words(&world.command(&["reload", "--config", name]));
        let told = format!("weappd.toml: that was read again, and not {name}");
        assert!(other.contains(&told), "{other}");
    }
}

#[tokio::test]
async fn dev_has_no_file_to_read_again() {
    let world = TestWorld::dev().await;
    let output = world.command(&["reload"]);
    assert!(!output.status.success());
    assert!(words(&output).contains("weappd dev"), "{}", words(&output));
}

/// Each file is the good one with a few places spoiled, the same ones in every run.
fn spoiled(good: &str, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut roll = move |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state >> 11).unwrap_or(0) % below.max(1)
    };
    let mut lines: Vec<String> = good.lines().map(str::to_owned).collect();
    for _ in 0..=roll(3) {
        let (at, other) = (roll(lines.len()), roll(lines.len()));
        match roll(6) {
            0 => drop(lines.remove(at)),
            1 => lines.swap(at, other),
            2 => lines.insert(at, lines[other].clone()),
            3 => lines[at] = lines[at].replace(['1', '2', '3'], "0"),
            4 => lines[at] = lines[at].replace(['"', '='], "\u{fffd}"),
            _ => {
                let words = [
                    "-1",
                    "99999999999999999999",
                    "true",
                    "\"\"",
                    "[]",
                    "{}",
                    "\"::\"",
                ];
                let (key, _) = lines[at].split_once('=').unwrap_or((&lines[at], ""));
                lines[at] = format!("{key}= {}", words[roll(words.len())]);
            }
        }
    }
    lines.join("\n").into_bytes()
}

#[tokio::test]
async fn no_file_takes_a_running_server_down() {
    const FILES: u64 = 80;
    let world = WorldRecipe::new()
        .site(&format!("proxy = \"{}\"", answering("one")))
        .edge("max_body_bytes = 100000\nhead_timeout_secs = 30\naccess_log = true")
        .sections(
            "[files]\nmax_upload_bytes = 100000\n[session]\nrecheck_secs = 60\n\
             [tunnel]\nkey = \"kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk\"\nheartbeat_secs = 15\n\
             [gateway]\ntimeout_ms = 30000\n",
        )
        .serve();
    let file = world.dir().join("weappd.toml");
    let good = fs::read_to_string(&file).expect("weappd.toml");
    let (mut taken, mut refused) = (0, 0);
    for seed in 0..FILES {
        fs::write(&file, spoiled(&good, seed)).expect("weappd.toml");
        let data_dir = world.dir().join(".weappd");
        let data_dir = data_dir.to_str().expect("text");
        let output = world.command(&["reload", "--data-dir", data_dir]);
        if output.status.success() {
            taken += 1;
        } else {
            refused += 1;
        }
        let health = world.api().get("/healthz").send().await;
        assert_eq!(
            health.status(),
            StatusCode::OK,
            "file {seed}: {}",
            words(&output)
        );
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
    fs::write(&file, &good).expect("weappd.toml");
    world.reload();
    assert_eq!(said(&world.site(), "/").await, "one");
    assert!(
        !world.transcript().contains("panicked"),
        "{}",
        world.transcript()
    );
}
