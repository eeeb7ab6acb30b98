//! Signals that operators, log rotation and closed terminals send.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::family;
use crate::http::json;
use crate::process::{PATIENCE, WeappdProcess};
use crate::world::{TestWorld, WEAPPD, WorldRecipe};

/// Tells its pid, and says goodbye when it is asked to end.
const SHOP_JS: &str = r"
process.on('SIGTERM', () => { console.log('shop says goodbye'); process.exit(0); });
require('http').createServer((ask, answer) => answer.end(JSON.stringify(process.pid)))
  .listen(process.env.PORT, '127.0.0.1');
";

fn shop() -> WorldRecipe {
    WorldRecipe::new()
        .file("shop.js", SHOP_JS)
        .site("routes = [{ path = \"/\", app = \"shop\" }]")
        .sections("[apps.shop]\nrun = \"node shop.js\"")
        .edge("hold_ms = 15000")
}

async fn pid(world: &TestWorld) -> String {
    let answer = world.site().get("/").send().await;
    assert_eq!(answer.status(), 200, "{}", world.transcript());
    json(&answer).to_string()
}

/// What the app said, once weappd has ended.
fn log(dir: &std::path::Path, app: &str) -> String {
    let file = dir.join(".weappd/logs").join(format!("{app}.log"));
    fs::read_to_string(file).unwrap_or_default()
}

/// Whoever runs the tests under `nohup` lets SIGHUP be ignored by all children: a signal that
/// is heard here is a child's own again. Lasts as long as the runtime.
pub(crate) fn hangups_count_again() -> tokio::signal::unix::Signal {
    let hangup = tokio::signal::unix::SignalKind::hangup();
    tokio::signal::unix::signal(hangup).expect("a handler of SIGHUP")
}

#[tokio::test]
async fn a_server_lives_through_the_signals_of_operators_and_ends_well_with_the_others() {
    let _heard = hangups_count_again();
    let mut world = shop().log("debug").serve();
    let before = pid(&world).await;
    for (signal, word) in [
        (Signal::HUP, "reloaded; weappd.toml is as it was"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::HUP, "reloaded; changed: log.level"),
    ] {
        if word.contains("log.level") {
            let file = world.dir().join("weappd.toml");
            let toml = fs::read_to_string(&file).expect("weappd.toml");
            let quieter = toml.replace("level = \"debug\"", "level = \"info\"");
            fs::write(&file, quieter).expect("weappd.toml");
        }
        world.signal(signal);
        world.says(word).await;
        assert_eq!(pid(&world).await, before, "after {word}");
    }

    world.signal(Signal::QUIT);
    let status = world.process().wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", world.transcript());
    let log = log(world.dir(), "shop");
    assert!(log.contains("shop says goodbye"), "{log}");
}

#[tokio::test]
async fn a_hangup_ends_dev_and_simulate_in_order() {
    let _heard = hangups_count_again();
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("shop.js"), SHOP_JS).expect("a file");
    let mut world = TestWorld::dev_in(dir, &["--", "node", "shop.js"]).await;
    let family = family::of(world.process().id());
    world.signal(Signal::USR1);
    // The kernel and the shell both send it: the second does not insist.
    world.signal(Signal::HUP);
    world.signal(Signal::HUP);
    let status = world.process().wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", world.transcript());
    family::gone(&family).await;
    let log = log(world.dir(), "app");
    assert!(log.contains("shop says goodbye"), "{log}");

    let mut command = Command::new(WEAPPD);
    let mut simulator = WeappdProcess::spawn("simulate", command.args(["simulate", "--port", "0"]));
    simulator.expect_line("its address", |line| line.contains("http://").then_some(()));
    for signal in [Signal::USR1, Signal::USR2] {
        simulator.signal_leader(signal);
    }
    simulator.signal_leader(Signal::HUP);
    let status = simulator.wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", simulator.transcript());
}

#[tokio::test]
async fn what_is_meant_to_outlive_its_terminal_does() {
    let mut command = Command::new("sh");
    let line = format!("trap '' HUP; exec '{WEAPPD}' simulate --port 0");
    let mut simulator = WeappdProcess::spawn("simulate", command.args(["-c", &line]));
    simulator.expect_line("its address", |line| line.contains("http://").then_some(()));
    simulator.signal_leader(Signal::HUP);
    simulator.signal_leader(Signal::TERM);
    let status = simulator.wait(PATIENCE).expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", simulator.transcript());
}

/// `script` gives weappd a terminal of its own, which ends with `script`.
#[tokio::test]
async fn a_closed_terminal_ends_even_a_server_in_order() {
    let _heard = hangups_count_again();
    let world = shop().serve();
    let (dir, _) = world.end(Signal::TERM);
    fs::remove_file(dir.path().join(".weappd/logs/shop.log")).expect("its log");

    let mut command = Command::new("script");
    let line = format!("exec '{WEAPPD}' serve");
    command
        .args(["-q", "-f", "-c", &line, "/dev/null"])
        .current_dir(dir.path())
        .env("WEAPP_SECRET", crate::world::APP_SECRET);
    let mut terminal = WeappdProcess::spawn("script", &mut command);
    let soon = Instant::now() + PATIENCE;
    while !log(dir.path(), "shop").contains("ready after") {
        assert!(Instant::now() < soon, "{}", terminal.transcript());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let inside = family::of(terminal.id());
    terminal.signal_leader(Signal::KILL);
    assert!(terminal.wait(PATIENCE).is_some());
    family::gone(&inside).await;
    let log = log(dir.path(), "shop");
    assert!(log.contains("shop says goodbye"), "{log}");
}
