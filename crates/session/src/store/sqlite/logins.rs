//! The logins of one transaction in SQLite.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Result, Row as Columns};

use crate::skey::SkeyHash;
use crate::store::batch::{BatchSession, BatchUser, BatchUsers, key, opened};
use crate::store::change::CacheEffects;
use crate::store::new_login::{NewLogin, OpenedSession};
use crate::store::rules::WriteRules;
use crate::store::sqlite::key_list::KeyList;
use crate::vault::SecretOwner;

const USER_OF: &str = include_str!("../../../schema/sqlite/user_of.sql");
const PUT_USER: &str = include_str!("../../../schema/sqlite/put_user.sql");
const CHANGE_USER: &str = include_str!("../../../schema/sqlite/change_user.sql");
const TOUCH_USER: &str = include_str!("../../../schema/sqlite/touch_user.sql");
const PUT_SESSION: &str = include_str!("../../../schema/sqlite/put_session.sql");
const SESSION_OF: &str = include_str!("../../../schema/sqlite/session_of.sql");
const SESSIONS_OF: &str = include_str!("../../../schema/sqlite/sessions_of.sql");
const DROP_SESSION: &str = include_str!("../../../schema/sqlite/drop_session.sql");

/// The statements of a login.
struct LoginStatements<'a> {
    conn: &'a Connection,
    user_of: CachedStatement<'a>,
    touch_user: CachedStatement<'a>,
    change_user: CachedStatement<'a>,
    put_session: CachedStatement<'a>,
    sessions_of: CachedStatement<'a>,
    drop_session: CachedStatement<'a>,
}

/// Writes the logins, inside the caller's transaction.
pub(crate) fn write(
    logins: &[&NewLogin],
    change: &Connection,
    rules: &WriteRules,
    effects: &mut CacheEffects,
) -> Result<Vec<OpenedSession>> {
    let mut statements = LoginStatements::prepare(change)?;
    let mut users = BatchUsers::with_capacity(logins.len());
    let mut keys = HashMap::with_capacity(logins.len());
    let mut sessions = HashMap::with_capacity(logins.len());
    for login in logins {
        let (user, is_changed) = statements.put_user(login, &mut users, &mut keys, rules)?;
        let row = statements.put_session(login, user)?;
        sessions.insert(login.hash, row);
        statements.settle(user, is_changed, rules, &mut sessions, effects)?;
    }
    opened(logins, &users, &sessions).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

impl<'a> LoginStatements<'a> {
    fn prepare(conn: &'a Connection) -> Result<Self> {
        Ok(Self {
            conn,
            user_of: conn.prepare_cached(USER_OF)?,
            touch_user: conn.prepare_cached(TOUCH_USER)?,
            change_user: conn.prepare_cached(CHANGE_USER)?,
            put_session: conn.prepare_cached(PUT_SESSION)?,
            sessions_of: conn.prepare_cached(SESSIONS_OF)?,
            drop_session: conn.prepare_cached(DROP_SESSION)?,
        })
    }

    /// The user's row, with the login's key; and whether other sessions of the user tell another
    /// story now.
    fn put_user(
        &mut self,
        login: &NewLogin,
        users: &mut BatchUsers,
        keys: &mut HashMap<i64, KeyList>,
        rules: &WriteRules,
    ) -> Result<(i64, bool)> {
        let owner = SecretOwner {
            appid: &login.appid,
            openid: &login.openid,
        };
        let new_key = (&login.session_key, login.now);
        let user = match users.entry(key(login)) {
            // Logged in a moment ago, in this very transaction.
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let names = (&login.appid, &login.openid);
                let found = self
                    .user_of
                    .query_row(names, |row| Ok((user(row)?, KeyList::of(row.get(5)?))));
                let Some((found, known)) = found.optional()? else {
                    let mut list = KeyList::default();
                    list.put(new_key, owner, rules);
                    let user = place.insert(new_user(self.conn, login, &list)?);
                    keys.insert(user.row, list);
                    return Ok((user.row, false));
                };
                keys.insert(found.row, known);
                place.insert(found)
            }
        };
        let keys = keys.entry(user.row).or_default();
        keys.put(new_key, owner, rules);
        let told = |new: &Option<String>, known: &Option<String>| new.is_some() && new != known;
        let is_changed = told(&login.unionid, &user.unionid) || told(&login.user_info, &user.info);
        if is_changed {
            user.unionid = login.unionid.clone().or_else(|| user.unionid.take());
            user.info = login.user_info.clone().or_else(|| user.info.take());
            let (unionid, info) = (&user.unionid, &user.info);
            let now = (user.row, unionid, info, login.now, keys.bytes());
            self.change_user.execute(now)?;
        } else {
            let now = (user.row, login.now, keys.bytes());
            self.touch_user.execute(now)?;
        }
        Ok((user.row, is_changed))
    }

    fn put_session(&mut self, login: &NewLogin, user: i64) -> Result<BatchSession> {
        let (now, device, address) = (login.now, &login.device, &login.address);
        let new = (&login.hash.0, user, now, device, address);
        if self.put_session.execute(new)? > 0 {
            return Ok(BatchSession {
                seq: self.conn.last_insert_rowid(),
                created: now,
                last_visit: now,
                kept: true,
            });
        }
        let mut known = self.conn.prepare_cached(SESSION_OF)?;
        known.query_row([&login.hash.0], |row| {
            Ok(BatchSession {
                seq: row.get(0)?,
                created: row.get(1)?,
                last_visit: row.get(2)?,
                kept: true,
            })
        })
    }

    /// Ends the user's oldest sessions beyond what one may hold.
    fn settle(
        &mut self,
        user: i64,
        is_changed: bool,
        rules: &WriteRules,
        sessions: &mut HashMap<SkeyHash, BatchSession>,
        effects: &mut CacheEffects,
    ) -> Result<()> {
        let rows = self.sessions_of.query_map([user], |row| {
            Ok((row.get::<_, i64>(0)?, SkeyHash(row.get(1)?)))
        })?;
        let mut rows = rows.collect::<Result<Vec<_>>>()?;
        if is_changed {
            effects.stale.extend(rows.iter().map(|(_, hash)| *hash));
        }
        let most = rules.max_sessions();
        if rows.len() <= most {
            return Ok(());
        }
        rows.sort_unstable_by_key(|(seq, _)| std::cmp::Reverse(*seq));
        for (seq, hash) in rows.drain(most..) {
            self.drop_session.execute([seq])?;
            effects.stale.push(hash);
            if let Some(row) = sessions.get_mut(&hash) {
                row.kept = false;
            }
        }
        Ok(())
    }
}

fn user(row: &Columns<'_>) -> Result<BatchUser> {
    Ok(BatchUser {
        row: row.get(0)?,
        unionid: row.get(1)?,
        id: row.get(2)?,
        info: row.get(3)?,
        phone: row.get(4)?,
    })
}

fn new_user(conn: &Connection, login: &NewLogin, keys: &KeyList) -> Result<BatchUser> {
    let mut put_user = conn.prepare_cached(PUT_USER)?;
    put_user.execute((
        &login.appid,
        &login.openid,
        &login.unionid,
        &login.new_id,
        &login.user_info,
        login.now,
        keys.bytes(),
    ))?;
    Ok(BatchUser {
        row: conn.last_insert_rowid(),
        unionid: login.unionid.clone(),
        id: login.new_id.clone(),
        info: login.user_info.clone(),
        phone: None,
    })
}
