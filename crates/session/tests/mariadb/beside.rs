//! The PHP session server and weappd on one database, as during a move. The old server is
//! played by its own statements, in its order and on a connection each, with its checks
//! between them: what it sends was read in tencentyun/wafer-session-server and seen on the
//! wire of the real one.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::{AssertSqlSafe, Row as _};
use weappd_session::Config;

use crate::backend::Backend;
use crate::cauth::PHP;
use crate::golden;
use crate::wechat::{session_key, user_data};
use crate::world::{APP, World};

/// The second all worlds begin in.
const NOW: i64 = 1_800_000_000;
const DAYS: i64 = 7;
const SECS: i64 = 3600;

struct OldServer {
    pool: MySqlPool,
    made: AtomicU64,
}

impl OldServer {
    async fn new(backend: &Backend) -> Self {
        // It closes its connection after every statement.
        let options: MySqlConnectOptions = backend.store().parse().expect("a URL");
        let options = options.timezone(Some("+08:00".to_owned()));
        let pool = MySqlPoolOptions::new().max_connections(8);
        Self {
            pool: pool.connect_with(options).await.expect("connects"),
            made: AtomicU64::new(1),
        }
    }

    async fn select(&self, sql: String) -> Vec<MySqlRow> {
        let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&self.pool);
        rows.await.expect("the old server reads")
    }

    /// A statement of its own that meets weappd's transaction may be the one a deadlock
    /// takes; its user gets an error and comes again.
    async fn change(&self, sql: String) {
        for _ in 0..100 {
            let done = sqlx::raw_sql(AssertSqlSafe(sql.as_str())).execute(&self.pool);
            match done.await {
                Err(sqlx::Error::Database(error)) if is_deadlock(&*error) => {}
                done => {
                    done.expect("the old server writes");
                    return;
                }
            }
        }
        panic!("a hundred deadlocks in a row: {sql}");
    }

    /// Thirty-two hex digits, as its md5 sums have.
    fn token(&self) -> String {
        format!("{:032x}", self.made.fetch_add(1, Ordering::SeqCst))
    }

    /// The end of `id_skey`; gives id and skey.
    async fn log_in(&self, openid: &str, nick: &str, now: i64) -> (String, String) {
        let info = STANDARD.encode(json!({"openId": openid, "nickName": nick}).to_string());
        let (key, at, skey) = (session_key(openid), stamp(now), self.token());
        let key = key.expose();
        self.select(format!(
            "select * from cSessionInfo where open_id = \"{openid}\""
        ))
        .await;
        let known = self
            .select(format!(
                "select uuid from cSessionInfo where open_id = \"{openid}\""
            ))
            .await;
        if let Some(row) = known.last() {
            let id: String = row.get("uuid");
            self.change(format!(
                "update cSessionInfo set session_key= \"{key}\",create_time = \"{at}\" ,\
                 last_visit_time = \"{at}\",skey = \"{skey}\",user_info='{info}' \
                 where uuid = \"{id}\""
            ))
            .await;
            return (id, skey);
        }
        let id = self.token();
        self.change(format!(
            "insert into cSessionInfo set uuid = \"{id}\",skey = \"{skey}\",\
             create_time = \"{at}\",last_visit_time = \"{at}\",open_id = \"{openid}\",\
             session_key=\"{key}\",user_info='{info}'"
        ))
        .await;
        // It answers with what it reads back.
        let rows = self
            .select(format!(
                "select uuid from cSessionInfo where open_id = \"{openid}\""
            ))
            .await;
        (rows.last().expect("a row").get("uuid"), skey)
    }

    /// The whole of `auth`; gives the user object.
    async fn auth(&self, (id, skey): (&str, &str), now: i64) -> Option<Value> {
        let rows = self
            .select(format!(
                "select *, unix_timestamp(create_time) c, unix_timestamp(last_visit_time) v \
                 from cSessionInfo where uuid = \"{id}\" and skey = \"{skey}\""
            ))
            .await;
        let row = rows.last()?;
        let (created, visited): (i64, i64) = (row.get("c"), row.get("v"));
        // (now - create_time) / 86400 > login_duration, in fractions.
        if now - created > DAYS * 86_400 || now - visited > SECS {
            return None;
        }
        self.change(format!(
            "update cSessionInfo set last_visit_time = \"{}\" where uuid = \"{id}\"",
            stamp(now)
        ))
        .await;
        let info = STANDARD.decode(row.get::<String, _>("user_info"));
        serde_json::from_slice(&info.expect("base64")).ok()
    }
}

