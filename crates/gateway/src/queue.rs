//! The queue's file: messages stay in it until the app has them.
//!
//! SQLite with write-ahead logging and `synchronous=FULL`: a message that WeChat was told
//! we have is on the disk. One writer; what arrives while a transaction is on its way to
//! the disk shares the next one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::sqlite::{SqlitePool, SqlitePoolOptions};
use sqlx::{Connection, SqliteConnection};
use weappd_base::file_place::FilePlace;
use weappd_base::tasks::{Tasks, Work};
use weappd_base::unix_time::UnixMillis;
use weappd_durable::{DurableWriter, WriteCounts};

use crate::error::Error;
use crate::message_records::{
    DEAD, DUE, DeadLetter, DeliveryOutcome, DueMessage, HastenScope, InboxStatus, NewMessage,
    PruneLimits, PutOutcome, ReplayScope,
};
use crate::queue_file::{BUSY_TIMEOUT, count, create, migrate, options};
use crate::queue_write::{AskedQueueWrite, QueueJob, QueueWrite};
use crate::queue_writes::{ReplayedLetters, SettledDelivery};
use crate::writer::QueueTarget;

const NEXT_DUE: &str = "SELECT min(due) FROM messages \
    WHERE state = 0 AND due > ?1 AND appid IN (SELECT value FROM json_each(?2))";
const STRANDED: &str = "SELECT appid, count(*) FROM messages \
    WHERE state = 0 AND appid NOT IN (SELECT value FROM json_each(?1)) GROUP BY appid";
const STATUS: &str = "SELECT coalesce(sum(state = 0), 0), coalesce(sum(state = 2), 0), \
    coalesce(sum(state = 0 AND tries > 0), 0), min(CASE WHEN state = 0 THEN came END) \
    FROM messages WHERE state IN (0, 2)";
const LAST_WHY: &str = "SELECT why FROM messages WHERE state = 0 AND why IS NOT NULL \
    ORDER BY seq LIMIT 1";

/// The handle: readers, and the way to the writer.
#[derive(Clone)]
pub(crate) struct MessageQueue {
    writer: DurableWriter<QueueJob>,
    readers: SqlitePool,
    path: Arc<Path>,
    place: FilePlace,
    max_waiting: Arc<AtomicI64>,
}

