//! The one writer: what arrives while a transaction is on its way to the disk goes into
//! the next one, and is acknowledged after its COMMIT.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot};
use weappd_base::file_place::FilePlace;

use crate::error::Error;
use crate::message_records::{
    DeliveryOutcome, HastenScope, NewMessage, PruneLimits, PutOutcome, ReplayScope,
};
use crate::queue_file::count;

/// How many jobs share one transaction at most.
const MAX_BATCH: usize = 512;

const PUT: &str = "INSERT INTO messages (appid, key, lane, openid, kind, body, came, due, deed) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7, ?8) ON CONFLICT (appid, key) DO NOTHING";
const KNOWN: &str = "SELECT seq, state, answer FROM messages WHERE appid = ?1 AND key = ?2";
/// WeChat comes again with what waits or was given up: it goes at once, from the start.
const REVIVE: &str = "UPDATE messages SET state = 0, due = min(due, ?2), \
    tries = CASE state WHEN 2 THEN 0 ELSE tries END, \
    came = CASE state WHEN 2 THEN ?2 ELSE came END WHERE seq = ?1";
const DELIVERED: &str = "UPDATE messages SET state = 1, body = '', tries = tries + 1, due = ?2, \
    why = NULL, answer = ?3 WHERE seq = ?1 AND state = 0";
const AGAIN: &str = "UPDATE messages SET tries = tries + 1, refusals = refusals + ?3, due = ?2, \
    why = ?4, aside = aside OR ?5 WHERE seq = ?1 AND state = 0";
const DEAD: &str = "UPDATE messages SET state = 2, tries = tries + 1, due = ?2, why = ?3 \
    WHERE seq = ?1 AND state = 0";
const REPLAY: &str = "UPDATE messages SET state = 0, tries = 0, refusals = 0, aside = 0, \
    came = ?1, due = ?1 WHERE state = 2 AND (?2 IS NULL OR seq = ?2)";
const HASTEN: &str = "UPDATE messages SET due = ?2 \
    WHERE state = 0 AND (?1 IS NULL OR appid = ?1) AND due > ?3";
const PRUNE: &str = "DELETE FROM messages WHERE (state = 1 AND deed = 0 AND due < ?1) \
    OR (state = 1 AND deed = 1 AND due < ?2) OR (state = 2 AND due < ?3)";

/// Where the answer to a job goes.
pub(crate) type JobReply<T> = oneshot::Sender<Result<T, Error>>;

/// Something to be written.
pub(crate) enum QueueJob {
    Put(Box<NewMessage>, JobReply<PutOutcome>),
    Settle(i64, DeliveryOutcome, i64, JobReply<()>),
    Replay(ReplayScope, i64, JobReply<u64>),
    Hasten(HastenScope, JobReply<u64>),
    Prune(PruneLimits, JobReply<u64>),
    Close(JobReply<()>),
}

/// What was done of a job.
enum JobResult {
    Rows(u64),
    Put(PutOutcome),
    Full,
}

/// The task that owns the writing connection.
pub(crate) struct QueueWriter {
    /// Gone after a transaction that failed.
    pub(crate) conn: Option<SqliteConnection>,
    pub(crate) options: SqliteConnectOptions,
    pub(crate) queue: mpsc::Receiver<QueueJob>,
    pub(crate) path: Arc<Path>,
    pub(crate) place: FilePlace,
    /// How many messages wait for the app.
    pub(crate) waiting: i64,
    pub(crate) max_waiting: Arc<AtomicI64>,
}

impl QueueWriter {
    /// Writes until the queue is closed or nobody is left to ask.
    pub(crate) async fn run(mut self) {
        let mut closed = None;
        while let Some(first) = self.queue.recv().await {
            let mut batch = Vec::new();
            let mut next = Some(first);
            while let Some(job) = next.take() {
                if let QueueJob::Close(answer) = job {
                    // Whoever comes later is told that the queue is closed.
                    self.queue.close();
                    closed = Some(answer);
                } else {
                    batch.push(job);
                }
                if batch.len() < MAX_BATCH {
                    next = self.queue.try_recv().ok();
                }
            }
            self.write(batch).await;
        }
        // Closing folds the write-ahead log into the file; if that fails, the next start
        // does it.
        if let Some(conn) = self.conn
            && let Err(problem) = conn.close().await
        {
            tracing::warn!(error = %problem, "the message queue was not closed cleanly");
        }
        if let Some(answer) = closed {
            drop(answer.send(Ok(())));
        }
    }

