//! The SQLite store: one file, one writer, a few readers.
//!
//! Write-ahead logging with `synchronous=FULL`: what was acknowledged is on the disk, and
//! neither a killed process nor a cut power line takes it back.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use weappd_base::secret::Secret;

use crate::config::MiniApp;
use crate::error::Error;
use crate::session::Found;
use crate::skey::SkeyHash;
use crate::store::writer::{Answer, Job, Writer};
use crate::store::{NewLogin, Opened, StoreParts};

/// The schema, one file a version; the file's `user_version` tells how many it has.
const MIGRATIONS: [&str; 1] = [include_str!(
    "../../schema/sqlite/0001_users_and_sessions.sql"
)];
/// "WEAP": marks the file as weappd's.
const APPLICATION_ID: i64 = 0x5745_4150;
/// How many writes may wait for the writer before logins wait too.
const QUEUE: usize = 1024;
/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const FIND: &str = include_str!("../../schema/sqlite/find_session.sql");
const SESSION_KEY: &str = include_str!("../../schema/sqlite/session_key.sql");
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

/// The handle: readers, and the way to the writer.
#[derive(Clone)]
pub(crate) struct Sqlite {
    jobs: mpsc::Sender<Job>,
    readers: SqlitePool,
    path: Arc<Path>,
}

impl Sqlite {
    pub(crate) async fn open(parts: StoreParts<'_>) -> Result<Self, Error> {
        let path = parts.config.sqlite_file(parts.data_dir)?;
        create(&path).map_err(|source| Error::CreateStore {
            path: path.clone(),
            source: Arc::new(source),
        })?;
        let options = options(&path);
        let failed = |err: sqlx::Error| Error::OpenStore {
            path: path.clone(),
            hint: hint(&err),
            source: Arc::new(err),
        };
        let mut conn = SqliteConnection::connect_with(&options)
            .await
            .map_err(failed)?;
        let version = version(&mut conn).await.map_err(failed)?;
        let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
        match version {
            None => return Err(Error::ForeignStore { path }),
            Some(found) if found > known => return Err(Error::NewerStore { path, found, known }),
            Some(found) => migrate(&mut conn, found).await.map_err(failed)?,
        }
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options);
        let path: Arc<Path> = path.into();
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            conn,
            queue,
            cache: parts.cache,
            max_sessions: parts.config.max_sessions_per_user as usize,
            path: Arc::clone(&path),
        };
        parts.tasks.spawn_on(parts.work, writer.run());
        Ok(Self {
            jobs,
            readers,
            path,
        })
    }

    pub(crate) async fn log_in(&self, login: NewLogin) -> Result<Opened, Error> {
        self.ask(|answer| Job::LogIn(Box::new(login), answer)).await
    }

    pub(crate) async fn log_out(&self, hash: SkeyHash) -> Result<bool, Error> {
        self.ask(|answer| Job::LogOut(hash, answer)).await
    }

    pub(crate) async fn put_visits(&self, visits: Vec<(i64, i64)>) -> Result<(), Error> {
        self.ask(|answer| Job::Visits(visits, answer)).await
    }

    pub(crate) async fn prune(&self, before: i64) -> Result<u64, Error> {
        self.ask(|answer| Job::Prune(before, answer)).await
    }

    pub(crate) async fn put_mini_app(&self, app: MiniApp, now: i64) -> Result<(), Error> {
        self.ask(|answer| Job::MiniApp(Box::new(app), now, answer))
            .await
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

    pub(crate) async fn session_key(&self, user: i64) -> Result<Option<Secret>, Error> {
        let key: Option<String> = sqlx::query_scalar(SESSION_KEY)
            .bind(user)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(key.map(Secret::new))
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
        // The writer may be gone already: then there is nothing to wait for.
        let _closed = self.ask(Job::Close).await;
        self.readers.close().await;
    }

    /// Hands a job to the writer and waits for its transaction.
    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.jobs
            .send(job(answer))
            .await
            .map_err(|_| Error::Closed)?;
        answered.await.map_err(|_| Error::Closed)?
    }

    fn read_failed(&self, err: sqlx::Error) -> Error {
        match err {
            sqlx::Error::PoolClosed => Error::Closed,
            err => Error::ReadStore {
                path: self.path.to_path_buf(),
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

/// Makes the file, if it is not there, readable for nobody else: session keys stand in it.
fn create(path: &Path) -> io::Result<()> {
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
async fn migrate(conn: &mut SqliteConnection, found: i64) -> Result<(), sqlx::Error> {
    sqlx::query("PRAGMA journal_mode = WAL")
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
    for schema in MIGRATIONS.iter().skip(done) {
        sqlx::raw_sql(*schema).execute(&mut *change).await?;
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
    create(path)?;
    let mut conn = SqliteConnection::connect_with(&options(path)).await?;
    migrate(&mut conn, 0).await?;
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
        migrate(&mut conn, 0).await.expect("migrates");
        migrate(&mut conn, 0)
            .await
            .expect("a second time is no change");
        assert_eq!(version(&mut conn).await.expect("reads"), Some(1));
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
}
