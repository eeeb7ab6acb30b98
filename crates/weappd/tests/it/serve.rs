//! A new user's way: `weappd init`, `check`, `serve`; the tutorials' files; and every
//! configuration that cannot be served, told in full.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cert::{self, KeyForm};
use crate::http::{self, TestClient};
use crate::old_software::OldSoftware;
use crate::process::{PATIENCE, WeappdProcess, free_port, free_ports};
use crate::world::{WEAPPD, WorldRecipe, text};

/// What `weappd check` and `serve` end with when weappd.toml has problems.
const CONFIG_PROBLEMS: i32 = 78;

/// A business server with nothing to install: it tells who calls.
const APP_JS: &str = "require('http').createServer((ask, answer) => \
    answer.end(JSON.stringify({ path: ask.url, openid: ask.headers['x-wx-openid'] || null })))\
    .listen(process.env.PORT, '127.0.0.1');\n";

fn weappd(dir: &Path, args: &[&str]) -> Output {
    Command::new(WEAPPD)
        .current_dir(dir)
        .args(args)
        .env_remove("WEAPP_SECRET")
        .output()
        .expect("weappd runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The ports every test must move, as sections of weappd.toml.
fn ports() -> (SocketAddr, SocketAddr, String) {
    let [http, https, internal] = free_ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let lines = format!(
        "\n[edge]\nhttp = \"{http}\"\nhttps = \"{https}\"\n\n[internal]\nlisten = \"{internal}\"\n"
    );
    (http, https, lines)
}

/// Serves what stands in `dir` already.
fn serve(dir: &Path, secret: Option<&str>) -> WeappdProcess {
    let mut command = Command::new(WEAPPD);
    command.arg("serve").current_dir(dir);
    if let Some(secret) = secret {
        command.env("WEAPP_SECRET", secret);
    }
    let mut process = WeappdProcess::spawn("weappd serve", &mut command);
    process.expect_line("its internal API", |line| {
        line.trim_start().starts_with("Internal").then_some(())
    });
    process
}

/// Asks until the app behind is up.
async fn eventually(client: &TestClient, path: &str) -> http::HttpAnswer {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = client.get(path).send().await;
        if !matches!(answer.status().as_u16(), 502 | 503) || Instant::now() >= deadline {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn init_speaks_the_language_of_whoever_calls_it() {
    for (words, locale, chinese) in [
        (&["init"][..], "zh_CN.UTF-8", true),
        (&["init"], "en_US.UTF-8", false),
        (&["init", "--lang", "zh"], "C", true),
        (&["init", "--lang", "en"], "zh_CN.UTF-8", false),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let init = Command::new(WEAPPD)
            .current_dir(dir.path())
            .args(words)
            .env("LC_ALL", locale)
            .output()
            .expect("weappd runs");
        assert!(init.status.success(), "{}", stderr(&init));
        let said = String::from_utf8_lossy(&init.stdout).into_owned();
        let file = fs::read_to_string(dir.path().join("weappd.toml")).expect("a file");
        assert_eq!(said.contains("下一步"), chinese, "{said}");
        assert_eq!(file.contains("你的业务服务器"), chinese, "{words:?}");
        assert_eq!(file.contains("Your business server"), !chinese, "{words:?}");
        let mut check = Command::new(WEAPPD);
        check.current_dir(dir.path()).arg("check").args(&words[1..]);
        let check = check.env("LC_ALL", locale).output().expect("weappd runs");
        let told = stderr(&check);
        assert_eq!(told.contains("个问题"), chinese, "{told}");
        assert_eq!(told.contains("  改法："), chinese, "{told}");
        assert_eq!(told.contains("  help: "), !chinese, "{told}");
    }
}

#[test]
fn a_wrong_command_line_and_the_help_are_told_in_either_language() {
    let dir = tempfile::tempdir().expect("a directory");
    for (words, chinese, english) in [
        (
            &["chek"][..],
            "是不是想输入 check？",
            "similar subcommand exists: 'check'",
        ),
        (
            &["app", "stop"],
            "缺少参数：<NAME>",
            "required arguments were not provided",
        ),
        (
            &["dev", "--prot", "1"],
            "没有 --prot 这个参数",
            "unexpected argument '--prot'",
        ),
    ] {
        for (language, told) in [("zh", chinese), ("en", english)] {
            let ended = weappd(dir.path(), &[words, &["--lang", language]].concat());
            let said = stderr(&ended);
            assert_eq!(ended.status.code(), Some(2), "{said}");
            assert!(said.contains(told), "{said}");
        }
    }
    for (language, told) in [
        ("zh", "让这里运行的 weappd 有序停止"),
        ("en", "Stop the weappd"),
    ] {
        let ended = weappd(dir.path(), &["--lang", language, "stop", "--help"]);
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success() && said.contains(told), "{said}");
    }
}

#[test]
fn commands_say_in_either_language_that_nobody_answers() {
    let dir = tempfile::tempdir().expect("a directory");
    for words in [
        &["reload"][..],
        &["stop"],
        &["logs"],
        &["app", "list"],
        &["session", "list", "--openid", "o"],
        &["inbox", "status"],
    ] {
        for (language, said) in [("zh", ["错误：", "提示："]), ("en", ["error: ", "hint: "])]
        {
            let words = [words, &["--lang", language]].concat();
            let ended = weappd(dir.path(), &words);
            let told = stderr(&ended);
            assert_eq!(ended.status.code(), Some(1), "{words:?}: {told}");
            for said in said {
                assert!(told.contains(said), "{words:?}: {told}");
            }
            assert!(told.contains("control.sock"), "{words:?}: {told}");
        }
    }
}

#[tokio::test]
async fn a_new_user_gets_from_init_to_serve() {
    let dir = tempfile::tempdir().expect("a directory");
    let init = weappd(dir.path(), &["init"]);
    assert!(init.status.success(), "{}", stderr(&init));
    let words = String::from_utf8_lossy(&init.stdout).into_owned();
    assert!(words.contains("weappd check"), "{words}");
    let file = dir.path().join("weappd.toml");
    let mode = fs::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o077, 0, "the file holds a key");

    // Untouched, it says what is missing, at its place.
    let check = weappd(dir.path(), &["check"]);
    assert_eq!(check.status.code(), Some(CONFIG_PROBLEMS));
    let told = stderr(&check);
    for words in [
        "1_www.example.com_bundle.crt",
        "WEAPP_SECRET is not set",
        "2_www.example.com.key",
        "weappd.toml has 3 problems",
    ] {
        assert!(told.contains(words), "{words} in {told}");
    }

    // The user fills it in.
    let ca = cert::issue(dir.path(), &["localhost"], KeyForm::Pkcs1);
    let (http, https, lines) = ports();
    let toml = fs::read_to_string(&file).expect("weappd.toml");
    let toml = toml
        .replace("\"www.example.com\"", "\"localhost\"")
        .replace("1_www.example.com_bundle.crt", "site.crt")
        .replace("2_www.example.com.key", "site.key");
    fs::write(&file, toml + &lines).expect("weappd.toml");
    fs::write(dir.path().join("app.js"), APP_JS).expect("app.js");
    let check = Command::new(WEAPPD)
        .current_dir(dir.path())
        .arg("check")
        .env("WEAPP_SECRET", "a secret")
        .output()
        .expect("weappd runs");
    let told = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success(), "{told}{}", stderr(&check));
    assert!(told.contains("weappd.toml is fine"), "{told}");

    let mut process = serve(dir.path(), Some("a secret"));
    let site = TestClient::https(https, "localhost", &ca);
    let answer = eventually(&site, "/orders?id=1").await;
    assert_eq!(
        http::json(&answer),
        json!({"path": "/orders?id=1", "openid": null}),
        "{}",
        process.transcript()
    );
    let plain = TestClient::http(http, "localhost").get("/").send().await;
    assert_eq!(plain.status(), 301);

    // A file that is there is not overwritten.
    let again = weappd(dir.path(), &["init"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("--force"), "{}", stderr(&again));

    process.signal_leader(Signal::TERM);
    let ended = process.wait(PATIENCE).expect("weappd ends");
    assert_eq!(ended.code(), Some(0), "{}", process.transcript());
}

#[tokio::test]
async fn the_smallest_file_of_the_design_serves_login_and_app() {
    let world = WorldRecipe::new()
        .file("app.js", APP_JS)
        .sections("[app]\nrun = \"node app.js\"")
        .serve();
    world.app_ready().await;
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let answer = http::json(&phone.get("/whoami").await);
    let user = phone.user().await;
    assert_eq!(answer["openid"], user["data"]["openId"], "{user}");
    assert!(!text(&answer["openid"]).is_empty());
    let health = world.api().get("/healthz").send().await;
    assert_eq!(health.status(), 200);
}

#[tokio::test]
async fn every_form_of_private_key_is_taken() {
    for form in [KeyForm::Pkcs8, KeyForm::Pkcs1, KeyForm::Sec1] {
        let world = WorldRecipe::new().key(form).serve();
        let answer = world.site().get("/weapp/user").send().await;
        assert_eq!(http::json(&answer)["code"], -1, "{form:?}");
    }
}

#[tokio::test]
async fn the_tutorials_koa_is_reachable_over_https_by_four_lines() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/koa-hello");
    let toml = fs::read_to_string(example.join("weappd.toml")).expect("the example");
    let lines: Vec<_> = toml.lines().filter(|line| !line.is_empty()).collect();
    let keys: Vec<_> = lines
        .iter()
        .map(|line| line.split('=').next().unwrap_or_default().trim())
        .collect();
    assert_eq!(keys, ["domain", "cert", "key", "proxy"], "{toml}");

    let software = OldSoftware::install();
    let koa_port = free_port();
    let mut command = Command::new("node");
    command
        .arg(example.join("app.js"))
        .env("NODE_PATH", software.modules())
        .env("PORT", koa_port.to_string());
    let mut koa = WeappdProcess::spawn("koa-hello", &mut command);
    koa.expect_line("that it listens", |line| {
        line.starts_with("listening").then_some(())
    });

    let dir = tempfile::tempdir().expect("a directory");
    let ca = cert::issue(dir.path(), &["www.example.com"], KeyForm::Pkcs1);
    for (from, to) in [
        ("site.crt", "1_www.example.com_bundle.crt"),
        ("site.key", "2_www.example.com.key"),
    ] {
        fs::rename(dir.path().join(from), dir.path().join(to)).expect("renamed");
    }
    let (http, https, lines) = ports();
    let toml = toml.replace("1937", &koa_port.to_string());
    fs::write(dir.path().join("weappd.toml"), toml + &lines).expect("weappd.toml");
    let check = weappd(dir.path(), &["check"]);
    assert!(check.status.success(), "{}", stderr(&check));
    let _weappd = serve(dir.path(), None);

    let site = TestClient::https(https, "www.example.com", &ca);
    let hello = site.get("/").send().await;
    assert_eq!(hello.status(), 200);
    assert_eq!(http::json(&hello), json!({"hello": "world"}));
    let plain = TestClient::http(http, "www.example.com");
    let redirect = plain.get("/a?b=c").send().await;
    assert_eq!(redirect.status(), 301);
    assert_eq!(
        redirect.headers()["location"],
        format!("https://www.example.com:{}/a?b=c", https.port())
    );
    // Nobody may say who they are, also where no mini program is configured.
    let lie = site.get("/").header("X-WX-OPENID", "o-liar").send().await;
    assert_eq!(http::json(&lie), json!({"hello": "world"}));
}

/// A directory in which all but weappd.toml is right.
fn desk() -> TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    cert::issue(dir.path(), &["www.example.com"], KeyForm::default());
    dir
}

