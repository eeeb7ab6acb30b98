//! The database file: what survives, what is refused, and what stands in it.

use std::fs;
use std::path::Path;

use axum::http::StatusCode;
use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use weappd_session::{Config, Error};

use crate::world::{APP, World};

/// What a kill -9 leaves: the file and its log as they are at this moment.
fn as_if_killed(from: &Path, to: &Path) {
    for file in ["weappd.db", "weappd.db-wal"] {
        if from.join(file).exists() {
            fs::copy(from.join(file), to.join(file)).expect("copies");
        }
    }
}

async fn run(path: &Path, sql: &'static str) {
    let url = format!("sqlite:{}?mode=rwc", path.display());
    let mut conn = SqliteConnection::connect(&url).await.expect("opens");
    sqlx::raw_sql(sql).execute(&mut conn).await.expect("runs");
    conn.close().await.expect("closes");
}

async fn refused(world: &World, dir: &Path) -> (Error, String) {
    let err = world.open_at(dir).await.expect_err("no store");
    let text = err.to_string();
    assert!(text.contains("weappd.db"), "names the file: {text}");
    (err, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_a_kill() {
    let mut world = World::new().await;
    let logins = (0..50).map(|n| {
        let world = &world;
        async move { world.log_in(&format!("c{n}"), &format!("o{n}")).await }
    });
    let skeys = futures_util::future::join_all(logins).await;
    let grave = tempfile::TempDir::new().expect("a directory");
    as_if_killed(world.dir.path(), grave.path());
    let risen = world.open_at(grave.path()).await.expect("opens");
    let killed = std::mem::replace(&mut world.sessions, risen);
    for (n, skey) in skeys.iter().enumerate() {
        assert_eq!(world.user(skey).await["data"]["openId"], format!("o{n}"));
    }
    killed.close().await.expect("closes");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_synced_and_private_and_holds_no_skey() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    let path = world.dir.path().join("weappd.db");
    let mode = fs::metadata(&path).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for file in ["weappd.db", "weappd.db-wal"] {
        let bytes = fs::read(world.dir.path().join(file)).expect("a file");
        let found = bytes
            .windows(skey.len())
            .any(|window| window == skey.as_bytes());
        assert!(!found, "{file} holds the skey");
    }
    world.sessions.close().await.expect("closes");
    let url = format!("sqlite:{}", path.display());
    let mut conn = SqliteConnection::connect(&url).await.expect("opens");
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode")
        .fetch_one(&mut conn)
        .await
        .expect("reads");
    assert_eq!(mode, "wal");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_made_is_said() {
    let world = World::new().await;
    // A file where the directory should be: nobody, not even root, can write there.
    let not_a_directory = world.dir.path().join("file");
    fs::write(&not_a_directory, "").expect("a file");
    let (err, text) = refused(&world, &not_a_directory).await;
    assert!(matches!(err, Error::CreateStore { .. }), "{err:?}");
    assert!(text.contains("[session] store"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_is_said_and_left_as_it_is() {
    let world = World::new().await;
    let dir = tempfile::TempDir::new().expect("a directory");
    let path = dir.path().join("weappd.db");
    let broken = b"this is no database ".repeat(100);
    fs::write(&path, &broken).expect("a file");
    let (err, text) = refused(&world, dir.path()).await;
    assert!(matches!(err, Error::OpenStore { .. }), "{err:?}");
    assert!(text.contains("the file is broken"), "{text}");
    assert_eq!(fs::read(&path).expect("a file"), broken);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_or_foreign_file_is_refused() {
    let world = World::new().await;
    let dir = tempfile::TempDir::new().expect("a directory");
    let path = dir.path().join("weappd.db");
    run(&path, "CREATE TABLE albums (title TEXT)").await;
    let (err, text) = refused(&world, dir.path()).await;
    assert!(matches!(err, Error::ForeignStore { .. }), "{err:?}");
    assert!(text.contains("another program"), "{text}");
    fs::remove_file(&path).expect("removes");
    let ours = world.open_at(dir.path()).await.expect("opens");
    ours.close().await.expect("closes");
    run(&path, "PRAGMA user_version = 99").await;
    let (err, text) = refused(&world, dir.path()).await;
    assert!(
        matches!(err, Error::NewerStore { found: 99, .. }),
        "{err:?}"
    );
    assert!(text.contains("newer weappd"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_logs_nobody_out() {
    let mut world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    world.restart().await;
    let path = world.dir.path().join("weappd.db");
    run(&path, "ALTER TABLE sessions RENAME TO gone").await;
    let session = [("X-WX-Skey", skey.as_str())];
    let user = world.get("/weapp/user", &session).await;
    assert_eq!(user.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(user.json["code"], -2, "-1 would make the phone forget");
    let native = world.get("/weapp/session", &session).await;
    assert_eq!(native.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(native.json["error"]["code"], "store_failed");
    let session = [("X-WX-Id", "i"), ("X-WX-Skey", skey.as_str())];
    let user = world.get("/user", &session).await;
    assert_eq!(user.json["error"], "ERR_CHECK_LOGIN_FAILED");
    let auth = world
        .rpc("qcloud.cam.auth", json!({"id": "i", "skey": skey}))
        .await;
    assert_eq!(auth["returnCode"], 1001);
    world.wechat.code("c2", "o1");
    let login = world.native(&json!({"code": "c2"})).await;
    assert_eq!(login.status, StatusCode::SERVICE_UNAVAILABLE);
    let text = login.json.to_string();
    assert!(!text.contains("weappd.db"), "a phone needs no path: {text}");
    // The store is healed, and the same code goes on where it stood.
    run(&path, "ALTER TABLE gone RENAME TO sessions").await;
    let login = world.native(&json!({"code": "c2"})).await;
    assert_eq!(login.status, StatusCode::OK);
    assert_eq!(world.user(&skey).await["code"], 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_whose_number_could_not_be_kept_is_tried_again() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let code = platform.wx("alice", "phone_number").await["code"].clone();
    let body = json!({"code": code});
    let path = world.dir.path().join("weappd.db");
    run(&path, "ALTER TABLE users RENAME COLUMN phone TO gone").await;
    let failed = crate::platform::asked(&world, ("POST", "/phone"), &skey, &body).await;
    assert_eq!(failed.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(failed.json["error"]["code"], "store_failed");
    run(&path, "ALTER TABLE users RENAME COLUMN gone TO phone").await;
    let good = crate::platform::asked(&world, ("POST", "/phone"), &skey, &body).await;
    assert_eq!(good.status, StatusCode::OK, "{good:?}");
    assert_eq!(platform.called(), 1, "the code was used once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_could_not_be_kept_is_kept_at_the_next_try() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let path = world.dir.path().join("weappd.db");
    run(
        &path,
        "ALTER TABLE users RENAME COLUMN session_keys TO gone",
    )
    .await;
    let reset = ("POST", "/key/reset");
    let failed = crate::platform::asked(&world, reset, &skey, &json!(null)).await;
    assert_eq!(failed.json["error"]["code"], "store_failed");
    assert_eq!(platform.called(), 0, "the key could not be read");
    run(
        &path,
        "ALTER TABLE users RENAME COLUMN gone TO session_keys",
    )
    .await;
    // Reading goes well, writing does not.
    run(
        &path,
        "CREATE TRIGGER stop BEFORE UPDATE OF session_keys ON users BEGIN SELECT RAISE(ABORT, 'no'); END",
    )
    .await;
    let failed = crate::platform::asked(&world, reset, &skey, &json!(null)).await;
    assert_eq!(failed.json["error"]["code"], "store_failed", "{failed:?}");
    run(&path, "DROP TRIGGER stop").await;
    let good = crate::platform::asked(&world, reset, &skey, &json!(null)).await;
    assert_eq!(good.json, json!({"valid": true}));
    assert_eq!(platform.called(), 1, "WeChat's new key was not lost");
    let check = crate::platform::asked(&world, ("GET", "/key"), &skey, &json!(null)).await;
    assert_eq!(check.json, json!({"valid": true}));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_closing_nothing_is_promised() {
    let world = World::new().await;
    let skey = world.log_in("c1", "o1").await;
    world.sessions.close().await.expect("closes");
    world.sessions.close().await.expect("closes twice");
    world.wechat.code("c2", "o1");
    let login = world.native(&json!({"code": "c2"})).await;
    assert_eq!(login.status, StatusCode::SERVICE_UNAVAILABLE);
    let reopened = world.open_at(world.dir.path()).await.expect("opens");
    drop(reopened);
    assert_eq!(world.user(&skey).await["code"], 0, "memory still knows");
}

/// Whether the file or its log holds these bytes.
fn holds(world: &World, bytes: &[u8]) -> bool {
    ["weappd.db", "weappd.db-wal"].iter().any(|file| {
        let file = fs::read(world.dir.path().join(file)).unwrap_or_default();
        file.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_holds_no_phone_number_and_no_session_key() {
    let (world, platform) = World::simulated(Config::default()).await;
    let skey = platform.log_in(&world, "alice").await;
    let code = platform.wx("alice", "phone_number").await["code"].clone();
    let body = json!({"code": code});
    let answer = crate::platform::asked(&world, ("POST", "/phone"), &skey, &body).await;
    let phone = &answer.json["user"]["phone"]["pure_phone_number"];
    let phone = phone.as_str().expect("a number").to_owned();
    let openid = answer.json["user"]["openid"].as_str().expect("an openid");
    assert!(holds(&world, openid.as_bytes()), "the file is looked at");
    assert!(!holds(&world, phone.as_bytes()));
    crate::platform::asked(&world, ("DELETE", "/phone"), &skey, &json!(null)).await;
    world.sessions.close().await.expect("closes");
    assert!(!holds(&world, phone.as_bytes()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mini_program_registered_over_the_rpc_survives_a_restart() {
    let mut world = World::with(Config {
        rpc_initdata: true,
        ..Config::default()
    })
    .await;
    let para = json!({"appid": "wx_new", "secret": "kept sealed", "cdb_pass_wd": "x"});
    let answer = world.rpc("qcloud.cam.initdata", para).await;
    assert_eq!(answer["returnMessage"], "INIT_APPINFO_SUCCESS");
    world.restart().await;
    assert!(
        !holds(&world, b"kept sealed"),
        "the AppSecret stands in clear"
    );
    world.wechat.code("c1", "o1");
    let (data, iv) = crate::wechat::user_data("wx_new", "o1", "Band");
    let para = json!({"code": "c1", "encrypt_data": data, "iv": iv});
    let login = world.rpc("qcloud.cam.id_skey", para).await;
    assert_eq!(login["returnCode"], 0, "{login}");
    let skey = login["returnData"]["skey"].as_str().expect("an skey");
    let here = world.user(skey).await;
    assert_eq!(here["error"], "ERR_SKEY_INVALID", "not of {APP}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_deleted_under_weappd_takes_no_more_logins() {
    for how in ["directory", "file", "replaced"] {
        let world = World::new().await;
        let skey = world.log_in("c1", "o1").await;
        let dir = world.dir.path();
        match how {
            "directory" => fs::remove_dir_all(dir).expect("deleted"),
            "file" => fs::remove_file(dir.join("weappd.db")).expect("deleted"),
            _ => {
                fs::copy(dir.join("weappd.db"), dir.join("copy")).expect("copied");
                fs::rename(dir.join("copy"), dir.join("weappd.db")).expect("replaced");
            }
        }
        // It would be lost at the next start.
        world.wechat.code("c2", "o2");
        let refused = world.native(&json!({"code": "c2"})).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{how}");
        assert_eq!(refused.json["error"]["code"], "store_failed");
        world.wechat.code("c3", "o3");
        let headers = [("X-WX-Code", "c3")];
        let refused = world.get("/weapp/login", &headers).await;
        let error = refused.json["error"].as_str().expect("an error");
        assert!(error.starts_with("ERR_WHEN_INSERT_TO_DB"), "{how}: {error}");
        // Who is logged in stays so until weappd ends.
        assert_eq!(world.user(&skey).await["code"], 0, "{how}");
        let ended = world.sessions.revoke_user(None, "o1").await;
        let said = ended.expect_err("not kept").to_string();
        assert!(
            said.contains("weappd.db") && said.contains("deleted or replaced"),
            "{said}"
        );
    }
}
