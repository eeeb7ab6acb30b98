//! `weappd version`, `status`, `logs` and `stop`, as people type them who know other servers.

use std::process::{Command, Output};

use rustix::process::Signal;
use serde_json::Value;

use crate::process::PATIENCE;
use crate::world::{TestWorld, WEAPPD, WorldRecipe, text};

const TALKER_JS: &str = r"
console.log('first of ' + process.env.NAME);
console.error('second of ' + process.env.NAME);
require('http').createServer((ask, answer) => answer.end('ok')).listen(process.env.PORT, '127.0.0.1');
";

fn stdout(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn of_two() -> TestWorld {
    let world = WorldRecipe::new()
        .file("talker.js", TALKER_JS)
        .site("routes = [{ path = \"/\", app = \"shop\" }]")
        .sections(
            "[apps.shop]\nrun = \"node talker.js\"\nenv = { NAME = \"shop\" }\n\
             [apps.talk]\nrun = \"node talker.js\"\nenv = { NAME = \"talk\" }",
        )
        .serve();
    for name in ["shop", "talk"] {
        world.says_in_logs(&format!("second of {name}")).await;
    }
    world
}

impl TestWorld {
    /// Waits until the apps have printed something.
    async fn says_in_logs(&self, words: &str) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while !stdout(&self.command(&["logs"])).contains(words) {
            assert!(
                std::time::Instant::now() < deadline,
                "{}",
                self.transcript()
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    }
}

#[test]
fn a_version_is_asked_for_in_every_usual_way() {
    let dir = tempfile::tempdir().expect("a directory");
    let wanted = format!("weappd {}\n", env!("CARGO_PKG_VERSION"));
    for word in ["version", "-v", "-V", "--version"] {
        let told = Command::new(WEAPPD)
            .current_dir(dir.path())
            .arg(word)
            .output()
            .expect("weappd runs");
        assert_eq!(stdout(&told), wanted, "{word}");
    }
    let help = Command::new(WEAPPD).arg("--help").output();
    let help = stdout(&help.expect("weappd runs"));
    for command in ["version", "status", "stop", "logs"] {
        assert!(
            help.contains(&format!("\n  {command} ")),
            "{command}: {help}"
        );
    }
}

#[test]
fn where_none_runs_each_of_them_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    for command in [&["status"][..], &["stop"], &["logs"], &["logs", "shop"]] {
        let told = Command::new(WEAPPD)
            .current_dir(dir.path())
            .args(command)
            .output()
            .expect("weappd runs");
        assert_eq!(told.status.code(), Some(1), "{command:?}");
        let words = String::from_utf8_lossy(&told.stderr).into_owned();
        assert!(words.contains("no weappd answers"), "{command:?}: {words}");
        assert!(words.contains("hint: "), "{command:?}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_runs_is_seen_heard_and_stopped() {
    let mut world = of_two().await;
    let pid = world.process().id();

    let words = stdout(&world.command(&["status"]));
    let first = format!(
        "weappd {} serve: process {pid}, up ",
        env!("CARGO_PKG_VERSION")
    );
    assert!(words.starts_with(&first), "{words}");
    for address in [world.http, world.https, world.internal] {
        assert!(words.contains(&address.to_string()), "{words}");
    }
    assert!(
        words.contains("\nshop ") && words.contains("\ntalk "),
        "{words}"
    );
    let json: Value =
        serde_json::from_str(&stdout(&world.command(&["status", "--json"]))).expect("JSON");
    assert_eq!(json["pid"], pid);
    assert_eq!(text(&json["apps"][1]["name"]), "talk");

    let all = stdout(&world.command(&["logs"]));
    for name in ["shop", "talk"] {
        assert!(all.contains(&format!("{name} | ")), "{all}");
        assert!(all.contains(&format!("first of {name}")), "{all}");
    }
    let one = stdout(&world.command(&["logs", "talk", "-n", "1"]));
    assert_eq!(one.lines().count(), 1, "{one}");
    assert!(
        !one.contains(" | "),
        "one app's lines are as they are: {one}"
    );
    let stranger = world.command(&["logs", "stranger"]);
    assert_eq!(stranger.status.code(), Some(1));

    let stopped = stdout(&world.command(&["stop"]));
    assert!(
        stopped.contains(&format!("weappd (process {pid}) stopped after ")),
        "{stopped}"
    );
    let status = world.process().wait(PATIENCE);
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{}",
        world.transcript()
    );
    assert_eq!(world.command(&["stop"]).status.code(), Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_is_stopped_so_too() {
    let mut world = TestWorld::dev().await;
    let words = stdout(&world.command(&["status"]));
    assert!(words.contains(" dev: process "), "{words}");
    assert!(words.contains(&world.wechat.to_string()), "{words}");
    let stopped = stdout(&world.command(&["stop"]));
    assert!(stopped.contains(" stopped after "), "{stopped}");
    let status = world.process().wait(PATIENCE);
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_until_the_end() {
    let world = of_two().await;
    let followed = Command::new(WEAPPD)
        .current_dir(world.dir())
        .args(["logs", "-f", "-n", "10"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("weappd runs");
    let restart = world.command(&["app", "restart", "shop"]);
    assert!(restart.status.success());
    world.end(Signal::TERM);
    let followed = followed.wait_with_output().expect("it ends with weappd");
    let told = String::from_utf8_lossy(&followed.stdout).into_owned();
    let begun = told.matches("shop | ").count();
    assert!(begun >= 4, "{told}");
    assert!(told.contains("talk | "), "{told}");
}
