//! Several weappds on one database: logged in at one is logged in at all, and one token of
//! WeChat's does for all, whatever becomes of one of them or of the database.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::{Json, Router};
use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use weappd_base::fair_timer::FairTimer;

use crate::http;
use crate::mariadb::MariaDb;
use crate::process::PATIENCE;
use crate::upstream;
use crate::world::{APPID, TestWorld, WorldRecipe};

/// How long a hold lasts whose node has died, as docs/wire/gateway.md has it.
const HOLD_MILLIS: i64 = 25_000;

/// A WeChat that remembers who asked it for tokens.
struct SharedWechat {
    inner: Mutex<WechatState>,
}

struct WechatState {
    /// When it was asked, and whether to force a new token.
    asked: Vec<(Instant, bool)>,
    /// The number of the newest token.
    current: usize,
    expires_in: u64,
    /// Whether it gives the same token until a new one is forced.
    is_sticky: bool,
    /// Whether the next question is never answered.
    hangs: bool,
    rejected: HashSet<String>,
}

impl SharedWechat {
    fn serve() -> (Arc<Self>, SocketAddr) {
        let wechat = Arc::new(Self {
            inner: Mutex::new(WechatState {
                asked: Vec::new(),
                current: 0,
                expires_in: 7200,
                is_sticky: false,
                hangs: false,
                rejected: HashSet::new(),
            }),
        });
        let router = Router::new()
            .fallback(answer)
            .with_state(Arc::clone(&wechat));
        let addr = upstream::serve(router);
        (wechat, addr)
    }

    fn inner(&self) -> MutexGuard<'_, WechatState> {
        self.inner.lock().expect("no test panics in it")
    }

    fn questions(&self) -> usize {
        self.inner().asked.len()
    }

    fn forced(&self) -> usize {
        let inner = self.inner();
        inner
            .asked
            .iter()
            .filter(|(_, is_forced)| *is_forced)
            .count()
    }

    /// From now on calls with any token that was given so far are refused.
    fn rejects_all(&self) {
        let mut inner = self.inner();
        let given = (1..=inner.current).map(|number| format!("token-{number}"));
        let given: Vec<_> = given.collect();
        inner.rejected.extend(given);
    }
}

async fn answer(State(wechat): State<Arc<SharedWechat>>, request: Request) -> Json<Value> {
    let (head, body) = request.into_parts();
    let path = head.uri.path();
    if path.ends_with("token") {
        let body = body.collect().await.expect("a body").to_bytes();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        return wechat.token(asked["force_refresh"] == true).await;
    }
    let query = head.uri.query().unwrap_or_default();
    let token = query.strip_prefix("access_token=").unwrap_or_default();
    if wechat.inner().rejected.contains(token) {
        return Json(json!({"errcode": 40001, "errmsg": "invalid credential"}));
    }
    Json(json!({"errcode": 0, "token": token}))
}

impl SharedWechat {
    async fn token(&self, is_forced: bool) -> Json<Value> {
        let is_lost = {
            let mut inner = self.inner();
            inner.asked.push((Instant::now(), is_forced));
            std::mem::take(&mut inner.hangs)
        };
        if is_lost {
            std::future::pending::<()>().await;
        }
        let mut inner = self.inner();
        if !inner.is_sticky || is_forced || inner.current == 0 {
            inner.current += 1;
        }
        let (token, expires_in) = (format!("token-{}", inner.current), inner.expires_in);
        Json(json!({"access_token": token, "expires_in": expires_in}))
    }
}

/// A node and what more its configuration says.
fn node_with(store: &str, keys: &TempDir, wechat: SocketAddr, more: &str) -> TestWorld {
    let keys = keys.path().join("session.key");
    WorldRecipe::new()
        .wechat_by(wechat)
        .sections(&format!(
            "[session]\nstore = \"{store}\"\nkey_file = \"{}\"\n\n{more}",
            keys.display()
        ))
        .serve()
}

fn node(store: &str, keys: &TempDir, wechat: SocketAddr) -> TestWorld {
    node_with(store, keys, wechat, "")
}

