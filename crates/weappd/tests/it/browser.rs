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
    play_beside(story, url, 0);
}

/// The same; the story may stop and continue the process `pid`.
fn play_beside(story: &str, url: &str, pid: u32) {
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
        .arg(profile.path().join("browser"))
        .arg(pid.to_string())
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

#[tokio::test]
async fn every_arrow_of_a_phone_starts_or_ends_at_it() {
    let world = TestWorld::dev().await;
    play("whose", &site(&world));
}

#[tokio::test]
async fn what_a_phone_says_agrees_with_what_it_shows() {
    let world = TestWorld::dev().await;
    play("agreement", &site(&world));
}

#[tokio::test]
async fn a_weappd_that_stands_still_is_not_called_connected() {
    let world = TestWorld::dev().await;
    play_beside("cut", &site(&world), world.pid());
}

#[tokio::test]
async fn an_arrow_costs_the_same_however_many_there_are() {
    let world = TestWorld::dev().await;
    play("rows", &site(&world));
}

#[tokio::test]
async fn the_arrows_are_one_tab_stop_and_escape_leaves() {
    let world = TestWorld::dev().await;
    play("keyboard", &site(&world));
}

#[tokio::test]
async fn a_reload_keeps_the_chat_and_the_wire() {
    let world = TestWorld::dev().await;
    play("reload", &site(&world));
}

#[tokio::test]
async fn the_two_pages_lead_to_each_other() {
    let world = TestWorld::dev().await;
    play("links", &site(&world));
}

#[tokio::test]
async fn the_wire_is_saved_and_opened_again() {
    let world = TestWorld::dev().await;
    play("saved", &site(&world));
}

#[tokio::test]
async fn every_text_can_be_read_in_both_schemes() {
    let world = TestWorld::dev().await;
    play("contrast", &site(&world));
}

#[tokio::test]
async fn what_teaches_is_above_the_fold() {
    let world = TestWorld::dev().await;
    play("fold", &site(&world));
}

#[tokio::test]
async fn chinese_sentences_hold_no_english() {
    let world = TestWorld::dev().await;
    play("chinese", &site(&world));
}

#[tokio::test]
async fn ones_own_app_has_its_first_page_and_its_end_is_shown() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let app = fixtures().join("own-app.js");
    let app = app.to_str().expect("a path");
    let world = TestWorld::dev_in(dir, &["--", "node", app]).await;
    play("beside", &site(&world));
}

#[tokio::test]
async fn an_unknown_path_of_the_chat_room_says_so() {
    let world = TestWorld::dev().await;
    let client = world.plain();
    for (accept, told) in [
        ("text/html,*/*", "The chat room of weappd dev has nothing"),
        ("*/*", "the chat room of weappd dev has no path /nothing"),
    ] {
        let answer = client.get("/nothing").header("accept", accept).send().await;
        assert_eq!(answer.status(), 404, "{accept}");
        let text = String::from_utf8_lossy(answer.body());
        assert!(text.contains(told), "{accept}: {text}");
        assert!(text.contains("weappd dev -- COMMAND"), "{accept}");
    }
}

#[test]
fn the_lock_names_no_host() {
    npm::names_no_host(&fixtures());
}
