//! The queue's file: how it is made, migrated and opened.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};

/// The schema, one file a version; the file's `user_version` tells how many it has.
pub(crate) const MIGRATIONS: [&str; 2] = [
    include_str!("../schema/0001_messages.sql"),
    include_str!("../schema/0002_answers.sql"),
];
/// "WEIN": marks the file as weappd's inbox.
pub(crate) const APPLICATION_ID: i64 = 0x5745_494E;
/// How long another process may hold the file.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(3);

const COUNT: &str = "SELECT coalesce(sum(state = 0), 0), coalesce(sum(state = 2), 0) FROM messages \
    WHERE state IN (0, 2)";

/// How many messages wait, and how many were given up.
pub(crate) async fn count(conn: &mut SqliteConnection) -> Result<(i64, i64), sqlx::Error> {
    sqlx::query_as(COUNT).fetch_one(conn).await
}

/// How every connection is opened: a COMMIT returns when it is on the disk.
pub(crate) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Makes the file, if it is not there, readable for nobody else: people's words stand in it.
pub(crate) fn create(path: &Path) -> io::Result<()> {
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

/// Brings the file to the newest schema; false if it is not ours, or of a newer weappd.
pub(crate) async fn migrate(conn: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    sqlx::query("PRAGMA journal_mode = WAL")
        .execute(&mut *conn)
        .await?;
    let mut change = conn.begin_with("BEGIN IMMEDIATE").await?;
    let number = |name: &'static str| sqlx::query_scalar::<_, i64>(name);
    let id = number("PRAGMA application_id")
        .fetch_one(&mut *change)
        .await?;
    let version = number("PRAGMA user_version")
        .fetch_one(&mut *change)
        .await?;
    let tables = number("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *change)
        .await?;
    let is_fresh = id == 0 && version == 0 && tables == 0;
    let done = usize::try_from(version).unwrap_or(usize::MAX);
    if !(is_fresh || id == APPLICATION_ID) || done > MIGRATIONS.len() {
        return Ok(false);
    }
    for schema in MIGRATIONS.iter().skip(done) {
        sqlx::raw_sql(*schema).execute(&mut *change).await?;
    }
    let stamp = format!(
        "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {};",
        MIGRATIONS.len()
    );
    // Two numbers of ours and no word of anybody's.
    sqlx::raw_sql(sqlx::AssertSqlSafe(stamp))
        .execute(&mut *change)
        .await?;
    change.commit().await?;
    Ok(true)
}

/// A file that may be there or be made. If it was not there, it goes with this, unless it is kept.
pub(crate) struct NewFile(Option<PathBuf>);

impl NewFile {
    /// Before it is opened.
    pub(crate) fn at(path: &Path) -> Self {
        let is_there = path.try_exists().unwrap_or(true);
        Self((!is_there).then(|| path.to_owned()))
    }

    pub(crate) fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        let Some(path) = &self.0 else {
            return;
        };
        for end in ["", "-wal", "-shm"] {
            let mut file = path.clone().into_os_string();
            file.push(end);
            // Nothing stands in it; what cannot be removed is an empty queue.
            let _gone = std::fs::remove_file(file);
        }
    }
}