    async fn write(&mut self, batch: Vec<QueueJob>) {
        if batch.is_empty() {
            return;
        }
        let written = match self.place.check() {
            Ok(()) => self.commit(&batch).await,
            // What is written to a file that was deleted is lost with it.
            Err(gone) => Err(gone.into()),
        };
        match written {
            Ok((done, added)) => {
                self.waiting += added;
                for (job, done) in batch.into_iter().zip(done) {
                    acknowledge(job, done);
                }
            }
            Err(problem) => {
                let error = Error::UseQueue {
                    path: self.path.to_path_buf(),
                    source: Arc::new(problem),
                };
                for job in batch {
                    refuse(job, &error);
                }
            }
        }
    }

    /// Writes the batch in one transaction, on a new connection after one that failed: SQLite
    /// itself rolls back when the disk is full or broken, sqlx then takes the transaction for
    /// an open one, and its connection begins no other.
    async fn commit(&mut self, batch: &[QueueJob]) -> Result<(Vec<JobResult>, i64), sqlx::Error> {
        let mut conn = if let Some(conn) = self.conn.take() {
            conn
        } else {
            let mut conn = SqliteConnection::connect_with(&self.options).await?;
            // A COMMIT that failed may stand in the file all the same.
            (self.waiting, _) = count(&mut conn).await?;
            conn
        };
        let room = self.max_waiting.load(Ordering::Relaxed) - self.waiting;
        let written = commit(&mut conn, batch, room).await;
        match &written {
            Ok(_) => self.conn = Some(conn),
            // Its lock goes with it; what it says at its end is no news.
            Err(_) => drop(conn.close().await),
        }
        written
    }
}

/// Writes the batch in one transaction; on return it is on the disk. Tells what was done
/// and how many more messages wait.
async fn commit(
    conn: &mut SqliteConnection,
    batch: &[QueueJob],
    room: i64,
) -> Result<(Vec<JobResult>, i64), sqlx::Error> {
    let mut change = conn.begin_with("BEGIN IMMEDIATE").await?;
    let mut done = Vec::with_capacity(batch.len());
    let mut added = 0;
    for job in batch {
        let (what, more) = write_one(&mut change, job, room - added).await?;
        done.push(what);
        added += more;
    }
    change.commit().await?;
    Ok((done, added))
}

async fn write_one(
    change: &mut SqliteConnection,
    job: &QueueJob,
    room: i64,
) -> Result<(JobResult, i64), sqlx::Error> {
    let signed = |rows: u64| i64::try_from(rows).unwrap_or(i64::MAX);
    match job {
        QueueJob::Put(message, _) => put(change, message, room).await,
        QueueJob::Settle(seq, fate, now, _) => {
            let (query, ended) = match fate {
                DeliveryOutcome::Delivered(answer) => {
                    let query = sqlx::query(DELIVERED).bind(seq).bind(now);
                    (query.bind(answer), true)
                }
                DeliveryOutcome::Again {
                    due,
                    refused,
                    aside,
                    why,
                } => {
                    let query = sqlx::query(AGAIN).bind(seq).bind(due);
                    let query = query.bind(i64::from(*refused)).bind(why);
                    (query.bind(i64::from(*aside)), false)
                }
                DeliveryOutcome::Dead { why } => {
                    (sqlx::query(DEAD).bind(seq).bind(now).bind(why), true)
                }
            };
            let rows = query.execute(change).await?.rows_affected();
            Ok((JobResult::Rows(rows), if ended { -signed(rows) } else { 0 }))
        }
        QueueJob::Replay(which, now, _) => {
            let seq = match which {
                ReplayScope::One(seq) => Some(*seq),
                ReplayScope::All => None,
            };
            let replay = sqlx::query(REPLAY).bind(now).bind(seq);
            let rows = replay.execute(change).await?.rows_affected();
            Ok((JobResult::Rows(rows), signed(rows)))
        }
        QueueJob::Hasten(hasten, _) => {
            let appid = hasten.appid.as_deref();
            let hasten = sqlx::query(HASTEN)
                .bind(appid)
                .bind(hasten.now)
                .bind(hasten.after);
            Ok((
                JobResult::Rows(hasten.execute(change).await?.rows_affected()),
                0,
            ))
        }
        QueueJob::Prune(before, _) => {
            let prune = sqlx::query(PRUNE).bind(before.delivered);
            let prune = prune.bind(before.deeds).bind(before.dead);
            Ok((
                JobResult::Rows(prune.execute(change).await?.rows_affected()),
                0,
            ))
        }
        // The writer keeps this one for itself.
        QueueJob::Close(_) => Ok((JobResult::Rows(0), 0)),
    }
}

