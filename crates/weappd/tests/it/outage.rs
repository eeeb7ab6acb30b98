//! A database that is gone for half a minute: stopped, killed, silent, or out of reach.
//!
//! All four at once, each before a weappd of its own: the half minute is spent once.

#![expect(
    clippy::disallowed_methods,
    reason = "what a test spawns ends with its runtime"
)]

use std::fs;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::{FutureExt as _, join_all};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::sleep;
use weappd_base::fair_timer::FairTimer;

use crate::http::{self, HttpAnswer, TestClient};
use crate::mariadb::{self, MariaDb};
use crate::process::PATIENCE;
use crate::relay::{FaultRelay, RelayWire};
use crate::world::{TestWorld, WorldRecipe, text};

const INTERNAL_TOKEN: &str = "1e7e57a9900000000000000000c0ffee";
/// How long the database is gone.
const OUTAGE: Duration = Duration::from_secs(30);
/// `[session] store_wait_ms`, as it is unless told otherwise.
const WAIT: Duration = Duration::from_secs(5);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(5);
/// How long after its return the database is used again, at the latest: one trial that began
/// before it, and the next.
const BACK: Duration = Duration::from_secs(10);
/// Who asks at once while nobody can know.
const CROWD: usize = 400;
/// Who logs in at once meanwhile.
const CROWD_OF_LOGINS: usize = 100;
/// How many connections to the database there may be at any time: eight readers, the writer,
/// and those whose end is not heard.
const CONNECTIONS: usize = 64;
/// By how much weappd may grow under the crowd, in KiB.
const GROWTH_KIB: u64 = 64 * 1024;
const USERS: usize = 12;

/// How the database goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutageKind {
    Stopped,
    Killed,
    Silent,
    OutOfReach,
}

/// A database behind a wire, and weappd before it.
struct OutageStage {
    how: OutageKind,
    db: Arc<Mutex<MariaDb>>,
    relay: FaultRelay,
    store: String,
    database: &'static str,
    keys: TempDir,
    world: TestWorld,
}

impl OutageStage {
    async fn build(how: OutageKind, db: Arc<Mutex<MariaDb>>, database: &'static str) -> Self {
        let port = locked(&db).port;
        let relay = FaultRelay::to(SocketAddr::from(([127, 0, 0, 1], port))).await;
        let store = format!(
            "mysql://{}:{}@127.0.0.1:{}/{database}",
            mariadb::USER,
            mariadb::PASSWORD,
            relay.port
        );
        let keys = tempfile::tempdir().expect("a directory");
        let recipe = recipe(&store, &keys);
        let world = tokio::task::spawn_blocking(|| recipe.serve());
        Self {
            how,
            db,
            relay,
            store,
            database,
            keys,
            world: world.await.expect("serves"),
        }
    }

    fn goes(&self) {
        match self.how {
            OutageKind::Stopped => locked(&self.db).signal(Signal::STOP),
            OutageKind::Killed => locked(&self.db).kill(),
            OutageKind::Silent => self.relay.is(RelayWire::Silent),
            OutageKind::OutOfReach => self.relay.is(RelayWire::Gone),
        }
    }

    async fn comes_back(&self) {
        match self.how {
            OutageKind::Stopped => locked(&self.db).signal(Signal::CONT),
            OutageKind::Killed => {
                let db = Arc::clone(&self.db);
                let started = tokio::task::spawn_blocking(move || locked(&db).start_again(&[]));
                started.await.expect("starts");
            }
            OutageKind::Silent | OutageKind::OutOfReach => self.relay.is(RelayWire::Whole),
        }
    }

    /// Connections of weappd to the database; what it has closed is the system's.
    fn connections(&self) -> usize {
        let sockets = fs::read_to_string("/proc/net/tcp").expect("the sockets of this machine");
        let far = format!(":{:04X}", self.relay.port);
        // States: established, being opened, closed by the other side.
        sockets
            .lines()
            .skip(1)
            .filter_map(|line| {
                let mut fields = line.split_whitespace().skip(2);
                Some((fields.next()?, fields.next()?))
            })
            .filter(|(remote, state)| remote.ends_with(&far) && ["01", "02", "08"].contains(state))
            .count()
    }
}