/// A broken file, and where and by which words each of its problems is told, in order.
type BrokenConfig = (&'static str, &'static [(u64, u64, &'static str)]);

const BROKEN: &[BrokenConfig] = &[
    // A public name without a certificate: never one that signs itself, by surprise.
    (
        "domain = \"www.example.com\"\nproxy = 1937\n",
        &[(1, 10, "has no certificate")],
    ),
    (
        "domain = \"www.example.com\"\ntls = \"auto\"\nproxy = 1937\n",
        &[(2, 7, "has no certificate")],
    ),
    (
        "domian = \"www.example.com\"\ncert = \"site.crt\"\nkey = \"site.key\"\nprxy = 1937\n",
        &[
            (1, 1, "unknown key `domian`"),
            (2, 8, "of no site"),
            (4, 1, "unknown key `prxy`"),
            (0, 0, "no site is configured"),
        ],
    ),
    (
        "domain = \"www.example.com\"\ncert = \"gone.crt\"\nkey = \"site.key\"\nproxy = 99999\n\
         [miniapp]\nappid = 7\n[edge]\nhttp = \"nowhere\"\nmax_headers = 1\n[internal]\nlisten = \"0.0.0.0:1\"\n",
        &[
            (2, 8, "gone.crt"),
            (4, 9, "99999"),
            (5, 2, "secret"),
            (6, 9, "expected text"),
            (8, 8, "nowhere"),
            (9, 15, "max_headers"),
            (11, 10, "other machines"),
        ],
    ),
    (
        "domain = www.example.com\n[app\n",
        &[(1, 10, ""), (2, 5, "")],
    ),
    ("{ \"domain\": \"www.example.com\" }\n", &[(1, 1, "")]),
    (
        "domain = \"www.example.com\"\ncert = \"site.crt\"\nkey = \"site.key\"\n[miniapp]\n\
         appid = \"wx0123456789abcdef\"\nsecret = { env = \"WEAPP_SECRET\" }\n[app]\nrun = \"node app.js && true\"\n",
        &[(6, 18, "WEAPP_SECRET is not set"), (8, 7, "shell")],
    ),
    // WeChat's name, as a hosts file may lead it: to the front door, and to the internal API.
    (
        "domain = \"www.example.com\"\ncert = \"site.crt\"\nkey = \"site.key\"\nproxy = 1\n[miniapp]\n\
         appid = \"wx0123456789abcdef\"\nsecret = \"5ec2e70f7e57a99000000000c0ffee11\"\n\
         [wechat]\nendpoint = \"https://localhost\"\n",
        &[(9, 12, "come back to weappd: localhost is")],
    ),
    (
        "domain = \"www.example.com\"\ntls = \"off\"\nproxy = 1\n[miniapp]\n\
         appid = \"wx0123456789abcdef\"\nsecret = \"5ec2e70f7e57a99000000000c0ffee11\"\n\
         [wechat]\nendpoint = \"http://127.0.0.1:8081\"\n",
        &[(8, 12, "come back to weappd: weappd itself listens")],
    ),
];

#[test]
fn every_problem_of_a_broken_file_is_told_at_once_with_place_and_hint() {
    for (toml, expected) in BROKEN {
        let dir = desk();
        fs::write(dir.path().join("weappd.toml"), toml).expect("weappd.toml");
        let json = weappd(dir.path(), &["check", "--json"]);
        assert_eq!(json.status.code(), Some(CONFIG_PROBLEMS), "{toml}");
        let told: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        assert_eq!(told["ok"], false);
        let errors: Vec<_> = (told["problems"].as_array().expect("a list").iter())
            .filter(|problem| problem["severity"] == "error")
            .collect();
        let places: Vec<_> = errors
            .iter()
            .map(|error| {
                let at = |key: &str| error[key].as_u64().unwrap_or(0);
                (at("line"), at("column"))
            })
            .collect();
        let wanted: Vec<_> = expected
            .iter()
            .map(|(line, column, _)| (*line, *column))
            .collect();
        assert_eq!(places, wanted, "{toml}\n{told:#}");

        for command in ["check", "serve"] {
            let told = weappd(dir.path(), &[command]);
            assert_eq!(
                told.status.code(),
                Some(CONFIG_PROBLEMS),
                "{command} {toml}"
            );
            let words = stderr(&told);
            for (line, column, what) in *expected {
                let place = format!("weappd.toml:{line}:{column}]");
                assert!(
                    *line == 0 || words.contains(&place),
                    "{place} {what}: {words}"
                );
                assert!(words.contains(what), "{what}: {words}");
            }
        }
        for (error, (.., what)) in errors.iter().zip(*expected) {
            assert!(text(&error["message"]).contains(what), "{error}");
            // The words of the TOML grammar say by themselves what to write.
            assert!(
                what.is_empty() || error["hint"].is_string(),
                "no hint: {error}"
            );
        }
        assert!(
            !dir.path().join(".weappd").exists(),
            "a broken file leaves no trace"
        );
    }
}

#[test]
fn a_reader_who_leaves_early_is_no_crash() {
    let dir = desk();
    for args in [&["completions", "zsh"][..], &["check", "--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = Command::new(WEAPPD)
            .args(args)
            .current_dir(dir.path())
            .stdout(writer)
            .output()
            .expect("weappd");
        let said = stderr(&ended);
        assert!(!said.contains("panicked"), "{args:?}: {said}");
    }
}

#[test]
fn a_missing_file_and_a_good_one_are_told_apart() {
    let dir = desk();
    let missing = weappd(dir.path(), &["serve"]);
    assert_eq!(missing.status.code(), Some(CONFIG_PROBLEMS));
    assert!(
        stderr(&missing).contains("weappd init"),
        "{}",
        stderr(&missing)
    );

    let toml =
        "domain = \"www.example.com\"\ncert = \"site.crt\"\nkey = \"site.key\"\nproxy = 1937\n";
    fs::write(dir.path().join("weappd.toml"), toml).expect("weappd.toml");
    let good = weappd(dir.path(), &["check", "--json"]);
    assert!(good.status.success(), "{}", stderr(&good));
    let told: Value = serde_json::from_slice(&good.stdout).expect("JSON");
    assert_eq!(told["ok"], true, "{told}");

    // It may be served while its certificate is of another name, but not in silence.
    let toml = toml.replace("www.example.com", "other.example.com");
    fs::write(dir.path().join("weappd.toml"), toml).expect("weappd.toml");
    let doubtful = weappd(dir.path(), &["check", "--json"]);
    let told: Value = serde_json::from_slice(&doubtful.stdout).expect("JSON");
    let problems = told["problems"].as_array().expect("a list");
    let of_name =
        |problem: &&Value| text(&problem["message"]).contains("not cover other.example.com");
    let problem = problems.iter().find(of_name).expect("a warning");
    assert_eq!(problem["severity"], "warning", "{told}");
    assert!(doubtful.status.success());
    let strict = weappd(dir.path(), &["check", "--strict", "weappd.toml"]);
    assert_eq!(strict.status.code(), Some(CONFIG_PROBLEMS));
    assert!(stderr(&strict).contains("--strict"), "{}", stderr(&strict));
}

#[test]
fn a_port_that_is_taken_is_told_with_who_and_what_to_do() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken
        .local_addr()
        .map(|addr| (addr, taken))
        .expect("an address");
    let (dir, others) = (desk(), free_ports::<2>());
    let toml = format!(
        "domain = \"www.example.com\"\ncert = \"site.crt\"\nkey = \"site.key\"\nproxy = 1937\n\
         [edge]\nhttp = \"{}\"\nhttps = \"127.0.0.1:{}\"\n[internal]\nlisten = \"127.0.0.1:{}\"\n",
        taken.0, others[0], others[1]
    );
    fs::write(dir.path().join("weappd.toml"), toml).expect("weappd.toml");
    let failed = weappd(dir.path(), &["serve"]);
    assert_eq!(failed.status.code(), Some(1));
    let words = stderr(&failed);
    assert!(words.contains(&taken.0.to_string()), "{words}");
    assert!(words.contains("[edge]"), "{words}");
}

/// The ports on which a process listens.
fn listening(pid: u32) -> HashSet<u16> {
    let fds = fs::read_dir(format!("/proc/{pid}/fd")).expect("its descriptors");
    let sockets: HashSet<String> = fds
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .filter_map(|link: PathBuf| {
            let link = link.to_string_lossy().into_owned();
            let inode = link.strip_prefix("socket:[")?.strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    let mut ports = HashSet::new();
    for table in ["tcp", "tcp6"] {
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).expect("a table");
        for line in text.lines().skip(1) {
            let columns: Vec<_> = line.split_whitespace().collect();
            let (local, state, inode) = (columns[1], columns[3], columns[9]);
            if state == "0A" && sockets.contains(inode) {
                let port = local.rsplit(':').next().unwrap_or_default();
                ports.insert(u16::from_str_radix(port, 16).expect("a port"));
            }
        }
    }
    ports
}

#[tokio::test]
async fn nothing_of_the_simulator_is_there_in_production() {
    let mut world = WorldRecipe::new().serve();
    let expected = [world.http, world.https, world.internal].map(|addr| addr.port());
    let pid = world.process().id();
    assert_eq!(listening(pid), HashSet::from(expected));

    let paths = [
        "/phone/alice/login",
        "/phone/alice",
        "/_dev/",
        "/_dev/page.js",
        "/_dev/events",
        "/sns/jscode2session?appid=a&secret=b&js_code=c",
        "/",
    ];
    let plain = TestClient::http(world.http, "localhost");
    for (client, is_internal) in [(world.site(), false), (world.api(), true)] {
        for path in paths {
            for answer in [
                client.get(path).send().await,
                client.post(path).body("{}").send().await,
            ] {
                // WeChat itself answers, asked by the gateway of the internal API.
                if is_internal && path.starts_with("/sns/") {
                    assert!(answer.headers().contains_key("x-openapi-seqid"), "{path}");
                    continue;
                }
                assert_eq!(answer.status(), 404, "{path}: {:?}", answer.body());
            }
        }
    }
    for path in paths {
        let answer = plain.post(path).send().await;
        assert_eq!(answer.status(), 308, "{path}");
    }
    // With tunnels there is one door more, for callbacks, and it leads to the site alone.
    let mut tunnels = WorldRecipe::new()
        .sections("[tunnel]\nkey = \"a-key\"")
        .serve();
    let ours = [tunnels.http, tunnels.https, tunnels.internal].map(|addr| addr.port());
    let all = listening(tunnels.process().id());
    let more: Vec<_> = all.difference(&HashSet::from(ours)).copied().collect();
    let [side] = more.as_slice() else {
        panic!("{more:?} beside {ours:?}");
    };
    let side = TestClient::http(SocketAddr::from(([127, 0, 0, 1], *side)), "localhost");
    for path in paths {
        assert_eq!(side.post(path).send().await.status(), 404, "{path}");
    }
    // The internal API stays inside.
    let public = world.site();
    for path in [
        "/mina_auth/",
        "/get/wsurl",
        "/ws/push",
        "/v1/session",
        "/v1/sign",
        "/healthz",
    ] {
        for client in [&public, &side] {
            let answer = client.post(path).body("{}").send().await;
            assert_eq!(answer.status(), 404, "{path}");
        }
    }
}

#[test]
fn every_port_that_is_taken_is_named_at_once() {
    let taken = [(); 3].map(|()| std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
    let [http, internal, wechat] = taken
        .each_ref()
        .map(|socket| socket.local_addr().expect("it"));
    for (at, taken) in [
        ("all", vec![http, internal, wechat]),
        ("two", vec![internal, wechat]),
        ("one", vec![wechat]),
    ] {
        let dir = desk();
        let [one, other] = free_ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
        let port =
            |wish: SocketAddr, free: SocketAddr| if taken.contains(&wish) { wish } else { free };
        let toml = format!(
            "domain = \"localhost\"\ntls = \"off\"\nproxy = 1\n[edge]\nhttp = \"{}\"\n\
             [internal]\nlisten = \"{}\"\nwechat_https = \"{wechat}\"\n",
            port(http, one),
            port(internal, other),
        );
        fs::write(dir.path().join("weappd.toml"), toml).expect("weappd.toml");
        let told = weappd(dir.path(), &["serve"]);
        assert_eq!(told.status.code(), Some(1), "{at}");
        let words = stderr(&told);
        // A free port may be lost to another test before weappd has it.
        let told = words.matches("error: ").count();
        assert!(told == 3 || taken.len() < 3, "{at}: {words}");
        for address in taken {
            let named = format!("cannot listen on {address}: another program already does");
            assert!(words.contains(&named), "{at}: {words}");
        }
    }
}

#[test]
fn both_signals_end_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut world = WorldRecipe::new().serve();
        let process = world.process();
        process.signal_leader(signal);
        let ended = process.wait(PATIENCE).expect("weappd ends");
        assert_eq!(ended.code(), Some(0), "{}", process.transcript());
    }
}
