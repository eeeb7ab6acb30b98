//! How processes end, and whom they take along.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tokio::time::{sleep, timeout};
use weappd_base::fair_timer::FairTimer;

use super::{PATIENCE, World, group, kill, lives, parts, sh, this, with};
use crate::app::{ExitReason, InstanceState, InstanceView};
use crate::error::Error;
use crate::procfs;
use crate::supervisor::AppSupervisor;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_ending_is_told_apart() {
    let never = json!({"restart": {"when": "never"}});
    let app = |script: &str| with(sh(script), never.clone());
    let hang = json!({"listens": true, "ready": {"timeout_ms": 50}});
    let stop = json!({"restart": {"stop_exit_codes": [7]}});
    let world = World::with([
        ("zero", app("exit 0")),
        ("three", app("exit 3")),
        ("signal", app("kill -9 $$")),
        ("hang", with(app("exec sleep 600"), hang)),
        ("code", with(sh("exit 7"), stop)),
    ]);
    for (name, ending) in [
        ("zero", ExitReason::Exited { code: 0 }),
        ("three", ExitReason::Exited { code: 3 }),
        ("signal", ExitReason::Signalled { signal: 9 }),
        ("hang", ExitReason::HungAtStart { after_ms: 50 }),
        ("code", ExitReason::Exited { code: 7 }),
    ] {
        let down = |view: &InstanceView| matches!(view.state, InstanceState::Down { .. });
        let view = world.until(name, down).await;
        assert_eq!(view.last_ending, Some(ending), "{name}");
        assert_eq!(view.pid, None, "{name}");
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_is_answered_at_once() {
    let world = World::with([("shop", json!({"run": this(&["serve"])}))]);
    let before = world.ready("shop").await.pid.expect("a pid");
    let mut addresses = world.apps.addresses();
    let old = addresses.borrow_and_update()["shop"].clone();
    kill(before);
    let begun = FairTimer::start();
    addresses.changed().await.expect("open");
    assert!(
        addresses.borrow_and_update()["shop"].is_empty(),
        "taken down first"
    );
    let new = world.addresses("shop", 1).await;
    let took = begun.fair();
    assert_ne!(old, new, "another port, another process");
    let view = world.ready("shop").await;
    assert_ne!(view.pid, Some(before));
    assert_eq!(view.last_ending, Some(ExitReason::Signalled { signal: 9 }));
    assert_eq!(view.restarts, 1);
    assert!(took < Duration::from_secs(2), "{took:?}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_loop_waits_visibly_and_starts_when_told() {
    let waits = json!({"restart": {"backoff_ms": 12_000}});
    let world = World::with([("w", with(sh("echo try; exit 1"), waits))]);
    let waits = |tries: u32| {
        move |view: &InstanceView| {
            view.restarts == tries
                && matches!(view.state, InstanceState::Waiting { failures: 2, .. })
        }
    };
    let view = world.until("w", waits(1)).await;
    assert!(view.summary.contains("next try in 1"), "{}", view.summary);
    let log = world.logged("w", "next try in 1").await;
    assert_eq!(log.matches("out try").count(), 2);
    assert!(log.find("try\n") < log.find("exited with code 1"), "{log}");
    world.apps.start("w").await.expect("started");
    let view = world.until("w", waits(3)).await;
    assert_eq!(view.last_ending, Some(ExitReason::Exited { code: 1 }));
    world.apps.stop("w", None).await.expect("stopped");
    assert_eq!(world.one("w").await.state, InstanceState::Stopped);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_ignores_the_signal_is_killed() {
    let deaf = sh("trap '' TERM; echo up; while :; do sleep 0.1; done");
    let world = World::with([("w", with(deaf, json!({"stop": {"grace_ms": 60_000}})))]);
    world.logged("w", "out up").await;
    let pid = world.ready("w").await.pid.expect("a pid");
    let begun = FairTimer::start();
    let grace = Some(Duration::from_millis(100));
    world.apps.stop("w", grace).await.expect("stopped");
    assert!(begun.fair() < Duration::from_secs(5));
    let view = world.one("w").await;
    assert_eq!(
        (view.state, view.last_ending),
        (InstanceState::Stopped, Some(ExitReason::Killed))
    );
    assert_eq!(group(pid), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_house_ends_in_time_or_by_force() {
    let deaf = sh("trap '' TERM; echo up; while :; do sleep 0.1; done");
    let deaf = with(deaf, json!({"stop": {"grace_ms": 60_000}}));
    let world = World::of([("a", deaf.clone()), ("b", deaf.clone())], |parts| {
        parts.stop_deadline = Some(Duration::from_millis(200));
    });
    world.logged("a", "out up").await;
    world.logged("b", "out up").await;
    let took = world.end().await;
    assert!(took < Duration::from_secs(2), "{took:?}");

    let world = World::with([("a", deaf)]);
    world.logged("a", "out up").await;
    let pid = world.ready("a").await.pid.expect("a pid");
    world.stop.ask();
    world.stop.force();
    world.end().await;
    assert_eq!(group(pid), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grandchildren_go_too() {
    let deaf = "(trap '' TERM; echo up; while :; do sleep 0.1; done) &";
    let world = World::with([
        (
            "stay",
            with(
                sh(&format!("sleep 600 & {deaf} wait")),
                json!({"stop": {"grace_ms": 150}}),
            ),
        ),
        (
            "crash",
            with(
                sh(&format!("sleep 600 & {deaf} echo up; exit 1")),
                json!({"restart": {"when": "never"}}),
            ),
        ),
    ]);
    world.logged("stay", "out up").await;
    let pid = world.ready("stay").await.pid.expect("a pid");
    assert!(group(pid) >= 3);
    world.apps.stop("stay", None).await.expect("stopped");
    assert_eq!(group(pid), 0);
    assert_eq!(
        world.one("stay").await.last_ending,
        Some(ExitReason::Killed)
    );
    let down = |view: &InstanceView| matches!(view.state, InstanceState::Down { .. });
    world.until("crash", down).await;
    let log = world.logged("crash", "stays down").await;
    let pid = log
        .split("pid ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    assert_eq!(group(pid.expect("a pid").parse().expect("a number")), 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grandchild_may_finish_its_work() {
    let script = "(trap 'sleep 0.2; echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done) & trap 'exit 0' TERM; wait";
    let world = World::with([("w", sh(script))]);
    world.logged("w", "out up").await;
    world.apps.stop("w", None).await.expect("stopped");
    let log = world.logged("w", "sys stopped").await;
    assert!(log.contains("out bye"), "{log}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_left_the_group_is_found_by_its_marker() {
    let script = "setsid sleep 600 & echo escaped $!; wait";
    let world = World::with([("w", sh(script))]);
    let log = world.logged("w", "out escaped ").await;
    let pid = log
        .split("escaped ")
        .nth(1)
        .and_then(|rest| rest.split_whitespace().next());
    let pid: i32 = pid.expect("a pid").parse().expect("a number");
    let alone = || procfs::entry(pid).is_some_and(|entry| entry.group == pid);
    timeout(PATIENCE, async {
        while !alone() {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("it leaves the group");
    world.apps.stop("w", None).await.expect("stopped");
    assert!(!lives(pid));
    world.logged("w", "1 processes it had left behind").await;
    world.end().await;
}

/// A weappd in a process of its own; killed when dropped.
struct Victim(Child);

impl Victim {
    /// Starts it and waits for its app; returns the app's pid.
    async fn start(dir: &Path, more: &[&str]) -> (Self, i32) {
        let words = this(&[&["supervise", dir.to_str().expect("a text")], more].concat());
        let child = Command::new(&words[0])
            .args(&words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("started");
        let victim = Self(child);
        let pid = timeout(PATIENCE, async {
            loop {
                let log = std::fs::read_to_string(dir.join("data/logs/a.log")).unwrap_or_default();
                if log.contains("ready after") {
                    let pid = log
                        .split("pid ")
                        .nth(1)
                        .and_then(|rest| rest.split(',').next());
                    return pid.expect("a pid").parse().expect("a number");
                }
                sleep(Duration::from_millis(5)).await;
            }
        });
        (victim, pid.await.expect("ready"))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_weappd_takes_its_launched_apps_along() {
    let dir = tempfile::tempdir().expect("a directory");
    let (victim, app) = Victim::start(dir.path(), &["launched"]).await;
    assert!(lives(app));
    drop(victim);
    let gone = async {
        while lives(app) {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("it dies by itself");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leftovers_of_a_killed_weappd_are_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let (victim, app) = Victim::start(dir.path(), &[]).await;
    let identity = procfs::entry(app).expect("it runs").identity;
    let second = AppSupervisor::build(parts(dir.path(), [])).expect_err("one master at a time");
    assert!(matches!(second, Error::DataDirInUse { .. }));
    drop(victim);
    assert!(lives(app), "nothing else ends it");
    let parts = parts(dir.path(), [("a", sh("exec sleep 600"))]);
    let world = World::run(dir, parts);
    world.ready("a").await;
    let same = procfs::entry(app).is_some_and(|now| now.identity == identity && !now.zombie);
    assert!(!same);
    world.end().await;
}