fn recipe(store: &str, keys: &TempDir) -> WorldRecipe {
    let keys = keys.path().join("session.key");
    let recipe = WorldRecipe::new()
        .edge("redirect = false")
        .internal(&format!("token = \"{INTERNAL_TOKEN}\""));
    recipe.sections(&format!(
        "[session]\nstore = \"{store}\"\nkey_file = \"{}\"\nwafer1 = true",
        keys.display()
    ))
}

fn locked(db: &Mutex<MariaDb>) -> MutexGuard<'_, MariaDb> {
    db.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The site over plain HTTP.
fn plain(world: &TestWorld) -> TestClient {
    TestClient::http(world.http, "localhost")
}

/// A fresh code of a phone.
async fn code(world: &TestWorld, user: &str) -> String {
    world.phone(user).code().await
}

/// `GET /weapp/login` with a code alone.
async fn log_in(world: &TestWorld, user: &str) -> HttpAnswer {
    let (code, site) = (code(world, user).await, plain(world));
    let asked = site.get("/weapp/login").header("x-wx-code", &code);
    asked.send().await
}

/// The skey of a login that was acknowledged.
fn skey(answer: &HttpAnswer) -> Option<String> {
    let answer = http::json(answer);
    Some(answer["data"]["skey"].as_str()?.to_owned())
}

async fn rpc(world: &TestWorld, name: &str, para: Value) -> HttpAnswer {
    let call = json!({
        "version": 1, "componentName": "MA",
        "interface": {"interfaceName": name, "para": para},
    });
    let api = world.api();
    api.post("/mina_auth/").json(&call).send().await
}

/// Waits are bounded: neither given up at once nor hung.
fn waited(what: &str, how: OutageKind, since: FairTimer) {
    let (waited, fair) = (since.elapsed(), since.fair());
    assert!(
        waited > WAIT * 4 / 5,
        "{how:?} {what}: given up after {waited:?}"
    );
    assert!(fair < WAIT + SLACK, "{how:?} {what}: {fair:?}");
}

/// Users in memory are known all the time, and nobody waits to find that out.
async fn memory_goes_on(stage: &OutageStage, skeys: &[String], until: Instant) {
    let (how, begun) = (stage.how, Instant::now());
    let site = plain(&stage.world);
    let (mut asked, mut slow) = (0, 0);
    while Instant::now() < until {
        let skey = &skeys[asked % skeys.len()];
        let sent = FairTimer::start();
        let user = site.get("/weapp/user").header("x-wx-skey", skey).send();
        let user = user.await;
        let took = sent.fair();
        assert_eq!(user.status(), 200, "{how:?}");
        assert_eq!(http::json(&user)["code"], 0, "{how:?}");
        assert!(took < Duration::from_secs(1) + SLACK, "{how:?}: {took:?}");
        // In the first moments nobody knows yet that it is gone.
        if begun.elapsed() > Duration::from_secs(3) {
            asked += 1;
            slow += usize::from(took > Duration::from_millis(800));
        }
        sleep(Duration::from_millis(40)).await;
    }
    assert!(asked > 5, "{how:?}: only {asked} checks");
    assert!(slow * 20 <= asked, "{how:?}: {slow} of {asked} are slow");
}

