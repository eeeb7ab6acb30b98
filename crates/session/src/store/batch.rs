//! The jobs of one transaction, and what became of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::SessionCache;
use crate::config::MiniApp;
use crate::error::Error;
use crate::session::CachedSession;
use crate::skey::SkeyHash;
use crate::store::records::{LastVisit, SessionRow};
use crate::store::write_job::{WriteJob, WriteReply};
use crate::store::writes::{
    EndedSession, NewKey, NewLogin, NewPhone, NewProfile, OpenedSession, RevokeScope,
};

/// The jobs of one transaction.
#[derive(Default)]
pub(crate) struct WriteBatch {
    pub(crate) logins: Vec<(NewLogin, WriteReply<OpenedSession>)>,
    pub(crate) logouts: Vec<(EndedSession, WriteReply<bool>)>,
    pub(crate) revokes: Vec<(RevokeScope, WriteReply<u64>)>,
    pub(crate) infos: Vec<(NewProfile, WriteReply<()>)>,
    pub(crate) phones: Vec<(NewPhone, WriteReply<()>)>,
    pub(crate) keys: Vec<(NewKey, WriteReply<()>)>,
    pub(crate) visits: Vec<(Vec<LastVisit>, WriteReply<()>)>,
    pub(crate) prunes: Vec<(i64, WriteReply<u64>)>,
    pub(crate) mini_apps: Vec<(MiniApp, i64, WriteReply<()>)>,
}

/// What the transaction did.
#[derive(Default)]
pub(crate) struct BatchResult {
    pub(crate) opened: Vec<OpenedSession>,
    /// Ended sessions, and those whose user changed.
    pub(crate) stale: Vec<SkeyHash>,
    /// Whether all sessions ended.
    pub(crate) all_stale: bool,
    pub(crate) logged_out: Vec<bool>,
    pub(crate) revoked: Vec<u64>,
    pub(crate) pruned: Vec<u64>,
}

/// A user's row after the logins.
pub(crate) struct BatchUser {
    pub(crate) row: i64,
    pub(crate) unionid: Option<String>,
    pub(crate) id: String,
    pub(crate) info: Option<String>,
    pub(crate) phone: Option<Vec<u8>>,
}

/// Users by AppID and openid.
pub(crate) type BatchUsers = HashMap<(String, String), BatchUser>;
/// A session among those of its user, who may have more than are kept.
pub(crate) struct RankedSession {
    pub(crate) seq: i64,
    pub(crate) hash: SkeyHash,
    pub(crate) user: i64,
    pub(crate) created: i64,
    pub(crate) last_visit: i64,
}

/// A session's row after the logins.
pub(crate) struct BatchSession {
    pub(crate) seq: i64,
    pub(crate) created: i64,
    pub(crate) last_visit: i64,
    pub(crate) kept: bool,
}

