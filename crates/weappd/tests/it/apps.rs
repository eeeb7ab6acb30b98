//! `weappd app …` against a running `weappd serve`, with a business server that can be
//! told to crash.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::family;
use crate::http::json;
use crate::process::{PATIENCE, WeappdProcess};
use crate::world::{APP_SECRET, APPID, TestWorld, WEAPPD, WorldRecipe, text};

/// Listens a moment after it began, as real servers do; `/crash` is what no server wants.
const SHOP_JS: &str = r"
console.log('shop begins as ' + process.pid);
console.error('a word on stderr');
const child = process.env.WITH_CHILD && require('child_process').spawn('sleep', ['600']);
const server = require('http').createServer((ask, answer) => {
  if (ask.url === '/crash') { console.log('shop crashes'); process.exit(1); }
  if (ask.url === '/env') return answer.end(JSON.stringify(process.env));
  if (ask.url.startsWith('/say/')) console.log('said ' + ask.url.slice(5));
  answer.end(JSON.stringify({ pid: process.pid }));
});
setTimeout(() => server.listen(process.env.PORT, '127.0.0.1'), 200);
process.on('SIGTERM', () => { console.log('shop says goodbye'); process.exit(0); });
";

fn shop() -> WorldRecipe {
    WorldRecipe::new()
        .file("shop.js", SHOP_JS)
        .site("routes = [{ path = \"/\", app = \"shop\" }]")
        .sections("[apps.shop]\nrun = \"node shop.js\"")
        // A busy machine starts Node slowly.
        .edge("hold_ms = 15000")
}

async fn pid(world: &TestWorld) -> u64 {
    let answer = world.site().get("/").send().await;
    assert_eq!(answer.status(), 200, "{}", world.transcript());
    json(&answer)["pid"].as_u64().expect("a pid")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The one instance of an app, as `weappd app list --json` has it.
fn instance(world: &TestWorld, app: &str) -> Value {
    let list = world.command(&["app", "list", "--json"]);
    let apps: Value = serde_json::from_slice(&list.stdout).expect("JSON");
    let apps = apps.as_array().expect("a list").iter();
    let found = apps
        .filter(|found| found["name"] == app)
        .collect::<Vec<_>>();
    assert_eq!(found.len(), 1, "{}", stdout(&list));
    found[0]["instances"][0].clone()
}

#[tokio::test]
async fn a_crash_is_answered_with_a_restart_and_nobody_is_turned_away() {
    let world = shop().serve();
    let first = pid(&world).await;
    for round in 1..=3_u64 {
        let before = pid(&world).await;
        let crash = world.site().get("/crash").send().await;
        assert_eq!(crash.status(), 502, "the request that killed it is lost");
        // Everybody who comes meanwhile is held, at once and together.
        let mut answers = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let site = world.site();
            answers.spawn(async move { site.get("/").send().await });
        }
        let mut pids = HashSet::new();
        while let Some(answer) = answers.join_next().await {
            let answer = answer.expect("an answer");
            assert_eq!(
                answer.status(),
                200,
                "round {round}: {}",
                world.transcript()
            );
            pids.insert(json(&answer)["pid"].as_u64().expect("a pid"));
        }
        assert_eq!(pids.len(), 1);
        assert!(!pids.contains(&before), "another process answers now");
        let shop = instance(&world, "shop");
        assert_eq!(shop["restarts"], round, "{shop}");
        assert_eq!(shop["last_ending"]["code"], 1, "{shop}");
    }
    assert_ne!(pid(&world).await, first);
}