impl MessageQueue {
    /// Opens the file, makes or migrates it, and starts its writer.
    pub(crate) async fn open(path: PathBuf, max_waiting: u64, work: &Work) -> Result<Self, Error> {
        create(&path).map_err(|source| Error::CreateQueue {
            path: path.clone(),
            source: Arc::new(source),
        })?;
        let failed = |source: sqlx::Error| Error::OpenQueue {
            path: path.clone(),
            source: Arc::new(source),
        };
        let options = options(&path);
        let mut conn = SqliteConnection::connect_with(&options)
            .await
            .map_err(failed)?;
        if !migrate(&mut conn).await.map_err(failed)? {
            return Err(Error::ForeignQueue { path });
        }
        let (waiting, _) = count(&mut conn).await.map_err(failed)?;
        let place = FilePlace::of(&path).map_err(|err| failed(err.into()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options.clone());
        let path: Arc<Path> = path.into();
        let max_waiting = Arc::new(AtomicI64::new(signed(max_waiting)));
        let (writer, task) = DurableWriter::new(QueueTarget {
            conn: Some(conn),
            options,
            path: Arc::clone(&path),
            place: place.clone(),
            waiting,
            max_waiting: Arc::clone(&max_waiting),
        });
        // It ends when the queue is closed, after those who write to it have ended.
        Tasks::new().spawn_on(work, task);
        Ok(Self {
            writer,
            readers,
            path,
            place,
            max_waiting,
        })
    }

    /// So many may wait from now on; those that do stay.
    pub(crate) fn set_max_waiting(&self, max_waiting: u64) {
        self.max_waiting
            .store(signed(max_waiting), Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(crate) fn max_waiting(&self) -> u64 {
        let most = self.max_waiting.load(Ordering::Relaxed);
        u64::try_from(most).unwrap_or_default()
    }

    /// Writes a message, or finds it. On return it is on the disk.
    pub(crate) async fn put(&self, message: NewMessage) -> Result<PutOutcome, Error> {
        self.write(message).await?.ok_or(Error::QueueFull)
    }

    pub(crate) async fn settle(
        &self,
        seq: i64,
        outcome: DeliveryOutcome,
        now: UnixMillis,
    ) -> Result<(), Error> {
        let settled = SettledDelivery { seq, outcome, now };
        self.write(settled).await
    }

    pub(crate) async fn replay(&self, scope: ReplayScope, now: UnixMillis) -> Result<u64, Error> {
        self.write(ReplayedLetters { scope, now }).await
    }

    /// What waits may go at once.
    pub(crate) async fn hasten(&self, what: HastenScope) -> Result<u64, Error> {
        self.write(what).await
    }

    /// Forgets what ended before these times.
    pub(crate) async fn prune(&self, before: PruneLimits) -> Result<u64, Error> {
        self.write(before).await
    }

    /// The messages of these mini programs whose turn it is. Of a file that was deleted nothing
    /// is delivered: that it was could not be written.
    pub(crate) async fn due(
        &self,
        now: UnixMillis,
        most: usize,
        appids: &[String],
    ) -> Result<Vec<DueMessage>, Error> {
        self.place
            .check()
            .map_err(|gone| self.failed(gone.into()))?;
        sqlx::query_as(DUE)
            .bind(now.get())
            .bind(i64::try_from(most).unwrap_or(i64::MAX))
            .bind(json(appids))
            .fetch_all(&self.readers)
            .await
            .map_err(|problem| self.failed(problem))
    }

    /// When the next message of these mini programs that is not due yet will be.
    pub(crate) async fn next_due(
        &self,
        now: UnixMillis,
        appids: &[String],
    ) -> Result<Option<UnixMillis>, Error> {
        let due: Option<i64> = sqlx::query_scalar(NEXT_DUE)
            .bind(now.get())
            .bind(json(appids))
            .fetch_one(&self.readers)
            .await
            .map_err(|problem| self.failed(problem))?;
        Ok(due.map(UnixMillis::new))
    }

    /// How many messages wait for each mini program that is none of these.
    pub(crate) async fn stranded(&self, appids: &[String]) -> Result<Vec<(String, i64)>, Error> {
        sqlx::query_as(STRANDED)
            .bind(json(appids))
            .fetch_all(&self.readers)
            .await
            .map_err(|problem| self.failed(problem))
    }

    pub(crate) async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, Error> {
        sqlx::query_as(DEAD)
            .bind(most)
            .fetch_all(&self.readers)
            .await
            .map_err(|problem| self.failed(problem))
    }

    pub(crate) async fn status(&self) -> Result<InboxStatus, Error> {
        let failed = |problem| self.failed(problem);
        let readers = &self.readers;
        let (waiting, dead, tried, oldest): (i64, i64, i64, Option<i64>) = sqlx::query_as(STATUS)
            .fetch_one(readers)
            .await
            .map_err(failed)?;
        let why = sqlx::query_scalar(LAST_WHY).fetch_optional(readers);
        Ok(InboxStatus {
            waiting,
            dead,
            tried,
            oldest: oldest.map(UnixMillis::new),
            why: why.await.map_err(failed)?,
        })
    }

    pub(crate) async fn close(&self) {
        self.writer.close().await;
        self.readers.close().await;
    }

    /// Hands a job to the writer and waits for its transaction.
    async fn write<W: QueueWrite>(&self, write: W) -> Result<W::Answer, Error> {
        let job = |reply| AskedQueueWrite::job(write, reply);
        let answered = self.writer.ask(job).await;
        answered.map_err(|_| Error::Closed).flatten()
    }

    /// What the writer has done so far.
    pub(crate) fn write_counts(&self) -> WriteCounts {
        self.writer.counts()
    }

    fn failed(&self, problem: sqlx::Error) -> Error {
        match problem {
            sqlx::Error::PoolClosed => Error::Closed,
            problem => Error::UseQueue {
                path: self.path.to_path_buf(),
                source: Arc::new(problem),
            },
        }
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// As a JSON array.
fn json(appids: &[String]) -> String {
    serde_json::Value::from(appids).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue_file::{APPLICATION_ID, MIGRATIONS};

    const fn at(millis: i64) -> UnixMillis {
        UnixMillis::new(millis)
    }

    fn message(n: i64, openid: &str) -> NewMessage {
        NewMessage {
            appid: "wx1".to_owned(),
            key: format!("MsgId {n}"),
            openid: Some(openid.to_owned()).filter(|openid| !openid.is_empty()),
            kind: "text".to_owned(),
            body: format!("{{\"MsgId\":{n}}}"),
            is_deed: false,
            now: at(n),
        }
    }

    fn appids() -> Vec<String> {
        vec!["wx1".to_owned()]
    }

    async fn open(dir: &Path, max_waiting: u64) -> MessageQueue {
        let path = dir.join("inbox.db");
        MessageQueue::open(path, max_waiting, &Work::current())
            .await
            .expect("opens")
    }

    async fn due(queue: &MessageQueue, now: i64) -> Vec<i64> {
        let due = queue.due(at(now), 10, &appids()).await.expect("reads");
        due.into_iter().map(|due| due.seq).collect()
    }

    #[tokio::test]
    async fn a_file_that_is_deleted_takes_and_gives_nothing() {
        for all in [true, false] {
            let dir = tempfile::TempDir::new().expect("a directory");
            let queue = open(dir.path(), 100).await;
            queue.put(message(1, "a")).await.expect("writes");
            if all {
                std::fs::remove_dir_all(dir.path()).expect("deleted");
            } else {
                std::fs::remove_file(dir.path().join("inbox.db")).expect("deleted");
            }
            let refused = queue
                .put(message(2, "a"))
                .await
                .expect_err("it would be lost");
            assert!(matches!(refused, Error::UseQueue { .. }), "{refused:?}");
            assert!(refused.hint().contains("deleted"), "{}", refused.hint());
            queue
                .due(at(10), 10, &appids())
                .await
                .expect_err("nothing goes twice");
        }
    }

    #[tokio::test]
    async fn one_message_of_a_user_at_a_time_in_order() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let queue = open(dir.path(), 100).await;
        for (n, openid) in [(1, "a"), (2, "a"), (3, "b"), (4, ""), (5, "")] {
            assert_eq!(
                queue.put(message(n, openid)).await.expect("writes"),
                PutOutcome::New
            );
        }
        assert_ne!(
            queue.put(message(1, "a")).await.expect("writes"),
            PutOutcome::New
        );
        assert_eq!(due(&queue, 10).await, [1, 3, 4, 5]);
        let again = DeliveryOutcome::Again {
            due: at(50),
            refused: true,
            aside: false,
            why: "HTTP 500".to_owned(),
        };
        queue.settle(1, again, at(10)).await.expect("writes");
        queue
            .settle(3, DeliveryOutcome::Delivered(None), at(10))
            .await
            .expect("writes");
        assert_eq!(due(&queue, 10).await, [4, 5]);
        assert_eq!(
            queue.next_due(at(10), &appids()).await.expect("reads"),
            Some(at(50))
        );
        let first = &queue.due(at(50), 1, &appids()).await.expect("reads")[0];
        assert_eq!((first.seq, first.message.tries, first.refusals), (1, 1, 1));
        queue
            .settle(1, DeliveryOutcome::Delivered(None), at(50))
            .await
            .expect("writes");
        assert_eq!(due(&queue, 50).await, [2, 4, 5]);
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_kill() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let queue = open(dir.path(), 100).await;
        assert_eq!(
            queue.put(message(1, "a")).await.expect("writes"),
            PutOutcome::New
        );
        assert_eq!(
            queue.put(message(2, "a")).await.expect("writes"),
            PutOutcome::New
        );
        queue
            .settle(1, DeliveryOutcome::Delivered(None), at(5))
            .await
            .expect("writes");
        // No close: the files as a killed process leaves them.
        let copy = tempfile::TempDir::new().expect("a directory");
        for file in ["inbox.db", "inbox.db-wal"] {
            std::fs::copy(dir.path().join(file), copy.path().join(file)).expect("copies");
        }
        let again = open(copy.path(), 100).await;
        assert_eq!(due(&again, 10).await, [2]);
        assert_ne!(
            again.put(message(1, "a")).await.expect("still known"),
            PutOutcome::New
        );
    }

    #[tokio::test]
    async fn a_full_queue_takes_no_more_and_dead_letters_do_not_count() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let queue = open(dir.path(), 2).await;
        for n in [1, 2] {
            assert_eq!(
                queue.put(message(n, "a")).await.expect("writes"),
                PutOutcome::New
            );
        }
        assert!(matches!(
            queue.put(message(3, "a")).await,
            Err(Error::QueueFull)
        ));
        // A repeated push is known even then.
        assert_ne!(
            queue.put(message(1, "a")).await.expect("known"),
            PutOutcome::New
        );
        let dead = DeliveryOutcome::Dead {
            why: "HTTP 400".to_owned(),
        };
        queue.settle(1, dead, at(7)).await.expect("writes");
        assert_eq!(
            queue.put(message(3, "a")).await.expect("room again"),
            PutOutcome::New
        );
        let letters = queue.dead_letters(10).await.expect("reads");
        assert_eq!((letters[0].id, letters[0].why.as_str()), (1, "HTTP 400"));
        assert_eq!((letters[0].came, letters[0].given_up), (at(1), at(7)));
        assert_eq!(
            queue
                .replay(ReplayScope::One(9), at(8))
                .await
                .expect("writes"),
            0
        );
        assert_eq!(
            queue.replay(ReplayScope::All, at(8)).await.expect("writes"),
            1
        );
        assert_eq!(due(&queue, 8).await, [1]);
        let waiting = queue.status().await.expect("reads");
        assert_eq!((waiting.waiting, waiting.dead), (3, 0));
    }

    #[tokio::test]
    async fn old_ends_are_forgotten() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let queue = open(dir.path(), 10).await;
        for n in [1, 2, 3] {
            assert_eq!(
                queue.put(message(n, "")).await.expect("writes"),
                PutOutcome::New
            );
        }
        queue
            .settle(1, DeliveryOutcome::Delivered(None), at(10))
            .await
            .expect("writes");
        queue
            .settle(2, DeliveryOutcome::Delivered(None), at(20))
            .await
            .expect("writes");
        assert_eq!(
            queue
                .prune(PruneLimits {
                    delivered: at(15),
                    deeds: at(0),
                    dead: at(15)
                })
                .await
                .expect("writes"),
            1
        );
        assert_eq!(
            queue.put(message(1, "")).await.expect("unknown again"),
            PutOutcome::New
        );
        assert_ne!(
            queue.put(message(2, "")).await.expect("known"),
            PutOutcome::New
        );
    }

    #[tokio::test]
    async fn a_foreign_file_is_left_alone() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("inbox.db");
        create(&path).expect("a file");
        let mut conn = SqliteConnection::connect_with(&options(&path))
            .await
            .expect("opens");
        sqlx::raw_sql("CREATE TABLE theirs (a)")
            .execute(&mut conn)
            .await
            .expect("a table");
        let refused = MessageQueue::open(path, 1, &Work::current()).await;
        assert!(matches!(refused, Err(Error::ForeignQueue { .. })));
    }

    #[tokio::test]
    async fn a_file_of_an_older_weappd_is_read_on() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("inbox.db");
        create(&path).expect("made");
        let mut conn = SqliteConnection::connect_with(&options(&path))
            .await
            .expect("opens");
        let old = format!(
            "{} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = 1; \
             INSERT INTO messages (appid, key, lane, openid, kind, body, came, due, state) VALUES \
             ('wx1', 'MsgId 1', 'wx1 a', 'a', 'text', '{{}}', 1, 1, 0), \
             ('wx1', 'MsgId 2', 'wx1 a', 'a', 'text', '', 2, 2, 1), \
             ('wx1', 'a 1 e 00', 'wx1 a', 'a', 'event/e', '', 2, 2, 1);",
            MIGRATIONS[0]
        );
        sqlx::raw_sql(sqlx::AssertSqlSafe(old))
            .execute(&mut conn)
            .await
            .expect("an old file");
        conn.close().await.expect("closes");
        let queue = open(dir.path(), 100).await;
        assert_eq!(due(&queue, 10).await, [1]);
        for (key, found) in [
            ("MsgId 1 a", PutOutcome::Waiting),
            ("MsgId 2 a", PutOutcome::Done(None)),
            ("a 1 e 00", PutOutcome::Done(None)),
            ("MsgId 2 b", PutOutcome::New),
        ] {
            let again = NewMessage {
                key: key.to_owned(),
                ..message(9, "a")
            };
            assert_eq!(queue.put(again).await.expect("writes"), found, "{key}");
        }
    }