/// Writes a message, or finds it; tells how many more wait.
async fn put(
    change: &mut SqliteConnection,
    message: &NewMessage,
    room: i64,
) -> Result<(JobResult, i64), sqlx::Error> {
    let known: Option<(i64, i64, Option<String>)> = sqlx::query_as(KNOWN)
        .bind(&message.appid)
        .bind(&message.key)
        .fetch_optional(&mut *change)
        .await?;
    let Some((seq, state, answer)) = known else {
        if room <= 0 {
            return Ok((JobResult::Full, 0));
        }
        // A message of nobody waits for nobody.
        let last = message.openid.as_ref().unwrap_or(&message.key);
        sqlx::query(PUT)
            .bind(&message.appid)
            .bind(&message.key)
            .bind(format!("{} {last}", message.appid))
            .bind(&message.openid)
            .bind(&message.kind)
            .bind(&message.body)
            .bind(message.now)
            .bind(i64::from(message.is_deed))
            .execute(change)
            .await?;
        return Ok((JobResult::Put(PutOutcome::New), 1));
    };
    let found = match state {
        1 => PutOutcome::Done(answer),
        // Given up, and WeChat was told `success` long ago.
        2 if !message.is_deed => PutOutcome::Done(None),
        _ => PutOutcome::Waiting,
    };
    if found == PutOutcome::Waiting && message.is_deed {
        let revive = sqlx::query(REVIVE).bind(seq).bind(message.now);
        revive.execute(change).await?;
    }
    let more = i64::from(state == 2 && found == PutOutcome::Waiting);
    Ok((JobResult::Put(found), more))
}

/// Tells who asked; one that is gone needs no answer.
fn acknowledge(job: QueueJob, done: JobResult) {
    let rows = match (&job, done) {
        (_, JobResult::Rows(rows)) => rows,
        (_, JobResult::Put(put)) => {
            if let QueueJob::Put(_, answer) = job {
                drop(answer.send(Ok(put)));
            }
            return;
        }
        (_, JobResult::Full) => return refuse(job, &Error::QueueFull),
    };
    match job {
        // Its answer is `JobResult::PutOutcome`.
        QueueJob::Put(_, answer) => drop(answer.send(Err(Error::Closed))),
        QueueJob::Settle(_, _, _, answer) | QueueJob::Close(answer) => drop(answer.send(Ok(()))),
        QueueJob::Replay(_, _, answer)
        | QueueJob::Hasten(_, answer)
        | QueueJob::Prune(_, answer) => {
            drop(answer.send(Ok(rows)));
        }
    }
}

fn refuse(job: QueueJob, error: &Error) {
    match job {
        QueueJob::Put(_, answer) => drop(answer.send(Err(error.clone()))),
        QueueJob::Settle(_, _, _, answer) | QueueJob::Close(answer) => {
            drop(answer.send(Err(error.clone())));
        }
        QueueJob::Replay(_, _, answer)
        | QueueJob::Hasten(_, answer)
        | QueueJob::Prune(_, answer) => {
            drop(answer.send(Err(error.clone())));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::MessageQueue;
    use weappd_base::tasks::Work;

    /// What a writer at the file answers when one message of `size` bytes comes.
    async fn put_one(
        writer: &mut QueueWriter,
        key: &str,
        size: usize,
    ) -> Result<PutOutcome, Error> {
        let (answer, answered) = oneshot::channel();
        let message = NewMessage {
            body: "x".repeat(size),
            ..message(key)
        };
        writer
            .write(vec![QueueJob::Put(Box::new(message), answer)])
            .await;
        answered.await.expect("an answer")
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
            let mut writer = QueueWriter {
                conn: Some(conn),
                options: full,
                queue: mpsc::channel(1).1,
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
                    let (answer, answered) = oneshot::channel();
                    answers.push(answered);
                    let message = NewMessage {
                        body: "x".repeat(size),
                        ..message(&n.to_string())
                    };
                    QueueJob::Put(Box::new(message), answer)
                });
                let batch = batch.collect();
                writer.write(batch).await;
                for answer in answers {
                    let refused = answer.await.expect("an answer").expect_err("no space");
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
            now: 1,
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
}
