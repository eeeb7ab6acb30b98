//! The jobs of one transaction in the old servers' tables.

use std::collections::HashMap;
use std::sync::Arc;

use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::session::CachedSession;
use crate::skey::SkeyHash;
use crate::store::batch::{BatchResult, WriteBatch};
use crate::store::cauth::tables::{CauthTables, ENDED};
use crate::store::cauth::user_info;
use crate::store::from_row::impl_from_row;
use crate::store::records::{LastVisit, SessionRow};
use crate::store::rules::WriteRules;
use crate::store::writes::{EndedSession, NewKey, NewLogin, OpenedSession, RevokeScope};

/// A user's row, as it is found or as this transaction leaves it.
struct LockedRow {
    id: i64,
    openid: String,
    uuid: String,
    skey: String,
    info: String,
}

impl_from_row!(LockedRow {
    id,
    openid,
    uuid,
    skey,
    info
});

/// Writes all jobs, inside the caller's transaction.
pub(crate) async fn write(
    batch: &WriteBatch,
    change: &mut MySqlConnection,
    tables: &CauthTables,
    rules: &WriteRules,
) -> Result<BatchResult, sqlx::Error> {
    let mut done = BatchResult::default();
    if !batch.logins.is_empty() {
        write_logins(batch, change, tables, &mut done).await?;
    }
    for (info, _) in &batch.infos {
        let who = &info.who;
        let rows = rows(change, tables, &[&who.openid]).await?;
        let sql = "UPDATE cSessionInfo SET user_info = ?, create_time = create_time, \
            last_visit_time = last_visit_time WHERE open_id = ? AND uuid = ?";
        sqlx::query(sql)
            .bind(user_info::write(tables, &info.user_info))
            .bind(&who.openid)
            .bind(&who.id)
            .execute(&mut *change)
            .await?;
        done.stale
            .extend(rows.values().map(|row| SkeyHash::of(&row.skey)));
    }
    for (key, _) in &batch.keys {
        put_key(key, change, tables).await?;
    }
    // There is no room for phone numbers: they are answered, not kept.
    for (ended, _) in &batch.logouts {
        let gone = log_out(ended, change, tables, rules).await?;
        done.logged_out.push(gone);
        done.stale.push(ended.hash);
    }
    for (which, _) in &batch.revokes {
        revoke(which, change, tables, rules, &mut done).await?;
    }
    for (visits, _) in &batch.visits {
        for visit in visits {
            put_visit(visit, change).await?;
        }
    }
    // The rows are the users: none is dropped.
    done.pruned.resize(batch.prunes.len(), 0);
    // A mini program is registered with the old server, not here: the RPC refuses it.
    Ok(done)
}

/// The rows of the openids, locked until the transaction ends.
async fn rows(
    change: &mut MySqlConnection,
    tables: &CauthTables,
    openids: &[&String],
) -> Result<HashMap<String, LockedRow>, sqlx::Error> {
    let id = if tables.is_wafer2 {
        "0"
    } else {
        "CAST(id AS SIGNED)"
    };
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT {id}, open_id, uuid, skey, COALESCE(user_info, '') FROM cSessionInfo WHERE open_id IN ("
    ));
    let mut list = query.separated(", ");
    for openid in openids {
        list.push_bind(*openid);
    }
    query.push(") FOR UPDATE");
    let rows: Vec<LockedRow> = query.build_query_as().fetch_all(&mut *change).await?;
    let by_openid = rows.into_iter().map(|row| (row.openid.clone(), row));
    Ok(by_openid.collect())
}

