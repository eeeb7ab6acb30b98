//! The supervisor with real processes.
//!
//! Programs are small shell scripts, or this very test binary started again to play one:
//! see [`program`].

mod ports;
mod reload;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use tower::ServiceExt as _;
use weappd_base::clock::Clock;
use weappd_base::fair_timer::FairTimer;
use weappd_base::metrics::{MetricRegistry, exposition};
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::app::{ExitReason, InstanceState, InstanceView};
use crate::config::AppConfig;
use crate::error::Error;
use crate::http::control_router;
use crate::launch::launch;
use crate::logs::LogStream;
use crate::procfs;
use crate::supervisor::{AppSupervisor, SupervisorParts};

/// No wait in these tests takes longer than this, or it has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Plays a program when this binary is started by a test with words after `--`.
#[test]
fn program() {
    let words: Vec<OsString> = std::env::args_os()
        .skip_while(|word| word != "--")
        .collect();
    let Some(part) = words.get(1).and_then(|part| part.to_str()) else {
        return;
    };
    match part {
        "serve" => serve(),
        "serve-at" => ports::serve_at(&words[2..]),
        "supervise" => supervise(Path::new(&words[2]), words.len() > 3),
        _ => panic!("{}", launch(words.into_iter().skip(1))),
    }
}

/// The words that start this binary as a program.
fn this(words: &[&str]) -> Vec<String> {
    let exe = std::env::current_exe().expect("a path");
    let exe = exe.to_str().expect("a text").to_owned();
    let mut all = vec![exe];
    let own = ["--exact", "tests::program", "--nocapture", "--"];
    all.extend(own.iter().chain(words).map(|&word| word.to_owned()));
    all
}

/// A server that answers every call on `PORT` with its pid.
#[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
fn serve() {
    let port: u16 = std::env::var("PORT")
        .expect("PORT")
        .parse()
        .expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).expect("bound");
    for stream in listener.incoming() {
        let pid = std::process::id().to_string();
        drop(stream.expect("a call").write_all(pid.as_bytes()));
    }
}

/// A weappd with one app, to be killed.
fn supervise(dir: &Path, launched: bool) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let mut parts = parts(dir, [("a", json!({"run": this(&["serve"])}))]);
        if launched {
            parts.launcher = Some(this(&[]).into_iter().map(OsString::from).collect());
        }
        AppSupervisor::build(parts).expect("apps").run().await;
    });
}

fn parts<const N: usize>(dir: &Path, apps: [(&str, Value); N]) -> SupervisorParts {
    let config = |json| serde_json::from_value::<AppConfig>(json).expect("a section");
    SupervisorParts {
        apps: apps
            .map(|(name, json)| (name.to_owned(), config(json)))
            .into(),
        data_dir: dir.join("data"),
        base_dir: dir.to_owned(),
        own_env: vec![
            ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
            ("WEAPP_SECRET".into(), "own".into()),
            ("OTHER_TOKEN".into(), "own".into()),
            ("LANGUAGE".into(), "own".into()),
            ("PORT".into(), "own".into()),
        ],
        deny_env: Vec::new(),
        extra_env: BTreeMap::new(),
        launcher: None,
        stop_deadline: None,
        port_setting: "port = ",
        clock: Clock::system(),
        random: RandomSource::system(),
        work: Work::current(),
        stop: Stop::new(),
    }
}

/// Running apps; ended with all their processes when dropped.
struct World {
    apps: AppSupervisor,
    stop: Stop,
    tasks: Tasks,
    dir: TempDir,
}

impl World {
    fn with<const N: usize>(apps: [(&str, Value); N]) -> Self {
        Self::of(apps, |_| {})
    }

    fn of<const N: usize>(
        apps: [(&str, Value); N],
        change: impl FnOnce(&mut SupervisorParts),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut parts = parts(dir.path(), apps);
        change(&mut parts);
        Self::run(dir, parts)
    }

