//! One's own business server under `weappd dev`: what it prints is on the terminal, what it does
//! wrong is told there, and it gets one's own variables.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;

use crate::http::{TestClient, json};
use crate::process::{PATIENCE, WeappdProcess, free_port};
use crate::world::WEAPPD;

/// `weappd dev` with a program, on ports of its own.
fn dev(dir: &Path, run: &[&str]) -> WeappdProcess {
    let mut command = Command::new(WEAPPD);
    command
        .current_dir(dir)
        .args(["dev", "--http", "0", "--https", "0", "--internal", "0"])
        .args(["--wechat", "0"])
        .env("MYSQL_PASSWORD", "of my own")
        .env("WX_TOKEN", "of my own")
        .args(run);
    WeappdProcess::spawn("weappd dev", &mut command)
}

fn site(dev: &mut WeappdProcess) -> SocketAddr {
    dev.expect_line("its address", |line| {
        let rest = line.trim_start().strip_prefix("Phones")?;
        rest.trim()
            .strip_prefix("http://")?
            .split('/')
            .next()?
            .parse()
            .ok()
    })
}

#[tokio::test]
async fn what_it_prints_is_seen_as_it_comes_and_ones_own_variables_are_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let script = "console.log('hello from ' + process.env.PORT); console.error('a warning');\n\
        require('http').createServer((ask, answer) => {\n\
          if (ask.url === '/crash') throw new Error('no such table');\n\
          answer.end(JSON.stringify(process.env)); }).listen(process.env.PORT);";
    fs::write(dir.path().join("app.js"), script).expect("a file");
    let mut dev = dev(dir.path(), &["--", "node", "app.js"]);
    let at = site(&mut dev);
    dev.expect_line("the command for its log", |line| {
        line.contains("weappd app logs -f app").then_some(())
    });
    let port = dev.expect_line("its PORT", |line| {
        let rest = line.strip_prefix("app - started: pid ")?;
        rest.split("PORT=").nth(1).map(str::to_owned)
    });
    dev.expect_line("its words", |line| {
        (line == format!("app | hello from {port}")).then_some(())
    });
    dev.expect_line("that it is ready", |line| {
        line.starts_with("app - ready after").then_some(())
    });
    let client = TestClient::http(at, &at.to_string());
    let env = json(&client.get("/any").send().await);
    assert_eq!(env["MYSQL_PASSWORD"], "of my own");
    assert_eq!(env["WX_TOKEN"], "of my own");

    client.get("/crash").send().await;
    dev.expect_line("how it ended", |line| {
        line.starts_with("app - exited with code").then_some(())
    });
    dev.signal_leader(Signal::INT);
    assert!(dev.wait(PATIENCE).is_some());
    let said = dev.transcript();
    for line in ["! app ! a warning", "! app ! Error: no such table"] {
        assert!(said.lines().any(|one| one == line), "no {line} in\n{said}");
    }
    assert!(said.contains("app !     at "), "a stack trace\n{said}");
}

#[tokio::test]
async fn a_program_that_knows_no_port_is_found_and_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let script = format!(
        "require('http').createServer((ask, answer) => answer.end('found')).listen({port});"
    );
    fs::write(dir.path().join("app.js"), script).expect("a file");
    let mut dev = dev(dir.path(), &["--", "node", "app.js"]);
    let at = site(&mut dev);
    dev.expect_line("where it listens", |line| {
        let is_told = line.contains(&format!("listens on 127.0.0.1:{port}, not on PORT"));
        is_told.then_some(())
    });
    dev.expect_line("that it is ready", |line| {
        line.starts_with("app - ready after").then_some(())
    });
    let answer = TestClient::http(at, &at.to_string())
        .get("/any")
        .send()
        .await;
    assert_eq!(&answer.body()[..], b"found");
}

#[tokio::test]
async fn a_program_that_is_not_there_is_told_and_the_port_can_be_chosen() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut missing = dev(dir.path(), &["--", "nodde", "app.js"]);
    missing.expect_line("what is missing", |line| {
        line.contains("\"nodde\" is in no directory of PATH")
            .then_some(())
    });
    drop(missing);
    let port = free_port();
    let mut chosen = dev(
        dir.path(),
        &[
            "--port",
            &port.to_string(),
            "--",
            "sh",
            "-c",
            "echo at $PORT; exec sleep 600",
        ],
    );
    chosen.expect_line("its port", |line| {
        (line == format!("app | at {port}")).then_some(())
    });
}
