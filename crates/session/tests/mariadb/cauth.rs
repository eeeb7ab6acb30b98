//! The old servers' databases, used in place: their tables as they made them, their
//! users, and the old server writing beside weappd.

use std::sync::{Arc, Mutex};

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};
use weappd_session::{Config, Error};

use crate::backend::Backend;
use crate::wechat::user_data;
use crate::world::{APP, OTHER_APP, World, send};

/// The PHP session server's `db.sql`, column for column (both of its copies agree).
pub(crate) const PHP: &str = "
    CREATE TABLE cAppinfo (
        appid varchar(200) COLLATE utf8_unicode_ci NOT NULL,
        secret varchar(300) COLLATE utf8_unicode_ci NOT NULL,
        login_duration int(11) DEFAULT '30',
        session_duration int(11) DEFAULT '2592000',
        qcloud_appid varchar(300) COLLATE utf8_unicode_ci DEFAULT 'appid_qcloud',
        ip varchar(50) COLLATE utf8_unicode_ci DEFAULT '0.0.0.0',
        PRIMARY KEY (appid)
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8 COLLATE=utf8_unicode_ci;
    CREATE TABLE cSessionInfo (
        id int(11) NOT NULL AUTO_INCREMENT,
        uuid varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        skey varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        create_time datetime NOT NULL,
        last_visit_time datetime NOT NULL,
        open_id varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        session_key varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        user_info varchar(2048) COLLATE utf8mb4_unicode_ci NOT NULL,
        PRIMARY KEY (id),
        KEY auth (uuid,skey),
        KEY weixin (open_id,session_key)
    ) ENGINE=InnoDB AUTO_INCREMENT=1 DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;";

/// Wafer 2's `cAuth.sql`, the same in its Node and PHP quickstarts and in wafer2-startup.
pub(crate) const WAFER2: &str = "
    CREATE TABLE cSessionInfo (
        open_id varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        uuid varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        skey varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        create_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
        last_visit_time timestamp NOT NULL DEFAULT CURRENT_TIMESTAMP,
        session_key varchar(100) COLLATE utf8mb4_unicode_ci NOT NULL,
        user_info varchar(2048) COLLATE utf8mb4_unicode_ci NOT NULL,
        PRIMARY KEY (open_id),
        KEY openid (open_id) USING BTREE,
        KEY skey (skey) USING BTREE
    ) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;";

/// The second all worlds begin in.
const NOW: i64 = 1_800_000_000;
/// Shapes of ids and skeys the old servers gave out: md5 and sha1 in hex.
const UUID: &str = "9f338d1f0ecc37d25ac7b161c1d7bf72";
const SKEY: &str = "da39a3ee5e6b4b0d3255bfef95601890afd80709";

pub(crate) fn config(backend: &Backend) -> Config {
    Config {
        store: backend.store(),
        ..Config::default()
    }
}

/// A database of the PHP server with one user who is logged in.
pub(crate) async fn php() -> (Backend, World) {
    let backend = Backend::new();
    backend.query(PHP);
    let info = STANDARD.encode(r#"{"openId":"old","nickName":"三木😀"}"#);
    backend.query(&format!(
        "INSERT INTO cAppinfo (appid, secret, login_duration, session_duration)
            VALUES ('{APP}', 'theirs', 7, 3600);
        INSERT INTO cSessionInfo VALUES (7, '{UUID}', '{SKEY}', FROM_UNIXTIME({NOW} - 86400),
            FROM_UNIXTIME({NOW} - 60), 'old', 'old key', '{info}')"
    ));
    let world = World::with(config(&backend)).await;
    (backend, world)
}

pub(crate) async fn wafer2() -> (Backend, World) {
    let backend = Backend::new();
    backend.query(WAFER2);
    // Whose users they are stands nowhere: weappd must have one mini program.
    backend.query(&format!(
        "CREATE TABLE cAppinfo (appid varchar(200) PRIMARY KEY, secret varchar(300),
            login_duration int, session_duration int);
        INSERT INTO cAppinfo VALUES ('{APP}', 's', NULL, NULL);
        INSERT INTO cSessionInfo VALUES ('old', '{UUID}', '{SKEY}', FROM_UNIXTIME({NOW} - 60),
            FROM_UNIXTIME({NOW} - 60), 'old key', '{{\"openId\":\"old\",\"nickName\":\"三木😀\"}}')"
    ));
    let world = World::with(config(&backend)).await;
    (backend, world)
}

/// What the old server's `auth` would answer, in its own SQL.
fn old_server_knows(backend: &Backend, uuid: &str, skey: &str) -> bool {
    let sql =
        format!("SELECT COUNT(*) FROM cSessionInfo WHERE uuid = '{uuid}' AND skey = '{skey}'");
    backend.query(&sql) == "1"
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_the_php_server_stay_logged_in() {
    let (backend, world) = php().await;
    let pair = json!({"id": UUID, "skey": SKEY});
    let auth = world.rpc("qcloud.cam.auth", pair.clone()).await;
    assert_eq!(auth["returnCode"], 0, "{auth}");
    assert_eq!(auth["returnData"]["user_info"]["nickName"], "三木😀");
    assert_eq!(
        world.user(SKEY).await["data"]["openId"],
        "old",
        "by skey alone too"
    );
    // The column takes upper case for the same; nobody else should.
    let loud = json!({"id": UUID, "skey": SKEY.to_uppercase()});
    assert_eq!(
        world.rpc("qcloud.cam.auth", loud).await["returnCode"],
        60012
    );
    world.sessions.flush().await.expect("writes");
    let visit =
        "SELECT UNIX_TIMESTAMP(last_visit_time), UNIX_TIMESTAMP(create_time) FROM cSessionInfo";
    assert_eq!(backend.query(visit), format!("{NOW}\t{}", NOW - 86400));
    // The durations are the database's: an hour unused, seven days in all.
    world.hand.advance(3601);
    assert_eq!(
        world.rpc("qcloud.cam.auth", pair).await["returnCode"],
        60012
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_writes_the_php_servers_row() {
    let (backend, world) = php().await;
    world.hand.advance(10);
    world.wechat.code("c1", "old");
    let (data, iv) = user_data(APP, "old", "新名😀");
    let para = json!({"code": "c1", "encrypt_data": data, "iv": iv});
    let login = world.rpc("qcloud.cam.id_skey", para).await;
    assert_eq!(login["returnMessage"], "UPDATE_SESSION_SUCCESS");
    assert_eq!(login["returnData"]["id"], UUID, "kept");
    let skey = login["returnData"]["skey"].as_str().expect("an skey");
    assert!(old_server_knows(&backend, UUID, skey));
    assert_eq!(
        world.user(SKEY).await["error"],
        "ERR_SKEY_INVALID",
        "one session a user"
    );
    let row = backend.query(
        "SELECT id, open_id, session_key, UNIX_TIMESTAMP(create_time), user_info FROM cSessionInfo",
    );
    let row: Vec<_> = row.split('\t').collect();
    let key = crate::wechat::session_key("old");
    assert_eq!(
        row[..4],
        ["7", "old", key.expose(), &(NOW + 10).to_string()]
    );
    let info = STANDARD.decode(row[4]).expect("base64");
    let info: Value = serde_json::from_slice(&info).expect("JSON");
    assert_eq!(info["nickName"], "新名😀");
    // A new user gets a row that the old server can read.
    world.wechat.code("c2", "new");
    let (data, iv) = user_data(APP, "new", "x");
    let para = json!({"code": "c2", "encrypt_data": data, "iv": iv});
    let login = world.rpc("qcloud.cam.id_skey", para).await;
    assert_eq!(login["returnMessage"], "NEW_SESSION_SUCCESS");
    let text = |name: &str| login["returnData"][name].as_str().unwrap_or("").to_owned();
    assert!(old_server_knows(&backend, &text("id"), &text("skey")));
    assert_eq!(backend.query("SELECT COUNT(*) FROM cSessionInfo"), "2");
    assert_eq!(world.user(&text("skey")).await["data"]["openId"], "new");
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_another_mini_program_have_no_place_in_the_tables() {
    let (backend, world) = php().await;
    world.wechat.code("c1", "stranger");
    let body = axum::body::Body::from(json!({"code": "c1"}).to_string());
    let site = world.router(OTHER_APP);
    let answer = send(site, "POST", "/weapp/session", &[], body).await;
    assert_eq!(answer.json["error"]["code"], "no_mini_program");
    assert_eq!(world.wechat.asked(), 0);
    assert_eq!(backend.query("SELECT COUNT(*) FROM cSessionInfo"), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_old_server_writes_counts_within_the_bound() {
    let (backend, world) = php().await;
    assert_eq!(world.user(SKEY).await["code"], 0);
    let info = STANDARD.encode(r#"{"openId":"old","nickName":"there"}"#);
    backend.query(&format!(
        "UPDATE cSessionInfo SET skey = 'anew', user_info = '{info}', create_time = FROM_UNIXTIME({NOW}),
            last_visit_time = FROM_UNIXTIME({NOW})"
    ));
    assert_eq!(
        world.user("anew").await["data"]["nickName"],
        "there",
        "at once"
    );
    world.hand.advance(2);
    assert_eq!(world.user(SKEY).await["error"], "ERR_SKEY_INVALID");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_object_that_does_not_fit_is_trimmed() {
    for (backend, world) in [php().await, wafer2().await] {
        world.wechat.code("c1", "old");
        let (data, iv) = user_data(APP, "old", &"长".repeat(900));
        let headers = [
            ("X-WX-Code", "c1"),
            ("X-WX-Encrypted-Data", &data),
            ("X-WX-IV", &iv),
        ];
        let answer = world.get("/weapp/login", &headers).await;
        assert_eq!(answer.json["code"], 0, "{answer:?}");
        assert_eq!(answer.json["data"]["userinfo"]["openId"], "old");
        let length = backend.query("SELECT CHAR_LENGTH(user_info) FROM cSessionInfo");
        assert!(length.parse::<u32>().expect("a number") <= 2048, "{length}");
    }
}

/// MySQL's older character sets: three bytes a letter, or one.
#[tokio::test(flavor = "multi_thread")]
async fn nicknames_go_through_columns_of_other_character_sets() {
    for (charset, tables) in [
        ("utf8", WAFER2),
        ("latin1", WAFER2),
        ("gbk", WAFER2),
        ("utf8", PHP),
        ("latin1", PHP),
    ] {
        let backend = Backend::new();
        backend.query(tables);
        if tables == PHP {
            backend.query(&format!(
                "INSERT INTO cAppinfo (appid, secret) VALUES ('{APP}', 's')"
            ));
        } else {
            backend.query(&format!(
                "CREATE TABLE cAppinfo (appid varchar(200) PRIMARY KEY, secret varchar(300),
                    login_duration int, session_duration int);
                INSERT INTO cAppinfo VALUES ('{APP}', 's', NULL, NULL)"
            ));
        }
        backend.query(&format!(
            "ALTER TABLE cSessionInfo CONVERT TO CHARACTER SET {charset}"
        ));
        let world = World::with(config(&backend)).await;
        world.wechat.code("c1", "o1");
        let nick = "三木é😀";
        let (data, iv) = user_data(APP, "o1", nick);
        let para = json!({"code": "c1", "encrypt_data": data, "iv": iv});
        let login = world.rpc("qcloud.cam.id_skey", para).await;
        assert_eq!(login["returnCode"], 0, "{charset}: {login}");
        // Another weappd reads what stands in the table.
        let other = World::with(config(&backend)).await;
        let skey = login["returnData"]["skey"].as_str().expect("an skey");
        assert_eq!(
            other.user(skey).await["data"]["nickName"],
            nick,
            "{charset}"
        );
        let odd = backend.query("SELECT COUNT(*) FROM cSessionInfo WHERE user_info LIKE '%?%'");
        assert_eq!(odd, "0", "{charset}: a letter was lost");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_openid_without_room_fails_alone() {
    for (_backend, world) in [php().await, wafer2().await] {
        let long = "q".repeat(101);
        let logins = (0..20).map(|n| {
            let (world, long) = (&world, &long);
            async move {
                if n % 5 == 0 {
                    let code = format!("c{n}");
                    world.wechat.code(&code, long);
                    let body = json!({"code": code});
                    let answer = world.native(&body).await;
                    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
                } else {
                    world.log_in(&format!("c{n}"), &format!("o{n}")).await;
                }
            }
        });
        futures_util::future::join_all(logins).await;
        assert_eq!(
            world.log_in("last", &"p".repeat(100)).await.len(),
            76,
            "room for a hundred"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_were_made_shorter_are_seen() {
    let (backend, world) = php().await;
    let shorter = "ALTER TABLE cSessionInfo MODIFY session_key varchar(20) NOT NULL,
        MODIFY user_info varchar(200) NOT NULL, MODIFY open_id varchar(30) NOT NULL";
    backend.query(shorter);
    let mut world = world;
    world.restart().await;
    let skey = world.log_in("c1", "new").await;
    assert_eq!(world.user(&skey).await["data"]["openId"], "new");
    let row = "SELECT session_key = '', CHAR_LENGTH(user_info) <= 200 FROM cSessionInfo
        WHERE open_id = 'new'";
    assert_eq!(backend.query(row), "1\t1", "half a key is no key");
    world.wechat.code("c2", &"o".repeat(31));
    let answer = world.native(&json!({"code": "c2"})).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY, "{answer:?}");
    backend.query("DELETE FROM cSessionInfo");
    backend.query("ALTER TABLE cSessionInfo MODIFY skey varchar(50) NOT NULL");
    let err = world.open_with(&backend.store()).await;
    let err = err.expect_err("an skey has 64 letters");
    assert!(matches!(err, Error::ForeignStore { .. }), "{err:?}");
}

/// Wafer 2 sets `create_time` at a user's first login only.
#[tokio::test(flavor = "multi_thread")]
async fn a_wafer_2_user_of_long_ago_who_logged_in_today_is_known() {
    let (backend, world) = wafer2().await;
    backend.query(&format!(
        "UPDATE cSessionInfo SET create_time = FROM_UNIXTIME({NOW} - 400 * 86400),
            last_visit_time = FROM_UNIXTIME({NOW} - 60)"
    ));
    assert_eq!(world.user(SKEY).await["data"]["openId"], "old");
    world.sessions.flush().await.expect("writes");
    world.hand.advance(2);
    assert_eq!(
        world.user(SKEY).await["code"],
        0,
        "after its visit was written"
    );
    // What was ended here and begun there counts again, and can be ended again.
    for _ in 0..2 {
        let ended = world.sessions.revoke_user(Some(APP), "old").await;
        assert_eq!(ended.expect("revokes"), 1);
        assert_eq!(world.user(SKEY).await["error"], "ERR_SKEY_INVALID");
        let again = world.sessions.revoke_user(Some(APP), "old").await;
        assert_eq!(again.expect("revokes"), 0, "only once");
        backend.query(&format!(
            "UPDATE cSessionInfo SET skey = '{SKEY}', last_visit_time = FROM_UNIXTIME({NOW})"
        ));
        assert_eq!(world.user(SKEY).await["code"], 0);
        let listed = world.sessions.list(None, "old").await.expect("a list");
        assert_eq!(listed.len(), 1);
    }
    // A session of weappd's own ends with its login, however often it is used.
    let skey = world.log_in("c1", "old").await;
    for _ in 0..30 {
        assert_eq!(world.user(&skey).await["code"], 0);
        world.hand.advance(86_400);
        world.sessions.flush().await.expect("writes");
    }
    assert_eq!(world.user(&skey).await["code"], 0, "30 days to the second");
    world.hand.advance(1);
    assert_eq!(world.user(&skey).await["code"], -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_of_wafer_2_stay_logged_in_and_log_in_anew() {
    let (backend, mut world) = wafer2().await;
    let user = world.user(SKEY).await;
    assert_eq!(user["data"]["nickName"], "三木😀", "{user}");
    world.hand.advance(5);
    let skey = world.log_in("c1", "old").await;
    assert!(old_server_knows(&backend, UUID, &skey));
    let row = "SELECT user_info, UNIX_TIMESTAMP(create_time), UNIX_TIMESTAMP(last_visit_time) FROM cSessionInfo";
    let row = backend.query(row);
    let row: Vec<_> = row.split('\t').collect();
    let info: Value = serde_json::from_str(row[0]).expect("JSON text");
    assert_eq!(info["nickName"], "old");
    let at = (NOW + 5).to_string();
    assert_eq!(row[1..], [&at, &at]);
    let new = world.log_in("c2", "new").await;
    world.restart().await;
    for (skey, openid) in [(&skey, "old"), (&new, "new")] {
        assert_eq!(world.user(skey).await["data"]["openId"], openid);
    }
    world.hand.advance(5);
    assert_eq!(world.user(&new).await["code"], 0);
    world.sessions.flush().await.expect("writes");
    let visits = "SELECT UNIX_TIMESTAMP(last_visit_time) FROM cSessionInfo WHERE open_id = 'new'";
    assert_eq!(backend.query(visits), (NOW + 10).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn logging_out_and_revoking_keep_the_user_and_end_the_session() {
    for (backend, world) in [php().await, wafer2().await] {
        let headers = [("X-WX-Skey", SKEY)];
        let body = axum::body::Body::empty();
        let out = world.call("DELETE", "/weapp/session", &headers, body).await;
        assert_eq!(out.status, StatusCode::NO_CONTENT);
        assert_eq!(world.user(SKEY).await["error"], "ERR_SKEY_INVALID");
        assert!(
            !old_server_knows(&backend, UUID, SKEY),
            "for the old server too"
        );
        assert_eq!(world.sessions.list(None, "old").await.expect("a list"), []);
        let skey = world.log_in("c1", "old").await;
        assert!(old_server_knows(&backend, UUID, &skey), "the id is kept");
        assert_eq!(
            world
                .sessions
                .list(None, "old")
                .await
                .expect("a list")
                .len(),
            1
        );
        let ended = world.sessions.revoke_user(Some(APP), "old").await;
        assert_eq!(ended.expect("revokes"), 1);
        assert_eq!(world.user(&skey).await["code"], -1);
        let (one, two) = (
            world.log_in("c2", "o2").await,
            world.log_in("c3", "o3").await,
        );
        assert_eq!(world.sessions.revoke_all().await.expect("revokes"), 2);
        for skey in [one, two] {
            assert_eq!(world.user(&skey).await["code"], -1);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unionid_is_kept_in_the_user_object_and_the_session_key_opens_data() {
    for (_backend, mut world) in [php().await, wafer2().await] {
        let key = crate::wechat::session_key("old");
        let login = json!({"openid": "old", "session_key": key.expose(), "unionid": "u1"});
        world.wechat.answer("c1", login);
        let answer = world.native(&json!({"code": "c1"})).await;
        let skey = answer.json["skey"].as_str().expect("an skey").to_owned();
        assert_eq!(answer.json["user"]["unionid"], "u1");
        world.restart().await;
        let headers = [("X-WX-Skey", skey.as_str())];
        let about = world.get("/weapp/session", &headers).await.json;
        assert_eq!(about["user"]["unionid"], "u1");
        assert_eq!(
            about["user"]["info"]["nickName"], "三木😀",
            "what was known stays"
        );
        let (data, iv) = user_data(APP, "old", "x");
        let id = &about["user"]["id"];
        let para = json!({"id": id, "skey": skey, "encrypt_data": data, "iv": iv});
        let opened = world.rpc("qcloud.cam.decrypt", para).await;
        assert_eq!(opened["returnMessage"], "DECRYPT_SUCCESS", "{opened}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_logins_of_one_user_at_once_leave_the_last() {
    let (backend, world) = php().await;
    let logins = (0..40).map(|n| {
        let world = &world;
        async move { world.log_in(&format!("c{n}"), &format!("o{}", n % 4)).await }
    });
    let skeys = futures_util::future::join_all(logins).await;
    world.hand.advance(2);
    let mut valid = 0;
    for skey in &skeys {
        valid += usize::from(world.user(skey).await["code"] == 0);
    }
    assert_eq!(valid, 4);
    assert_eq!(
        backend.query("SELECT COUNT(*) FROM cSessionInfo WHERE open_id LIKE 'o_'"),
        "4"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_names_no_mini_program_needs_the_only_one() {
    let backend = Backend::new();
    backend.query(WAFER2);
    let world = World::new().await;
    let (one, other) = (backend.store(), Backend::new());
    let err = world.open_with(&one).await.expect_err("two are configured");
    assert!(
        matches!(err, Error::WhichApp { configured: 2, .. }),
        "{err:?}"
    );
    other.query("CREATE TABLE cSessionInfo (open_id int PRIMARY KEY)");
    let err = world
        .open_with(&other.store())
        .await
        .expect_err("no such table");
    assert!(matches!(err, Error::ForeignStore { .. }), "{err:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_takes_back_leaves_an_old_servers_table_too() {
    let (_php, world) = php().await;
    let withdrawal = weappd_wechat::ConsentWithdrawal {
        openid: "old".to_owned(),
        data: vec![weappd_wechat::WithdrawnData::Profile],
        at: None,
    };
    let headers = [("X-WX-Id", UUID), ("X-WX-Skey", SKEY)];
    let before = world.get("/weapp/session", &headers).await;
    assert_eq!(before.json["user"]["info"]["nickName"], "三木😀");
    world
        .sessions
        .withdraw(APP, &withdrawal)
        .await
        .expect("forgets");
    let after = world.get("/weapp/session", &headers).await;
    assert_eq!(
        after.json["user"]["info"],
        json!({"openId": "old"}),
        "{after:?}"
    );
}

/// What the log is told, on this thread.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Subscriber for Told {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Words(&self.0));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

struct Words<'a>(&'a Mutex<Vec<String>>);

impl Visit for Words<'_> {
    fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
        self.0.lock().expect("a lock").push(format!("{value:?}"));
    }
}

/// What weappd says of zones when it starts. Other tests may meet a line of the log for the
/// first time in this very moment, when nobody listens yet: so it starts once more then.
async fn zones_told(world: &mut World) -> Vec<String> {
    let mut about = Vec::new();
    for _ in 0..3 {
        let told = Told::default();
        let listening = tracing::subscriber::set_default(told.clone());
        world.restart().await;
        drop(listening);
        let words = std::mem::take(&mut *told.0.lock().expect("a lock"));
        about.extend(
            words
                .into_iter()
                .filter(|words| words.contains("default-time-zone")),
        );
        if !about.is_empty() {
            break;
        }
    }
    about
}

#[tokio::test]
async fn a_wafer_2_database_in_another_zone_than_its_server_is_told() {
    let backend = Backend::alone();
    backend.query("SET GLOBAL time_zone = '+00:00'");
    backend.query(WAFER2);
    backend.query(&format!(
        "CREATE TABLE cAppinfo (appid varchar(200) PRIMARY KEY, secret varchar(300),
            login_duration int, session_duration int);
        INSERT INTO cAppinfo VALUES ('{APP}', 's', NULL, NULL)"
    ));
    let mut world = World::with(config(&backend)).await;
    let said = zones_told(&mut world).await;
    let possible = |words: &String| words.contains("+00:00: if the old server");
    assert!(said.iter().any(possible), "{said:?}");

    // The PHP server writes by a clock that shows Beijing's time.
    backend.query(&format!(
        "SET time_zone = '+00:00'; INSERT INTO cSessionInfo VALUES ('old', '{UUID}', '{SKEY}',
            UTC_TIMESTAMP() + INTERVAL 8 HOUR, UTC_TIMESTAMP() + INTERVAL 8 HOUR, 'old key', '{{}}')"
    ));
    let said = zones_told(&mut world).await;
    let certain = |words: &String| {
        words.contains("ahead of this database's zone")
            && words.contains("SET GLOBAL time_zone = '+08:00'")
    };
    assert!(said.iter().any(certain), "{said:?}");

    backend.query("SET GLOBAL time_zone = '+08:00'; DELETE FROM cSessionInfo");
    assert_eq!(zones_told(&mut world).await, Vec::<String>::new());
    world.sessions.close().await.expect("closes");
}