    fn run(dir: TempDir, parts: SupervisorParts) -> Self {
        let stop = parts.stop.clone();
        let apps = AppSupervisor::build(parts).expect("apps");
        let tasks = Tasks::new();
        let running = apps.clone();
        tasks.spawn(async move { running.run().await });
        Self {
            apps,
            stop,
            tasks,
            dir,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn one(&self, name: &str) -> InstanceView {
        let view = self.apps.describe(name).await.expect("an app");
        view.instances.into_iter().next().expect("an instance")
    }

    /// Waits until an instance is as wanted.
    async fn until(&self, name: &str, wanted: impl Fn(&InstanceView) -> bool) -> InstanceView {
        let watch = async {
            loop {
                let view = self.one(name).await;
                if wanted(&view) {
                    return view;
                }
                sleep(Duration::from_millis(2)).await;
            }
        };
        match timeout(PATIENCE, watch).await {
            Ok(view) => view,
            Err(late) => panic!("{late}: still {:?}", self.one(name).await),
        }
    }

    async fn ready(&self, name: &str) -> InstanceView {
        self.until(name, |view| view.state == InstanceState::Ready)
            .await
    }

    /// Follows the log until it holds `text`; returns all of it so far.
    async fn logged(&self, name: &str, text: &str) -> String {
        let mut log = self.apps.logs(name, 10_000, true).await.expect("a log");
        follow(&mut log, text).await
    }

    /// Waits until the published addresses of an app are this many.
    async fn addresses(&self, name: &str, count: usize) -> Vec<SocketAddr> {
        let mut watch = self.apps.addresses();
        let found = watch.wait_for(|list| list[name].len() == count);
        let found = timeout(PATIENCE, found)
            .await
            .expect("in time")
            .expect("open");
        found[name].clone()
    }

    /// Ends everything; returns how long it took.
    async fn end(self) -> Duration {
        let begun = FairTimer::start();
        self.stop.ask();
        assert!(self.tasks.finish(PATIENCE).await);
        begun.fair()
    }
}

async fn follow(log: &mut LogStream, text: &str) -> String {
    let mut all = String::new();
    while !all.contains(text) {
        let chunk = timeout(PATIENCE, log.next()).await;
        let Ok(Some(chunk)) = chunk else {
            panic!("no {text:?} in {all:?}");
        };
        all += &String::from_utf8_lossy(&chunk);
    }
    all
}

fn sh(script: &str) -> Value {
    json!({"run": ["sh", "-c", script], "listens": false})
}

fn with(mut app: Value, more: Value) -> Value {
    let (Value::Object(app_fields), Value::Object(more)) = (&mut app, more) else {
        panic!("objects");
    };
    app_fields.extend(more);
    app
}

/// The living processes of a group.
fn group(pid: u32) -> usize {
    let pid = i32::try_from(pid).expect("a pid");
    let of_group = |entry: &&procfs::ProcessEntry| entry.group == pid && !entry.zombie;
    procfs::table().iter().filter(of_group).count()
}

fn lives(pid: i32) -> bool {
    procfs::entry(pid).is_some_and(|entry| !entry.zombie)
}

fn kill(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).expect("a pid"));
    rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::KILL)
        .expect("sent");
}