fn is_deadlock(error: &dyn sqlx::error::DatabaseError) -> bool {
    error
        .try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>()
        .is_some_and(|error| error.number() == 1213)
}

/// Seconds as the old server writes them: `Y-m-d H:i:s`, always by Beijing's clock, which
/// it sets itself (`system/log/log.php`). From a count of days to a civil date.
fn stamp(secs: i64) -> String {
    let secs = secs + 8 * 3600;
    let (days, rest) = (secs / 86_400 + 719_468, secs % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + i64::from(month <= 2);
    let (hours, minutes, secs) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02} {hours:02}:{minutes:02}:{secs:02}")
}

async fn both() -> (Backend, OldServer, World) {
    let backend = Backend::new();
    backend.query(PHP);
    backend.query(&format!(
        "INSERT INTO cAppinfo SET appid = '{APP}', secret = 'secret', qcloud_appid = '1', ip = '::1',
            login_duration = {DAYS}, session_duration = {SECS}"
    ));
    let mut world = World::with(Config {
        store: backend.store(),
        ..Config::default()
    })
    .await;
    // The mini program is the table's.
    world.restart_with(Vec::new()).await;
    let old = OldServer::new(&backend).await;
    (backend, old, world)
}

async fn log_in(world: &World, code: &str, openid: &str, nick: &str) -> (String, String) {
    world.wechat.code(code, openid);
    let (data, iv) = user_data(APP, openid, nick);
    let para = json!({"code": code, "encrypt_data": data, "iv": iv});
    let login = world.rpc("qcloud.cam.id_skey", para).await;
    assert_eq!(login["returnCode"], 0, "{login}");
    let text = |name: &str| login["returnData"][name].as_str().expect(name).to_owned();
    (text("id"), text("skey"))
}

async fn check(world: &World, (id, skey): (&str, &str)) -> Option<Value> {
    let para = json!({"id": id, "skey": skey});
    let answer = world.rpc("qcloud.cam.auth", para).await;
    let code = answer["returnCode"].as_i64();
    assert!(matches!(code, Some(0 | 60012)), "{answer}");
    (code == Some(0)).then(|| answer["returnData"]["user_info"].clone())
}

fn of(pair: &(String, String)) -> (&str, &str) {
    (&pair.0, &pair.1)
}

