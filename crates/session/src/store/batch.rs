//! The jobs of one transaction: a statement for all logins, not one for each.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::cache::Cache;
use crate::config::MiniApp;
use crate::error::Error;
use crate::session::{Found, Session};
use crate::skey::SkeyHash;
use crate::store::writer::{Answer, Job};
use crate::store::{NewLogin, Opened};

const PUT_USERS: &str = include_str!("../../schema/sqlite/put_users.sql");
const PUT_SESSIONS: &str = include_str!("../../schema/sqlite/put_sessions.sql");
const SESSIONS_OF: &str = include_str!("../../schema/sqlite/sessions_of.sql");
const DROP_SESSIONS: &str = include_str!("../../schema/sqlite/drop_sessions.sql");
const LOG_OUT: &str = include_str!("../../schema/sqlite/log_out.sql");
const PUT_VISITS: &str = include_str!("../../schema/sqlite/put_visits.sql");
const PRUNE: &str = include_str!("../../schema/sqlite/prune.sql");
const PUT_MINI_APP: &str = include_str!("../../schema/sqlite/put_mini_app.sql");

/// Last visits: `(seq, seconds)`.
type VisitRows = Vec<(i64, i64)>;
/// A row of [`PUT_USERS`].
type UserRow = (i64, String, String, Option<String>, String, Option<String>);

/// The jobs of one transaction.
#[derive(Default)]
pub(crate) struct Batch {
    logins: Vec<(NewLogin, Answer<Opened>)>,
    logouts: Vec<(SkeyHash, Answer<bool>)>,
    visits: Vec<(VisitRows, Answer<()>)>,
    prunes: Vec<(i64, Answer<u64>)>,
    mini_apps: Vec<(MiniApp, i64, Answer<()>)>,
}

/// What the transaction did.
pub(crate) struct Done {
    opened: Vec<Opened>,
    /// Ended sessions, and those whose user changed.
    stale: Vec<SkeyHash>,
    logged_out: Vec<bool>,
    pruned: Vec<u64>,
}

/// A user's row after the logins.
struct User {
    row: i64,
    unionid: Option<String>,
    id: String,
    info: Option<String>,
}

/// A session's row after the logins.
struct Row {
    seq: i64,
    created: i64,
    last_visit: i64,
    kept: bool,
}

