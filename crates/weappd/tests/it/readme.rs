//! The README's first command, typed into a fresh clone by somebody who has nothing else.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::family;
use crate::http::TestClient;
use crate::process::{PATIENCE, WeappdProcess};
use crate::world::WEAPPD;

/// How long a release build may take on a small machine with much else to do.
const BUILD: Duration = Duration::from_mins(20);

fn checkout() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("../..").canonicalize().expect("the checkout")
}

/// The first command a README shows.
fn first_command(readme: &str) -> Vec<String> {
    let text = fs::read_to_string(checkout().join(readme)).expect(readme);
    let block = text.split("```").nth(1).expect("a command");
    let line = block.lines().find(|line| !line.trim().is_empty());
    let words = line.expect("a command").split_whitespace();
    words.map(str::to_owned).collect()
}

/// What is committed, at a place that is the same each time: the build before is found
/// again, and the target directory does not grow.
fn fresh_clone() -> (PathBuf, File) {
    let clone = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fresh-clone");
    let guard = File::create(clone.with_extension("lock")).expect("a lock file");
    guard.lock().expect("the lock on the clone");
    drop(fs::remove_dir_all(&clone));
    let git = Command::new("git")
        .args(["clone", "--quiet", "--no-hardlinks"])
        .args([&checkout(), &clone])
        .output()
        .expect("git");
    let words = String::from_utf8_lossy(&git.stderr);
    assert!(git.status.success(), "git clone: {words}");
    (clone, guard)
}

#[tokio::test]
async fn the_first_command_of_the_readme_works_in_a_fresh_clone() {
    let command = first_command("README.md");
    assert_eq!(command, ["cargo", "run", "--release", "--", "dev"]);
    assert_eq!(
        command,
        first_command("README.zh-CN.md"),
        "in both languages"
    );
    let (clone, _guard) = fresh_clone();

    let mut run = Command::new(&command[0]);
    run.args(&command[1..])
        // Somebody else may have the usual ports.
        .args([
            "--http",
            "0",
            "--https",
            "0",
            "--internal",
            "0",
            "--wechat",
            "0",
        ])
        .current_dir(&clone)
        // The crates this depends on are the same as this checkout's. Built once is enough:
        // a clone's own target directory would double what CI builds.
        .env("CARGO_TARGET_DIR", target());
    let mut dev = WeappdProcess::spawn("cargo run --release -- dev", &mut run);
    let deadline = Instant::now() + BUILD;
    let phones: SocketAddr = loop {
        let line = dev.next_line(deadline);
        let line = line.unwrap_or_else(|| panic!("no banner\n{}", dev.transcript()));
        if let Some(rest) = line.trim_start().strip_prefix("Phones") {
            let url = rest.split_whitespace().next().expect("a URL");
            let address = url.trim_start_matches("http://").trim_end_matches('/');
            break address.parse().expect(url);
        }
    };
    let page = TestClient::http(phones, &phones.to_string());
    let answer = page.get("/").send().await;
    assert_eq!(answer.status(), 200);
    assert!(answer.body().starts_with(b"<!doctype html>"));
    assert!(
        clone.join(".weappd/weappd.db").exists(),
        "it keeps its data there"
    );

    // As a terminal does it: everybody in the foreground hears Ctrl-C.
    let children = family::of(dev.id());
    dev.signal(Signal::INT);
    let status = dev.wait(PATIENCE);
    assert!(
        status.is_some_and(|status| status.success()),
        "{status:?}\n{}",
        dev.transcript()
    );
    family::gone(&children).await;
    let status = Command::new("git")
        .args(["status", "--porcelain"])
        .current_dir(&clone)
        .output()
        .expect("git");
    let changed = String::from_utf8_lossy(&status.stdout);
    assert_eq!(changed, "", "building and running leave a checkout clean");
}

/// The target directory of this very build.
fn target() -> &'static Path {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    tmp.parent().expect("the target directory")
}

/// The lines of the block that begins with this command.
fn block(readme: &str, first: &str) -> Vec<String> {
    let text = fs::read_to_string(checkout().join(readme)).expect(readme);
    let mut blocks = text.split("```").skip(1).step_by(2);
    let block = blocks.find(|block| block.trim_start().starts_with(first));
    let lines = block.expect("the block").lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty());
    lines.map(str::to_owned).collect()
}

/// The weappd of this build stands where `cargo build --release` would put one.
#[test]
fn each_command_can_be_typed_in_order_in_a_fresh_clone() {
    for readme in ["README.md", "README.zh-CN.md"] {
        let home = tempfile::tempdir().expect("a directory");
        let clone = home.path().join("weappd");
        fs::create_dir_all(clone.join("target/release")).expect("made");
        std::os::unix::fs::symlink(WEAPPD, clone.join("target/release/weappd")).expect("linked");
        let lines = block(readme, "cargo build --release");
        let [build, typed @ ..] = &lines[..] else {
            panic!("{readme}: {lines:?}");
        };
        assert!(build.contains("target/release/weappd"), "{build}");
        let told = "\necho \"= $?\"\n";
        let script = typed.join(told) + told;
        let shell = Command::new("sh")
            .args(["-c", &script])
            .current_dir(&clone)
            .env_remove("WEAPP_SECRET")
            .output()
            .expect("a shell");
        let told = String::from_utf8_lossy(&shell.stdout).into_owned();
        let words = String::from_utf8_lossy(&shell.stderr).into_owned();
        let codes: Vec<_> = told
            .lines()
            .filter_map(|line| line.strip_prefix("= "))
            .collect();
        // PATH, the directory, init; then a file that still lacks a certificate and a secret.
        assert_eq!(
            codes,
            ["0", "0", "0", "78", "78"],
            "{readme}: {told}{words}"
        );
        assert!(words.contains("WEAPP_SECRET is not set"), "{words}");
        let server = home.path().join("my-server");
        assert!(server.join("weappd.toml").exists());

        // The second terminal: each is known, and says that nobody is there to ask.
        let more = block(readme, "weappd status");
        assert!(more.len() > 6, "{readme}: {more:?}");
        for line in more.iter().filter(|line| !line.contains("simulate")) {
            let words: Vec<_> = line
                .split('#')
                .next()
                .unwrap_or_default()
                .split(' ')
                .collect();
            let words = words.into_iter().filter(|word| !word.is_empty());
            let typed = Command::new(WEAPPD)
                .args(words.skip(1))
                .current_dir(&server)
                .output()
                .expect("weappd runs");
            let code = typed.status.code();
            assert!(code == Some(1) || code == Some(78), "{line}: {code:?}");
        }
    }
}

/// Every command a README shows exists.
#[test]
fn the_commands_of_the_readmes_exist() {
    for readme in ["README.md", "README.zh-CN.md"] {
        let text = fs::read_to_string(checkout().join(readme)).expect(readme);
        let blocks = text.split("\n```").skip(1).step_by(2);
        let mut seen = 0;
        for line in blocks.flat_map(str::lines) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let known = match words.as_slice() {
                ["cargo", "xtask", task, ..] => {
                    ["test", "tidy", "bench", "fuzz", "install"].contains(task)
                }
                ["cargo", "run", "--release", "--", sub, ..] | ["weappd", sub, ..] => {
                    seen += 1;
                    let help = Command::new(WEAPPD).args([sub, "--help"]).output();
                    help.expect("weappd").status.success()
                }
                _ => true,
            };
            assert!(
                known,
                "{readme}: `{line}` names a command that does not exist"
            );
        }
        assert!(seen > 0, "{readme} shows no command");
    }
}
