//! The jobs of one transaction in SQLite.

use serde_json::json;
use sqlx::SqliteConnection;

use crate::store::batch::{Batch, Done, hashes};
use crate::store::sqlite::logins;
use crate::store::{NewKey, NewPhone, Revoke, Rules};
use crate::vault::{Matter, Owner};

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
        logins::write(batch, change, rules, &mut done).await?;
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
    let row = (new.user, hex::encode(name), hex::encode(sealed), new.now);
    logins::put_keys(change, &[row], &[new.user], rules).await
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
