//! What the one writer is asked to do.

use tokio::sync::oneshot;

use crate::config::MiniApp;
use crate::error::Error;
use crate::store::records::LastVisit;
use crate::store::writes::{
    EndedSession, NewKey, NewLogin, NewPhone, NewProfile, OpenedSession, RevokeScope,
};

/// Where the answer to a job goes.
pub(crate) type WriteReply<T> = oneshot::Sender<Result<T, Error>>;

/// Something to be written.
pub(crate) enum WriteJob {
    LogIn(Box<NewLogin>, WriteReply<OpenedSession>),
    LogOut(EndedSession, WriteReply<bool>),
    Revoke(RevokeScope, WriteReply<u64>),
    Info(NewProfile, WriteReply<()>),
    Phone(NewPhone, WriteReply<()>),
    Key(NewKey, WriteReply<()>),
    Visits(Vec<LastVisit>, WriteReply<()>),
    Prune(i64, WriteReply<u64>),
    MiniApp(Box<MiniApp>, i64, WriteReply<()>),
    Close(WriteReply<()>),
}
