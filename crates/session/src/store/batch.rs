//! The jobs of one transaction, and what became of them.

use std::collections::HashMap;
use std::sync::Arc;

use crate::cache::Cache;
use crate::config::MiniApp;
use crate::error::Error;
use crate::session::{Found, Session};
use crate::skey::SkeyHash;
use crate::store::writer::{Answer, Job};
use crate::store::{Ended, NewInfo, NewKey, NewLogin, NewPhone, Opened, Revoke, Visit};

/// The jobs of one transaction.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) logins: Vec<(NewLogin, Answer<Opened>)>,
    pub(crate) logouts: Vec<(Ended, Answer<bool>)>,
    pub(crate) revokes: Vec<(Revoke, Answer<u64>)>,
    pub(crate) infos: Vec<(NewInfo, Answer<()>)>,
    pub(crate) phones: Vec<(NewPhone, Answer<()>)>,
    pub(crate) keys: Vec<(NewKey, Answer<()>)>,
    pub(crate) visits: Vec<(Vec<Visit>, Answer<()>)>,
    pub(crate) prunes: Vec<(i64, Answer<u64>)>,
    pub(crate) mini_apps: Vec<(MiniApp, i64, Answer<()>)>,
}

/// What the transaction did.
#[derive(Default)]
pub(crate) struct Done {
    pub(crate) opened: Vec<Opened>,
    /// Ended sessions, and those whose user changed.
    pub(crate) stale: Vec<SkeyHash>,
    /// Whether all sessions ended.
    pub(crate) all_stale: bool,
    pub(crate) logged_out: Vec<bool>,
    pub(crate) revoked: Vec<u64>,
    pub(crate) pruned: Vec<u64>,
}

/// A user's row after the logins.
pub(crate) struct User {
    pub(crate) row: i64,
    pub(crate) unionid: Option<String>,
    pub(crate) id: String,
    pub(crate) info: Option<String>,
    pub(crate) phone: Option<Vec<u8>>,
}

/// user, appid, openid, unionid, id, user object, sealed phone number.
pub(crate) type UserRow = (
    i64,
    String,
    String,
    Option<String>,
    String,
    Option<String>,
    Option<Vec<u8>>,
);

/// A user's row by its name in [`Users`].
pub(crate) fn named(row: UserRow) -> ((String, String), User) {
    let user = User {
        row: row.0,
        unionid: row.3,
        id: row.4,
        info: row.5,
        phone: row.6,
    };
    ((row.1, row.2), user)
}

/// Users by AppID and openid.
pub(crate) type Users = HashMap<(String, String), User>;
/// seq, hash, user, created, last visit; a user's together, newest first.
pub(crate) type SessionRow = (i64, SkeyHash, i64, i64, i64);

/// A session's row after the logins.
pub(crate) struct Row {
    pub(crate) seq: i64,
    pub(crate) created: i64,
    pub(crate) last_visit: i64,
    pub(crate) kept: bool,
}

impl Batch {
    pub(crate) fn add(&mut self, job: Job) {
        match job {
            // Whoever asked has waited too long and been told so.
            Job::LogIn(_, answer) if answer.is_closed() => {}
            Job::LogIn(login, answer) => self.logins.push((*login, answer)),
            Job::LogOut(ended, answer) => self.logouts.push((ended, answer)),
            Job::Revoke(which, answer) => self.revokes.push((which, answer)),
            Job::Info(info, answer) => self.infos.push((info, answer)),
            Job::Phone(phone, answer) => self.phones.push((phone, answer)),
            Job::Key(key, answer) => self.keys.push((key, answer)),
            Job::Visits(visits, answer) => self.visits.push((visits, answer)),
            Job::Prune(before, answer) => self.prunes.push((before, answer)),
            Job::MiniApp(app, now, answer) => self.mini_apps.push((*app, now, answer)),
            // The writer keeps this one for itself.
            Job::Close(_) => {}
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
        users: &Users,
        sessions: &HashMap<SkeyHash, Row>,
    ) -> Option<Vec<Opened>> {
        let opened = self.logins.iter().map(|(login, _)| {
            let user = users.get(&key(login))?;
            let row = sessions.get(&login.hash)?;
            // Told by this login, or as it stood in the database.
            let (told, stood) = match &login.user_info {
                Some(told) if user.info.as_ref() == Some(told) => (Some(told.clone()), None),
                _ => (None, user.info.clone()),
            };
            let found = Found {
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
            let session = match told {
                Some(told) => Session::told(login.hash, found, login.limits, told),
                None => Session::new(login.hash, found, login.limits),
            };
            Some(Opened {
                is_new_user: user.id == login.new_id,
                is_kept: row.kept,
                session: Arc::new(session),
            })
        });
        opened.collect()
    }

    /// Tells the cache, then the callers.
    pub(crate) fn acknowledge(self, done: Done, cache: &Cache) {
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

/// A login's user in [`Users`].
pub(crate) fn key(login: &NewLogin) -> (String, String) {
    (login.appid.clone(), login.openid.clone())
}

/// The sessions by their hash, and which rows are beyond `max_sessions`.
pub(crate) fn rank(
    rows: Vec<SessionRow>,
    max_sessions: usize,
) -> (HashMap<SkeyHash, Row>, Vec<i64>) {
    let mut by_hash = HashMap::with_capacity(rows.len());
    let mut dropped = Vec::new();
    let (mut of, mut rank) = (None, 0);
    for (seq, hash, user, created, last_visit) in rows {
        rank = if of == Some(user) { rank + 1 } else { 1 };
        of = Some(user);
        if rank > max_sessions {
            dropped.push(seq);
        }
        let row = Row {
            seq,
            created,
            last_visit,
            kept: rank <= max_sessions,
        };
        by_hash.insert(hash, row);
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
