//! The jobs of one transaction in SQLite: a statement for all logins, not one for each.

use serde_json::{Value, json};
use sqlx::SqliteConnection;

use crate::store::batch::{
    Batch, Done, SessionRow, UserRow, Users, beyond, hashes, key, named, rank,
};
use crate::store::{NewKey, NewPhone, Revoke, Rules};
use crate::vault::{Matter, Owner};

const PUT_USERS: &str = include_str!("../../../schema/sqlite/put_users.sql");
const PUT_SESSIONS: &str = include_str!("../../../schema/sqlite/put_sessions.sql");
const SESSIONS_OF: &str = include_str!("../../../schema/sqlite/sessions_of.sql");
const DROP_SESSIONS: &str = include_str!("../../../schema/sqlite/drop_sessions.sql");
const PUT_KEYS: &str = include_str!("../../../schema/sqlite/put_keys.sql");
const KEYS_OF: &str = include_str!("../../../schema/sqlite/keys_of.sql");
const DROP_KEYS: &str = include_str!("../../../schema/sqlite/drop_keys.sql");
const LOG_OUT: &str = include_str!("../../../schema/sqlite/log_out.sql");
const REVOKE_ONE: &str = include_str!("../../../schema/sqlite/revoke_one.sql");
const REVOKE_USER: &str = include_str!("../../../schema/sqlite/revoke_user.sql");
const PUT_INFO: &str = include_str!("../../../schema/sqlite/put_info.sql");
const PUT_PHONE: &str = include_str!("../../../schema/sqlite/put_phone.sql");
const HASHES_OF: &str = include_str!("../../../schema/sqlite/hashes_of.sql");
const PUT_VISITS: &str = include_str!("../../../schema/sqlite/put_visits.sql");
const PRUNE: &str = include_str!("../../../schema/sqlite/prune.sql");
const PUT_MINI_APP: &str = include_str!("../../../schema/sqlite/put_mini_app.sql");

/// Writes all jobs, inside the caller's transaction.
pub(crate) async fn write(
    batch: &Batch,
    change: &mut SqliteConnection,
    rules: &Rules,
) -> Result<Done, sqlx::Error> {
    let mut done = Done::default();
    if !batch.logins.is_empty() {
        write_logins(batch, change, rules, &mut done).await?;
    }
    for (info, _) in &batch.infos {
        sqlx::query(PUT_INFO)
            .bind(info.user)
            .bind(&info.user_info)
            .execute(&mut *change)
            .await?;
        forget(info.user, change, &mut done).await?;
    }
    for (phone, _) in &batch.phones {
        put_phone(phone, change, rules).await?;
        forget(phone.user, change, &mut done).await?;
    }
    for (key, _) in &batch.keys {
        put_key(key, change, rules).await?;
    }
    for (ended, _) in &batch.logouts {
        let rows = sqlx::query(LOG_OUT)
            .bind(&ended.hash.0[..])
            .execute(&mut *change)
            .await?;
        done.logged_out.push(rows.rows_affected() > 0);
        done.stale.push(ended.hash);
    }
    for (which, _) in &batch.revokes {
        revoke(which, change, &mut done).await?;
    }
    for (visits, _) in &batch.visits {
        let visits: Vec<_> = visits.iter().map(|visit| (visit.seq, visit.at)).collect();
        sqlx::query(PUT_VISITS)
            .bind(json!(visits).to_string())
            .execute(&mut *change)
            .await?;
    }
    for (before, _) in &batch.prunes {
        let pruned = sqlx::query(PRUNE)
            .bind(before)
            .execute(&mut *change)
            .await?;
        done.pruned.push(pruned.rows_affected());
    }
    for (app, now, _) in &batch.mini_apps {
        sqlx::query(PUT_MINI_APP)
            .bind(&app.appid)
            .bind(
                rules
                    .vault
                    .seal(Matter::AppSecret, Owner::app(&app.appid), &app.secret),
            )
            .bind(now)
            .execute(&mut *change)
            .await?;
    }
    Ok(done)
}

/// A user's sessions in memory are out of date.
async fn forget(
    user: i64,
    change: &mut SqliteConnection,
    done: &mut Done,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query_scalar(HASHES_OF)
        .bind(user)
        .fetch_all(&mut *change)
        .await?;
    done.stale.extend(hashes(rows));
    Ok(())
}

async fn put_phone(
    new: &NewPhone,
    change: &mut SqliteConnection,
    rules: &Rules,
) -> Result<(), sqlx::Error> {
    let owner = Owner::of(&new.who);
    let phone = new.phone.as_ref();
    sqlx::query(PUT_PHONE)
        .bind(new.user)
        .bind(phone.map(|phone| rules.vault.seal(Matter::Phone, owner, phone)))
        .execute(&mut *change)
        .await?;
    Ok(())
}

