//! The logins of one transaction in SQLite.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Result, Row as Columns};
use weappd_base::unix_time::UnixSecs;

use crate::skey::SkeyHash;
use crate::store::batch::{BatchSession, BatchUser, BatchUsers, key, opened};
use crate::store::change::CacheEffects;
use crate::store::new_login::{NewLogin, OpenedSession};
use crate::store::rules::WriteRules;
use crate::store::sqlite::key_list::KeyList;
use crate::store::sqlite::session_list::SessionList;
use crate::vault::SecretOwner;

const USER_OF: &str = include_str!("../../../schema/sqlite/user_of.sql");
const PUT_USER: &str = include_str!("../../../schema/sqlite/put_user.sql");
const CHANGE_USER: &str = include_str!("../../../schema/sqlite/change_user.sql");
const TOUCH_USER: &str = include_str!("../../../schema/sqlite/touch_user.sql");
const PUT_SESSION: &str = include_str!("../../../schema/sqlite/put_session.sql");
const SESSION_OF: &str = include_str!("../../../schema/sqlite/session_of.sql");
const DROP_SESSION: &str = include_str!("../../../schema/sqlite/drop_session.sql");

/// The statements of a login.
struct LoginStatements<'a> {
    conn: &'a Connection,
    user_of: CachedStatement<'a>,
    touch_user: CachedStatement<'a>,
    change_user: CachedStatement<'a>,
    put_session: CachedStatement<'a>,
    drop_session: CachedStatement<'a>,
}

/// What a user has: it stands in the user's row.
#[derive(Default)]
struct UserLists {
    keys: KeyList,
    sessions: SessionList,
}

/// What the transaction knows of its users and sessions.
#[derive(Default)]
struct KnownRows {
    users: BatchUsers,
    /// By the number of the user's row.
    lists: HashMap<i64, UserLists>,
    sessions: HashMap<SkeyHash, BatchSession>,
}

/// Writes the logins, inside the caller's transaction.
pub(crate) fn write(
    logins: &[&NewLogin],
    change: &Connection,
    rules: &WriteRules,
    effects: &mut CacheEffects,
) -> Result<Vec<OpenedSession>> {
    let mut statements = LoginStatements::prepare(change)?;
    let mut known = KnownRows::default();
    for login in logins {
        statements.write(login, rules, &mut known, effects)?;
    }
    opened(logins, &known.users, &known.sessions).ok_or(rusqlite::Error::QueryReturnedNoRows)
}

impl<'a> LoginStatements<'a> {
    fn prepare(conn: &'a Connection) -> Result<Self> {
        Ok(Self {
            conn,
            user_of: conn.prepare_cached(USER_OF)?,
            touch_user: conn.prepare_cached(TOUCH_USER)?,
            change_user: conn.prepare_cached(CHANGE_USER)?,
            put_session: conn.prepare_cached(PUT_SESSION)?,
            drop_session: conn.prepare_cached(DROP_SESSION)?,
        })
    }

    /// Writes one login: its session, and once the user's row with all that the user has then.
    fn write(
        &mut self,
        login: &NewLogin,
        rules: &WriteRules,
        known: &mut KnownRows,
        effects: &mut CacheEffects,
    ) -> Result<()> {
        let user = match known.users.entry(key(login)) {
            // Logged in a moment ago, in this very transaction.
            Entry::Occupied(user) => user.into_mut(),
            Entry::Vacant(place) => {
                let (user, lists) = self.user(login)?;
                known.lists.insert(user.row, lists);
                place.insert(user)
            }
        };
        let lists = known.lists.entry(user.row).or_default();
        let session = self.put_session(login, user.row)?;
        lists.sessions.push(session.seq, &login.hash);
        known.sessions.insert(login.hash, session);
        let owner = SecretOwner {
            appid: &login.appid,
            openid: &login.openid,
        };
        lists
            .keys
            .put((&login.session_key, login.now), owner, rules);
        let told = |new: &Option<String>, known: &Option<String>| new.is_some() && new != known;
        let is_changed = told(&login.unionid, &user.unionid) || told(&login.user_info, &user.info);
        if is_changed {
            // Other sessions of the user tell another story now.
            let hashes = lists.sessions.sessions().map(|(_, hash)| hash);
            effects.stale.extend(hashes);
        }
        for (seq, hash) in lists.sessions.drop_beyond(rules.max_sessions()) {
            self.drop_session.execute([seq])?;
            effects.stale.push(hash);
            if let Some(row) = known.sessions.get_mut(&hash) {
                row.kept = false;
            }
        }
        let (keys, sessions) = (lists.keys.bytes(), lists.sessions.bytes());
        if is_changed {
            user.unionid = login.unionid.clone().or_else(|| user.unionid.take());
            user.info = login.user_info.clone().or_else(|| user.info.take());
            let (unionid, info) = (&user.unionid, &user.info);
            let now = (user.row, unionid, info, login.now.get(), keys, sessions);
            self.change_user.execute(now)?;
        } else {
            let now = (user.row, login.now.get(), keys, sessions);
            self.touch_user.execute(now)?;
        }
        Ok(())
    }

    /// The user as the database has them; a stranger is put there.
    fn user(&mut self, login: &NewLogin) -> Result<(BatchUser, UserLists)> {
        let found = self
            .user_of
            .query_row((&login.appid, &login.openid), |row| {
                let lists = UserLists {
                    keys: KeyList::of(row.get(5)?),
                    sessions: SessionList::of(row.get(6)?),
                };
                Ok((user(row)?, lists))
            });
        match found.optional()? {
            Some(found) => Ok(found),
            None => Ok((new_user(self.conn, login)?, UserLists::default())),
        }
    }

    fn put_session(&mut self, login: &NewLogin, user: i64) -> Result<BatchSession> {
        let (now, device, address) = (login.now, &login.device, &login.address);
        let new = (&login.hash.0, user, now.get(), device, address);
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
                created: UnixSecs::new(row.get(1)?),
                last_visit: UnixSecs::new(row.get(2)?),
                kept: true,
            })
        })
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

fn new_user(conn: &Connection, login: &NewLogin) -> Result<BatchUser> {
    let mut put_user = conn.prepare_cached(PUT_USER)?;
    put_user.execute((
        &login.appid,
        &login.openid,
        &login.unionid,
        &login.new_id,
        &login.user_info,
        login.now.get(),
    ))?;
    Ok(BatchUser {
        row: conn.last_insert_rowid(),
        unionid: login.unionid.clone(),
        id: login.new_id.clone(),
        info: login.user_info.clone(),
        phone: None,
    })
}
