//! What a write is. Each kind is one file of this folder, with what it does in each database; a
//! login, of which many are written together, is `store/new_login.rs`.

pub(crate) mod log_out;
pub(crate) mod phone;
pub(crate) mod profile;
pub(crate) mod prune;
pub(crate) mod registered_app;
pub(crate) mod revoke;
pub(crate) mod session_key;
pub(crate) mod visits;

use futures_util::future::BoxFuture;
use weappd_durable::{ReplyBatch, WriteReply};

use crate::error::Error;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};

/// Something to be written, inside a transaction of its database. Another trial may write it once
/// more.
pub(crate) trait StoreWrite: Send + Sync + 'static {
    /// What its caller is told.
    type Answer: Send + 'static;

    /// Into the SQLite file.
    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<Self::Answer>;

    /// Into weappd's own tables on a server.
    fn native(
        &self,
        change: &mut NativeChange<'_>,
    ) -> impl Future<Output = Result<Self::Answer, sqlx::Error>> + Send;

    /// Into the tables of an old server.
    fn cauth(
        &self,
        change: &mut CauthChange<'_>,
    ) -> impl Future<Output = Result<Self::Answer, sqlx::Error>> + Send;
}

/// A write of whichever kind, with whoever waits for it.
pub(crate) trait AnyWrite: Send {
    fn sqlite(&mut self, change: &mut SqliteChange<'_>) -> rusqlite::Result<()>;

    fn native<'a>(
        &'a mut self,
        change: &'a mut NativeChange<'_>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    fn cauth<'a>(
        &'a mut self,
        change: &'a mut CauthChange<'_>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>>;

    /// It is on the disk.
    fn acknowledge(self: Box<Self>, replies: &mut ReplyBatch);

    /// Nothing of it was written.
    fn refuse(self: Box<Self>, error: &Error, replies: &mut ReplyBatch);
}

/// A write that somebody waits for.
pub(crate) struct AskedWrite<W: StoreWrite> {
    write: W,
    answer: Option<W::Answer>,
    reply: WriteReply<W::Answer, Error>,
}

impl<W: StoreWrite> AskedWrite<W> {
    pub(crate) fn new(write: W, reply: WriteReply<W::Answer, Error>) -> Self {
        Self {
            write,
            answer: None,
            reply,
        }
    }
}

impl<W: StoreWrite> AnyWrite for AskedWrite<W> {
    fn sqlite(&mut self, change: &mut SqliteChange<'_>) -> rusqlite::Result<()> {
        self.answer = Some(self.write.sqlite(change)?);
        Ok(())
    }

    fn native<'a>(
        &'a mut self,
        change: &'a mut NativeChange<'_>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        let Self { write, answer, .. } = self;
        Box::pin(async move {
            *answer = Some(write.native(change).await?);
            Ok(())
        })
    }

    fn cauth<'a>(
        &'a mut self,
        change: &'a mut CauthChange<'_>,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        let Self { write, answer, .. } = self;
        Box::pin(async move {
            *answer = Some(write.cauth(change).await?);
            Ok(())
        })
    }

    fn acknowledge(self: Box<Self>, replies: &mut ReplyBatch) {
        // One without an answer was not reached; its caller hears that the writer is
        // gone.
        if let Some(answer) = self.answer {
            self.reply.send(Ok(answer), replies);
        }
    }

    fn refuse(self: Box<Self>, error: &Error, replies: &mut ReplyBatch) {
        self.reply.send(Err(error.clone()), replies);
    }
}
