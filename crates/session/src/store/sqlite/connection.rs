//! The writing connection: a transaction is one job on a thread that may block.
//!
//! It has SQLite to itself, without a change of threads for every statement and row: with
//! those a login cost twice as much.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use weappd_base::file_place::FilePlace;

use crate::error::Error;
use crate::store::change::{CacheEffects, SqliteChange};
use crate::store::job::{self, StoreJob};
use crate::store::rules::WriteRules;
use crate::store::sqlite::errors::{gone_from, hint};
use crate::store::sqlite::logins;

/// How many statements are kept prepared: all that there are.
const STATEMENTS: usize = 64;

/// How the writer opens the file. It holds the pages that logins touch all over the file,
/// keeps a statement's way back in memory instead of a second file, and folds the log in less
/// often: a page that many logins touch is then folded in once. Users are never deleted, so
/// that looking each one up once more for its session and key proves nothing.
const SETTINGS: &str = "
    PRAGMA synchronous = FULL;
    PRAGMA cache_size = -16384;
    PRAGMA temp_store = MEMORY;
    PRAGMA wal_autocheckpoint = 4000;
    PRAGMA foreign_keys = OFF;
";

/// The writing connection.
pub(crate) struct SqliteWriteConn {
    path: PathBuf,
    busy: Duration,
    place: FilePlace,
    /// Gone while a transaction is under way, and after one that failed.
    conn: Option<Connection>,
}

impl SqliteWriteConn {
    /// For a file that has the newest schema. It is opened by the first transaction.
    pub(crate) fn new(path: &Path, busy: Duration, place: FilePlace) -> Self {
        Self {
            path: path.to_owned(),
            busy,
            place,
            conn: None,
        }
    }

    /// Writes the jobs in one transaction; on return it is on the disk.
    pub(crate) async fn commit(
        &mut self,
        jobs: Vec<StoreJob>,
        rules: &Arc<WriteRules>,
    ) -> (Vec<StoreJob>, Result<CacheEffects, Error>) {
        let (path, rules) = (self.path.clone(), Arc::clone(rules));
        let (busy, conn, place) = (self.busy, self.conn.take(), self.place.clone());
        let job = tokio::task::spawn_blocking(move || {
            let mut jobs = jobs;
            let mut conn = match conn.map_or_else(|| open(&path, busy), Ok) {
                Ok(conn) => conn,
                Err(err) => return (None, jobs, Err(CommitError::Sqlite(err))),
            };
            let written = match place.check() {
                Ok(()) => commit(&mut conn, &mut jobs, &rules).map_err(CommitError::Sqlite),
                Err(gone) => Err(CommitError::Gone(gone)),
            };
            // One whose transaction failed is closed: nobody knows what it still holds when the
            // disk is full or broken.
            let is_sound = !matches!(written, Err(CommitError::Sqlite(_)));
            (is_sound.then_some(conn), jobs, written)
        });
        // A job that did not end was dropped with its runtime.
        let Ok((conn, jobs, written)) = job.await else {
            return (Vec::new(), Err(Error::Closed));
        };
        self.conn = conn;
        let written = written.map_err(|failed| match failed {
            CommitError::Sqlite(err) => self.failed(err),
            CommitError::Gone(gone) => gone_from(&self.path, gone),
        });
        (jobs, written)
    }

    fn failed(&self, err: rusqlite::Error) -> Error {
        let code = err.sqlite_error().map(|err| err.extended_code);
        Error::WriteStore {
            place: self.path.display().to_string(),
            hint: hint(code),
            source: Arc::new(err),
        }
    }

    /// Closing folds the write-ahead log into the file; if that fails, the next start does
    /// it.
    pub(crate) async fn close(self) {
        let Some(conn) = self.conn else { return };
        let closed = tokio::task::spawn_blocking(move || conn.close().map_err(|(_, err)| err));
        if let Ok(Err(err)) = closed.await {
            tracing::warn!(error = %err, "the session database was not closed cleanly");
        }
    }
}

/// Why nothing was written.
enum CommitError {
    Sqlite(rusqlite::Error),
    Gone(io::Error),
}

fn open(path: &Path, busy: Duration) -> Result<Connection, rusqlite::Error> {
    // One thread at a time has it: no locks of SQLite's own.
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(busy)?;
    conn.execute_batch(SETTINGS)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    Ok(conn)
}

fn commit(
    conn: &mut Connection,
    jobs: &mut [StoreJob],
    rules: &WriteRules,
) -> Result<CacheEffects, rusqlite::Error> {
    // Whatever fails on the way is rolled back by the drop.
    let change = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut effects = CacheEffects::default();
    let new = job::logins(jobs);
    if !new.is_empty() {
        let opened = logins::write(&new, &change, rules, &mut effects)?;
        job::give(jobs, opened);
    }
    for write in job::others(jobs) {
        write.sqlite(&mut SqliteChange {
            conn: &change,
            rules,
            effects: &mut effects,
        })?;
    }
    change.commit()?;
    Ok(effects)
}

#[cfg(test)]
mod tests {
    use super::*;
    use weappd_durable::WriteReply;

    use crate::config::Config;
    use crate::store::sqlite::connect;
    use crate::store::writer::tests::login;
    use crate::vault;

    #[tokio::test]
    async fn a_full_disk_is_told_by_its_name_and_forgotten_when_it_has_space() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        drop(connect(&path).await.expect("opens"));
        let place = FilePlace::of(&path).expect("a file");
        let mut writer = SqliteWriteConn::new(&path, Duration::from_secs(1), place);
        let rules = Arc::new(WriteRules::new(
            &Config {
                max_sessions_per_user: 1000,
                ..Config::default()
            },
            vault::tests::vault(),
        ));
        let batch = |logins: std::ops::Range<usize>| {
            let jobs = logins.map(|n| StoreJob::log_in(login(n), WriteReply::pair().0));
            jobs.collect::<Vec<_>>()
        };
        for round in 0..3 {
            let small = batch(round..round + 1);
            writer.commit(small, &rules).await.1.expect("space");
            // The limit of one connection: whoever opens another has space again.
            let conn = writer.conn.as_ref().expect("a connection");
            conn.pragma_update(None, "max_page_count", 1)
                .expect("a limit at what there is");
            let large = batch(1000 * (round + 1)..1000 * (round + 1) + 400);
            let (large, refused) = writer.commit(large, &rules).await;
            let refused = refused.err().expect("no space");
            let said = weappd_base::causes::chain(&refused);
            assert!(said.contains("database or disk is full"), "{said}");
            writer.commit(large, &rules).await.1.expect("space");
        }
    }
}