fn keys() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// What became of a call of WeChat's API: the token it went with, or WeChat's no.
async fn call(node: &TestWorld) -> Result<String, i64> {
    let answer = http::json(&node.api().post("/wxa/x").send().await);
    match answer["token"].as_str() {
        Some(token) => Ok(token.to_owned()),
        None => Err(answer["errcode"].as_i64().expect("an errcode")),
    }
}

/// Calls of all nodes at the same time.
async fn calls(nodes: &[TestWorld], each: usize) -> HashSet<Result<String, i64>> {
    let calls = nodes.iter().flat_map(|node| (0..each).map(|_| call(node)));
    join_all(calls).await.into_iter().collect()
}

fn only(token: &str) -> HashSet<Result<String, i64>> {
    HashSet::from([Ok(token.to_owned())])
}

async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !so() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_ask_wechat_for_one_token() {
    let store = MariaDb::start(&["weappd"]);
    let keys = keys();
    let (wechat, at) = SharedWechat::serve();
    let nodes = [0, 1].map(|_| node(&store.url("weappd"), &keys, at));
    assert_eq!(calls(&nodes, 20).await, only("token-1"));
    assert_eq!(wechat.questions(), 1);
    // A node that comes later, or again, finds it too.
    let third = node(&store.url("weappd"), &keys, at);
    assert_eq!(call(&third).await, Ok("token-1".to_owned()));
    assert_eq!(wechat.questions(), 1);
    let rows = store.query(
        "weappd",
        "SELECT CONVERT(name USING utf8), CONVERT(sealed USING latin1) FROM weappd_shelf",
    );
    assert!(rows.contains(APPID), "{rows}");
    for node in nodes.iter().chain([&third]) {
        let log = node.transcript();
        assert!(
            !log.contains("token-1") && !rows.contains("token-1"),
            "{log}"
        );
    }
    // A node with another key file cannot read it: it says so, and asks itself.
    let strange = self::keys();
    let stranger = node(&store.url("weappd"), &strange, at);
    assert_eq!(call(&stranger).await, Ok("token-2".to_owned()));
    let log = stranger.transcript();
    assert!(log.contains("another session key file"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_token_is_replaced_once_and_forced_once_over_three_nodes() {
    // As an old server may have been set up.
    let store = MariaDb::start_with(&[], &["--character-set-server=latin1"]);
    store.query("mysql", "CREATE DATABASE old");
    let keys = keys();
    let (wechat, at) = SharedWechat::serve();
    let nodes = [0, 1, 2].map(|_| node(&store.url("old"), &keys, at));
    assert_eq!(calls(&nodes, 50).await, only("token-1"));
    assert_eq!(wechat.questions(), 1, "one for 150 callers");
    wechat.rejects_all();
    assert_eq!(calls(&nodes, 20).await, only("token-2"));
    assert_eq!((wechat.questions(), wechat.forced()), (2, 0));
    // WeChat calls the very token current that it rejects: now a new one is forced.
    wechat.inner().is_sticky = true;
    wechat.rejects_all();
    assert_eq!(calls(&nodes, 20).await, only("token-3"));
    assert_eq!((wechat.questions(), wechat.forced()), (4, 1));
    // Not again so soon, at whichever node: WeChat's no goes to the app.
    wechat.rejects_all();
    for node in &nodes {
        assert_eq!(call(node).await, Err(40001));
    }
    assert_eq!(wechat.forced(), 1);
    // Nor by a node that was not there when it was forced.
    let late = node(&store.url("old"), &keys, at);
    assert_eq!(call(&late).await, Err(40001));
    assert_eq!(wechat.forced(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_nodes_renews_ahead_of_the_end() {
    let store = MariaDb::start(&["weappd"]);
    let keys = keys();
    let (wechat, at) = SharedWechat::serve();
    wechat.inner().expires_in = 8;
    let nodes = [0, 1, 2].map(|_| node(&store.url("weappd"), &keys, at));
    let deadline = Instant::now() + PATIENCE;
    while wechat.questions() < 3 {
        assert!(Instant::now() < deadline, "it is not renewed");
        for outcome in calls(&nodes, 3).await {
            outcome.expect("no call fails meanwhile");
        }
    }
    assert_eq!(wechat.forced(), 0);
    let asked = wechat.inner().asked.clone();
    for pair in asked.windows(2) {
        // It is due after 6 of its 8 seconds: sooner, two nodes would have asked.
        let gap = pair[1].0 - pair[0].0;
        assert!(gap > Duration::from_secs(5), "{gap:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_while_it_asks_is_stood_in_for() {
    let store = MariaDb::start(&["stable", "classic"]);
    for mode in ["stable", "classic"] {
        let keys = keys();
        let (wechat, at) = SharedWechat::serve();
        let start = || {
            let more = format!("[gateway]\ntoken = \"{mode}\"");
            node_with(&store.url(mode), &keys, at, &more)
        };
        let ([dying, heir], late) = ([0, 1].map(|_| start()), start());
        wechat.inner().hangs = true;
        tokio::select! {
            outcome = call(&dying) => panic!("WeChat is silent: {outcome:?}"),
            () = until("the question", || wechat.questions() == 1) => {}
        }
        drop(dying.end(Signal::KILL));
        let now = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) DIV 1000";
        let left = store.query(
            mode,
            &format!("SELECT held_until - {now} FROM weappd_shelf"),
        );
        let left: i64 = left.parse().expect("a number");
        assert!((1..=HOLD_MILLIS).contains(&left), "{left}");
        let begun = FairTimer::start();
        let heirs = call(&heir);
        if mode == "stable" {
            // Two may ask for it: it is not worth more than 4 seconds.
            assert_eq!(heirs.await, Ok("token-1".to_owned()));
            assert!(begun.elapsed() > Duration::from_secs(3));
            assert!(begun.fair() < Duration::from_secs(15));
            continue;
        }
        // A second classic token would end the first: the hold is waited out.
        let wait = async {
            tokio::time::sleep(Duration::from_secs(6)).await;
            assert_eq!(wechat.questions(), 1, "it has not asked");
            let passed = format!("UPDATE weappd_shelf SET held_until = held_until - {HOLD_MILLIS}");
            store.query(mode, &passed);
        };
        let (outcome, ()) = tokio::join!(heirs, wait);
        assert_eq!(outcome, Ok("token-1".to_owned()));
        assert_eq!(call(&late).await, Ok("token-1".to_owned()));
        assert_eq!(wechat.questions(), 2, "the dead one's, and its heir's");
        assert_eq!(store.query(mode, "SELECT fence FROM weappd_shelf"), "2");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_each_node_asks_itself_until_it_is_back() {
    let mut store = MariaDb::start(&["weappd"]);
    let keys = keys();
    let (wechat, at) = SharedWechat::serve();
    let nodes = [0, 1].map(|_| node(&store.url("weappd"), &keys, at));
    assert_eq!(calls(&nodes, 1).await, only("token-1"));
    store.kill();
    assert_eq!(calls(&nodes, 5).await, only("token-1"), "from memory");
    for round in 1..=2 {
        wechat.rejects_all();
        let begun = FairTimer::start();
        let outcomes = calls(&nodes, 5).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert!(begun.fair() < Duration::from_secs(10));
        assert_eq!(wechat.questions(), 1 + 2 * round, "each for itself");
        // Long enough that it is looked for again.
        tokio::time::sleep(Duration::from_millis(3100)).await;
    }
    for node in &nodes {
        let log = node.transcript();
        let told = log.matches("not shared with other nodes").count();
        assert_eq!(told, 1, "{log}");
        assert!(
            !log.contains("token-") && !log.contains("for-tests-only"),
            "{log}"
        );
    }
    store.start_again(&[]);
    let deadline = Instant::now() + PATIENCE;
    loop {
        wechat.rejects_all();
        let outcomes = calls(&nodes, 3).await;
        if outcomes.len() == 1 && outcomes.iter().all(Result::is_ok) {
            break;
        }
        assert!(Instant::now() < deadline, "they do not share again");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for node in &nodes {
        node.says("share access_tokens again").await;
    }
    let before = wechat.questions();
    wechat.rejects_all();
    assert_eq!(calls(&nodes, 20).await.len(), 1);
    assert_eq!(wechat.questions(), before + 1, "one for both");
}
