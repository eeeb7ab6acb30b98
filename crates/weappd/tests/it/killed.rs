//! `kill -9` under logins and revokes, on SQLite and on MariaDB: every login and every ending
//! that was acknowledged stands, and no user is half there.

use std::cell::RefCell;
use std::path::Path;

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::Notify;

use crate::durability::ask;
use crate::http::{self, TestClient};
use crate::mariadb::MariaDb;
use crate::process::PATIENCE;
use crate::world::{TestWorld, WorldRecipe, text};

/// After how many acknowledged deeds each round is killed.
const KILLED_AFTER: [usize; 4] = [3, 40, 90, 160];
/// How many phones are busy at once.
const PHONES: usize = 16;

/// What weappd said yes to.
#[derive(Default)]
struct KillRecord {
    deeds: usize,
    /// Sessions that hold: skey and openid.
    held: Vec<(String, String)>,
    /// Sessions that were ended.
    ended: Vec<String>,
    /// Everybody who tried.
    tried: Vec<String>,
    /// Everybody's sessions are about to end: what the phones hear now says nothing.
    is_over: bool,
}

/// A request to the control socket, if its answer came whole.
async fn control(data: &Path, method: &str, path: &str) -> Option<Value> {
    let mut socket = UnixStream::connect(data.join("control.sock")).await.ok()?;
    let request = format!("{method} {path} HTTP/1.1\r\nhost: c\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    let reading = tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer));
    reading.await.expect("in time").ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    // In one piece or in chunks: the JSON is what stands between the braces.
    let body = body.get(body.find('{')?..=body.rfind('}')?)?;
    serde_json::from_str(body).ok()
}

/// A login, if it was acknowledged: skey and openid.
async fn log_in(world: &TestWorld, user: &str) -> Option<(String, String)> {
    let path = format!("/phone/{user}/login");
    let (_, code) = ask(world.wechat, "POST", &path, "accept: */*").await?;
    let code: Value = serde_json::from_str(&code).ok()?;
    let header = format!("x-wx-code: {}", text(&code["code"]));
    let (status, login) = ask(world.http, "GET", "/weapp/login", &header).await?;
    let login: Value = serde_json::from_str(&login).expect("a whole answer");
    assert_eq!((status, &login["code"]), (200, &Value::from(0)), "{login}");
    let data = &login["data"];
    let openid = text(&data["userinfo"]["openId"]).to_owned();
    Some((text(&data["skey"]).to_owned(), openid))
}

/// One user after the other logs in twice, and some are logged out or ended by command, until
/// weappd is gone.
async fn live(
    world: &TestWorld,
    data: &Path,
    name: &str,
    ledger: &RefCell<KillRecord>,
    enough: (usize, &Notify),
) -> Option<()> {
    for number in 0.. {
        let user = format!("{name}-{number}");
        ledger.borrow_mut().tried.push(user.clone());
        let one = log_in(world, &user).await?;
        ledger.borrow_mut().held.push(one.clone());
        let two = log_in(world, &user).await?;
        ledger.borrow_mut().held.push(two.clone());
        let of_user = format!("/sessions?openid={}", two.1);
        let ended = match number % 4 {
            0 => vec![],
            1 => {
                unsure(ledger, &[&two]);
                let header = format!("x-wx-skey: {}", two.0);
                let (status, _) = ask(world.http, "DELETE", "/weapp/session", &header).await?;
                goes_on(ledger)?;
                assert_eq!(status, 204);
                vec![&two]
            }
            2 => {
                unsure(ledger, &[&one, &two]);
                let answer = control(data, "DELETE", &of_user).await?;
                goes_on(ledger)?;
                assert_eq!(answer["ended"], 2, "{answer}");
                vec![&one, &two]
            }
            _ => {
                let list = control(data, "GET", &of_user).await?;
                goes_on(ledger)?;
                // The newest first.
                let session = list["sessions"][0]["session"].as_i64().expect("a number");
                unsure(ledger, &[&two]);
                let answer = control(data, "DELETE", &format!("/sessions/{session}")).await?;
                goes_on(ledger)?;
                assert_eq!(answer["ended"], 1, "{answer}");
                vec![&two]
            }
        };
        let mut ledger = ledger.borrow_mut();
        ledger
            .ended
            .extend(ended.into_iter().map(|session| session.0.clone()));
        ledger.deeds += 3;
        if ledger.deeds >= enough.0 {
            enough.1.notify_one();
        }
    }
    None
}

fn goes_on(ledger: &RefCell<KillRecord>) -> Option<()> {
    (!ledger.borrow().is_over).then_some(())
}

/// From here until the answer nobody can say whether these hold.
fn unsure(ledger: &RefCell<KillRecord>, sessions: &[&(String, String)]) {
    let mut ledger = ledger.borrow_mut();
    ledger.held.retain(|held| !sessions.contains(&held));
}

async fn serve(store: &str, data: &TempDir) -> TestWorld {
    let path = data.path().display();
    let recipe = WorldRecipe::new()
        .edge("redirect = false")
        .site(&format!("data_dir = \"{path}\""))
        .sections(&format!("[session]\n{store}"));
    let served = tokio::task::spawn_blocking(|| recipe.serve());
    served.await.expect("serves")
}

/// What was acknowledged stands.
async fn check(world: &TestWorld, data: &Path, all: &KillRecord) {
    let site = TestClient::http(world.http, "localhost");
    for (skey, openid) in &all.held {
        let user = site.get("/weapp/user").header("x-wx-skey", skey).send();
        let user = http::json(&user.await);
        assert_eq!(user["code"], 0, "a session is lost: {user}");
        assert_eq!(user["data"]["openId"], **openid);
    }
    for skey in &all.ended {
        let user = site.get("/weapp/user").header("x-wx-skey", skey).send();
        let user = http::json(&user.await);
        assert_eq!(user["code"], -1, "an ended session came back: {user}");
    }
    let wechat = world.wechat;
    for user in &all.tried {
        let (_, phone) = ask(wechat, "GET", &format!("/phone/{user}"), "accept: */*")
            .await
            .expect("WeChat answers");
        let phone: Value = serde_json::from_str(&phone).expect("JSON");
        let path = format!("/users?openid={}", text(&phone["openid"]));
        let users = control(data, "GET", &path).await.expect("answers");
        let users = users["users"].as_array().expect("a list");
        for user in users {
            assert_eq!(text(&user["id"]).len(), 64, "{user}");
            let keys = user["keys_given"].as_array().expect("a list");
            assert!(!keys.is_empty(), "a user without a session key: {user}");
        }
    }
}

/// Rounds of deeds and falls; in the last one everybody's sessions are ended.
async fn rounds(store: &str) {
    let data = tempfile::tempdir().expect("a directory");
    let mut all = KillRecord::default();
    for (round, deeds) in KILLED_AFTER.into_iter().enumerate() {
        let world = serve(store, &data).await;
        check(&world, data.path(), &all).await;
        let (ledger, enough) = (RefCell::new(KillRecord::default()), Notify::new());
        let names: Vec<_> = (0..PHONES).map(|n| format!("r{round}-{n}")).collect();
        let phones = names
            .iter()
            .map(|name| live(&world, data.path(), name, &ledger, (deeds, &enough)));
        let is_last = round + 1 == KILLED_AFTER.len();
        let all_before = RefCell::new(Vec::new());
        let kill = async {
            let reached = tokio::time::timeout(PATIENCE * 3, enough.notified()).await;
            reached.expect("phones are busy");
            if is_last {
                // Those that held when it was asked; what comes after may hold or not.
                ledger.borrow_mut().is_over = true;
                let held = std::mem::take(&mut ledger.borrow_mut().held);
                *all_before.borrow_mut() = held.into_iter().map(|held| held.0).collect();
                let answer = control(data.path(), "DELETE", "/sessions?all=true").await;
                assert!(answer.expect("an answer")["ended"].as_u64() > Some(0));
            }
            world.signal(Signal::KILL);
        };
        tokio::join!(join_all(phones), kill);
        let new = ledger.into_inner();
        assert!(new.deeds >= deeds, "round {round}: {} deeds", new.deeds);
        all.ended.extend(new.ended);
        all.tried.extend(new.tried);
        if is_last {
            all.ended.extend(all_before.into_inner());
            let before = std::mem::take(&mut all.held);
            all.ended.extend(before.into_iter().map(|held| held.0));
        } else {
            all.held.extend(new.held);
        }
        let ended = tokio::task::spawn_blocking(move || world.end(Signal::KILL));
        ended.await.expect("ends");
    }
    let world = serve(store, &data).await;
    assert!(all.ended.len() > KILLED_AFTER[3]);
    check(&world, data.path(), &all).await;
    assert!(!world.transcript().contains("panicked"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_stands_in_sqlite() {
    rounds("").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_stands_in_mariadb() {
    let started = tokio::task::spawn_blocking(|| MariaDb::start(&["weappd"]));
    let db = started.await.expect("starts");
    rounds(&format!("store = \"{}\"", db.url("weappd"))).await;
    let orphans = "SELECT (SELECT COUNT(*) FROM weappd_sessions WHERE user NOT IN \
        (SELECT user FROM weappd_users)) + (SELECT COUNT(*) FROM weappd_session_keys WHERE user \
        NOT IN (SELECT user FROM weappd_users))";
    assert_eq!(db.query("weappd", orphans), "0");
}
