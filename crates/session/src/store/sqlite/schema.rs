//! The schema of the SQLite file, and bringing an older file to it.

use sqlx::{Connection as _, SqliteConnection};
use weappd_base::secret::Secret;

use crate::vault::{SecretKind, SecretOwner, SecretVault};

/// The schema, one file a version; the file's `user_version` tells how many it has.
const MIGRATIONS: [&str; 6] = [
    include_str!("../../../schema/sqlite/0001_users_and_sessions.sql"),
    include_str!("../../../schema/sqlite/0002_session_keys_and_devices.sql"),
    include_str!("../../../schema/sqlite/0003_phones_addresses_and_sealed_secrets.sql"),
    include_str!("../../../schema/sqlite/0004_keys_by_user.sql"),
    include_str!("../../../schema/sqlite/0005_keys_in_user.sql"),
    include_str!("../../../schema/sqlite/0006_sessions_in_user.sql"),
];
/// The version before which session keys stood in clear beside their users.
const KEYS_SEALED: i64 = 2;
/// The version before which a registered `AppSecret` stood in clear.
const SECRETS_SEALED: i64 = 3;
/// The newest version.
pub(crate) const KNOWN: i64 = 6;
const PUT_KEYS: &str = include_str!("../../../schema/sqlite/0002_put_keys.sql");
const PUT_MINI_APP: &str = include_str!("../../../schema/sqlite/put_mini_app.sql");
/// "WEAP": marks the file as weappd's.
const APPLICATION_ID: i64 = 0x5745_4150;

/// The schema version of the file; nothing if it belongs to another program.
pub(crate) async fn version(conn: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
    let id: i64 = sqlx::query_scalar("PRAGMA application_id")
        .fetch_one(&mut *conn)
        .await?;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *conn)
        .await?;
    let tables: i64 = sqlx::query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *conn)
        .await?;
    let fresh = id == 0 && version == 0 && tables == 0;
    Ok((fresh || id == APPLICATION_ID).then_some(version))
}

/// Brings the file to the newest schema. Safe beside another weappd doing the same.
pub(crate) async fn migrate(
    conn: &mut SqliteConnection,
    found: i64,
    vault: &SecretVault,
) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA journal_mode = WAL")
        .execute(&mut *conn)
        .await?;
    // What a migration takes out of the file leaves no trace in it.
    sqlx::query("PRAGMA secure_delete = ON")
        .execute(&mut *conn)
        .await?;
    if usize::try_from(found).is_ok_and(|found| found >= MIGRATIONS.len()) {
        return Ok(());
    }
    let mut change = conn.begin_with("BEGIN IMMEDIATE").await?;
    let found: i64 = sqlx::query_scalar("PRAGMA user_version")
        .fetch_one(&mut *change)
        .await?;
    let done = usize::try_from(found).unwrap_or(0);
    for (version, schema) in (1_i64..).zip(MIGRATIONS).skip(done) {
        sqlx::raw_sql(schema).execute(&mut *change).await?;
        match version {
            KEYS_SEALED => seal_keys(&mut change, vault).await?,
            SECRETS_SEALED => seal_secrets(&mut change, vault).await?,
            _ => {}
        }
    }
    let stamp = format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};",
        MIGRATIONS.len().max(done)
    );
    // Two numbers of ours and no word of anybody's.
    sqlx::raw_sql(sqlx::AssertSqlSafe(stamp))
        .execute(&mut *change)
        .await?;
    change.commit().await
}

