//! The one writer: what arrives while a transaction is on its way to the disk goes into
//! the next one, and is acknowledged after its COMMIT.
//!
//! One disk flush serves as many logins as were waiting. The cache is told before the
//! callers are, in the order of the transactions: see [`SessionCache::opened`].

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::cache::SessionCache;
use crate::error::Error;
use crate::store::batch::{BatchResult, WriteBatch};
use crate::store::rules::WriteRules;
use crate::store::write_job::WriteJob;
use crate::store::{mysql, sqlite};

/// How many jobs share one transaction at most.
const MAX_BATCH: usize = 512;

/// The writing connection to a database.
pub(crate) enum StoreWriteConn {
    Sqlite(sqlite::SqliteWriteConn),
    Mysql(mysql::MysqlWriteConn),
}

impl StoreWriteConn {
    /// Writes the batch in one transaction; on return it is on the disk.
    async fn commit(
        &mut self,
        batch: &Arc<WriteBatch>,
        rules: &Arc<WriteRules>,
    ) -> Result<BatchResult, Error> {
        match self {
            Self::Sqlite(conn) => conn.commit(batch, rules).await,
            Self::Mysql(conn) => conn.commit(batch, rules).await,
        }
    }

    async fn close(self) {
        match self {
            Self::Sqlite(conn) => conn.close().await,
            Self::Mysql(conn) => conn.close().await,
        }
    }
}

/// The task that owns the writing connection.
pub(crate) struct StoreWriter {
    pub(crate) conn: StoreWriteConn,
    pub(crate) queue: mpsc::Receiver<WriteJob>,
    pub(crate) cache: Arc<SessionCache>,
    pub(crate) rules: Arc<WriteRules>,
}

impl StoreWriter {
    /// Writes until the store is closed or nobody is left to ask.
    pub(crate) async fn run(mut self) {
        let mut closed = None;
        while closed.is_none() {
            let Some(first) = self.queue.recv().await else {
                break;
            };
            let mut batch = WriteBatch::default();
            let mut next = Some(first);
            while let Some(job) = next.take() {
                if let WriteJob::Close(answer) = job {
                    // Whoever comes later is told that the store is closed.
                    self.queue.close();
                    closed = Some(answer);
                } else {
                    batch.add(job);
                }
                if batch.len() < MAX_BATCH {
                    next = self.queue.try_recv().ok();
                }
            }
            self.write(batch).await;
        }
        while let Ok(job) = self.queue.try_recv() {
            let mut batch = WriteBatch::default();
            batch.add(job);
            self.write(batch).await;
        }
        self.conn.close().await;
        if let Some(answer) = closed {
            drop(answer.send(Ok(())));
        }
    }

    async fn write(&mut self, batch: WriteBatch) {
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            if batch.len() == 0 {
                continue;
            }
            let batch = Arc::new(batch);
            let written = self.conn.commit(&batch, &self.rules).await;
            // The conn has given its share back, whatever happened.
            let Ok(mut batch) = Arc::try_unwrap(batch) else {
                continue;
            };
            match written {
                Ok(done) => batch.acknowledge(done, &self.cache),
                // Less of it may do: a login that is refused takes no other along.
                Err(err) if mysql::errors::refuses_data(&err) && batch.logins.len() > 1 => {
                    let later = batch.logins.split_off(batch.logins.len() / 2);
                    waiting.push(WriteBatch {
                        logins: later,
                        ..WriteBatch::default()
                    });
                    waiting.push(batch);
                }
                Err(err) => batch.refuse(&err),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::Path;
    use weappd_base::file_place::FilePlace;

    use tokio::sync::oneshot;

    use crate::app_terms::AppTerms;
    use crate::config::Config;
    use crate::session_lifetime::SessionLifetime;
    use crate::skey::SkeyHash;
    use crate::store::sqlite;
    use crate::store::writes::NewLogin;
    use crate::vault;
    use weappd_base::secret::Secret;

    pub(crate) fn login(n: usize) -> NewLogin {
        NewLogin {
            appid: "wx1".to_owned(),
            openid: format!("o{}", n % 2),
            unionid: None,
            new_id: format!("id{n}"),
            user_info: None,
            session_key: Secret::new("key"),
            skey: Secret::new(n.to_string()),
            hash: SkeyHash::of(&n.to_string()),
            device: None,
            address: None,
            now: 7,
            terms: AppTerms::of(SessionLifetime {
                login_secs: 10,
                idle_secs: 10,
            }),
        }
    }

    /// How many transactions a write-ahead log holds: the frames that tell the size of
    /// the database after a COMMIT (sqlite.org/fileformat2, 4.1).
    fn commits(log: &Path, page_size: usize) -> usize {
        let bytes = std::fs::read(log).expect("a log");
        let frames = bytes[32..].chunks_exact(24 + page_size);
        frames.filter(|frame| frame[4..8] != [0; 4]).count()
    }

    #[tokio::test]
    async fn what_waits_is_written_in_one_transaction() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        // Somebody who reads keeps the log from being folded in when the writer closes.
        let mut reader = sqlite::connect(&path).await.expect("opens");
        let before = commits(&dir.path().join("weappd.db-wal"), 4096);
        let (jobs, queue) = mpsc::channel(200);
        let mut answers = Vec::new();
        for n in 0..100 {
            let (answer, answered) = oneshot::channel();
            let job = WriteJob::LogIn(Box::new(login(n)), answer);
            assert!(jobs.try_send(job).is_ok());
            answers.push(answered);
        }
        drop(jobs);
        let cache = Arc::new(SessionCache::new(1 << 20));
        let writer = StoreWriter {
            conn: StoreWriteConn::Sqlite(sqlite::SqliteWriteConn::new(
                &path,
                std::time::Duration::from_secs(1),
                FilePlace::of(&path).expect("a file"),
            )),
            queue,
            cache: Arc::clone(&cache),
            rules: Arc::new(WriteRules::new(&Config::default(), vault::tests::vault())),
        };
        writer.run().await;
        for (n, answered) in answers.into_iter().enumerate() {
            let opened = answered.await.expect("an answer").expect("written");
            assert_eq!(opened.is_new_user, n < 2, "login {n}");
            // Two users with fifty logins each: the last eight of each are kept.
            assert_eq!(opened.is_kept, n >= 84, "login {n}");
            let hash = SkeyHash::of(&n.to_string());
            assert_eq!(cache.get(&hash).is_some(), n >= 84, "login {n}");
        }
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions")
            .fetch_one(&mut reader)
            .await
            .expect("counts");
        assert_eq!(kept, 16);
        let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM session_keys")
            .fetch_one(&mut reader)
            .await
            .expect("counts");
        assert_eq!(keys, 2, "the same key is kept once");
        let after = commits(&dir.path().join("weappd.db-wal"), 4096);
        assert_eq!(after - before, 1, "one flush for a hundred logins");
    }
}
