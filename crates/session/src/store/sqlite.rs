//! The SQLite store: one file, one writer, a few readers.
//!
//! Write-ahead logging with `synchronous=FULL`: what was acknowledged is on the disk, and
//! neither a killed process nor a cut power line takes it back.

mod write;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};
use weappd_base::secret::Secret;

use crate::config::MiniApp;
use crate::error::Error;
use crate::identity::Identity;
use crate::session::Found;
use crate::skey::SkeyHash;
use crate::store::batch::{Batch, Done};
use crate::store::{Listed, Rules};
use crate::vault::{Owner, Vault};

/// The schema, one file a version; the file's `user_version` tells how many it has.
const MIGRATIONS: [&str; 2] = [
    include_str!("../../schema/sqlite/0001_users_and_sessions.sql"),
    include_str!("../../schema/sqlite/0002_session_keys_and_devices.sql"),
];
/// The version before which session keys stood in clear beside their users.
const SEALED: usize = 2;
/// "WEAP": marks the file as weappd's.
const APPLICATION_ID: i64 = 0x5745_4150;
/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const FIND: &str = include_str!("../../schema/sqlite/find_session.sql");
const SESSION_KEYS: &str = include_str!("../../schema/sqlite/session_keys.sql");
const LIST: &str = include_str!("../../schema/sqlite/list_sessions.sql");
const PUT_KEYS: &str = include_str!("../../schema/sqlite/put_keys.sql");
const MINI_APPS: &str = include_str!("../../schema/sqlite/mini_apps.sql");

/// A row of [`FIND`].
type FoundRow = (
    i64,
    i64,
    i64,
    i64,
    String,
    String,
    Option<String>,
    String,
    Option<String>,
);

/// The readers.
#[derive(Clone)]
pub(crate) struct Sqlite {
    readers: SqlitePool,
    place: Arc<str>,
    rules: Arc<Rules>,
}

/// The writing connection.
pub(crate) struct Desk {
    conn: SqliteConnection,
    place: Arc<str>,
}

impl Desk {
    pub(crate) fn new(conn: SqliteConnection, path: &Path) -> Self {
        Self {
            conn,
            place: path.display().to_string().into(),
        }
    }

    pub(crate) async fn commit(&mut self, batch: &Batch, rules: &Rules) -> Result<Done, Error> {
        self.try_commit(batch, rules)
            .await
            .map_err(|err| Error::WriteStore {
                place: self.place.to_string(),
                hint: hint(&err),
                source: Arc::new(err),
            })
    }

    async fn try_commit(&mut self, batch: &Batch, rules: &Rules) -> Result<Done, sqlx::Error> {
        let mut change = self.conn.begin_with("BEGIN IMMEDIATE").await?;
        let done = write::write(batch, &mut change, rules).await?;
        change.commit().await?;
        Ok(done)
    }

    /// Closing folds the write-ahead log into the file; if that fails, the next start does
    /// it.
    pub(crate) async fn close(self) {
        if let Err(err) = self.conn.close().await {
            tracing::warn!(error = %err, "the session database was not closed cleanly");
        }
    }
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, rules: Arc<Rules>) -> Result<(Self, Desk), Error> {
        let place = || path.display().to_string();
        let options = options(path);
        let failed = |err: sqlx::Error| Error::OpenStore {
            place: place(),
            hint: hint(&err),
            source: Arc::new(err),
        };
        let mut conn = SqliteConnection::connect_with(&options)
            .await
            .map_err(failed)?;
        let version = version(&mut conn).await.map_err(failed)?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        match version {
            None => return Err(Error::ForeignStore { place: place() }),
            Some(found) if found > known => {
                return Err(Error::NewerStore {
                    place: place(),
                    found,
                    known,
                });
            }
            Some(found) => migrate(&mut conn, found, &rules.vault)
                .await
                .map_err(failed)?,
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options);
        let sqlite = Self {
            readers,
            place: place().into(),
            rules,
        };
        Ok((sqlite, Desk::new(conn, path)))
    }

    pub(crate) async fn find(&self, hash: SkeyHash) -> Result<Option<Found>, Error> {
        let row: Option<FoundRow> = sqlx::query_as(FIND)
            .bind(&hash.0[..])
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(row.map(|row| Found {
            seq: row.0,
            created: row.1,
            last_visit: row.2,
            user: row.3,
            appid: row.4,
            openid: row.5,
            unionid: row.6,
            id: row.7,
            user_info: row.8,
        }))
    }

    pub(crate) async fn session_keys(
        &self,
        user: i64,
        who: &Identity,
    ) -> Result<Vec<Secret>, Error> {
        let keys: Vec<Vec<u8>> = sqlx::query_scalar(SESSION_KEYS)
            .bind(user)
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(unsealed(&self.rules.vault, who, &keys))
    }

    pub(crate) async fn list(&self, appid: &str, openid: &str) -> Result<Vec<Listed>, Error> {
        let rows: Vec<(i64, i64, i64, Option<String>)> = sqlx::query_as(LIST)
            .bind(appid)
            .bind(openid)
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(rows.into_iter().map(Listed::from).collect())
    }

    pub(crate) async fn mini_apps(&self) -> Result<Vec<MiniApp>, Error> {
        let rows: Vec<(String, String)> = sqlx::query_as(MINI_APPS)
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(rows
            .into_iter()
            .map(|(appid, secret)| MiniApp::new(appid, Secret::new(secret)))
            .collect())
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
    }

    fn read_failed(&self, err: sqlx::Error) -> Error {
        match err {
            sqlx::Error::PoolClosed => Error::Closed,
            err => Error::ReadStore {
                place: self.place.to_string(),
                hint: hint(&err),
                source: Arc::new(err),
            },
        }
    }
}

