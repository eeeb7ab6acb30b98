//! The logins of one transaction: their users and sessions as the database has them, and what
//! came of each.

use std::collections::HashMap;
use std::sync::Arc;

use weappd_base::unix_time::UnixSecs;

use crate::session::CachedSession;
use crate::skey::SkeyHash;
use crate::store::new_login::{NewLogin, OpenedSession};
use crate::store::records::SessionRow;

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
    pub(crate) created: UnixSecs,
    pub(crate) last_visit: UnixSecs,
}

/// A session's row after the logins.
pub(crate) struct BatchSession {
    pub(crate) seq: i64,
    pub(crate) created: UnixSecs,
    pub(crate) last_visit: UnixSecs,
    pub(crate) kept: bool,
}

/// The logins as they were opened, from the rows the database has for them now.
pub(crate) fn opened(
    logins: &[&NewLogin],
    users: &BatchUsers,
    sessions: &HashMap<SkeyHash, BatchSession>,
) -> Option<Vec<OpenedSession>> {
    let opened = logins.iter().map(|login| {
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
