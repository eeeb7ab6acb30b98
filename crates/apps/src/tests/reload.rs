//! Reloads: who is restarted and who is not, in which order, and what is left behind.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use weappd_base::secret::Secret;

use super::{PATIENCE, World, ask, group, lives, sh, this, with};
use crate::app::{InstanceState, InstanceView};
use crate::config::{AppConfig, LogConfig, ReadyConfig, RestartConfig, RunCommand, StopConfig};
use crate::environment::EnvVariables;
use crate::error::Error;
use crate::procfs;
use crate::reload::AppChange;

type Sections<'a> = &'a [(&'a str, Value)];

fn sections(apps: Sections<'_>) -> BTreeMap<String, AppConfig> {
    let config = |json: &Value| serde_json::from_value(json.clone()).expect("a section");
    (apps.iter())
        .map(|(name, json)| ((*name).to_owned(), config(json)))
        .collect()
}

impl World {
    /// Reloads; returns what was said to happen.
    fn reload(&self, apps: Sections<'_>) -> Vec<(String, AppChange)> {
        self.reload_with(apps, BTreeMap::new())
    }

    fn reload_with(
        &self,
        apps: Sections<'_>,
        extra: BTreeMap<String, EnvVariables>,
    ) -> Vec<(String, AppChange)> {
        let staged = self
            .apps
            .prepare(sections(apps), extra)
            .expect("good sections");
        let changes = staged.changes().clone().into_iter().collect();
        self.apps.commit(staged);
        changes
    }

    async fn pids(&self, name: &str) -> Vec<u32> {
        let view = self.apps.describe(name).await.expect("an app");
        (view.instances.iter())
            .filter_map(|instance| instance.pid)
            .collect()
    }

    /// Waits until another process of the app is ready.
    async fn renewed(&self, name: &str, before: u32) -> InstanceView {
        let other = |view: &InstanceView| {
            view.state == InstanceState::Ready && view.pid.is_some_and(|pid| pid != before)
        };
        self.until(name, other).await
    }

    async fn pid(&self, name: &str) -> u32 {
        self.ready(name).await.pid.expect("a pid")
    }
}

fn serve() -> Value {
    json!({"run": this(&["serve"])})
}

async fn until(what: impl AsyncFn() -> bool) {
    let wait = async {
        while !what().await {
            sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("in time");
}

fn gone(pid: u32) -> bool {
    !lives(i32::try_from(pid).expect("a pid"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_begin_change_and_end_and_others_are_not_touched() {
    let sleeper = sh("exec sleep 600");
    let world = World::with([
        ("same", serve()),
        ("other", sleeper.clone()),
        ("gone", serve()),
    ]);
    let same = world.pid("same").await;
    let other = world.pid("other").await;
    let gone_pid = world.pid("gone").await;
    let at = world.addresses("same", 1).await;
    let changed = with(sleeper.clone(), json!({"env": {"A": "1"}}));
    let told = world.reload(&[("same", serve()), ("other", changed), ("new", serve())]);
    assert_eq!(
        told,
        [
            ("gone".to_owned(), AppChange::Ends),
            ("new".to_owned(), AppChange::Begins),
            ("other".to_owned(), AppChange::Restarts),
        ]
    );
    {
        let addresses = world.apps.addresses();
        let names: BTreeSet<String> = addresses.borrow().keys().cloned().collect();
        assert_eq!(names, ["new", "other", "same"].map(str::to_owned).into());
    }
    world.renewed("other", other).await;
    let new = world.addresses("new", 1).await[0];
    assert_eq!(ask(new), world.pid("new").await.to_string());
    until(async || gone(gone_pid)).await;
    assert!(gone(other));
    assert!(matches!(
        world.apps.describe("gone").await,
        Err(Error::UnknownApp { .. })
    ));
    assert_eq!(world.pid("same").await, same);
    assert_eq!(world.addresses("same", 1).await, at);
    assert_eq!(world.one("same").await.restarts, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_sections_change_nothing_and_bad_ones_neither() {
    let world = World::with([("a", serve()), ("b", sh("exec sleep 600"))]);
    let before = (world.pid("a").await, world.pid("b").await);
    let same: Sections<'_> = &[("a", serve()), ("b", sh("exec sleep 600"))];
    for _ in 0..100 {
        assert_eq!(world.reload(same), []);
    }
    let bad = sections(&[("a", json!({"run": "node 'x"}))]);
    let refused = world.apps.prepare(bad, BTreeMap::new()).expect_err("bad");
    assert!(matches!(refused, Error::Config { app, .. } if app == "a"));
    let unused = sections(&[("a", sh("exit 1")), ("c", serve())]);
    let staged = world.apps.prepare(unused, BTreeMap::new()).expect("good");
    assert_eq!(staged.changes().len(), 3);
    assert!(world.file("data/logs/c.log").exists());
    drop(staged);
    assert!(!world.file("data/logs/c.log").exists(), "no trace is left");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(before, (world.pid("a").await, world.pid("b").await));
    assert_eq!(world.one("a").await.restarts, 0);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_instances_one_is_ready_all_the_time() {
    let app = with(serve(), json!({"instances": 3}));
    let world = World::with([("shop", app.clone())]);
    world.addresses("shop", 3).await;
    let before = world.pids("shop").await;
    let mut watch = world.apps.addresses();
    let (told, least) = tokio::sync::oneshot::channel();
    world.tasks.spawn(async move {
        let mut least = usize::MAX;
        while watch.changed().await.is_ok() {
            let Some(ready) = watch.borrow_and_update().get("shop").map(Vec::len) else {
                break;
            };
            least = least.min(ready);
        }
        assert!(told.send(least).is_ok());
    });
    world.reload(&[("shop", with(app.clone(), json!({"env": {"A": "1"}})))]);
    let renewed = async || {
        let now = world.pids("shop").await;
        now.len() == 3 && now.iter().all(|pid| !before.contains(pid))
    };
    until(renewed).await;
    world.addresses("shop", 3).await;
    world.reload(&[]);
    let least = timeout(PATIENCE, least).await.expect("in time");
    assert_eq!(least.expect("told"), 2, "one at a time");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_do_not_start_leave_the_other_instances_alone() {
    let app = with(
        serve(),
        json!({"instances": 2, "restart": {"backoff_ms": 20}}),
    );
    let world = World::with([("shop", app.clone())]);
    world.addresses("shop", 2).await;
    let before = world.pids("shop").await;
    world.reload(&[("shop", with(app.clone(), json!({"run": "/nowhere"})))]);
    let fails = |view: &InstanceView| matches!(view.state, InstanceState::Waiting { .. });
    world.until("shop", fails).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(world.addresses("shop", 1).await.len(), 1);
    assert!(!gone(before[1]), "the second goes on");
    // The mend: what runs as it should is not touched.
    world.reload(&[("shop", app)]);
    world.addresses("shop", 2).await;
    let after = world.pids("shop").await;
    assert_ne!(after[0], before[0]);
    assert_eq!(after[1], before[1]);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reloads_at_once_end_in_the_last_ones_state() {
    let app = |word: &str, instances: u16| {
        let script = format!("echo {word}; exec sleep 600");
        with(sh(&script), json!({"instances": instances}))
    };
    let world = World::with([("w", app("first", 2))]);
    world.ready("w").await;
    for at in 0..20 {
        let count = 1 + at % 3;
        let mut next = vec![("w", app(&format!("word{at}"), count))];
        if at % 2 == 0 {
            next.push(("sometimes", sh("exec sleep 600")));
        }
        world.reload(&next);
        if at % 4 == 0 {
            // A command in the midst of it is settled too.
            let apps = world.apps.clone();
            timeout(PATIENCE, apps.restart("w"))
                .await
                .expect("settled")
                .expect("restarted");
        }
    }
    world.reload(&[("w", app("last", 2))]);
    let apps = &world.apps;
    until(async || {
        let view = apps.describe("w").await.expect("an app");
        view.instances.len() == 2
            && view.instances.iter().all(|one| {
                one.state == InstanceState::Ready && runs(one.pid, "echo last;", "sleep")
            })
    })
    .await;
    assert!(matches!(
        apps.describe("sometimes").await,
        Err(Error::UnknownApp { .. })
    ));
    until(async || {
        world
            .apps
            .0
            .leaving
            .lock()
            .values()
            .all(|life| life.ended.is_cancelled())
    })
    .await;
    let log = world.logged("w", "out.1 last").await;
    let pids: Vec<u32> = (log.split("started: pid ").skip(1))
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect();
    let now = world.pids("w").await;
    assert!(pids.len() > 2, "{log}");
    for pid in pids.iter().filter(|pid| !now.contains(pid)) {
        assert_eq!(group(*pid), 0, "{pid} was left behind");
    }
    world.reload(&[("w", app("last", 2))]);
    assert!(world.apps.0.leaving.lock().is_empty(), "nothing piles up");
    world.end().await;
}

/// Whether the process is the program that was started by these words, or has become it.
fn runs(pid: Option<u32>, words: &str, program: &str) -> bool {
    let Some(pid) = pid else {
        return false;
    };
    let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.contains(words) || line.starts_with(program)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_comes_back_waits_for_its_former_end() {
    let slow = sh("trap 'sleep 0.3; echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done");
    let world = World::with([("w", slow.clone())]);
    world.logged("w", "out up").await;
    let before = world.pid("w").await;
    world.reload(&[]);
    world.reload(&[("w", sh("echo back; exec sleep 600"))]);
    let log = world.logged("w", "out back").await;
    assert!(gone(before), "two of one name never run");
    assert!(log.find("bye") < log.find("out back"), "{log}");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_stopped_by_hand_stays_stopped_and_what_is_down_is_tried() {
    let stopped = sh("exec sleep 600");
    let down = with(sh("exit 1"), json!({"restart": {"when": "never"}}));
    let world = World::with([("stopped", stopped.clone()), ("down", down.clone())]);
    world.ready("stopped").await;
    world.apps.stop("stopped", None).await.expect("stopped");
    let is_down = |view: &InstanceView| matches!(view.state, InstanceState::Down { .. });
    world.until("down", is_down).await;
    let env = json!({"env": {"A": "1"}});
    let told = world.reload(&[
        ("stopped", with(stopped, env)),
        (
            "down",
            with(down, json!({"run": ["sh", "-c", "exec sleep 600"]})),
        ),
    ]);
    let told: Vec<AppChange> = told.into_iter().map(|(_, change)| change).collect();
    assert_eq!(told, [AppChange::Restarts, AppChange::Adjusts]);
    world.ready("down").await;
    assert_eq!(world.one("stopped").await.state, InstanceState::Stopped);
    world.apps.start("stopped").await.expect("started");
    let pid = world.pid("stopped").await;
    let pid = i32::try_from(pid).expect("a pid");
    // While it changes its program, it shows none.
    until(async || procfs::has_variable(pid, "A", "1").is_some()).await;
    assert_eq!(procfs::has_variable(pid, "A", "1"), Some(true));
    world.end().await;
}

/// Each key of a section is changed below or in a test above. A new one must be looked at.
#[test]
fn no_setting_is_forgotten() {
    let AppConfig {
        // `what_a_process_is_started_with_restarts_it`:
        run: _,
        dir: _,
        env: _,
        pass_env: _,
        listens: _,
        port: _,
        // `instances_come_and_go_beside_those_that_stay`:
        instances: _,
        // `autostart_starts_what_was_never_started`:
        autostart: _,
        // `rules_count_without_a_restart`:
        restart,
        ready,
        stop,
        log,
    } = AppConfig::default();
    let RestartConfig {
        when: _,
        stop_exit_codes: _,
        min_uptime_ms: _,
        backoff_ms: _,
        max_backoff_ms: _,
        max_tries: _,
    } = restart;
    let ReadyConfig {
        path: _,
        timeout_ms: _,
    } = ready;
    let StopConfig {
        signal: _,
        grace_ms: _,
    } = stop;
    let LogConfig {
        max_file_bytes: _,
        max_files: _,
        max_line_bytes: _,
        max_bytes_per_sec: _,
    } = log;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_is_started_with_restarts_it() {
    let base = sh("exec sleep 600");
    let world = World::with([("w", base.clone())]);
    std::fs::create_dir(world.file("sub")).expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("an address").port();
    drop(taken);
    let changes = [
        json!({"run": ["sh", "-c", "exec sleep 601"]}),
        json!({"dir": "sub"}),
        json!({"env": {"A": "1"}}),
        json!({"pass_env": ["OTHER_TOKEN"]}),
        with(serve(), json!({"listens": true})),
        with(serve(), json!({"listens": true, "port": port})),
    ];
    let mut pid = world.pid("w").await;
    for change in changes {
        let told = world.reload(&[("w", with(base.clone(), change.clone()))]);
        assert_eq!(told, [("w".to_owned(), AppChange::Restarts)], "{change}");
        pid = world.renewed("w", pid).await.pid.expect("a pid");
    }
    assert_eq!(world.one("w").await.port, Some(port));
    // Variables that weappd gives count as well.
    let given = |word: &str| {
        let given = [("WEAPPD_TOKEN".to_owned(), Secret::new(word))];
        BTreeMap::from([("w".to_owned(), EnvVariables::from(given))])
    };
    world.reload_with(&[("w", base.clone())], given("a"));
    pid = world.renewed("w", pid).await.pid.expect("a pid");
    assert_eq!(world.reload_with(&[("w", base.clone())], given("a")), []);
    // What would pass what is not there, or is written in another way, changes no process.
    let same = json!({"pass_env": ["NOT_THERE"], "env": {"HOST": "127.0.0.1"}});
    let told = world.reload_with(&[("w", with(base, same))], given("a"));
    assert_eq!(told, [("w".to_owned(), AppChange::Adjusts)]);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.pid("w").await, pid);
    let line = RunCommand::from("node app.js");
    assert_ne!(
        line,
        RunCommand::from(vec!["node".to_owned(), "app.js".to_owned()])
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_come_and_go_beside_those_that_stay() {
    let app = |count: u16| with(serve(), json!({"instances": count}));
    let world = World::with([("w", app(2))]);
    world.addresses("w", 2).await;
    let two = world.pids("w").await;
    assert_eq!(
        world.reload(&[("w", app(4))]),
        [("w".to_owned(), AppChange::Adjusts)]
    );
    world.addresses("w", 4).await;
    let four = world.pids("w").await;
    assert_eq!(four[..2], two);
    world.reload(&[("w", app(1))]);
    world.addresses("w", 1).await;
    until(async || four[1..].iter().all(|pid| gone(*pid))).await;
    world.reload(&[("w", app(2))]);
    world.addresses("w", 2).await;
    assert_eq!(world.pids("w").await[0], two[0]);
    world.apps.stop("w", None).await.expect("stopped");
    world.reload(&[("w", app(3))]);
    sleep(Duration::from_millis(50)).await;
    assert!(world.pids("w").await.is_empty(), "it was stopped by hand");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn autostart_starts_what_was_never_started() {
    let app = |auto: bool| with(sh("exec sleep 600"), json!({"autostart": auto}));
    let world = World::with([("w", app(false))]);
    assert_eq!(world.one("w").await.state, InstanceState::Stopped);
    world.reload(&[("w", app(true))]);
    let pid = world.pid("w").await;
    world.reload(&[("w", app(false))]);
    sleep(Duration::from_millis(50)).await;
    assert_eq!(world.pid("w").await, pid, "it goes on");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_count_without_a_restart() {
    // Not SIGINT: who runs the tests in the background of a shell has it ignored by all children.
    let deaf =
        sh("trap '' TERM; trap 'echo usr; exit 0' USR1; echo up; while :; do sleep 0.01; done");
    let slow = with(serve(), json!({"ready": {"path": "/never"}}));
    let loud = sh(
        "echo begin; while :; do echo 0123456789012345678901234567890123456789; sleep 0.002; done",
    );
    let crash = sh("while [ ! -e crash ]; do sleep 0.01; done; rm crash; exit 3");
    let apps = [
        ("deaf", deaf),
        ("slow", slow),
        ("loud", loud),
        ("crash", crash),
    ];
    let world = World::with(apps.clone());
    world.logged("deaf", "out up").await;
    let starting =
        |view: &InstanceView| view.state == InstanceState::Starting && view.pid.is_some();
    let slow_pid = world.until("slow", starting).await.pid;
    let crash_pid = world.pid("crash").await;
    let [deaf, slow, loud, crash] = apps.map(|(_, app)| app);
    let rules = [
        (
            "deaf",
            with(
                deaf,
                json!({"stop": {"signal": "SIGUSR1", "grace_ms": 60_000}}),
            ),
        ),
        ("slow", with(slow, json!({"ready": {"path": null}}))),
        (
            "loud",
            with(
                loud,
                json!({"log": {"max_line_bytes": 256, "max_file_bytes": 65_536, "max_files": 2, "max_bytes_per_sec": 65_536}}),
            ),
        ),
        (
            "crash",
            with(
                crash,
                json!({"restart": {"when": "always", "stop_exit_codes": [3]}}),
            ),
        ),
    ];
    let told = world.reload(&rules);
    assert!(
        told.len() == 4 && told.iter().all(|(_, change)| *change == AppChange::Adjusts),
        "{told:?}"
    );
    let slow = world.ready("slow").await;
    assert_eq!(
        (slow.pid, slow.restarts),
        (slow_pid, 0),
        "ready by the new rule"
    );
    world.apps.stop("deaf", None).await.expect("stopped");
    world.logged("deaf", "out usr").await;
    assert_eq!(world.one("crash").await.pid, Some(crash_pid));
    std::fs::write(world.file("crash"), "").expect("a file");
    let down = |view: &InstanceView| matches!(view.state, InstanceState::Down { .. });
    world.until("crash", down).await;
    until(async || world.file("data/logs/loud.log.1").exists()).await;
    let size = std::fs::metadata(world.file("data/logs/loud.log"))
        .expect("a log")
        .len();
    assert!(size <= 65_536, "{size}");
    world.end().await;
}