/// How every connection is opened: a COMMIT returns when it is on the disk.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Makes the file, if it is not there.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    create_file(path).map_err(|source| Error::CreateStore {
        place: path.display().to_string(),
        source: Arc::new(source),
    })
}

/// Readable for nobody else: users stand in it.
fn create_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// The schema version of the file; nothing if it belongs to another program.
async fn version(conn: &mut SqliteConnection) -> Result<Option<i64>, sqlx::Error> {
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
async fn migrate(
    conn: &mut SqliteConnection,
    found: i64,
    vault: &Vault,
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
    for (version, schema) in (1..).zip(MIGRATIONS).skip(done) {
        sqlx::raw_sql(schema).execute(&mut *change).await?;
        if version == SEALED {
            seal_keys(&mut change, vault).await?;
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
async fn seal_keys(conn: &mut SqliteConnection, vault: &Vault) -> Result<(), sqlx::Error> {
    let rows: Vec<(i64, String, String, String, i64)> =
        sqlx::query_as("SELECT user, appid, openid, session_key, last_login FROM users")
            .fetch_all(&mut *conn)
            .await?;
    for rows in rows.chunks(1000) {
        let keys: Vec<_> = rows
            .iter()
            .map(|(user, appid, openid, key, given)| {
                let key = Secret::new(key.clone());
                let sealed = vault.seal(Owner { appid, openid }, &key);
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

/// The keys that open; one that does not was sealed with another key file.
pub(crate) fn unsealed(vault: &Vault, who: &Identity, keys: &[Vec<u8>]) -> Vec<Secret> {
    let owner = Owner {
        appid: &who.appid,
        openid: &who.openid,
    };
    let open: Vec<_> = keys
        .iter()
        .filter_map(|key| vault.unseal(owner, key))
        .collect();
    if open.len() < keys.len() {
        tracing::warn!(openid = %who.openid, "a session key was sealed with another key file; see [session] key_file");
    }
    open
}

impl From<(i64, i64, i64, Option<String>)> for Listed {
    fn from(row: (i64, i64, i64, Option<String>)) -> Self {
        Self {
            seq: row.0,
            created: row.1,
            last_visit: row.2,
            device: row.3,
        }
    }
}

/// What a person can do about an SQLite error (primary result codes, sqlite.org/rescode).
pub(crate) fn hint(err: &sqlx::Error) -> &'static str {
    let code = err
        .as_database_error()
        .and_then(|err| err.code()?.parse::<u32>().ok())
        .map(|code| code & 0xff);
    match code {
        Some(5 | 6) => "another program holds it locked; end that program",
        Some(3 | 8 | 23) => "give weappd the right to write the file and its directory",
        Some(10) => "the disk reports errors; check it",
        Some(11 | 26) => {
            "the file is broken; restore a backup, or move it away to begin anew (everybody logs in again)"
        }
        Some(13) => "the disk is full; make room",
        Some(14) => "check that the directory exists and that weappd may write in it",
        _ => "see the cause",
    }
}

/// A file of the newest schema, for the tests of this folder.
#[cfg(test)]
pub(crate) async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    create_file(path).map_err(sqlx::Error::Io)?;
    let mut conn = SqliteConnection::connect_with(&options(path)).await?;
    migrate(&mut conn, 0, &crate::vault::tests::vault()).await?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(version(&mut conn).await.expect("reads"), Some(2));
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
    async fn session_keys_in_clear_are_sealed_and_gone_from_the_file() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        let mut conn = SqliteConnection::connect_with(&options(&path).create_if_missing(true))
            .await
            .expect("opens");
        let old = "PRAGMA application_id = 0x57454150; PRAGMA user_version = 1;
            INSERT INTO users VALUES (1, 'wx1', 'o1', NULL, 'id', NULL, 'a key in clear', 1, 2)";
        sqlx::raw_sql(MIGRATIONS[0])
            .execute(&mut conn)
            .await
            .expect("the old schema");
        sqlx::raw_sql(old).execute(&mut conn).await.expect("a user");
        let vault = crate::vault::tests::vault();
        migrate(&mut conn, 1, &vault).await.expect("migrates");
        let keys: Vec<Vec<u8>> = sqlx::query_scalar(SESSION_KEYS)
            .bind(1)
            .fetch_all(&mut conn)
            .await
            .expect("reads");
        let owner = Owner {
            appid: "wx1",
            openid: "o1",
        };
        let key = vault.unseal(owner, &keys[0]).expect("opens");
        assert_eq!(key.expose(), "a key in clear");
        conn.close().await.expect("closes");
        let file = std::fs::read(&path).expect("a file");
        assert!(!file.windows(8).any(|part| part == b"in clear"));
    }
}
