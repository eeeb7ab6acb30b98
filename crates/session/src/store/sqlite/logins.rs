//! The logins of one transaction in SQLite: a statement for all, not one for each.
//!
//! SQLite works on a thread of its own, and each row it hands over is a change of threads
//! that costs more than the row. So what is written goes in as one JSON text, and what is
//! read comes back as one.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

use crate::store::Rules;
use crate::store::batch::{Batch, Done, SessionRow, User, Users, key, rank};
use crate::vault::{Matter, Owner};

const PUT_USERS: &str = include_str!("../../../schema/sqlite/put_users.sql");
const USERS_OF: &str = include_str!("../../../schema/sqlite/users_of.sql");
const PUT_SESSIONS: &str = include_str!("../../../schema/sqlite/put_sessions.sql");
const SESSIONS_OF: &str = include_str!("../../../schema/sqlite/sessions_of.sql");
const DROP_SESSIONS: &str = include_str!("../../../schema/sqlite/drop_sessions.sql");
const PUT_KEYS: &str = include_str!("../../../schema/sqlite/put_keys.sql");
const DROP_KEYS: &str = include_str!("../../../schema/sqlite/drop_keys.sql");

/// Room for the text of some dozens of logins, so that it need not grow step by step.
const TEXT: usize = 64 * 1024;

/// An entry of [`USERS_OF`].
type UserEntry = (
    i64,
    String,
    String,
    Option<String>,
    String,
    Option<String>,
    String,
);

/// An entry of [`SESSIONS_OF`].
type SessionEntry = (i64, String, i64, i64, i64);

/// Writes the batch's logins, inside the caller's transaction.
pub(crate) async fn write(
    batch: &Batch,
    change: &mut SqliteConnection,
    rules: &Rules,
    done: &mut Done,
) -> Result<(), sqlx::Error> {
    let users = put_users(batch, change).await?;
    let mut rows = Vec::with_capacity(batch.logins.len());
    let mut keys = Vec::with_capacity(batch.logins.len());
    for (login, _) in &batch.logins {
        let user = users.get(&key(login)).ok_or(sqlx::Error::RowNotFound)?;
        let hash = hex::encode(login.hash.0);
        rows.push((hash, user.row, login.now, &login.device, &login.address));
        let owner = Owner {
            appid: &login.appid,
            openid: &login.openid,
        };
        let sealed = rules
            .vault
            .seal(Matter::SessionKey, owner, &login.session_key);
        let name = rules.vault.fingerprint(&login.session_key);
        keys.push((user.row, hex::encode(name), hex::encode(sealed), login.now));
    }
    put(change, PUT_SESSIONS, &rows).await?;
    let of: Vec<i64> = users.values().map(|user| user.row).collect();
    put_keys(change, &keys, &of, rules).await?;
    let entries: Vec<SessionEntry> = all(change, SESSIONS_OF, &of).await?;
    let rows: Option<Vec<SessionRow>> = entries.into_iter().map(row).collect();
    let (sessions, dropped) = rows
        .and_then(|rows| rank(rows, rules.max_sessions))
        .ok_or(sqlx::Error::RowNotFound)?;
    if !dropped.is_empty() {
        put(change, DROP_SESSIONS, &dropped).await?;
    }
    done.opened = batch
        .opened(&users, &sessions)
        .ok_or(sqlx::Error::RowNotFound)?;
    done.stale.extend(sessions.into_keys());
    Ok(())
}

/// Keeps keys `[user, fingerprint in hex, sealed key in hex, now]`, and of each of these
/// users no more than are kept.
pub(crate) async fn put_keys(
    change: &mut SqliteConnection,
    keys: &[(i64, String, String, i64)],
    of: &[i64],
    rules: &Rules,
) -> Result<(), sqlx::Error> {
    put(change, PUT_KEYS, &keys).await?;
    sqlx::query(DROP_KEYS)
        .bind(text(&of)?)
        .bind(i64::try_from(rules.keys_kept).unwrap_or(i64::MAX))
        .execute(&mut *change)
        .await?;
    Ok(())
}

async fn put_users(batch: &Batch, change: &mut SqliteConnection) -> Result<Users, sqlx::Error> {
    let logins = batch.logins.iter().map(|(login, _)| login);
    let rows: Vec<_> = logins
        .clone()
        .map(|login| {
            (
                &login.appid,
                &login.openid,
                &login.unionid,
                &login.new_id,
                &login.user_info,
                login.now,
            )
        })
        .collect();
    put(change, PUT_USERS, &rows).await?;
    let names: Vec<_> = logins.map(|login| (&login.appid, &login.openid)).collect();
    let users: Vec<UserEntry> = all(change, USERS_OF, &names).await?;
    let users = users.into_iter().map(|user| {
        let phone = hex::decode(&user.6).ok()?;
        let name = (user.1, user.2);
        let user = User {
            row: user.0,
            unionid: user.3,
            id: user.4,
            info: user.5,
            phone: Some(phone).filter(|phone| !phone.is_empty()),
        };
        Some((name, user))
    });
    let users: Option<Users> = users.collect();
    users.ok_or(sqlx::Error::RowNotFound)
}

fn row((seq, hash, user, created, last_visit): SessionEntry) -> Option<SessionRow> {
    Some((seq, hex::decode(hash).ok()?, user, created, last_visit))
}

async fn put<T: Serialize + Sync>(
    change: &mut SqliteConnection,
    sql: &'static str,
    rows: &T,
) -> Result<(), sqlx::Error> {
    let rows = text(rows)?;
    sqlx::query(sql).bind(rows).execute(&mut *change).await?;
    Ok(())
}

/// What a statement reads in one row of JSON.
async fn all<T: DeserializeOwned>(
    change: &mut SqliteConnection,
    sql: &'static str,
    of: &(impl Serialize + Sync),
) -> Result<Vec<T>, sqlx::Error> {
    let found: String = sqlx::query_scalar(sql)
        .bind(text(of)?)
        .fetch_one(&mut *change)
        .await?;
    serde_json::from_str(&found).map_err(|err| sqlx::Error::Decode(err.into()))
}

fn text(rows: &impl Serialize) -> Result<String, sqlx::Error> {
    let mut text = Vec::with_capacity(TEXT);
    serde_json::to_writer(&mut text, rows).map_err(|err| sqlx::Error::Encode(err.into()))?;
    String::from_utf8(text).map_err(|err| sqlx::Error::Encode(err.into()))
}