fn ask(address: SocketAddr) -> String {
    let mut answer = String::new();
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_started_published_and_seen() {
    let world = World::with([("shop", json!({"run": this(&["serve"])}))]);
    let at = world.addresses("shop", 1).await[0];
    let view = world.ready("shop").await;
    assert_eq!(ask(at), view.pid.expect("a pid").to_string());
    assert_eq!((view.address, view.port), (Some(at), Some(at.port())));
    assert_eq!((view.restarts, view.processes), (0, Some(1)));
    assert!(view.memory_bytes.expect("memory") > 100_000);
    assert!(view.cpu_percent.is_some() && view.uptime_ms.is_some());
    assert_eq!(view.last_ending, None);
    let mut gone = world.apps.addresses();
    let took = world.end().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(gone.borrow_and_update()["shop"].is_empty());
    assert!(!lives(
        i32::try_from(view.pid.expect("a pid")).expect("a pid")
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_environment_is_filtered_and_filled() {
    let script = sh("pwd; env; echo end; exec sleep 600");
    let app = with(
        script,
        json!({"env": {"MINE": "yes", "HOST": "::"}, "dir": "sub"}),
    );
    let world = World::of([("w", app)], |parts| {
        std::fs::create_dir(parts.base_dir.join("sub")).expect("a folder");
        let extra = [("WEAPPD_TOKEN".to_owned(), Secret::new("given"))];
        parts.extra_env.insert("w".to_owned(), extra.into());
    });
    let log = world.logged("w", "out end\n").await;
    let has = |line: &str| log.contains(&format!(" out {line}\n"));
    assert!(
        has("MINE=yes") && has("HOST=::") && has("WEAPPD_TOKEN=given"),
        "{log}"
    );
    assert!(
        has("WEAPPD_APP=w") && has("WEAPPD_INSTANCE=0") && has("LANGUAGE=own"),
        "{log}"
    );
    assert!(log.contains("/sub\n"), "{log}");
    for not in ["WEAPP_SECRET", "OTHER_TOKEN=", "PORT="] {
        assert!(!log.contains(not), "{not} in {log}");
    }
    world.end().await;
}

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

/// What was logged on this thread.
#[derive(Clone, Default)]
struct LogBuffer(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for LogBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_start_has_a_span_and_it_holds_no_argument() {
    let buffer = LogBuffer::default();
    let lines = buffer.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || lines.clone())
        .finish();
    // Where there is only one, a line that another test's thread comes upon first is taken for
    // one that nobody hears.
    let _another = tracing::Dispatch::new(tracing_subscriber::registry());
    let _watched = tracing::subscriber::set_default(subscriber);
    let secret = with(
        sh("exec sleep 600 # hidden"),
        json!({"env": {"A": "hidden"}}),
    );
    let world = World::with([("w", secret)]);
    world.ready("w").await;
    world.apps.restart("w").await.expect("restarted");
    world.end().await;
    let logged = String::from_utf8_lossy(&buffer.0.lock()).into_owned();
    for part in [
        "app{app.name=\"w\" index=0 start=1}",
        "app{app.name=\"w\" index=0 start=2}",
    ] {
        let has = |line: &str| line.contains(part) && line.contains("app ready");
        assert!(logged.lines().any(has), "{part}: {logged}");
    }
    assert!(!logged.contains("hidden"), "{logged}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn apps_are_counted() {
    let crash = with(sh("exit 3"), json!({"restart": {"max_tries": 1}}));
    let world = World::with([("shop", json!({"run": this(&["serve"])})), ("crash", crash)]);
    let registry = MetricRegistry::new();
    world.apps.register_metrics(&registry);
    world.addresses("shop", 1).await;
    let down = |view: &InstanceView| matches!(view.state, InstanceState::Down { .. });
    world.until("crash", down).await;
    world.apps.restart("shop").await.expect("restarted");
    world.ready("shop").await;
    let text = registry.text();
    assert_eq!(exposition::problem(&text), None, "{text}");
    for line in [
        "weappd_apps_instances{app=\"shop\",state=\"ready\"} 1",
        "weappd_apps_instances{app=\"shop\",state=\"down\"} 0",
        "weappd_apps_instances{app=\"crash\",state=\"down\"} 1",
        "weappd_apps_restarts_total{cause=\"exited\"} 1",
        "weappd_apps_restarts_total{cause=\"command\"} 1",
        "weappd_apps_processes{app=\"shop\",instance=\"0\"} 1",
        "weappd_apps_processes{app=\"crash\",instance=\"0\"} 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let memory = "weappd_apps_resident_bytes{app=\"shop\",instance=\"0\"} ";
    let memory = text.lines().find_map(|line| line.strip_prefix(memory));
    let memory: u64 = memory.expect("memory").parse().expect("a number");
    assert!(memory > 100_000, "{memory}");
    assert!(
        text.contains("weappd_apps_cpu_seconds_total{app=\"shop\""),
        "{text}"
    );
    assert!(
        text.contains("weappd_apps_ready_seconds_bucket{le=\"+Inf\"} "),
        "{text}"
    );
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_is_bounded_on_disk_and_blocks_nobody() {
    let log =
        json!({"log": {"max_file_bytes": 65_536, "max_files": 3, "max_bytes_per_sec": 1_000_000}});
    let flood = with(
        sh("yes a rather long line that says nothing at all & wait"),
        log,
    );
    let world = World::with([("flood", flood), ("calm", sh("echo calm; exec sleep 600"))]);
    world
        .logged("flood", "came faster than the log may grow")
        .await;
    world.logged("calm", "out calm").await;
    world.apps.stop("flood", None).await.expect("stopped");
    let sizes: Vec<u64> = std::fs::read_dir(world.file("data/logs"))
        .expect("a folder")
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().starts_with("flood"))
        .map(|file| file.metadata().expect("a size").len())
        .collect();
    assert!(
        sizes.len() <= 3 && sizes.iter().all(|&size| size <= 65_536),
        "{sizes:?}"
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_line_is_cut() {
    let script = "head -c 300000000 /dev/zero; echo; echo over; exec sleep 600";
    let world = World::with([("w", sh(script))]);
    let log = world.logged("w", "out over").await;
    let cut = 300_000_000 - AppConfig::default().log.max_line_bytes;
    assert!(log.contains(&format!("…[{cut} bytes cut]\n")));
    assert!(log.len() < 100_000, "{}", log.len());
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_its_output_is_no_ending() {
    let world = World::with([("w", sh("exec >&- 2>&-; touch closed; exec sleep 600"))]);
    let file = world.file("closed");
    world.until("w", |_| file.exists()).await;
    let view = world.ready("w").await;
    assert_eq!((group(view.pid.expect("a pid")), view.restarts), (1, 0));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_program_is_tried_again() {
    let app = json!({"run": "./tool", "listens": false, "restart": {"backoff_ms": 20}});
    let world = World::with([("w", app)]);
    let view = world.until("w", |view| view.restarts >= 2).await;
    let Some(ExitReason::NeverStarted { why, hint }) = view.last_ending else {
        panic!("{view:?}");
    };
    assert!(why.contains("tool") && hint.is_some(), "{why}");
    let tool = world.file("tool");
    std::fs::write(&tool, "#!/bin/sh\nexec sleep 600\n").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&tool, mode).expect("a mode");
    world.ready("w").await;
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_told_and_never_taken_for_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = taken.local_addr().expect("an address").port();
    let app = json!({"run": this(&["serve"]), "port": port, "restart": {"backoff_ms": 20}});
    let world = World::with([("w", app)]);
    let view = world.until("w", |view| view.restarts >= 1).await;
    assert!(view.address.is_none());
    let log = world.logged("w", "could not start").await;
    assert!(
        log.contains(&format!("port {port} is taken by another program")),
        "{log}"
    );
    drop(taken);
    let view = world.ready("w").await;
    assert_eq!(view.port, Some(port));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_instances_have_an_address_each() {
    let app = json!({"run": this(&["serve"]), "instances": 2});
    let world = World::with([("shop", app)]);
    let two = world.addresses("shop", 2).await;
    assert_ne!(ask(two[0]), ask(two[1]));
    world.apps.restart("shop").await.expect("restarted");
    let again = world.addresses("shop", 2).await;
    assert!(two.iter().all(|address| !again.contains(address)));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_api() {
    let world = World::with([("w", sh("echo hello; exec sleep 600"))]);
    world.logged("w", "out hello").await;
    world.ready("w").await;
    let call = async |method: &str, path: &str| {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty());
        let router = control_router(world.apps.clone());
        let response = router
            .oneshot(request.expect("a request"))
            .await
            .expect("an answer");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    };
    let (status, body) = call("GET", "/apps").await;
    let list: Value = serde_json::from_str(&body).expect("json");
    assert_eq!(status, 200);
    assert_eq!(list[0]["name"], "w");
    assert_eq!(list[0]["instances"][0]["state"], json!({"name": "ready"}));
    assert!(!body.contains("hello"), "arguments are not shown");

    let (status, body) = call("GET", "/apps/w/logs?lines=100").await;
    assert!(status == 200 && body.contains(" out hello\n"), "{body}");
    let (_, one) = call("GET", "/apps/w/logs?lines=1").await;
    assert_eq!(one.lines().count(), 1);

    let (status, body) = call("POST", "/apps/w/stop?grace_ms=5000").await;
    let view: Value = serde_json::from_str(&body).expect("json");
    assert_eq!((status, &view["summary"]), (200, &json!("stopped")));
    let (_, body) = call("POST", "/apps/w/start").await;
    assert!(body.contains("\"summary\":\"ready\""), "{body}");
    let (_, body) = call("POST", "/apps/w/restart").await;
    assert!(body.contains("\"restarts\":2"), "{body}");
    let (status, body) = call("GET", "/apps/x").await;
    assert_eq!(
        (status, body.as_str()),
        (
            404,
            r#"{"error":{"code":"app_not_found","message":"there is no app named \"x\""}}"#
        )
    );

    let apps = world.apps.clone();
    let mut log = apps.logs("w", 1, true).await.expect("a log");
    world.end().await;
    let mut rest = String::new();
    // A followed log ends with weappd.
    while let Some(chunk) = timeout(PATIENCE, log.next()).await.expect("an end") {
        rest = String::from_utf8_lossy(&chunk).into_owned();
    }
    assert!(rest.contains("sys stopped"), "{rest}");
    assert!(matches!(apps.start("w").await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_bad_section_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = |apps| {
        AppSupervisor::build(parts(dir.path(), [apps]))
            .expect_err("refused")
            .to_string()
    };
    assert!(refused(("w", json!({"run": "node 'x"}))).starts_with("app w: run the quote"));
    assert!(refused(("../w", json!({"run": "node"}))).contains("cannot name an app"));
}
