//! weappd's own tables in MySQL and MariaDB.
//!
//! Only what both have had for ten years: several rows an INSERT, `ON DUPLICATE KEY`, and
//! `VALUES()`, which MariaDB needs.

use sqlx::{MySqlConnection, MySqlPool};
use weappd_base::secret::Secret;

use crate::config::MiniApp;
use crate::identity::UserIdentity;
use crate::store::batch::{BatchResult, WriteBatch, beyond, hashes};
use crate::store::mysql::logins::{self, UserIdCache};
use crate::store::mysql::text::SqlText;
use crate::store::records::{
    LastVisit, SessionLookup, SessionRecord, SessionRow, UserRecord, UserRow,
};
use crate::store::rules::WriteRules;
use crate::store::sealed_columns::{registered, unsealed};
use crate::store::writes::{NewKey, NewPhone, RevokeScope};
use crate::vault::{SecretKind, SecretOwner};

const FIND: &str = include_str!("../../../schema/mysql/find_session.sql");
const LIST: &str = include_str!("../../../schema/mysql/list_sessions.sql");
const PUT_MINI_APP: &str = include_str!("../../../schema/mysql/put_mini_app.sql");
/// How many visits one statement writes.
const VISITS: usize = 200;

pub(crate) async fn find(
    pool: &MySqlPool,
    wanted: &SessionLookup<'_>,
) -> Result<Option<SessionRow>, sqlx::Error> {
    sqlx::query_as(FIND)
        .bind(&wanted.hash.0[..])
        .fetch_optional(pool)
        .await
}

pub(crate) async fn session_keys(
    pool: &MySqlPool,
    rules: &WriteRules,
    user: i64,
    who: &UserIdentity,
) -> Result<Vec<Secret>, sqlx::Error> {
    let sql = "SELECT sealed FROM weappd_session_keys WHERE user = ? ORDER BY given DESC, seq DESC";
    let keys: Vec<Vec<u8>> = sqlx::query_scalar(sql).bind(user).fetch_all(pool).await?;
    Ok(unsealed(&rules.vault, who, &keys))
}

pub(crate) async fn list(
    pool: &MySqlPool,
    appid: &str,
    openid: &str,
) -> Result<Vec<SessionRecord>, sqlx::Error> {
    sqlx::query_as(LIST)
        .bind(appid)
        .bind(openid)
        .fetch_all(pool)
        .await
}

pub(crate) async fn user(
    pool: &MySqlPool,
    appid: &str,
    openid: &str,
) -> Result<Option<UserRecord>, sqlx::Error> {
    let sql = "SELECT user, unionid, id, created, last_login, phone, user_info FROM weappd_users \
        WHERE appid = ? AND openid = ?";
    let row: Option<UserRow> = sqlx::query_as(sql)
        .bind(appid)
        .bind(openid)
        .fetch_optional(pool)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let sql = "SELECT given FROM weappd_session_keys WHERE user = ? ORDER BY given DESC, seq DESC";
    let keys = sqlx::query_scalar(sql)
        .bind(row.user)
        .fetch_all(pool)
        .await?;
    Ok(Some(row.with_keys(keys)))
}

pub(crate) async fn owner(
    pool: &MySqlPool,
    session: i64,
) -> Result<Option<(String, String)>, sqlx::Error> {
    let sql = "SELECT u.appid, u.openid FROM weappd_sessions AS s \
        JOIN weappd_users AS u ON u.user = s.user WHERE s.seq = ?";
    sqlx::query_as(sql).bind(session).fetch_optional(pool).await
}

pub(crate) async fn mini_apps(
    pool: &MySqlPool,
    rules: &WriteRules,
) -> Result<Vec<MiniApp>, sqlx::Error> {
    let sql = "SELECT appid, sealed FROM weappd_mini_apps WHERE sealed IS NOT NULL ORDER BY given";
    let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(sql).fetch_all(pool).await?;
    Ok(registered(&rules.vault, rows))
}

/// Writes all jobs, inside the caller's transaction.
pub(crate) async fn write(
    batch: &WriteBatch,
    change: &mut MySqlConnection,
    rules: &WriteRules,
    ids: &UserIdCache,
) -> Result<BatchResult, sqlx::Error> {
    let mut done = BatchResult::default();
    if !batch.logins.is_empty() {
        logins::write(batch, change, (rules, ids), &mut done).await?;
    }
    for (info, _) in &batch.infos {
        sqlx::query("UPDATE weappd_users SET user_info = ? WHERE user = ?")
            .bind(&info.user_info)
            .bind(info.user)
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
        let rows = sqlx::query("DELETE FROM weappd_sessions WHERE skey_hash = ?")
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
        for visits in visits.chunks(VISITS) {
            put_visits(visits, change).await?;
        }
    }
    for (before, _) in &batch.prunes {
        done.pruned.push(prune(*before, change).await?);
    }
    for (app, now, _) in &batch.mini_apps {
        sqlx::query(PUT_MINI_APP)
            .bind(&app.appid)
            .bind(rules.vault.seal(
                SecretKind::AppSecret,
                SecretOwner::app(&app.appid),
                &app.secret,
            ))
            .bind(now)
            .execute(&mut *change)
            .await?;
    }
    Ok(done)
}

