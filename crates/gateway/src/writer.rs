//! The queue's side of the one writer: its connection, and how many messages wait.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::error::DatabaseError;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use weappd_base::file_place::FilePlace;
use weappd_durable::{Committed, ReplyBatch, WriteTarget};

use crate::error::Error;
use crate::queue_file::count;
use crate::queue_write::{QueueChange, QueueJob};

/// What the one writer writes to.
pub(crate) struct QueueTarget {
    /// Gone after a transaction that failed.
    pub(crate) conn: Option<SqliteConnection>,
    pub(crate) options: SqliteConnectOptions,
    pub(crate) path: Arc<Path>,
    pub(crate) place: FilePlace,
    /// How many messages wait for the app.
    pub(crate) waiting: i64,
    pub(crate) max_waiting: Arc<AtomicI64>,
}

impl WriteTarget for QueueTarget {
    type Job = QueueJob;
    /// How many more messages wait.
    type Done = i64;
    type Error = Error;

    async fn commit(&mut self, mut jobs: Vec<QueueJob>) -> Committed<Self> {
        let written = match self.place.check() {
            Ok(()) => self.commit_all(&mut jobs).await,
            // What is written to a file that was deleted is lost with it.
            Err(gone) => Err(gone.into()),
        };
        let outcome = written.map_err(|problem| Error::UseQueue {
            path: self.path.to_path_buf(),
            source: Arc::new(problem),
        });
        Committed { jobs, outcome }
    }

    /// A text beyond SQLite's limit, or one that breaks a rule of the table.
    fn refuses_data(error: &Error) -> bool {
        let Error::UseQueue { source, .. } = error else {
            return false;
        };
        let code = source.as_database_error().and_then(DatabaseError::code);
        let code = code.and_then(|code| code.parse::<i32>().ok());
        code.is_some_and(|code| matches!(code & 0xff, 18..=20))
    }

    fn acknowledge(&mut self, jobs: Vec<QueueJob>, added: i64, replies: &mut ReplyBatch) {
        self.waiting += added;
        for job in jobs {
            job.acknowledge(replies);
        }
    }

    fn refuse(&mut self, jobs: Vec<QueueJob>, error: &Error, replies: &mut ReplyBatch) {
        for job in jobs {
            job.refuse(error, replies);
        }
    }

    /// Closing folds the write-ahead log into the file; if that fails, the next start does it.
    async fn close(self) {
        if let Some(conn) = self.conn
            && let Err(problem) = conn.close().await
        {
            tracing::warn!(error = %problem, "the message queue was not closed cleanly");
        }
    }
}

impl QueueTarget {
    /// Writes the jobs in one transaction, on a new connection after one that failed: SQLite
    /// itself rolls back when the disk is full or broken, sqlx then takes the transaction for
    /// an open one, and its connection begins no other.
    async fn commit_all(&mut self, jobs: &mut [QueueJob]) -> Result<i64, sqlx::Error> {
        let mut conn = if let Some(conn) = self.conn.take() {
            conn
        } else {
            let mut conn = SqliteConnection::connect_with(&self.options).await?;
            // A COMMIT that failed may stand in the file all the same.
            (self.waiting, _) = count(&mut conn).await?;
            conn
        };
        let room = self.max_waiting.load(Ordering::Relaxed) - self.waiting;
        let written = write(&mut conn, jobs, room).await;
        match &written {
            Ok(_) => self.conn = Some(conn),
            // Its lock goes with it; what it says at its end is no news.
            Err(_) => drop(conn.close().await),
        }
        written
    }
}