async fn write_logins(
    batch: &WriteBatch,
    change: &mut MySqlConnection,
    tables: &CauthTables,
    done: &mut BatchResult,
) -> Result<(), sqlx::Error> {
    let mut openids: Vec<_> = batch
        .logins
        .iter()
        .map(|(login, _)| &login.openid)
        .collect();
    openids.sort_unstable();
    openids.dedup();
    let mut users = rows(change, tables, &openids).await?;
    let olds = users.values().map(|row| SkeyHash::of(&row.skey));
    done.stale.extend(olds);
    for (login, _) in &batch.logins {
        let before = users.remove(&login.openid);
        let is_new_user = before.as_ref().is_none_or(|row| row.uuid == login.new_id);
        let row = put(login, before, change, tables).await?;
        let found = SessionRow {
            seq: row.id,
            created: login.now,
            last_visit: login.now,
            user: row.id,
            appid: tables.appid.clone(),
            openid: login.openid.clone(),
            unionid: user_info::unionid(&row.info).or_else(|| login.unionid.clone()),
            id: row.uuid.clone(),
            user_info: user_info::read(&row.info),
            phone: None,
        };
        users.insert(login.openid.clone(), row);
        done.opened.push(OpenedSession {
            is_new_user,
            is_kept: false,
            session: Arc::new(CachedSession::new(
                login.hash,
                found,
                Arc::clone(&login.terms),
            )),
        });
        done.stale.push(login.hash);
    }
    // The original's rule: one session for each user, the last one.
    for ((login, _), opened) in batch.logins.iter().zip(&mut done.opened) {
        let row = users.get(&login.openid);
        opened.is_kept = row.is_some_and(|row| row.skey == login.skey.expose());
    }
    Ok(())
}

/// Writes one login into the user's row, or makes the row.
async fn put(
    login: &NewLogin,
    before: Option<LockedRow>,
    change: &mut MySqlConnection,
    tables: &CauthTables,
) -> Result<LockedRow, sqlx::Error> {
    let key = Some(login.session_key.expose()).filter(|key| key.len() <= tables.key_length);
    let info = match (&login.user_info, &before) {
        (Some(info), _) => user_info::write(tables, info),
        (None, Some(before)) if !tells_more(login, &before.info) => before.info.clone(),
        (None, before) => {
            let known = before.as_ref().and_then(|row| user_info::read(&row.info));
            let mut fields: serde_json::Map<_, _> = known
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            crate::session::name_user(&mut fields, &login.openid, login.unionid.as_deref());
            user_info::write(tables, &serde_json::Value::from(fields).to_string())
        }
    };
    let sql = if before.is_some() {
        "UPDATE cSessionInfo SET uuid = ?, skey = ?, create_time = FROM_UNIXTIME(?), \
            last_visit_time = FROM_UNIXTIME(?), session_key = ?, user_info = ? WHERE open_id = ?"
    } else {
        "INSERT INTO cSessionInfo \
            (uuid, skey, create_time, last_visit_time, session_key, user_info, open_id) \
        VALUES (?, ?, FROM_UNIXTIME(?), FROM_UNIXTIME(?), ?, ?, ?)"
    };
    let uuid = before.as_ref().map_or(&login.new_id, |row| &row.uuid);
    let outcome = sqlx::query(sql)
        .bind(uuid)
        .bind(login.skey.expose())
        .bind(login.now)
        .bind(login.now)
        .bind(key.unwrap_or_default())
        .bind(&info)
        .bind(&login.openid)
        .execute(&mut *change)
        .await?;
    let made = i64::try_from(outcome.last_insert_id()).unwrap_or(0);
    Ok(LockedRow {
        id: before.as_ref().map_or(made, |row| row.id),
        openid: login.openid.clone(),
        uuid: uuid.clone(),
        skey: login.skey.expose().to_owned(),
        info,
    })
}

/// Puts a session key in place of the known one, as a login would.
async fn put_key(
    new: &NewKey,
    change: &mut MySqlConnection,
    tables: &CauthTables,
) -> Result<(), sqlx::Error> {
    let key = Some(new.session_key.expose()).filter(|key| key.len() <= tables.key_length);
    let sql = "UPDATE cSessionInfo SET session_key = ?, create_time = create_time, \
        last_visit_time = last_visit_time WHERE open_id = ? AND uuid = ?";
    sqlx::query(sql)
        .bind(key.unwrap_or_default())
        .bind(&new.who.openid)
        .bind(&new.who.id)
        .execute(&mut *change)
        .await?;
    Ok(())
}

