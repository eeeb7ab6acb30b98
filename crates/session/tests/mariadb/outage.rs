//! The database is slow, gone, or comes back.

use std::process::Command;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use rustix::process::{Pid, Signal};
use serde_json::json;
use weappd_session::Config;

use crate::backend::Backend;
use crate::process::{WeappdProcess, signal_process};
use crate::world::World;
use weappd_base::fair_timer::FairTimer;

/// A server's process, to be stopped, killed and started anew.
struct Server {
    pid: Pid,
    datadir: String,
    socket: String,
    port: u16,
}

impl Server {
    fn of(backend: &Backend) -> Self {
        let pid = std::fs::read_to_string(backend.query("SELECT @@pid_file")).expect("a pid file");
        Self {
            pid: Pid::from_raw(pid.trim().parse().expect("a number")).expect("a process id"),
            datadir: backend.query("SELECT @@datadir"),
            socket: backend.query("SELECT @@socket"),
            port: backend.port(),
        }
    }

    fn signal(&self, signal: Signal) {
        signal_process(self.pid, signal);
    }

    /// Starts it again on the same files, and does not wait for it.
    fn start(&self, more: &[String]) -> WeappdProcess {
        let program = ["/usr/sbin/mariadbd", "/usr/sbin/mysqld"];
        let program = program
            .into_iter()
            .find(|path| std::fs::exists(path).unwrap_or(false));
        let as_root = rustix::process::geteuid().is_root();
        WeappdProcess::spawn(
            "mariadbd",
            Command::new(program.unwrap_or("mariadbd"))
                .arg("--no-defaults")
                .args(as_root.then_some("--user=root"))
                .arg(format!("--datadir={}", self.datadir))
                .arg(format!("--socket={}", self.socket))
                .arg(format!("--port={}", self.port))
                .args(["--bind-address=127.0.0.1", "--skip-name-resolve"])
                .args(more),
        )
    }
}

async fn world(wait_ms: u64) -> (Backend, Server, World) {
    let backend = Backend::alone();
    let server = Server::of(&backend);
    let world = World::with(Config {
        store: backend.store(),
        store_wait_ms: wait_ms,
        ..Config::default()
    })
    .await;
    (backend, server, world)
}

/// Logs in anew until it goes well.
async fn log_in_at_last(world: &World) -> String {
    let deadline = Instant::now() + Duration::from_mins(1);
    for n in 0.. {
        let code = format!("again{n}");
        world.wechat.code(&code, "o1");
        let answer = world.native(&json!({"code": code})).await;
        if let Some(skey) = answer.json["skey"].as_str() {
            return skey.to_owned();
        }
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.json["error"]["code"], "store_failed");
        assert!(Instant::now() < deadline, "the store never came back");
    }
    unreachable!("the loop has no end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_keeps_silent_is_waited_for_so_long_and_no_longer() {
    let (_backend, server, world) = world(4000).await;
    let skey = world.log_in("c1", "o1").await;
    let unseen = world.log_in("c2", "o2").await;
    server.signal(Signal::STOP);
    world.hand.advance(10);
    let begun = FairTimer::start();
    for n in 0..3 {
        assert_eq!(world.user(&skey).await["code"], 0, "memory goes on: {n}");
    }
    assert!(begun.fair() < Duration::from_millis(3900), "waited once");
    world.wechat.code("c3", "o1");
    let begun = FairTimer::start();
    let login = world.native(&json!({"code": "c3"})).await;
    assert_eq!(login.status, StatusCode::SERVICE_UNAVAILABLE);
    let (waited, fair) = (begun.elapsed(), begun.fair());
    assert!(waited >= Duration::from_millis(3900), "{waited:?}");
    assert!(fair < Duration::from_secs(12), "{fair:?}");
    let wrong = world
        .get("/weapp/user", &[("X-WX-Skey", "never seen")])
        .await;
    assert_eq!(wrong.status, StatusCode::SERVICE_UNAVAILABLE, "not -1");
    server.signal(Signal::CONT);
    let new = log_in_at_last(&world).await;
    for skey in [&skey, &unseen, &new] {
        assert_eq!(world.user(skey).await["code"], 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_silence_is_not_noticed() {
    let (_backend, server, world) = world(20_000).await;
    world.log_in("c1", "o1").await;
    server.signal(Signal::STOP);
    world.wechat.code("c2", "o1");
    let body = json!({"code": "c2"});
    let login = world.native(&body);
    let healed = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.signal(Signal::CONT);
    };
    let (login, ()) = futures_util::join!(login, healed);
    assert_eq!(login.status, StatusCode::OK, "{login:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_killed_comes_back_with_all_that_was_acknowledged() {
    let (_backend, server, mut world) = world(4000).await;
    let mut skeys = Vec::new();
    for n in 0..20 {
        skeys.push(world.log_in(&format!("c{n}"), &format!("o{n}")).await);
    }
    server.signal(Signal::KILL);
    world.hand.advance(10);
    world.wechat.code("lost", "o1");
    let login = world.native(&json!({"code": "lost"})).await;
    assert_eq!(login.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(!login.json.to_string().contains("mysql"), "{login:?}");
    for skey in &skeys {
        assert_eq!(world.user(skey).await["code"], 0, "memory goes on");
    }
    let _again = server.start(&[]);
    skeys.push(log_in_at_last(&world).await);
    world.sessions.flush().await.expect("the visits were value");
    world.restart().await;
    for skey in &skeys {
        assert_eq!(world.user(skey).await["code"], 0, "acknowledged, so value");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_at_the_start_is_said_in_time_and_without_the_password() {
    let (backend, server, world) = world(4000).await;
    server.signal(Signal::KILL);
    let begun = FairTimer::start();
    let err = world
        .open_at(world.dir.path())
        .await
        .expect_err("nobody there");
    assert!(begun.fair() < Duration::from_secs(12));
    let text = err.to_string();
    assert!(text.contains(&backend.port().to_string()), "{text}");
    assert!(!text.contains("for-tests-only"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_way_to_the_server_may_be_encrypted() {
    let (backend, server, world) = world(20_000).await;
    backend.query("ALTER USER 'weappd'@'127.0.0.1' REQUIRE SSL");
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a key");
    let (cert, key) = (world.dir.path().join("cert"), world.dir.path().join("key"));
    std::fs::write(&cert, made.cert.pem()).expect("writes");
    std::fs::write(&key, made.signing_key.serialize_pem()).expect("writes");
    server.signal(Signal::KILL);
    let more = [
        format!("--ssl-cert={}", cert.display()),
        format!("--ssl-key={}", key.display()),
    ];
    let _again = server.start(&more);
    let encrypted = format!("{}?ssl-mode=REQUIRED", backend.store());
    let sessions = world.open_with(&encrypted).await.expect("opens");
    sessions.close().await.expect("closes");
    let open = format!("{}?ssl-mode=DISABLED", backend.store());
    world
        .open_with(&open)
        .await
        .expect_err("the account demands TLS");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_share_is_refused_soon_while_the_server_is_gone() {
    let (_backend, server, world) = world(60_000).await;
    let values = world
        .sessions
        .shared_values()
        .expect("nodes can share MariaDB");
    let held = values.lease("a", Duration::from_mins(10)).await;
    held.expect("holds");
    server.signal(Signal::STOP);
    let asked = FairTimer::start();
    values.read("a").await.expect_err("keeps silent");
    assert!(
        asked.fair() < Duration::from_secs(10),
        "not the minute of a login"
    );
    server.signal(Signal::CONT);
    for turn in 0.. {
        if values.read("a").await.is_ok() {
            break;
        }
        assert!(turn < 100, "it never came back");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