/// A user's sessions in memory are out of date.
async fn forget(
    user: i64,
    change: &mut MySqlConnection,
    done: &mut BatchResult,
) -> Result<(), sqlx::Error> {
    let of = sqlx::query_scalar("SELECT skey_hash FROM weappd_sessions WHERE user = ?");
    let rows = of.bind(user).fetch_all(&mut *change).await?;
    done.stale.extend(hashes(rows));
    Ok(())
}

async fn put_phone(
    new: &NewPhone,
    change: &mut MySqlConnection,
    rules: &WriteRules,
) -> Result<(), sqlx::Error> {
    let owner = SecretOwner::of(&new.who);
    let phone = new.phone.as_ref();
    sqlx::query("UPDATE weappd_users SET phone = ? WHERE user = ?")
        .bind(phone.map(|phone| rules.vault.seal(SecretKind::Phone, owner, phone)))
        .bind(new.user)
        .execute(&mut *change)
        .await?;
    Ok(())
}

async fn put_key(
    new: &NewKey,
    change: &mut MySqlConnection,
    rules: &WriteRules,
) -> Result<(), sqlx::Error> {
    let key = &new.session_key;
    sqlx::query(
        "INSERT INTO weappd_session_keys (user, fingerprint, sealed, given) VALUES (?, ?, ?, ?) \
            ON DUPLICATE KEY UPDATE given = VALUES(given)",
    )
    .bind(new.user)
    .bind(rules.vault.fingerprint(key).to_vec())
    .bind(
        rules
            .vault
            .seal(SecretKind::SessionKey, SecretOwner::of(&new.who), key),
    )
    .bind(new.now)
    .execute(&mut *change)
    .await?;
    drop_keys(new.user, change, rules).await
}

/// Drops the keys of a user that are beyond what is kept.
async fn drop_keys(
    user: i64,
    change: &mut MySqlConnection,
    rules: &WriteRules,
) -> Result<(), sqlx::Error> {
    let sql = "SELECT seq, user FROM weappd_session_keys WHERE user = ? \
        ORDER BY given DESC, seq DESC";
    let keys: Vec<(i64, i64)> = sqlx::query_as(sql)
        .bind(user)
        .fetch_all(&mut *change)
        .await?;
    let old = beyond(&keys, rules.keys_kept());
    let delete = "DELETE FROM weappd_session_keys WHERE seq IN (";
    drop_rows(delete, &old, change).await
}

async fn revoke(
    which: &RevokeScope,
    change: &mut MySqlConnection,
    done: &mut BatchResult,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(i64, Vec<u8>)> = match which {
        RevokeScope::One(seq) => {
            let sql = "SELECT seq, skey_hash FROM weappd_sessions WHERE seq = ? FOR UPDATE";
            let query = sqlx::query_as(sql).bind(seq);
            query.fetch_all(&mut *change).await?
        }
        RevokeScope::User { appid, openid } => {
            let sql = "SELECT s.seq, s.skey_hash FROM weappd_sessions AS s \
                JOIN weappd_users AS u ON u.user = s.user \
                WHERE u.appid = ? AND u.openid = ? FOR UPDATE";
            let query = sqlx::query_as(sql).bind(appid).bind(openid);
            query.fetch_all(&mut *change).await?
        }
        RevokeScope::All => {
            let rows = sqlx::query("DELETE FROM weappd_sessions")
                .execute(&mut *change)
                .await?;
            done.all_stale = true;
            done.revoked.push(rows.rows_affected());
            return Ok(());
        }
    };
    let (seqs, ended): (Vec<i64>, Vec<Vec<u8>>) = rows.into_iter().unzip();
    drop_rows("DELETE FROM weappd_sessions WHERE seq IN (", &seqs, change).await?;
    done.revoked.push(ended.len() as u64);
    done.stale.extend(hashes(ended));
    Ok(())
}

/// Logins stand in the order of seq, so the oldest thousand are the ones to look at.
async fn prune(before: i64, change: &mut MySqlConnection) -> Result<u64, sqlx::Error> {
    let sql = "SELECT seq FROM \
            (SELECT seq, created FROM weappd_sessions ORDER BY seq LIMIT 1000) AS oldest \
        WHERE created < ?";
    let old: Vec<i64> = sqlx::query_scalar(sql)
        .bind(before)
        .fetch_all(&mut *change)
        .await?;
    drop_rows("DELETE FROM weappd_sessions WHERE seq IN (", &old, change).await?;
    Ok(old.len() as u64)
}

async fn put_visits(visits: &[LastVisit], change: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let mut put = SqlText::new();
    put.words("UPDATE weappd_sessions SET last_visit = GREATEST(last_visit, CASE seq");
    for visit in visits {
        put.words(" WHEN ").number(visit.seq);
        put.words(" THEN ").number(visit.at);
    }
    put.words(" ELSE 0 END) WHERE seq IN (")
        .list(visits, |put, visit| {
            put.number(visit.seq);
        })
        .words(")");
    put.execute(change).await
}

/// `delete` ends in an open parenthesis.
async fn drop_rows(
    delete: &'static str,
    seqs: &[i64],
    change: &mut MySqlConnection,
) -> Result<(), sqlx::Error> {
    if seqs.is_empty() {
        return Ok(());
    }
    let mut sql = SqlText::new();
    sql.words(delete).numbers(seqs).words(")");
    sql.execute(change).await
}