impl Batch {
    pub(crate) fn add(&mut self, job: Job) {
        match job {
            Job::LogIn(login, answer) => self.logins.push((*login, answer)),
            Job::LogOut(hash, answer) => self.logouts.push((hash, answer)),
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
            + self.visits.len()
            + self.prunes.len()
            + self.mini_apps.len()
    }

    /// Writes all jobs, inside the caller's transaction.
    pub(crate) async fn write(
        &self,
        change: &mut SqliteConnection,
        max_sessions: usize,
    ) -> Result<Done, sqlx::Error> {
        let mut done = Done {
            opened: Vec::new(),
            stale: Vec::new(),
            logged_out: Vec::new(),
            pruned: Vec::new(),
        };
        if !self.logins.is_empty() {
            self.write_logins(change, max_sessions, &mut done).await?;
        }
        for (hash, _) in &self.logouts {
            let ended = sqlx::query(LOG_OUT)
                .bind(&hash.0[..])
                .execute(&mut *change)
                .await?;
            done.logged_out.push(ended.rows_affected() > 0);
            done.stale.push(*hash);
        }
        for (visits, _) in &self.visits {
            sqlx::query(PUT_VISITS)
                .bind(json!(visits).to_string())
                .execute(&mut *change)
                .await?;
        }
        for (before, _) in &self.prunes {
            let pruned = sqlx::query(PRUNE)
                .bind(before)
                .execute(&mut *change)
                .await?;
            done.pruned.push(pruned.rows_affected());
        }
        for (app, now, _) in &self.mini_apps {
            sqlx::query(PUT_MINI_APP)
                .bind(&app.appid)
                .bind(app.secret.expose())
                .bind(now)
                .execute(&mut *change)
                .await?;
        }
        Ok(done)
    }

    async fn write_logins(
        &self,
        change: &mut SqliteConnection,
        max_sessions: usize,
        done: &mut Done,
    ) -> Result<(), sqlx::Error> {
        let users = self.put_users(change).await?;
        let mut rows = Vec::with_capacity(self.logins.len());
        for (login, _) in &self.logins {
            let user = users.get(&key(login)).ok_or(sqlx::Error::RowNotFound)?;
            rows.push(json!([hex::encode(login.hash.0), user.row, login.now]));
        }
        sqlx::query(PUT_SESSIONS)
            .bind(Value::from(rows).to_string())
            .execute(&mut *change)
            .await?;
        let sessions = keep_newest(change, &users, max_sessions).await?;
        for (login, _) in &self.logins {
            let user = users.get(&key(login)).ok_or(sqlx::Error::RowNotFound)?;
            let row = sessions.get(&login.hash).ok_or(sqlx::Error::RowNotFound)?;
            let found = Found {
                seq: row.seq,
                created: row.created,
                last_visit: row.last_visit,
                user: user.row,
                appid: login.appid.clone(),
                openid: login.openid.clone(),
                unionid: user.unionid.clone(),
                id: user.id.clone(),
                user_info: user.info.clone(),
            };
            done.opened.push(Opened {
                is_new_user: user.id == login.new_id,
                is_kept: row.kept,
                session: Arc::new(Session::new(login.hash, found, login.limits)),
            });
        }
        done.stale.extend(sessions.into_keys());
        Ok(())
    }

    async fn put_users(
        &self,
        change: &mut SqliteConnection,
    ) -> Result<HashMap<(String, String), User>, sqlx::Error> {
        let users: Vec<Value> = self
            .logins
            .iter()
            .map(|(login, _)| {
                json!({
                    "appid": login.appid,
                    "openid": login.openid,
                    "unionid": login.unionid,
                    "id": login.new_id,
                    "user_info": login.user_info,
                    "session_key": login.session_key.expose(),
                    "now": login.now,
                })
            })
            .collect();
        let rows: Vec<UserRow> = sqlx::query_as(PUT_USERS)
            .bind(Value::from(users).to_string())
            .fetch_all(&mut *change)
            .await?;
        Ok(rows
            .into_iter()
            .map(|(row, appid, openid, unionid, id, info)| {
                let user = User {
                    row,
                    unionid,
                    id,
                    info,
                };
                ((appid, openid), user)
            })
            .collect())
    }

    /// Tells the cache, then the callers.
    pub(crate) fn acknowledge(self, done: Done, cache: &Cache) {
        for hash in &done.stale {
            cache.forget(hash);
        }
        for opened in done.opened.iter().filter(|opened| opened.is_kept) {
            cache.opened(Arc::clone(&opened.session));
        }
        // A caller that is gone needs no answer.
        for ((_, answer), opened) in self.logins.into_iter().zip(done.opened) {
            drop(answer.send(Ok(opened)));
        }
        for ((_, answer), ended) in self.logouts.into_iter().zip(done.logged_out) {
            drop(answer.send(Ok(ended)));
        }
        for ((_, answer), pruned) in self.prunes.into_iter().zip(done.pruned) {
            drop(answer.send(Ok(pruned)));
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

fn key(login: &NewLogin) -> (String, String) {
    (login.appid.clone(), login.openid.clone())
}

/// All sessions of the users, after the oldest beyond `max_sessions` were dropped.
async fn keep_newest(
    change: &mut SqliteConnection,
    users: &HashMap<(String, String), User>,
    max_sessions: usize,
) -> Result<HashMap<SkeyHash, Row>, sqlx::Error> {
    let rows: Vec<i64> = users.values().map(|user| user.row).collect();
    let sessions: Vec<(i64, Vec<u8>, i64, i64, i64)> = sqlx::query_as(SESSIONS_OF)
        .bind(json!(rows).to_string())
        .fetch_all(&mut *change)
        .await?;
    let mut by_hash = HashMap::with_capacity(sessions.len());
    let mut dropped = Vec::new();
    let (mut of, mut rank) = (None, 0);
    for (seq, hash, user, created, last_visit) in sessions {
        rank = if of == Some(user) { rank + 1 } else { 1 };
        of = Some(user);
        if rank > max_sessions {
            dropped.push(seq);
        }
        let hash = <[u8; 32]>::try_from(hash).map_err(|_| sqlx::Error::RowNotFound)?;
        let row = Row {
            seq,
            created,
            last_visit,
            kept: rank <= max_sessions,
        };
        by_hash.insert(SkeyHash(hash), row);
    }
    if !dropped.is_empty() {
        sqlx::query(DROP_SESSIONS)
            .bind(json!(dropped).to_string())
            .execute(&mut *change)
            .await?;
    }
    Ok(by_hash)
}