/// Writes the jobs in one transaction; on return it is on the disk. Tells how many more messages
/// wait.
async fn write(
    conn: &mut SqliteConnection,
    jobs: &mut [QueueJob],
    room: i64,
) -> Result<i64, sqlx::Error> {
    let mut transaction = conn.begin_with("BEGIN IMMEDIATE").await?;
    let mut change = QueueChange {
        conn: &mut transaction,
        room,
        added: 0,
    };
    for job in jobs {
        job.write(&mut change).await?;
    }
    let added = change.added;
    transaction.commit().await?;
    Ok(added)
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot::Receiver;
    use weappd_durable::WriteReply;

    use super::*;
    use crate::message_records::{NewMessage, PutOutcome};
    use crate::queue::MessageQueue;
    use crate::queue_write::AskedQueueWrite;
    use weappd_base::tasks::Work;

    type Answer = Result<Option<PutOutcome>, Error>;

    fn put(key: &str, size: usize) -> (QueueJob, Receiver<Answer>) {
        let (reply, answered) = WriteReply::pair();
        let message = NewMessage {
            body: "x".repeat(size),
            ..message(key)
        };
        (AskedQueueWrite::job(message, reply), answered)
    }

    /// One transaction.
    async fn write_all(target: &mut QueueTarget, jobs: Vec<QueueJob>) {
        let committed = target.commit(jobs).await;
        let replies = &mut ReplyBatch::default();
        match committed.outcome {
            Ok(added) => target.acknowledge(committed.jobs, added, replies),
            Err(error) => target.refuse(committed.jobs, &error, replies),
        }
    }

    /// What a writer at the file answers when one message of `size` bytes comes.
    async fn put_one(
        target: &mut QueueTarget,
        key: &str,
        size: usize,
    ) -> Result<PutOutcome, Error> {
        let (job, answered) = put(key, size);
        write_all(target, vec![job]).await;
        let answer = answered.await.expect("an answer");
        answer.map(|outcome| outcome.expect("space in the queue"))
    }

    #[tokio::test]
    async fn a_full_disk_is_told_by_its_name_and_forgotten_when_it_has_space() {
        for (jobs, size) in [(1, 100_000), (1, 20_000), (40, 4000)] {
            let dir = tempfile::TempDir::new().expect("a directory");
            let path = dir.path().join("inbox.db");
            let work = Work::current();
            let queue = MessageQueue::open(path.clone(), 1000, &work);
            queue.await.expect("opens").close().await;
            let free = SqliteConnectOptions::new().filename(&path);
            let open = async |options| SqliteConnection::connect_with(options).await;
            let mut conn = open(&free).await.expect("opens");
            let pages: i64 = sqlx::query_scalar("PRAGMA page_count")
                .fetch_one(&mut conn)
                .await
                .expect("a number");
            // A limit that every new connection has, as a disk.
            let full = free
                .clone()
                .pragma("max_page_count", (pages + 2).to_string());
            let conn = open(&full).await.expect("opens");
            let mut writer = QueueTarget {
                conn: Some(conn),
                options: full,
                place: FilePlace::of(&path).expect("a file"),
                path: path.into(),
                waiting: 0,
                max_waiting: Arc::new(AtomicI64::new(1000)),
            };
            let first = put_one(&mut writer, "first", 10).await.expect("space");
            assert_eq!(first, PutOutcome::New);
            for _ in 0..3 {
                let mut answers = Vec::new();
                let batch = (0..jobs).map(|n| {
                    let (job, answered) = put(&n.to_string(), size);
                    answers.push(answered);
                    job
                });
                let batch = batch.collect();
                write_all(&mut writer, batch).await;
                for answer in answers {
                    let refused = answer.await.expect("an answer").expect_err("no space");
                    assert!(!QueueTarget::refuses_data(&refused));
                    let said = weappd_base::causes::chain(&refused);
                    assert!(said.contains("database or disk is full"), "{said}");
                }
                assert_eq!(writer.waiting, 1);
            }
            // What fits goes in while the disk is full for the rest.
            let small = put_one(&mut writer, "small", 10).await;
            assert_eq!(small.expect("space"), PutOutcome::New);
            put_one(&mut writer, "large", 100_000)
                .await
                .expect_err("no space");
            writer.options = free;
            for key in ["0", "1"] {
                let put = put_one(&mut writer, key, size).await.expect("space");
                assert_eq!(put, PutOutcome::New, "{key}");
            }
            let again = put_one(&mut writer, "first", 10).await.expect("known");
            assert_eq!((again, writer.waiting), (PutOutcome::Waiting, 4));
        }
    }

    fn message(key: &str) -> NewMessage {
        NewMessage {
            appid: "wx1".to_owned(),
            key: key.to_owned(),
            openid: None,
            kind: "text".to_owned(),
            body: "{}".to_owned(),
            is_deed: false,
            now: weappd_base::unix_time::UnixMillis::new(1),
        }
    }

    #[tokio::test]
    async fn what_waits_shares_a_transaction() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("inbox.db");
        let queue = MessageQueue::open(path, 1000, &Work::current())
            .await
            .expect("opens");
        let log = || std::fs::metadata(dir.path().join("inbox.db-wal")).map_or(0, |m| m.len());
        let before = log();
        // One thread: all of them ask before the writer runs.
        let puts = (0..200).map(|n| queue.put(message(&n.to_string())));
        let put = futures_util::future::join_all(puts).await;
        assert!(
            put.into_iter()
                .all(|put| matches!(put, Ok(PutOutcome::New)))
        );
        // A transaction of its own for each would write some pages for each.
        assert!(log() - before < 200 * 4096, "{} bytes", log() - before);
    }
    #[tokio::test]
    async fn a_message_that_is_refused_takes_no_other_along() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("inbox.db");
        let queue = MessageQueue::open(path.clone(), 1000, &Work::current())
            .await
            .expect("opens");
        let mut conn = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&path))
            .await
            .expect("opens");
        let rule = "CREATE TRIGGER rule BEFORE INSERT ON messages WHEN NEW.key = '77' \
            BEGIN SELECT RAISE(ABORT, 'against the rule'); END";
        sqlx::raw_sql(rule)
            .execute(&mut conn)
            .await
            .expect("a rule");
        let puts = (0..200).map(|n| queue.put(message(&n.to_string())));
        let put = futures_util::future::join_all(puts).await;
        for (n, put) in put.into_iter().enumerate() {
            assert_eq!(put.is_ok(), n != 77, "{n}: {put:?}");
        }
        let waiting = queue.status().await.expect("reads").waiting;
        assert_eq!(waiting, 199);
    }
}
