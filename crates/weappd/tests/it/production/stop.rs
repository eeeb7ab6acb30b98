//! A normal stop: tunnels close, the app hears of each, says its own last words, and ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use weappd_base::fair_timer::FairTimer;

use crate::process::PATIENCE;
use crate::tunnel::PhoneSocket;
use crate::world::{TestWorld, WorldRecipe};

const APP: &str = "last-words.js";

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/it/production")
        .join(APP)
}

fn serve(env: &str) -> TestWorld {
    let app = format!("[app]\nrun = \"node {APP}\"\n{env}");
    let script = fs::read(script()).expect(APP);
    WorldRecipe::new().file(APP, script).sections(&app).serve()
}

/// What the app wrote down.
fn heard(dir: &Path) -> Vec<Value> {
    let lines = fs::read_to_string(dir.join("heard.jsonl")).unwrap_or_default();
    let line = |line: &str| serde_json::from_str(line).expect("JSON");
    lines.lines().map(line).collect()
}

fn count(heard: &[Value], what: &Value) -> usize {
    heard.iter().filter(|line| *line == what).count()
}

async fn open(world: &TestWorld, tunnels: usize) -> Vec<PhoneSocket> {
    world.app_ready().await;
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let mut sockets = Vec::new();
    for _ in 0..tunnels {
        let mut socket = PhoneSocket::join(world, &alice).await;
        assert_eq!(socket.hears().await, "timeout:15");
        sockets.push(socket);
    }
    let connects = json!({"callback": "connect"});
    let deadline = Instant::now() + PATIENCE;
    while count(&heard(world.dir()), &connects) < tunnels {
        assert!(Instant::now() < deadline, "a connect is missing");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    sockets
}

/// Stops weappd; how long that took, and what its app heard.
async fn stop(mut world: TestWorld, sockets: Vec<PhoneSocket>) -> (Duration, Vec<Value>, String) {
    let begun = FairTimer::start();
    world.signal(Signal::TERM);
    // A phone that is told to go says goodbye too.
    for mut socket in sockets {
        assert_eq!(socket.sees_close().await, Some(1001));
    }
    let status = tokio::task::block_in_place(|| world.process().wait(PATIENCE));
    let took = begun.fair();
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{}",
        world.transcript()
    );
    (took, heard(world.dir()), world.transcript())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_by_the_app_to_its_last_word() {
    for tunnels in [1, 40] {
        let world = serve("");
        let sockets = open(&world, tunnels).await;
        let (took, heard, words) = stop(world, sockets).await;
        assert_eq!(
            count(&heard, &json!({"callback": "close"})),
            tunnels,
            "{words}"
        );
        // Unknown to the session server is an answer, too.
        assert_eq!(count(&heard, &json!({"rpc": 60012})), 1, "{heard:?}");
        assert_eq!(count(&heard, &json!({"push": 0})), 1, "{heard:?}");
        assert!(!words.contains("not delivered"), "{words}");
        // Far from any deadline there is, the shortest of which is 3 seconds.
        assert!(took < Duration::from_millis(2900), "{took:?}\n{words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_never_answers_a_callback_holds_up_a_stop_only_so_long() {
    let world = serve("env = { MUTE = \"1\" }");
    let sockets = open(&world, 3).await;
    let (took, heard, words) = stop(world, sockets).await;
    assert_eq!(count(&heard, &json!({"callback": "close"})), 3);
    assert!(words.contains("callback not delivered"), "{words}");
    // A callback alone may take 10 seconds, a stop 30.
    assert!(took < Duration::from_secs(9), "{took:?}\n{words}");
}