async fn put_key(
    new: &NewKey,
    change: &mut SqliteConnection,
    rules: &Rules,
) -> Result<(), sqlx::Error> {
    let key = &new.session_key;
    let sealed = rules
        .vault
        .seal(Matter::SessionKey, Owner::of(&new.who), key);
    let name = rules.vault.fingerprint(key);
    let row = json!([[new.user, hex::encode(name), hex::encode(sealed), new.now]]);
    sqlx::query(PUT_KEYS)
        .bind(row.to_string())
        .execute(&mut *change)
        .await?;
    drop_keys(&json!([new.user]).to_string(), change, rules).await
}

/// Drops the keys of these users that are beyond what is kept.
async fn drop_keys(
    of: &str,
    change: &mut SqliteConnection,
    rules: &Rules,
) -> Result<(), sqlx::Error> {
    let keys: Vec<(i64, i64)> = sqlx::query_as(KEYS_OF)
        .bind(of)
        .fetch_all(&mut *change)
        .await?;
    drop_rows(change, DROP_KEYS, &beyond(&keys, rules.keys_kept)).await
}

async fn revoke(
    which: &Revoke,
    change: &mut SqliteConnection,
    done: &mut Done,
) -> Result<(), sqlx::Error> {
    let ended: Vec<Vec<u8>> = match which {
        Revoke::One(seq) => {
            let query = sqlx::query_scalar(REVOKE_ONE).bind(seq);
            query.fetch_all(&mut *change).await?
        }
        Revoke::User { appid, openid } => {
            let query = sqlx::query_scalar(REVOKE_USER).bind(appid).bind(openid);
            query.fetch_all(&mut *change).await?
        }
        Revoke::All => {
            let rows = sqlx::query("DELETE FROM sessions")
                .execute(&mut *change)
                .await?;
            done.all_stale = true;
            done.revoked.push(rows.rows_affected());
            return Ok(());
        }
    };
    done.revoked.push(ended.len() as u64);
    done.stale.extend(hashes(ended));
    Ok(())
}

async fn write_logins(
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
        rows.push(json!([
            hash,
            user.row,
            login.now,
            login.device,
            login.address
        ]));
        let owner = Owner {
            appid: &login.appid,
            openid: &login.openid,
        };
        let sealed = hex::encode(
            rules
                .vault
                .seal(Matter::SessionKey, owner, &login.session_key),
        );
        let name = hex::encode(rules.vault.fingerprint(&login.session_key));
        keys.push(json!([user.row, name, sealed, login.now]));
    }
    sqlx::query(PUT_SESSIONS)
        .bind(Value::from(rows).to_string())
        .execute(&mut *change)
        .await?;
    sqlx::query(PUT_KEYS)
        .bind(Value::from(keys).to_string())
        .execute(&mut *change)
        .await?;
    let of: Vec<i64> = users.values().map(|user| user.row).collect();
    let of = json!(of).to_string();
    drop_keys(&of, change, rules).await?;
    let rows: Vec<SessionRow> = sqlx::query_as(SESSIONS_OF)
        .bind(&of)
        .fetch_all(&mut *change)
        .await?;
    let (sessions, dropped) = rank(rows, rules.max_sessions).ok_or(sqlx::Error::RowNotFound)?;
    drop_rows(change, DROP_SESSIONS, &dropped).await?;
    done.opened = batch
        .opened(&users, &sessions)
        .ok_or(sqlx::Error::RowNotFound)?;
    done.stale.extend(sessions.into_keys());
    Ok(())
}

async fn drop_rows(
    change: &mut SqliteConnection,
    sql: &'static str,
    rows: &[i64],
) -> Result<(), sqlx::Error> {
    if !rows.is_empty() {
        sqlx::query(sql)
            .bind(json!(rows).to_string())
            .execute(&mut *change)
            .await?;
    }
    Ok(())
}

async fn put_users(batch: &Batch, change: &mut SqliteConnection) -> Result<Users, sqlx::Error> {
    let users: Vec<Value> = batch
        .logins
        .iter()
        .map(|(login, _)| {
            json!({
                "appid": login.appid,
                "openid": login.openid,
                "unionid": login.unionid,
                "id": login.new_id,
                "user_info": login.user_info,
                "now": login.now,
            })
        })
        .collect();
    let rows: Vec<UserRow> = sqlx::query_as(PUT_USERS)
        .bind(Value::from(users).to_string())
        .fetch_all(&mut *change)
        .await?;
    Ok(rows.into_iter().map(named).collect())
}