/// What cannot be known or written is refused after the wait, in each dialect's words.
async fn every_dialect_says_so(stage: &OutageStage) {
    let (world, how) = (&stage.world, stage.how);
    let (site, begun) = (plain(world), FairTimer::start());
    let unknown = "0".repeat(64);
    let native_login = async {
        let code = code(world, "native").await;
        let asked = site.post("/weapp/session").json(&json!({"code": code}));
        let answer = asked.send().await;
        waited("native login", how, begun);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(http::json(&answer)["error"]["code"], "store_failed");
        assert!(!http::json(&answer).to_string().contains("mysql"));
    };
    let native_check = async {
        let bearer = format!("Bearer {unknown}");
        let asked = site.get("/weapp/session").header("authorization", &bearer);
        let answer = asked.send().await;
        waited("native check", how, begun);
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "2");
        assert_eq!(http::json(&answer)["error"]["code"], "store_failed");
    };
    let wafer2 = async {
        let login = log_in(world, "wafer2");
        let asked = site.get("/weapp/user").header("x-wx-skey", &unknown);
        let (login, check) = futures_util::join!(login, asked.send());
        waited("Wafer 2", how, begun);
        let login = http::json(&login);
        assert_eq!(login["code"], -1);
        let error = text(&login["error"]);
        assert!(error.starts_with("ERR_WHEN_INSERT_TO_DB\n"), "{login}");
        assert_eq!(check.status(), 503, "a session that may be good");
        assert_eq!(check.headers()["retry-after"], "2");
        let check = http::json(&check);
        assert_eq!(check, json!({"code": -2, "error": "ERR_SESSION_STORE"}));
    };
    let wafer1 = async {
        let code = code(world, "wafer1").await;
        let login = site.get("/login").header("x-wx-code", &code);
        let check = site.get("/user").header("x-wx-skey", &unknown);
        let check = check.header("x-wx-id", "nobody");
        let (login, check) = futures_util::join!(login.send(), check.send());
        waited("Wafer 1", how, begun);
        for answer in [&login, &check] {
            assert_eq!(answer.status(), 200);
        }
        assert_eq!(http::json(&login)["error"], "ERR_LOGIN_FAILED");
        assert_eq!(http::json(&check)["error"], "ERR_CHECK_LOGIN_FAILED");
    };
    let old_server = async {
        let phone = world.phone("rpc");
        let code = phone.code().await;
        let data = phone.wx("user_info", &json!({})).await;
        let login = json!({
            "code": code, "encrypt_data": data["encryptedData"], "iv": data["iv"],
        });
        let check = json!({"id": "nobody", "skey": unknown});
        let (login, check) = futures_util::join!(
            rpc(world, "qcloud.cam.id_skey", login),
            rpc(world, "qcloud.cam.auth", check)
        );
        waited("RPC", how, begun);
        assert_eq!(http::json(&login)["returnCode"], 1006, "{login:?}");
        assert_eq!(http::json(&check)["returnCode"], 1001, "{check:?}");
    };
    let internal = internal_api_says_so(stage, &unknown, begun);
    futures_util::join!(
        native_login,
        native_check,
        wafer2,
        wafer1,
        old_server,
        internal
    );
}

async fn internal_api_says_so(stage: &OutageStage, skey: &str, begun: FairTimer) {
    let (api, bearer) = (stage.world.api(), format!("Bearer {INTERNAL_TOKEN}"));
    let asked = api.get("/v1/session").header("authorization", &bearer);
    let answer = asked.header("x-wx-skey", skey).send().await;
    waited("internal API", stage.how, begun);
    assert_eq!(answer.status(), 503);
    assert_eq!(http::json(&answer)["error"]["code"], "store_failed");
}

/// Many wait at once: each is answered in time, and weappd stays as large as it was.
async fn a_crowd_waits(stage: &OutageStage) {
    let how = stage.how;
    let before = stage.world.pss_kib();
    let world = &stage.world;
    let codes = (0..CROWD_OF_LOGINS).map(|n| async move {
        let user = format!("crowd{n}");
        code(world, &user).await
    });
    let codes = join_all(codes).await;
    let begun = FairTimer::start();
    let site = plain(world);
    let checks = (0..CROWD).map(|n| {
        let site = site.clone();
        tokio::spawn(async move {
            let asked = site.get("/weapp/user").header("x-wx-skey", &n.to_string());
            let answer = asked.send().await;
            assert_eq!(answer.status(), 503, "{how:?}");
        })
    });
    let logins = codes.into_iter().map(|code| {
        let site = site.clone();
        tokio::spawn(async move {
            let asked = site.get("/weapp/login").header("x-wx-code", &code);
            let answer = http::json(&asked.send().await);
            assert_eq!(answer["code"], -1, "{how:?} {answer}");
        })
    });
    let all = async {
        for client in join_all(checks.chain(logins)).await {
            client.expect("an answer in time");
        }
        begun.fair()
    };
    let watch = async {
        let (mut most, mut largest) = (0, 0);
        while begun.elapsed() < WAIT {
            sleep(Duration::from_millis(250)).await;
            most = most.max(stage.connections());
            largest = largest.max(world.pss_kib());
        }
        (most, largest)
    };
    let (took, (most, largest)) = futures_util::join!(all, watch);
    assert!(took < WAIT + SLACK, "{how:?}: {took:?}");
    assert!(most <= CONNECTIONS, "{how:?}: {most} connections");
    let grown = largest.saturating_sub(before);
    assert!(grown < GROWTH_KIB, "{how:?}: {grown} KiB more");
}

