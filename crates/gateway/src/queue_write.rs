//! What a write of the queue is: each kind is a type of `queue_writes`.

use futures_util::future::BoxFuture;
use sqlx::SqliteConnection;
use weappd_durable::{ReplyBatch, WriteReply};

use crate::error::Error;

/// A transaction under way, as a write sees it.
pub(crate) struct QueueChange<'a> {
    pub(crate) conn: &'a mut SqliteConnection,
    /// How many more messages may wait.
    pub(crate) room: i64,
    /// How many more wait than before it.
    pub(crate) added: i64,
}

/// Something to be written, inside a transaction.
pub(crate) trait QueueWrite: Send + Sync + 'static {
    /// What its caller is told.
    type Answer: Send + 'static;

    fn write(
        &self,
        change: &mut QueueChange<'_>,
    ) -> impl Future<Output = Result<Self::Answer, sqlx::Error>> + Send;
}

/// A write of whichever kind, with whoever waits for it.
pub(crate) trait AnyQueueWrite: Send {
    fn write<'a>(
        &'a mut self,
        change: &'a mut QueueChange<'_>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// It is on the disk.
    fn acknowledge(self: Box<Self>, replies: &mut ReplyBatch);

    /// Nothing of it was written.
    fn refuse(self: Box<Self>, error: &Error, replies: &mut ReplyBatch);
}

/// What the writer is asked to do.
pub(crate) type QueueJob = Box<dyn AnyQueueWrite>;

/// A write that somebody waits for.
pub(crate) struct AskedQueueWrite<W: QueueWrite> {
    write: W,
    answer: Option<W::Answer>,
    reply: WriteReply<W::Answer, Error>,
}

impl<W: QueueWrite> AskedQueueWrite<W> {
    pub(crate) fn job(write: W, reply: WriteReply<W::Answer, Error>) -> QueueJob {
        Box::new(Self {
            write,
            answer: None,
            reply,
        })
    }
}

impl<W: QueueWrite> AnyQueueWrite for AskedQueueWrite<W> {
    fn write<'a>(
        &'a mut self,
        change: &'a mut QueueChange<'_>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        let Self { write, answer, .. } = self;
        Box::pin(async move {
            *answer = Some(write.write(change).await?);
            Ok(())
        })
    }

    fn acknowledge(self: Box<Self>, replies: &mut ReplyBatch) {
        if let Some(answer) = self.answer {
            self.reply.send(Ok(answer), replies);
        }
    }

    fn refuse(self: Box<Self>, error: &Error, replies: &mut ReplyBatch) {
        self.reply.send(Err(error.clone()), replies);
    }
}
