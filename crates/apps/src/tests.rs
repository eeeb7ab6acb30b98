//! The supervisor with real processes.
//!
//! Programs are small shell scripts, or this very test binary started again to play one:
//! see [`program`].

mod endings;
mod ports;
mod reload;
mod watch;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{sleep, timeout};
use weappd_base::clock::Clock;
use weappd_base::fair_timer::FairTimer;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::app::{ExitReason, InstanceState, InstanceView};
use crate::config::AppConfig;
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
