//! `kill -9` in the middle of everything: what was acknowledged stands, what was left
//! running ends.

use std::cell::RefCell;
use std::net::SocketAddr;

use futures_util::future::join_all;
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::family;
use crate::http;
use crate::process::PATIENCE;
use crate::world::{TestWorld, text};

/// After how many acknowledged deeds each round is killed: in the first moments, and when
/// many logins share a transaction.
const KILLED_AFTER: [usize; 6] = [1, 7, 40, 90, 150, 260];

/// How many phones log in at the same time.
const PHONES: usize = 24;

/// What weappd said yes to.
#[derive(Default)]
struct DurabilityRecord {
    /// Sessions: skey and openid.
    opened: Vec<(String, String)>,
    /// Sessions that were ended again.
    ended: Vec<String>,
}

impl DurabilityRecord {
    fn deeds(&self) -> usize {
        self.opened.len() + 2 * self.ended.len()
    }
}

/// A request to a weappd that may fall any moment: status and body, if both came whole.
pub(crate) async fn ask(
    to: SocketAddr,
    method: &str,
    path: &str,
    header: &str,
) -> Option<(u16, String)> {
    let asking = async {
        let mut tcp = TcpStream::connect(to).await.ok()?;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{header}\r\n\
             content-length: 0\r\nconnection: close\r\n\r\n"
        );
        tcp.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        tcp.read_to_end(&mut answer).await.ok()?;
        let answer = String::from_utf8(answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, body.to_owned()))
    };
    let answer = tokio::time::timeout(PATIENCE, asking).await;
    answer.expect("a killed weappd does not keep its phones waiting")
}

/// One phone after the other logs in, and every third out again, until weappd is gone.
async fn log_in_until_it_falls(
    world: (SocketAddr, SocketAddr),
    name: &str,
    ledger: &RefCell<DurabilityRecord>,
    enough: (usize, &Notify),
) -> Option<()> {
    let (site, wechat) = world;
    for number in 0.. {
        let path = format!("/phone/{name}-{number}/login");
        let (_, code) = ask(wechat, "POST", &path, "accept: */*").await?;
        let code: Value = serde_json::from_str(&code).ok()?;
        let header = format!("x-wx-code: {}", text(&code["code"]));
        let (status, login) = ask(site, "GET", "/weapp/login", &header).await?;
        // From here on the login was acknowledged.
        let login: Value = serde_json::from_str(&login).expect("a whole answer");
        assert_eq!((status, &login["code"]), (200, &Value::from(0)), "{login}");
        let (skey, openid) = (&login["data"]["skey"], &login["data"]["userinfo"]["openId"]);
        let session = (text(skey).to_owned(), text(openid).to_owned());
        if number % 3 == 2 {
            let header = format!("x-wx-skey: {}", session.0);
            let (status, _) = ask(site, "DELETE", "/weapp/session", &header).await?;
            assert_eq!(status, 204);
            ledger.borrow_mut().ended.push(session.0);
        } else {
            ledger.borrow_mut().opened.push(session);
        }
        if ledger.borrow().deeds() >= enough.0 {
            enough.1.notify_one();
        }
    }
    None
}

#[tokio::test]
async fn no_acknowledged_login_is_lost_by_kill_9() {
    let mut all = DurabilityRecord::default();
    let mut dir = tempfile::tempdir().expect("a temporary directory");
    for (round, deeds) in KILLED_AFTER.into_iter().enumerate() {
        let mut world = TestWorld::dev_in(dir, &[]).await;
        let children = family::of(world.process().id());
        assert!(!children.is_empty(), "the chat room runs");
        check(&world, &all).await;

        let (ledger, enough) = (RefCell::new(DurabilityRecord::default()), Notify::new());
        let names: Vec<_> = (0..PHONES)
            .map(|phone| format!("r{round}-{phone}"))
            .collect();
        let to = (world.http, world.wechat);
        let phones = names
            .iter()
            .map(|name| log_in_until_it_falls(to, name, &ledger, (deeds, &enough)));
        let kill = async {
            let reached = tokio::time::timeout(PATIENCE * 3, enough.notified()).await;
            reached.expect("phones log in");
            world.process().signal_leader(Signal::KILL);
        };
        tokio::join!(join_all(phones), kill);

        let new = ledger.into_inner();
        assert!(new.deeds() >= deeds, "round {round}: {} deeds", new.deeds());
        all.opened.extend(new.opened);
        all.ended.extend(new.ended);
        (dir, _) = world.end(Signal::KILL);
        family::gone(&children).await;
    }
    let world = TestWorld::dev_in(dir, &[]).await;
    assert!(all.opened.len() > KILLED_AFTER[5] && !all.ended.is_empty());
    check(&world, &all).await;
}

/// Every session that was acknowledged is there, and none that was ended.
async fn check(world: &TestWorld, all: &DurabilityRecord) {
    let site = world.plain();
    let mut lost = Vec::new();
    for (skey, openid) in &all.opened {
        let user = site.get("/weapp/user").header("x-wx-skey", skey);
        let user = http::json(&user.send().await);
        if user["code"] != 0 || user["data"]["openId"] != **openid {
            lost.push(user);
        }
    }
    let count = (lost.len(), all.opened.len());
    assert!(
        lost.is_empty(),
        "{} of {} sessions are lost: {lost:?}",
        count.0,
        count.1
    );
    for skey in &all.ended {
        let user = site.get("/weapp/user").header("x-wx-skey", skey);
        let user = http::json(&user.send().await);
        assert_eq!(user["code"], -1, "an ended session came back: {user}");
    }
}

#[tokio::test]
async fn what_a_killed_weappd_left_running_is_ended_by_the_next() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    // An app with a helper: the helper is nobody's child once weappd and the app are dead.
    let app = "sleep 300 & exec \"$0\" demo-chat";
    let run = ["--", "sh", "-c", app, crate::world::WEAPPD];
    let mut world = TestWorld::dev_in(dir, &run).await;
    let children = family::of(world.process().id());
    let helper = children.iter().filter(|child| child.command() == "sleep");
    assert_eq!(helper.count(), 1, "{children:?}");
    let (dir, _) = world.end(Signal::KILL);
    let world = TestWorld::dev_in(dir, &run).await;
    family::gone(&children).await;
    // And what the next one started is not touched.
    assert_eq!(world.command(&["app", "list"]).status.code(), Some(0));
}