impl WriteBatch {
    pub(crate) fn add(&mut self, job: WriteJob) {
        match job {
            // Whoever asked has waited too long and been told so.
            WriteJob::LogIn(_, answer) if answer.is_closed() => {}
            WriteJob::LogIn(login, answer) => self.logins.push((*login, answer)),
            WriteJob::LogOut(ended, answer) => self.logouts.push((ended, answer)),
            WriteJob::Revoke(which, answer) => self.revokes.push((which, answer)),
            WriteJob::Info(info, answer) => self.infos.push((info, answer)),
            WriteJob::Phone(phone, answer) => self.phones.push((phone, answer)),
            WriteJob::Key(key, answer) => self.keys.push((key, answer)),
            WriteJob::Visits(visits, answer) => self.visits.push((visits, answer)),
            WriteJob::Prune(before, answer) => self.prunes.push((before, answer)),
            WriteJob::MiniApp(app, now, answer) => self.mini_apps.push((*app, now, answer)),
            // The writer keeps this one for itself.
            WriteJob::Close(_) => {}
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.logins.len()
            + self.logouts.len()
            + self.revokes.len()
            + self.infos.len()
            + self.phones.len()
            + self.keys.len()
            + self.visits.len()
            + self.prunes.len()
            + self.mini_apps.len()
    }

    /// The logins as they were opened, from the rows the database has for them now.
    pub(crate) fn opened(
        &self,
        users: &BatchUsers,
        sessions: &HashMap<SkeyHash, BatchSession>,
    ) -> Option<Vec<OpenedSession>> {
        let opened = self.logins.iter().map(|(login, _)| {
            let user = users.get(&key(login))?;
            let row = sessions.get(&login.hash)?;
            // Told by this login, or as it stood in the database.
            let (told, stood) = match &login.user_info {
                Some(told) if user.info.as_ref() == Some(told) => (Some(told.clone()), None),
                _ => (None, user.info.clone()),
            };
            let found = SessionRow {
                seq: row.seq,
                created: row.created,
                last_visit: row.last_visit,
                user: user.row,
                appid: login.appid.clone(),
                openid: login.openid.clone(),
                unionid: user.unionid.clone(),
                id: user.id.clone(),
                user_info: stood,
                phone: user.phone.clone(),
            };
            let terms = Arc::clone(&login.terms);
            let session = match told {
                Some(told) => CachedSession::told(login.hash, found, terms, told),
                None => CachedSession::new(login.hash, found, terms),
            };
            Some(OpenedSession {
                is_new_user: user.id == login.new_id,
                is_kept: row.kept,
                session: Arc::new(session),
            })
        });
        opened.collect()
    }

    /// Tells the cache, then the callers.
    pub(crate) fn acknowledge(self, done: BatchResult, cache: &SessionCache) {
        if done.all_stale {
            cache.forget_all();
        }
        for hash in &done.stale {
            cache.forget(hash);
        }
        let logins = self.logins.iter().zip(&done.opened);
        for ((login, _), opened) in logins.filter(|(_, opened)| opened.is_kept) {
            opened.session.confirm(login.now.saturating_mul(1000));
            cache.opened(Arc::clone(&opened.session));
        }
        // A caller that is gone needs no answer.
        for ((_, answer), opened) in self.logins.into_iter().zip(done.opened) {
            drop(answer.send(Ok(opened)));
        }
        for ((_, answer), ended) in self.logouts.into_iter().zip(done.logged_out) {
            drop(answer.send(Ok(ended)));
        }
        for ((_, answer), revoked) in self.revokes.into_iter().zip(done.revoked) {
            drop(answer.send(Ok(revoked)));
        }
        for ((_, answer), pruned) in self.prunes.into_iter().zip(done.pruned) {
            drop(answer.send(Ok(pruned)));
        }
        let infos = self.infos.into_iter().map(|(_, answer)| answer);
        let phones = self.phones.into_iter().map(|(_, answer)| answer);
        let keys = self.keys.into_iter().map(|(_, answer)| answer);
        for answer in infos.chain(phones).chain(keys) {
            drop(answer.send(Ok(())));
        }
        for (_, answer) in self.visits {
            drop(answer.send(Ok(())));
        }
        for (_, _, answer) in self.mini_apps {
            drop(answer.send(Ok(())));
        }
    }

    /// Nothing was written: tells everybody why.
    pub(crate) fn refuse(self, err: &Error) {
        for (_, answer) in self.logins {
            drop(answer.send(Err(err.clone())));
        }
        for (_, answer) in self.logouts {
            drop(answer.send(Err(err.clone())));
        }
        for (_, answer) in self.revokes {
            drop(answer.send(Err(err.clone())));
        }
        let infos = self.infos.into_iter().map(|(_, answer)| answer);
        let phones = self.phones.into_iter().map(|(_, answer)| answer);
        let keys = self.keys.into_iter().map(|(_, answer)| answer);
        for answer in infos.chain(phones).chain(keys) {
            drop(answer.send(Err(err.clone())));
        }
        for (_, answer) in self.visits {
            drop(answer.send(Err(err.clone())));
        }
        for (_, answer) in self.prunes {
            drop(answer.send(Err(err.clone())));
        }
        for (_, _, answer) in self.mini_apps {
            drop(answer.send(Err(err.clone())));
        }
    }
}

/// A login's user in [`BatchUsers`].
pub(crate) fn key(login: &NewLogin) -> (String, String) {
    (login.appid.clone(), login.openid.clone())
}

/// The sessions by their hash, and which rows are beyond `max_sessions`. A user's stand
/// together, the newest first.
pub(crate) fn rank(
    rows: Vec<RankedSession>,
    max_sessions: usize,
) -> (HashMap<SkeyHash, BatchSession>, Vec<i64>) {
    let mut by_hash = HashMap::with_capacity(rows.len());
    let mut dropped = Vec::new();
    let (mut of, mut rank) = (None, 0);
    for row in rows {
        rank = if of == Some(row.user) { rank + 1 } else { 1 };
        of = Some(row.user);
        if rank > max_sessions {
            dropped.push(row.seq);
        }
        let session = BatchSession {
            seq: row.seq,
            created: row.created,
            last_visit: row.last_visit,
            kept: rank <= max_sessions,
        };
        by_hash.insert(row.hash, session);
    }
    (by_hash, dropped)
}

/// Which of the keys `(seq, user)` are beyond `kept`; a user's together, newest first.
pub(crate) fn beyond(keys: &[(i64, i64)], kept: usize) -> Vec<i64> {
    let (mut of, mut rank) = (None, 0);
    let mut dropped = Vec::new();
    for (seq, user) in keys {
        rank = if of == Some(user) { rank + 1 } else { 1 };
        of = Some(user);
        if rank > kept {
            dropped.push(*seq);
        }
    }
    dropped
}

/// Hashes as a database returns them.
pub(crate) fn hashes(rows: Vec<Vec<u8>>) -> Vec<SkeyHash> {
    let whole = rows.into_iter().map(<[u8; 32]>::try_from);
    whole.filter_map(Result::ok).map(SkeyHash).collect()
}