/// Whether WeChat told a unionid that the user's row does not know: it has no column.
fn tells_more(login: &NewLogin, info: &str) -> bool {
    login.unionid.is_some() && user_info::unionid(info).is_none()
}

/// Ends a session: its row gets an skey that nobody is told, and the time long ago that
/// ends it for the old server too.
async fn log_out(
    ended: &EndedSession,
    change: &mut MySqlConnection,
    tables: &CauthTables,
    rules: &WriteRules,
) -> Result<bool, sqlx::Error> {
    let openid = &ended.who.openid;
    let rows = rows(change, tables, &[openid]).await?;
    let row = rows.get(openid);
    if row.is_none_or(|row| SkeyHash::of(&row.skey) != ended.hash) {
        return Ok(false);
    }
    end("open_id", openid, change, rules).await?;
    Ok(true)
}

async fn revoke(
    which: &RevokeScope,
    change: &mut MySqlConnection,
    tables: &CauthTables,
    rules: &WriteRules,
    done: &mut BatchResult,
) -> Result<(), sqlx::Error> {
    let (column, value) = match which {
        RevokeScope::One(_) if tables.is_wafer2 => {
            done.revoked.push(0);
            return Ok(());
        }
        RevokeScope::One(seq) => ("id", seq.to_string()),
        RevokeScope::User { appid, .. } if *appid != tables.appid => {
            done.revoked.push(0);
            return Ok(());
        }
        RevokeScope::User { openid, .. } => ("open_id", openid.clone()),
        RevokeScope::All => {
            done.all_stale = true;
            ("'all'", "all".to_owned())
        }
    };
    if !done.all_stale {
        let mut query =
            QueryBuilder::<MySql>::new(format!("SELECT skey FROM cSessionInfo WHERE {column} = "));
        query.push_bind(&value);
        let skeys: Vec<String> = query.build_query_scalar().fetch_all(&mut *change).await?;
        done.stale
            .extend(skeys.iter().map(|skey| SkeyHash::of(skey)));
    }
    let ended = end(column, &value, change, rules).await?;
    done.revoked.push(ended);
    Ok(())
}

async fn end(
    column: &'static str,
    value: &str,
    change: &mut MySqlConnection,
    rules: &WriteRules,
) -> Result<u64, sqlx::Error> {
    let mut query = QueryBuilder::<MySql>::new("UPDATE cSessionInfo SET skey = SHA2(CONCAT(");
    query
        .push_bind(rules.vault.random())
        .push(", open_id), 256), create_time = FROM_UNIXTIME(")
        .push_bind(ENDED)
        .push("), last_visit_time = FROM_UNIXTIME(")
        .push_bind(ENDED)
        .push(format!(") WHERE {column} = "))
        .push_bind(value)
        .push(" AND last_visit_time > FROM_UNIXTIME(")
        .push_bind(ENDED)
        .push(")");
    let rows = query.build().execute(&mut *change).await?;
    Ok(rows.rows_affected())
}

/// `create_time` is named because some of these tables set it at every change. What was
/// ended is not visited.
async fn put_visit(visit: &LastVisit, change: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let sql = "UPDATE cSessionInfo SET create_time = create_time, \
            last_visit_time = GREATEST(last_visit_time, FROM_UNIXTIME(?)) \
        WHERE open_id = ? AND uuid = ? AND last_visit_time > FROM_UNIXTIME(?)";
    sqlx::query(sql)
        .bind(visit.at)
        .bind(&visit.who.openid)
        .bind(&visit.who.id)
        .bind(ENDED)
        .execute(&mut *change)
        .await?;
    Ok(())
}