#[tokio::test]
async fn stop_start_and_restart_do_what_they_say() {
    let world = shop().serve();
    let first = pid(&world).await;
    let list = stdout(&world.command(&["app", "list"]));
    assert!(list.contains("shop") && list.contains("ready"), "{list}");
    assert!(list.contains(&first.to_string()), "{list}");

    let done = world.command(&["app", "restart", "shop"]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(stdout(&done), "shop restarted\n");
    let second = pid(&world).await;
    assert_ne!(second, first);

    let done = world.command(&["app", "stop", "shop"]);
    assert_eq!(stdout(&done), "shop stopped\n", "{}", stderr(&done));
    let shop = instance(&world, "shop");
    assert_eq!(shop["pid"], Value::Null, "{shop}");
    let again = world.command(&["app", "stop", "shop"]);
    assert!(
        again.status.success(),
        "stopping twice is fine: {}",
        stderr(&again)
    );
    assert!(
        !Path::new(&format!("/proc/{second}")).exists(),
        "it is gone"
    );

    let done = world.command(&["app", "start", "shop"]);
    assert_eq!(stdout(&done), "shop started\n", "{}", stderr(&done));
    let third = pid(&world).await;
    assert_ne!(third, second);
    let again = world.command(&["app", "start", "shop"]);
    assert!(
        again.status.success(),
        "starting twice is fine: {}",
        stderr(&again)
    );
    assert_eq!(pid(&world).await, third, "and changes nothing");
}

#[tokio::test]
async fn a_stopped_app_is_503_in_words_after_the_hold() {
    let world = WorldRecipe::new()
        .file("shop.js", SHOP_JS)
        .site("routes = [{ path = \"/\", app = \"shop\" }]")
        .sections("[apps.shop]\nrun = \"node shop.js\"\nautostart = false")
        .edge("hold_ms = 100")
        .serve();
    let answer = world.site().get("/").send().await;
    assert_eq!(answer.status(), 503);
    assert_eq!(json(&answer)["error"]["code"], "app_not_ready");
    assert_eq!(answer.headers()["retry-after"], "2");
}

#[tokio::test]
async fn output_is_kept_and_followed() {
    let world = shop().serve();
    let pid = pid(&world).await;
    for word in ["one", "two", "three"] {
        world.site().get(&format!("/say/{word}")).send().await;
    }
    let deadline = Instant::now() + PATIENCE;
    let all = loop {
        let logs = world.command(&["app", "logs", "shop"]);
        assert!(logs.status.success(), "{}", stderr(&logs));
        if stdout(&logs).contains("said three") {
            break stdout(&logs);
        }
        assert!(Instant::now() < deadline, "{}", stdout(&logs));
    };
    assert!(all.contains(&format!("shop begins as {pid}")), "{all}");
    assert!(all.contains("a word on stderr"), "{all}");
    let two = stdout(&world.command(&["app", "logs", "shop", "-n", "2"]));
    assert!(
        two.contains("said two") && two.contains("said three"),
        "{two}"
    );
    assert!(!two.contains("said one"), "{two}");
    assert_eq!(two.lines().count(), 2, "{two}");

    let mut command = Command::new(WEAPPD);
    command
        .current_dir(world.dir())
        .args(["app", "logs", "-f", "-n", "1", "shop"]);
    let mut follower = WeappdProcess::spawn("weappd app logs -f", &mut command);
    follower.expect_line("the last line", |line| {
        line.contains("said three").then_some(())
    });
    for word in ["four", "five"] {
        world.site().get(&format!("/say/{word}")).send().await;
        follower.expect_line(word, |line| line.contains(word).then_some(()));
    }
    // The follower ends with weappd, not before.
    assert!(follower.wait(Duration::ZERO).is_none());
    let (_dir, _) = world.end(Signal::TERM);
    let ended = follower.wait(PATIENCE).expect("it ends");
    assert_eq!(ended.code(), Some(0));
}

#[tokio::test]
async fn an_app_gets_what_it_needs_and_no_secret_of_weappd() {
    let world = shop()
        .sections(
            "env = { COLOUR = \"green\", DB_PASSWORD = \"its own\" }\npass_env = [\"CI_TOKEN\"]",
        )
        .sections("[tunnel]\nkey = \"the-key-of-the-tunnel\"")
        .edge("env_id = \"prod-1a2b3c\"")
        .env("WEAPP_OTHER", "hidden")
        .env("MYSQL_PASSWORD", "hidden")
        .env("GITHUB_TOKEN", "hidden")
        .env("CI_TOKEN", "wanted")
        .env("PLAIN", "seen")
        .serve();
    let env = json(&world.site().get("/env").send().await);
    let port = text(&env["PORT"]).parse::<u16>().expect("a port");
    assert_eq!(instance(&world, "shop")["port"], port);
    assert_eq!(
        env["WEAPPD_INTERNAL_URL"],
        format!("http://{}", world.internal)
    );
    assert_eq!(env["WEAPPD_SERVER_HOST"], "localhost");
    assert_eq!(env["WEAPPD_TUNNEL_KEY"], "the-key-of-the-tunnel");
    assert_eq!(env["CBR_ENV_ID"], "prod-1a2b3c");
    assert_eq!(env["COLOUR"], "green");
    assert_eq!(env["DB_PASSWORD"], "its own");
    assert_eq!(env["CI_TOKEN"], "wanted");
    assert_eq!(env["PLAIN"], "seen");
    for name in [
        "WEAPP_SECRET",
        "WEAPP_OTHER",
        "MYSQL_PASSWORD",
        "GITHUB_TOKEN",
    ] {
        assert!(env[name].is_null(), "{name}");
    }
    assert!(!env.to_string().contains(APP_SECRET));

    // The token opens the internal API's own part, and nothing else does.
    let api = world.api();
    let mut phone = world.phone("alice");
    phone.log_in().await;
    let skey = phone.skey.clone().expect("logged in");
    let bearer = format!("Bearer {}", text(&env["WEAPPD_TOKEN"]));
    let ask = api.get("/v1/session").header("authorization", &bearer);
    let who = json(&ask.header("x-wx-skey", &skey).send().await);
    assert_eq!(who["openid"], phone.user().await["data"]["openId"], "{who}");
    for (appid, status) in [(APPID, 200), ("wxffffffffffffffff", 401), ("", 401)] {
        let path = format!("/v1/session?appid={appid}");
        let ask = api.get(&path).header("authorization", &bearer);
        let who = ask.header("x-wx-skey", &skey).send().await;
        assert_eq!(who.status(), status, "of {appid:?} only");
    }
    for wrong in ["", "Bearer ", "Bearer x", &bearer[..bearer.len() - 1]] {
        let ask = api.get("/v1/session").header("authorization", wrong);
        let who = ask.header("x-wx-skey", &skey).send().await;
        assert_eq!(who.status(), 401, "{wrong}");
    }
}

#[tokio::test]
async fn everything_an_app_started_ends_with_weappd() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut world = shop().sections("env = { WITH_CHILD = \"1\" }").serve();
        pid(&world).await;
        let all = family::of(world.process().id());
        let count = |name: &str| all.iter().filter(|one| one.command() == name).count();
        assert_eq!(count("sleep"), 1, "{all:?}");
        let (dir, took) = world.end(signal);
        family::gone(&all).await;
        assert!(took < Duration::from_secs(10), "{took:?}");
        let logs = std::fs::read_dir(dir.path().join(".weappd")).expect("state");
        assert!(logs.count() > 0);
    }
    // Killed without a word, it cannot tell them; the app itself goes all the same.
    let mut world = shop().serve();
    pid(&world).await;
    let all = family::of(world.process().id());
    let (dir, _) = world.end(Signal::KILL);
    family::gone(&all).await;
    drop(dir);
}

