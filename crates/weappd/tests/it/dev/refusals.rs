//! Starts that cannot work: one clear error each, what to do about it, exit code 1.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::process::{PATIENCE, WeappdProcess};
use crate::world::{TestWorld, WEAPPD};

/// Runs `weappd dev` in `dir`, which must fail, and checks its words. Later arguments win.
async fn refuses(dir: &Path, args: &[&str], words: &[&str]) {
    let mut command = Command::new(WEAPPD);
    command.current_dir(dir).arg("dev");
    for port in ["--http", "--https", "--internal", "--wechat"] {
        if !args.contains(&port) {
            command.args([port, "0"]);
        }
    }
    command.args(args);
    let mut process = WeappdProcess::spawn("weappd dev", &mut command);
    let status = process
        .wait(PATIENCE)
        .expect("a start that cannot work ends");
    let said = whole(&process, words[0]).await;
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.starts_with("! error: "),
        "the error comes first, on stderr: {said}"
    );
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(
        !said.contains("Phones"),
        "no banner before an error: {said}"
    );
}

/// What it said, up to its last words: they may come a moment after its end.
async fn whole(process: &WeappdProcess, last: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    while !process.transcript().contains(last) && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    process.transcript()
}

fn empty() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

#[tokio::test]
async fn a_taken_port() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    for (flag, what) in [
        ("--http", "the phone page"),
        ("--https", "the HTTPS site"),
        ("--internal", "the internal API"),
        ("--wechat", "the simulated WeChat"),
    ] {
        let dir = empty();
        let address = format!("127.0.0.1:{port}: another program already does");
        let hint = format!("give {flag} another port");
        refuses(
            dir.path(),
            &[flag, &port],
            &[&hint, what, &address, "hint: "],
        )
        .await;
    }
}

#[tokio::test]
async fn a_data_directory_that_cannot_be() {
    let dir = empty();
    fs::write(dir.path().join(".weappd"), "in the way").expect("a file");
    let words = [
        "--data-dir",
        "the data directory .weappd cannot be used",
        "File exists",
        "hint: ",
    ];
    refuses(dir.path(), &[], &words).await;
    // Nobody, not even root, can make a directory there.
    let words = [
        "--data-dir",
        "the data directory /proc/weappd cannot be used",
        "hint: ",
    ];
    refuses(dir.path(), &["--data-dir", "/proc/weappd"], &words).await;
}

#[tokio::test]
async fn a_broken_database() {
    let dir = empty();
    let data = dir.path().join(".weappd");
    fs::create_dir(&data).expect("the data directory");
    let garbage: Vec<u8> = (0..20_000_u32).map(|at| (at * 7 % 251) as u8).collect();
    let file = data.join("weappd.db");
    fs::write(&file, &garbage).expect("garbage");
    let words = ["move it away", ".weappd/weappd.db", "the file is broken"];
    refuses(dir.path(), &[], &words).await;
    assert_eq!(
        fs::read(&file).expect("still there"),
        garbage,
        "left as it was"
    );
    // The words are true: moved away, the start works.
    fs::rename(&file, data.join("broken.db")).expect("moved");
    drop(TestWorld::dev_in(dir, &[]).await);
}

#[tokio::test]
async fn a_broken_certificate() {
    let dir = empty();
    let data = dir.path().join(".weappd");
    fs::create_dir(&data).expect("the data directory");
    for name in ["dev-cert.pem", "dev-key.pem"] {
        fs::write(data.join(name), "no PEM").expect("a file");
    }
    let words = ["hint: remove", ".weappd/dev-cert.pem", "dev-key.pem"];
    refuses(dir.path(), &[], &words).await;
    for name in ["dev-cert.pem", "dev-key.pem"] {
        fs::remove_file(data.join(name)).expect("removed");
    }
    let world = TestWorld::dev_in(dir, &[]).await;
    assert_eq!(world.site().get("/").send().await.status(), 200);
}

#[tokio::test]
async fn a_second_weappd_on_the_same_data() {
    let world = TestWorld::dev().await;
    let words = [
        "hint: stop it first",
        "another weappd is running on .weappd",
    ];
    refuses(world.dir(), &[], &words).await;
    // The first one did not notice.
    let mut alice = world.phone("alice");
    alice.log_in().await;
    assert_eq!(alice.user().await["code"], 0);
}
