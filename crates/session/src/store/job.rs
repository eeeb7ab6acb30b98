//! What the one writer is asked to do, and what of it goes together.

use weappd_durable::{ReplyBatch, WriteReply};

use crate::error::Error;
use crate::store::new_login::{NewLogin, OpenedSession};
use crate::store::write::AnyWrite;

/// Something to be written.
pub(crate) enum StoreJob {
    /// All logins of a transaction are written together, before what else is in it.
    LogIn(Box<LoginJob>),
    Other(Box<dyn AnyWrite>),
}

/// A login that somebody waits for.
pub(crate) struct LoginJob {
    pub(crate) login: NewLogin,
    pub(crate) opened: Option<OpenedSession>,
    pub(crate) reply: WriteReply<OpenedSession, Error>,
}

impl StoreJob {
    pub(crate) fn log_in(login: NewLogin, reply: WriteReply<OpenedSession, Error>) -> Self {
        Self::LogIn(Box::new(LoginJob {
            login,
            opened: None,
            reply,
        }))
    }

    pub(crate) fn as_login(&self) -> Option<&LoginJob> {
        match self {
            Self::LogIn(job) => Some(job),
            Self::Other(_) => None,
        }
    }

    /// Nothing of it was written.
    pub(crate) fn refuse(self, error: &Error, replies: &mut ReplyBatch) {
        match self {
            Self::LogIn(job) => job.reply.send(Err(error.clone()), replies),
            Self::Other(write) => write.refuse(error, replies),
        }
    }

    /// It is on the disk.
    pub(crate) fn acknowledge(self, replies: &mut ReplyBatch) {
        match self {
            Self::LogIn(job) => {
                if let Some(opened) = job.opened {
                    job.reply.send(Ok(opened), replies);
                }
            }
            Self::Other(write) => write.acknowledge(replies),
        }
    }
}

/// The logins among the jobs, in their order.
pub(crate) fn logins(jobs: &[StoreJob]) -> Vec<&NewLogin> {
    let logins = jobs.iter().filter_map(StoreJob::as_login);
    logins.map(|job| &job.login).collect()
}

/// Gives each login its session.
pub(crate) fn give(jobs: &mut [StoreJob], opened: Vec<OpenedSession>) {
    let logins = jobs.iter_mut().filter_map(|job| match job {
        StoreJob::LogIn(job) => Some(job),
        StoreJob::Other(_) => None,
    });
    for (job, opened) in logins.zip(opened) {
        job.opened = Some(opened);
    }
}

/// The others, in their order.
pub(crate) fn others(jobs: &mut [StoreJob]) -> impl Iterator<Item = &mut Box<dyn AnyWrite>> {
    jobs.iter_mut().filter_map(|job| match job {
        StoreJob::LogIn(_) => None,
        StoreJob::Other(write) => Some(write),
    })
}