#[tokio::test]
async fn one_that_crashes_at_once_is_tried_ever_more_slowly_and_weappd_lives_on() {
    let world = WorldRecipe::new()
        .site("routes = [{ path = \"/\", app = \"broken\" }]")
        .sections(
            "[apps.broken]\nrun = [\"sh\", \"-c\", \"echo no such database; exit 3\"]\n\
             restart = { max_tries = 3, backoff_ms = 10 }",
        )
        .edge("hold_ms = 100")
        .serve();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let broken = instance(&world, "broken");
        if text(&broken["summary"]) != "starting" && broken["restarts"].as_u64() >= Some(2) {
            assert_eq!(broken["last_ending"]["code"], 3, "{broken}");
            break;
        }
        assert!(
            Instant::now() < deadline,
            "{broken}\n{}",
            world.transcript()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let logs = stdout(&world.command(&["app", "logs", "broken"]));
    assert!(logs.contains("no such database"), "{logs}");
    assert_eq!(world.site().get("/").send().await.status(), 503);
    let login = world.site().get("/weapp/user").send().await;
    assert_eq!(json(&login)["error"], "ERR_SKEY_INVALID");
}

#[tokio::test]
async fn mistakes_are_told_in_words() {
    let world = shop().serve();
    for args in [
        &["app", "stop", "shpo"][..],
        &["app", "start", "../x"],
        &["app", "restart", "shop/"],
        &["app", "logs", "nobody"],
        &["app", "logs", "-f", "nobody"],
    ] {
        let failed = world.command(args);
        assert_eq!(failed.status.code(), Some(1), "{args:?}");
        let words = stderr(&failed);
        let name = args.last().expect("a name");
        assert!(words.contains("there is no app named"), "{args:?}: {words}");
        assert!(words.contains(name), "{args:?}: {words}");
        assert!(words.contains("weappd app list"), "{args:?}: {words}");
    }
    let usage = world.command(&["app", "destroy", "shop"]);
    assert_eq!(usage.status.code(), Some(2));

    let (dir, _) = world.end(Signal::TERM);
    for args in [
        &["app", "list"][..],
        &["app", "stop", "shop"],
        &["app", "logs", "shop"],
    ] {
        let failed = Command::new(WEAPPD)
            .current_dir(dir.path())
            .args(args)
            .output()
            .expect("weappd runs");
        assert_eq!(failed.status.code(), Some(1), "{args:?}");
        let words = stderr(&failed);
        assert!(words.contains("no weappd answers"), "{words}");
        assert!(words.contains("weappd serve"), "{words}");
    }
}
