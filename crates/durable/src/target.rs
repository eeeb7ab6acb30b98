//! What the writer needs of a database.

use crate::reply::ReplyBatch;

/// What came of a transaction.
pub struct Committed<T: WriteTarget + ?Sized> {
    /// The jobs, given back. Those that were cut short are lost, and whoever waits for one finds
    /// its answer dropped.
    pub jobs: Vec<T::Job>,
    /// What was done of all of them, or why nothing was.
    pub outcome: Result<T::Done, T::Error>,
}

/// The writing side of a database.
pub trait WriteTarget: Send + 'static {
    /// Something to be written, with the way to whoever waits for it.
    type Job: Send + 'static;
    /// What a transaction did.
    type Done: Send;
    /// Why it did nothing.
    type Error: Send;

    /// Whether anybody still waits for a job that has not begun. One that nobody waits for is
    /// left out.
    fn is_wanted(_job: &Self::Job) -> bool {
        true
    }

    /// Writes all jobs in one transaction, in their order; on return it is on the disk.
    fn commit(&mut self, jobs: Vec<Self::Job>) -> impl Future<Output = Committed<Self>> + Send;

    /// Whether a database refused what was to be written, not the writing: then fewer jobs may
    /// be written, and all but one will.
    fn refuses_data(error: &Self::Error) -> bool;

    /// Tells those who wait that their jobs are done.
    fn acknowledge(&mut self, jobs: Vec<Self::Job>, done: Self::Done, replies: &mut ReplyBatch);

    /// Tells those who wait that nothing of their jobs was written.
    fn refuse(&mut self, jobs: Vec<Self::Job>, error: &Self::Error, replies: &mut ReplyBatch);

    /// Closes the database; all is written.
    fn close(self) -> impl Future<Output = ()> + Send;
}