/// The story of one outage.
async fn outage(stage: OutageStage) {
    let how = stage.how;
    let names: Vec<_> = (0..USERS).map(|n| format!("user{n}")).collect();
    let logins = join_all(names.iter().map(|name| log_in(&stage.world, name))).await;
    let skeys: Vec<_> = logins.iter().filter_map(skey).collect();
    assert_eq!(skeys.len(), USERS, "{how:?}: {logins:?}");
    // Memory is to be asked about all of them again.
    sleep(Duration::from_millis(2100)).await;

    stage.goes();
    let begun = Instant::now();
    futures_util::join!(
        memory_goes_on(&stage, &skeys, begun + OUTAGE / 3).boxed_local(),
        every_dialect_says_so(&stage).boxed_local()
    );
    a_crowd_waits(&stage).boxed_local().await;
    let rest = memory_goes_on(&stage, &skeys, begun + OUTAGE);
    rest.boxed_local().await;
    nothing_is_lost(stage, skeys).boxed_local().await;
}

/// The database comes back: all goes on, and what was acknowledged or visited is there.
async fn nothing_is_lost(stage: OutageStage, mut skeys: Vec<String>) {
    let how = stage.how;
    let visits = "SELECT MIN(last_visit), UNIX_TIMESTAMP() FROM weappd_sessions";
    stage.comes_back().await;
    let back = FairTimer::start();
    for n in 0.. {
        if let Some(skey) = skey(&log_in(&stage.world, &format!("late{n}")).await) {
            skeys.push(skey);
            break;
        }
    }
    let took = back.fair();
    assert!(
        took < BACK + SLACK,
        "{how:?}: {took:?} until the first login"
    );
    let site = plain(&stage.world);
    let unknown = site.get("/weapp/user").header("x-wx-skey", "never seen");
    let unknown = http::json(&unknown.send().await);
    assert_eq!(unknown["error"], "ERR_SKEY_INVALID", "{how:?}");
    let visited = Instant::now();
    for skey in &skeys {
        let user = site.get("/weapp/user").header("x-wx-skey", skey).send();
        assert_eq!(http::json(&user.await)["code"], 0, "{how:?}");
    }
    // An orderly end writes what was not written yet.
    let OutageStage {
        db,
        relay: _relay,
        store,
        database,
        keys,
        world,
        ..
    } = stage;
    let log = world.transcript();
    assert!(!log.contains("panicked"), "{how:?}\n{log}");
    assert!(log.contains("sessions are checked from memory"), "{log}");
    assert!(log.contains("the session store answers again"), "{log}");
    let ended = tokio::task::spawn_blocking(move || world.end(Signal::TERM));
    ended.await.expect("ends");
    let row = locked(&db).query(database, visits);
    let (least, now) = row.split_once('\t').expect("two numbers");
    let [least, now] = [least, now].map(|text| text.parse::<u64>().expect("a time"));
    let ago = now - least;
    assert!(
        ago <= visited.elapsed().as_secs() + 1,
        "{how:?}: {ago} s ago"
    );
    // And another node finds every session there.
    let recipe = recipe(&store, &keys);
    let next = tokio::task::spawn_blocking(|| recipe.serve());
    let (next, site) = {
        let next = next.await.expect("serves");
        let site = plain(&next);
        (next, site)
    };
    for skey in &skeys {
        let user = site.get("/weapp/user").header("x-wx-skey", skey).send();
        assert_eq!(http::json(&user.await)["code"], 0, "{how:?}");
    }
    drop(next);
}