#[test]
fn days_are_counted_as_php_does() {
    assert_eq!(stamp(0), "1970-01-01 08:00:00");
    assert_eq!(stamp(951_782_399 - 28_800), "2000-02-28 23:59:59");
    assert_eq!(stamp(951_782_400 - 28_800), "2000-02-29 00:00:00");
    assert_eq!(stamp(NOW), "2027-01-15 16:00:00");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_of_either_holds_at_both_until_either_ends_it() {
    let (_backend, old, world) = both().await;
    let first = old.log_in("alice", "三木😀", NOW).await;
    let here = check(&world, of(&first)).await.expect("known here");
    assert_eq!(here["nickName"], "三木😀");

    // A login here: the id stays, the session of before is gone there at once.
    let second = log_in(&world, "c1", "alice", "Band").await;
    assert_eq!(second.0, first.0);
    let there = old.auth(of(&second), NOW).await.expect("known there");
    assert_eq!(there["nickName"], "Band");
    assert_eq!(old.auth(of(&first), NOW).await, None);
    assert_eq!(check(&world, of(&first)).await, None);

    // A login there: gone here within the bound.
    let third = old.log_in("alice", "Anew", NOW).await;
    assert_eq!(third.0, first.0);
    assert!(check(&world, of(&third)).await.is_some(), "at once");
    world.hand.advance(2);
    assert_eq!(check(&world, of(&second)).await, None);

    // Ended here, it is ended there; whoever logs in there is back.
    world
        .sessions
        .revoke_user(None, "alice")
        .await
        .expect("revokes");
    assert_eq!(old.auth(of(&third), NOW + 2).await, None);
    assert_eq!(check(&world, of(&third)).await, None);
    let fourth = old.log_in("alice", "back", NOW + 2).await;
    assert_eq!(fourth.0, first.0);
    assert!(check(&world, of(&fourth)).await.is_some());

    // A user whom only weappd knows so far.
    let bob = log_in(&world, "c2", "bob", "Bob").await;
    let again = old.log_in("bob", "Bob", NOW + 2).await;
    assert_eq!(again.0, bob.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn visits_at_either_keep_a_session_at_both_and_a_login_ends_it_at_both() {
    let (_backend, old, world) = both().await;
    let pair = log_in(&world, "c1", "alice", "Band").await;
    let mut now = NOW;
    // Each is asked every 7200 s, which is longer than session_duration.
    while now + SECS <= NOW + DAYS * 86_400 {
        now += SECS;
        world.hand.advance(SECS);
        if (now - NOW) / SECS % 2 == 0 {
            assert!(check(&world, of(&pair)).await.is_some(), "{}", now - NOW);
            world.sessions.flush().await.expect("writes");
        } else {
            assert!(old.auth(of(&pair), now).await.is_some(), "{}", now - NOW);
        }
    }
    assert_eq!(now - NOW, DAYS * 86_400, "login_duration to the second");
    assert!(old.auth(of(&pair), now).await.is_some());
    assert!(check(&world, of(&pair)).await.is_some());
    world.hand.advance(1);
    assert_eq!(old.auth(of(&pair), now + 1).await, None);
    assert_eq!(check(&world, of(&pair)).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_session_ends_at_both_in_the_same_second() {
    let (_backend, old, world) = both().await;
    let one = old.log_in("alice", "a", NOW).await;
    let two = log_in(&world, "c1", "bob", "b").await;
    world.hand.advance(SECS + 1);
    for pair in [&one, &two] {
        assert_eq!(check(&world, of(pair)).await, None);
        assert_eq!(old.auth(of(pair), NOW + SECS + 1).await, None);
        assert!(old.auth(of(pair), NOW + SECS).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_logins_at_both_at_once_lose_nobody() {
    let (backend, old, world) = both().await;
    let logins = (0..400).map(|n| {
        let (old, world) = (&old, &world);
        async move {
            let openid = format!("user{n}");
            let pair = if n % 2 == 0 {
                old.log_in(&openid, &openid, NOW).await
            } else {
                log_in(world, &format!("c{n}"), &openid, &openid).await
            };
            // At the other one, at once.
            let seen = if n % 2 == 0 {
                check(world, of(&pair)).await
            } else {
                old.auth(of(&pair), NOW).await
            };
            let seen = seen.unwrap_or_else(|| panic!("{openid} is unknown at the other"));
            assert_eq!(seen["openId"], openid);
            pair
        }
    });
    let pairs = join_all(logins).await;
    world.hand.advance(2);
    for (n, pair) in pairs.iter().enumerate() {
        let seen = check(&world, of(pair)).await.expect("still known");
        assert_eq!(seen["openId"], format!("user{n}"));
        assert!(old.auth(of(pair), NOW + 2).await.is_some());
    }
    assert_eq!(backend.query("SELECT COUNT(*) FROM cSessionInfo"), "400");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_users_logging_in_at_both_at_once_end_with_a_session_that_holds() {
    let (backend, old, world) = both().await;
    let logins = (0..200).map(|n| {
        let (old, world) = (&old, &world);
        async move {
            let openid = format!("user{}", n % 10);
            if n % 2 == 0 {
                old.log_in(&openid, &openid, NOW).await;
            } else {
                log_in(world, &format!("c{n}"), &openid, &openid).await;
            }
        }
    });
    join_all(logins).await;
    world.hand.advance(2);
    for n in 0..10 {
        // The old server itself makes two rows of a user who comes twice at once; its next
        // login, or one here, makes them one session again.
        let openid = format!("user{n}");
        let pair = log_in(&world, &format!("last{n}"), &openid, "last").await;
        assert!(old.auth(of(&pair), NOW + 2).await.is_some());
        assert!(check(&world, of(&pair)).await.is_some());
        let sql = format!(
            "SELECT COUNT(DISTINCT uuid, skey) FROM cSessionInfo WHERE open_id = '{openid}'"
        );
        assert_eq!(backend.query(&sql), "1");
        let next = old.log_in(&openid, "next", NOW + 2).await;
        assert_eq!(next.0, pair.0);
        assert!(check(&world, of(&next)).await.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_servers_answers_are_ours_in_its_own_tables() {
    let recording = golden::recording();
    let mut found = Vec::new();
    for scene in recording["scenes"].as_array().expect("scenes") {
        // Without a mini program there is no telling whose users they are.
        let Some(app) = scene["app"].as_object() else {
            continue;
        };
        let backend = Backend::new();
        backend.query(PHP);
        backend.query(&format!(
            "INSERT INTO cAppinfo (appid, secret, login_duration, session_duration)
                VALUES ('{APP}', 'secret', {}, {})",
            app["login_duration"], app["session_duration"]
        ));
        let mut world = World::with(crate::cauth::config(&backend)).await;
        world.restart_with(Vec::new()).await;
        found.extend(golden::differences(&world, scene, "cAuth").await);
    }
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}