/// Moves the session keys that stood in clear into their table, sealed.
async fn seal_keys(conn: &mut SqliteConnection, vault: &SecretVault) -> Result<(), sqlx::Error> {
    let rows: Vec<(i64, String, String, String, i64)> =
        sqlx::query_as("SELECT user, appid, openid, session_key, last_login FROM users")
            .fetch_all(&mut *conn)
            .await?;
    for rows in rows.chunks(1000) {
        let keys: Vec<_> = rows
            .iter()
            .map(|(user, appid, openid, key, given)| {
                let key = Secret::new(key.clone());
                let sealed =
                    vault.seal(SecretKind::SessionKey, SecretOwner { appid, openid }, &key);
                let name = vault.fingerprint(&key);
                serde_json::json!([user, hex::encode(name), hex::encode(sealed), given])
            })
            .collect();
        sqlx::query(PUT_KEYS)
            .bind(serde_json::Value::from(keys).to_string())
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query("ALTER TABLE users DROP COLUMN session_key")
        .execute(&mut *conn)
        .await?;
    Ok(())
}

/// Moves every `AppSecret` that stood in clear into its table, sealed.
async fn seal_secrets(conn: &mut SqliteConnection, vault: &SecretVault) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, String, i64)> =
        sqlx::query_as("SELECT appid, secret, given FROM mini_apps_in_clear ORDER BY given, rowid")
            .fetch_all(&mut *conn)
            .await?;
    for (appid, secret, given) in rows {
        let sealed = vault.seal(
            SecretKind::AppSecret,
            SecretOwner::app(&appid),
            &Secret::new(secret),
        );
        sqlx::query(PUT_MINI_APP)
            .bind(&appid)
            .bind(sealed)
            .bind(given)
            .execute(&mut *conn)
            .await?;
    }
    sqlx::query("DROP TABLE mini_apps_in_clear")
        .execute(&mut *conn)
        .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skey::SkeyHash;
    use crate::store::sqlite::key_list::KeyList;
    use crate::store::sqlite::session_list::SessionList;
    use crate::store::sqlite::{create, options, registered};
    use weappd_base::random::RandomSource;

    #[tokio::test]
    async fn every_commit_waits_for_the_disk() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("new/weappd.db");
        create(&path).expect("creates the directory too");
        let mut conn = SqliteConnection::connect_with(&options(&path))
            .await
            .expect("opens");
        let vault = crate::vault::tests::vault();
        migrate(&mut conn, 0, &vault).await.expect("migrates");
        migrate(&mut conn, 0, &vault)
            .await
            .expect("a second time is no change");
        assert_eq!(version(&mut conn).await.expect("reads"), Some(KNOWN));
        let full: i64 = sqlx::query_scalar("PRAGMA synchronous")
            .fetch_one(&mut conn)
            .await
            .expect("reads");
        assert_eq!(full, 2, "FULL");
        let log: String = sqlx::query_scalar("PRAGMA journal_mode")
            .fetch_one(&mut conn)
            .await
            .expect("reads");
        assert_eq!(log, "wal");
    }

    #[tokio::test]
    async fn what_users_have_comes_into_their_rows() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        let mut conn = SqliteConnection::connect_with(&options(&path).create_if_missing(true))
            .await
            .expect("opens");
        for schema in &MIGRATIONS[..4] {
            sqlx::raw_sql(*schema)
                .execute(&mut conn)
                .await
                .expect("the old schema");
        }
        let old = "ALTER TABLE users DROP COLUMN session_key;
            INSERT INTO users VALUES (1, 'wx1', 'o1', NULL, 'id1', NULL, 1, 2, NULL),
                (2, 'wx1', 'o2', NULL, 'id2', NULL, 1, 2, NULL);
            INSERT INTO session_keys VALUES (1, 3, zeroblob(16), x'0102', 30),
                (1, 7, x'000102030405060708090a0b0c0d0e0f', x'ff', 70);
            INSERT INTO sessions (seq, skey_hash, user, created, last_visit) VALUES
                (3, zeroblob(32), 1, 1, 1), (4, randomblob(32), 2, 1, 1),
                (5, x'0101010101010101010101010101010101010101010101010101010101010101', 1, 1, 1);
            PRAGMA application_id = 0x57454150; PRAGMA user_version = 4";
        sqlx::raw_sql(old)
            .execute(&mut conn)
            .await
            .expect("two users");
        let vault = crate::vault::tests::vault();
        migrate(&mut conn, 4, &vault).await.expect("migrates");
        let rows: Vec<Option<Vec<u8>>> =
            sqlx::query_scalar("SELECT session_keys FROM users ORDER BY user")
                .fetch_all(&mut conn)
                .await
                .expect("reads");
        let lists: Vec<KeyList> = rows.into_iter().map(KeyList::of).collect();
        let keys: Vec<_> = lists[0]
            .keys()
            .map(|key| (key.given.get(), key.sealed))
            .collect();
        assert_eq!(keys, [(70, &[0xff][..]), (30, &[1, 2][..])]);
        assert_eq!(
            lists[0].keys().next().map(|key| key.fingerprint[15]),
            Some(15)
        );
        assert_eq!(lists[1], KeyList::default());
        let rows: Vec<Option<Vec<u8>>> =
            sqlx::query_scalar("SELECT sessions FROM users ORDER BY user")
                .fetch_all(&mut conn)
                .await
                .expect("reads");
        let lists: Vec<SessionList> = rows.into_iter().map(SessionList::of).collect();
        let sessions: Vec<_> = lists[0].sessions().collect();
        assert!(sessions == [(5, SkeyHash([1; 32])), (3, SkeyHash([0; 32]))]);
        assert_eq!(
            lists[1].sessions().map(|(seq, _)| seq).collect::<Vec<_>>(),
            [4]
        );
    }

    #[tokio::test]
    async fn secrets_in_clear_are_sealed_and_gone_from_the_file() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        let mut conn = SqliteConnection::connect_with(&options(&path).create_if_missing(true))
            .await
            .expect("opens");
        let old = "INSERT INTO mini_apps VALUES ('wx9', 'a secret in clear', 7);
            PRAGMA application_id = 0x57454150; PRAGMA user_version = 1;
            INSERT INTO users VALUES (1, 'wx1', 'o1', NULL, 'id', NULL, 'a key in clear', 1, 2)";
        sqlx::raw_sql(MIGRATIONS[0])
            .execute(&mut conn)
            .await
            .expect("the old schema");
        sqlx::raw_sql(old).execute(&mut conn).await.expect("a user");
        let vault = crate::vault::tests::vault();
        migrate(&mut conn, 1, &vault).await.expect("migrates");
        let keys: Option<Vec<u8>> = sqlx::query_scalar("SELECT session_keys FROM users")
            .fetch_one(&mut conn)
            .await
            .expect("reads");
        let keys = KeyList::of(keys);
        let key = keys.keys().next().expect("a key");
        assert_eq!(key.given.get(), 2);
        let owner = SecretOwner {
            appid: "wx1",
            openid: "o1",
        };
        let key = vault
            .unseal(SecretKind::SessionKey, owner, key.sealed)
            .expect("opens");
        assert_eq!(key.expose(), "a key in clear");
        let rows = sqlx::query_as("SELECT appid, sealed FROM mini_apps")
            .fetch_all(&mut conn)
            .await
            .expect("reads");
        let apps = registered(&vault, rows);
        assert_eq!((apps.len(), &*apps[0].appid), (1, "wx9"));
        assert!(apps[0].secret.is("a secret in clear"));
        let stranger = SecretVault::open(&dir.path().join("other.key"), RandomSource::system());
        let rows = sqlx::query_as("SELECT appid, sealed FROM mini_apps")
            .fetch_all(&mut conn)
            .await
            .expect("reads");
        let apps = registered(&stranger.expect("another key"), rows);
        assert!(apps.is_empty(), "sealed with another key file");
        conn.close().await.expect("closes");
        let file = std::fs::read(&path).expect("a file");
        assert!(!file.windows(8).any(|part| part == b"in clear"));
    }
}