/// Asked to end while the database is silent, weappd ends in time and says what it lost.
async fn an_end_in_the_outage_is_bounded(stage: OutageStage) {
    let answer = log_in(&stage.world, "last").await;
    let skey = skey(&answer).expect("logs in");
    stage.goes();
    sleep(Duration::from_millis(1100)).await;
    let site = plain(&stage.world);
    let user = site.get("/weapp/user").header("x-wx-skey", &skey).send();
    assert_eq!(http::json(&user.await)["code"], 0);
    let mut world = stage.world;
    let asked = FairTimer::start();
    world.process().signal_leader(Signal::TERM);
    let (status, log) = tokio::task::spawn_blocking(move || {
        let status = world.process().wait(PATIENCE * 2);
        (status, world.process().last_transcript())
    })
    .await
    .expect("ends");
    let took = asked.fair();
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{log}");
    assert!(took < WAIT * 2 + SLACK, "{took:?}\n{log}");
    assert!(
        log.contains("last visits of sessions could not be written"),
        "{log}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_minute_without_the_database() {
    let started = ["stopped", "killed", "silent"].map(|name| {
        let names: &'static [&'static str] = match name {
            "silent" => &["silent", "gone", "ending"],
            "stopped" => &["stopped"],
            _ => &["killed"],
        };
        tokio::task::spawn_blocking(|| Arc::new(Mutex::new(MariaDb::start(names))))
    });
    let [stopped, killed, shared] = started;
    let stopped = stopped.await.expect("starts");
    let killed = killed.await.expect("starts");
    let shared = shared.await.expect("starts");
    let stages = [
        OutageStage::build(OutageKind::Stopped, stopped, "stopped").await,
        OutageStage::build(OutageKind::Killed, killed, "killed").await,
        OutageStage::build(OutageKind::Silent, Arc::clone(&shared), "silent").await,
        OutageStage::build(OutageKind::OutOfReach, Arc::clone(&shared), "gone").await,
    ];
    let ending = OutageStage::build(OutageKind::Silent, shared, "ending").await;
    let told = join_all(stages.map(|stage| outage(stage).boxed_local()));
    let ended = an_end_in_the_outage_is_bounded(ending).boxed_local();
    futures_util::join!(told, ended);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_silently_forgotten_are_found_out() {
    let started = tokio::task::spawn_blocking(|| Arc::new(Mutex::new(MariaDb::start(&["one"]))));
    let db = started.await.expect("starts");
    let stage = OutageStage::build(OutageKind::Silent, db, "one").await;
    let site = plain(&stage.world);
    let unknown = async |skey: String| {
        let answer = site.get("/weapp/user").header("x-wx-skey", &skey).send();
        let answer = http::json(&answer.await);
        assert_eq!(answer["error"], "ERR_SKEY_INVALID", "{answer}");
    };
    // Many at a time, so that each of several connections carries some of them.
    join_all((0..32).map(|n| unknown(format!("early-{n}")))).await;
    let login = log_in(&stage.world, "user0").await;
    assert!(skey(&login).is_some(), "{}", http::json(&login));
    // The night: nobody asks, and something on the way forgets.
    sleep(Duration::from_millis(1200)).await;
    stage.relay.is(RelayWire::Forgotten);
    let timer = FairTimer::start();
    let login = log_in(&stage.world, "user1").await;
    assert!(skey(&login).is_some(), "{}", http::json(&login));
    for n in 0..4 {
        unknown(format!("late-{n}")).await;
    }
    let (took, fair) = (timer.elapsed(), timer.fair());
    assert!(took > Duration::from_millis(900), "nothing was forgotten");
    // The first connection found silent speaks for all that rested as long.
    let one_wait = Duration::from_secs(1);
    assert!(fair < one_wait * 2, "{fair:?}");
}
