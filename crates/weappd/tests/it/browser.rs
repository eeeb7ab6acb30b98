//! The phone page of `weappd dev` in a real browser: headless Chromium, driven by
//! `browser/drive.js` through what a user sees and presses.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::npm;
use crate::process::WeappdProcess;
use crate::world::TestWorld;

/// Debian's Chromium.
const CHROMIUM: &str = "/usr/bin/chromium";

/// How long a whole story may take on a busy machine.
const LONG: Duration = Duration::from_mins(3);

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/browser")
}

/// Plays one story of drive.js at `url`; it says `done` when all of it held.
pub(crate) fn play(story: &str, url: &str) {
    assert!(
        Path::new(CHROMIUM).exists(),
        "{CHROMIUM} is missing: `cargo xtask install` brings it"
    );
    let modules = npm::install("browser", &fixtures());
    let profile = tempfile::tempdir().expect("a temporary directory");
    let mut command = Command::new("node");
    command
        .arg(fixtures().join("drive.js"))
        .args([CHROMIUM, story, url])
        .arg(profile.path())
        .env("NODE_PATH", modules);
    let mut driver = WeappdProcess::spawn(&format!("drive.js {story}"), &mut command);
    let deadline = Instant::now() + LONG;
    while let Some(line) = driver.next_line(deadline) {
        if line == "done" {
            // The browser is gone before its profile is.
            let status = driver.wait(Duration::from_secs(20));
            assert!(status.is_some_and(|status| status.success()), "{status:?}");
            return;
        }
    }
    panic!("the story `{story}` broke off\n{}", driver.transcript());
}

fn site(world: &TestWorld) -> String {
    format!("http://{}/", world.http)
}

#[tokio::test]
async fn two_people_log_in_send_a_picture_and_chat() {
    let world = TestWorld::dev().await;
    play("together", &site(&world));
}

#[tokio::test]
async fn the_same_over_https() {
    let world = TestWorld::dev().await;
    play(
        "together",
        &format!("https://localhost:{}/", world.https.port()),
    );
}

#[tokio::test]
async fn who_refuses_is_logged_in_without_a_name() {
    let world = TestWorld::dev().await;
    play("refusal", &site(&world));
}

#[tokio::test]
async fn an_expired_session_is_renewed_unnoticed_and_storage_can_be_cleared() {
    let world = TestWorld::dev().await;
    play("expiry", &site(&world));
}

#[tokio::test]
async fn the_wire_names_every_step_and_shows_no_secret() {
    let world = TestWorld::dev().await;
    play("wire", &site(&world));
}

#[tokio::test]
async fn the_page_speaks_two_languages() {
    let world = TestWorld::dev().await;
    play("languages", &site(&world));
}

#[test]
fn the_lock_names_no_host() {
    npm::names_no_host(&fixtures());
}