    #[tokio::test]
    async fn what_stepped_aside_holds_nobody_up_and_deeds_are_kept_longer() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let queue = open(dir.path(), 100).await;
        let deed = |n| NewMessage {
            is_deed: true,
            ..message(n, "a")
        };
        for n in [1, 2] {
            assert_eq!(queue.put(deed(n)).await.expect("writes"), PutOutcome::New);
        }
        let again = DeliveryOutcome::Again {
            due: at(50),
            refused: true,
            aside: true,
            why: "no".to_owned(),
        };
        queue.settle(1, again, at(10)).await.expect("writes");
        assert_eq!(due(&queue, 10).await, [2]);
        // WeChat comes again: it goes at once.
        let repeated = queue.put(deed(1)).await.expect("writes");
        assert_eq!(
            (repeated, due(&queue, 10).await),
            (PutOutcome::Waiting, vec![1, 2])
        );
        let answer = Some("yes".to_owned());
        let taken = DeliveryOutcome::Delivered(answer.clone());
        queue.settle(1, taken, at(10)).await.expect("writes");
        let before = PruneLimits {
            delivered: at(100),
            deeds: at(5),
            dead: at(0),
        };
        assert_eq!(queue.prune(before).await.expect("writes"), 0);
        assert_eq!(
            queue.put(deed(1)).await.expect("reads"),
            PutOutcome::Done(answer)
        );
        let over = DeliveryOutcome::Dead {
            why: "old".to_owned(),
        };
        queue.settle(2, over, at(10)).await.expect("writes");
        assert_eq!(
            queue.put(deed(2)).await.expect("writes"),
            PutOutcome::Waiting
        );
        let status = queue.status().await.expect("reads");
        assert_eq!((status.waiting, status.dead), (1, 0));
    }
}
