//! The jobs of one transaction in SQLite.

use rusqlite::{Connection, Result};

use crate::skey::SkeyHash;
use crate::store::batch::{BatchResult, WriteBatch};
use crate::store::rules::WriteRules;
use crate::store::sqlite::logins;
use crate::store::writes::{NewPhone, RevokeScope};
use crate::vault::{SecretKind, SecretOwner};

const LOG_OUT: &str = include_str!("../../../schema/sqlite/log_out.sql");
const REVOKE_ONE: &str = include_str!("../../../schema/sqlite/revoke_one.sql");
const REVOKE_USER: &str = include_str!("../../../schema/sqlite/revoke_user.sql");
const PUT_INFO: &str = include_str!("../../../schema/sqlite/put_info.sql");
const PUT_PHONE: &str = include_str!("../../../schema/sqlite/put_phone.sql");
const SESSIONS_OF: &str = include_str!("../../../schema/sqlite/sessions_of.sql");
const PUT_VISIT: &str = include_str!("../../../schema/sqlite/put_visit.sql");
const PRUNE: &str = include_str!("../../../schema/sqlite/prune.sql");
const PUT_MINI_APP: &str = include_str!("../../../schema/sqlite/put_mini_app.sql");

/// Writes all jobs, inside the caller's transaction.
pub(crate) fn write(
    batch: &WriteBatch,
    change: &Connection,
    rules: &WriteRules,
) -> Result<BatchResult> {
    let mut done = BatchResult::default();
    if !batch.logins.is_empty() {
        logins::write(batch, change, rules, &mut done)?;
    }
    for (info, _) in &batch.infos {
        let mut put_info = change.prepare_cached(PUT_INFO)?;
        put_info.execute((info.user, &info.user_info))?;
        forget(info.user, change, &mut done)?;
    }
    for (phone, _) in &batch.phones {
        put_phone(phone, change, rules)?;
        forget(phone.user, change, &mut done)?;
    }
    for (new, _) in &batch.keys {
        let owner = SecretOwner::of(&new.who);
        let key = (&new.session_key, new.now);
        logins::put_key(change, (new.user, owner), key, rules)?;
    }
    for (ended, _) in &batch.logouts {
        let rows = change.prepare_cached(LOG_OUT)?.execute([&ended.hash.0])?;
        done.logged_out.push(rows > 0);
        done.stale.push(ended.hash);
    }
    for (which, _) in &batch.revokes {
        revoke(which, change, &mut done)?;
    }
    for (visits, _) in &batch.visits {
        let mut put_visit = change.prepare_cached(PUT_VISIT)?;
        for visit in visits {
            put_visit.execute([visit.seq, visit.at])?;
        }
    }
    for (before, _) in &batch.prunes {
        let pruned = change.prepare_cached(PRUNE)?.execute([before])?;
        done.pruned.push(pruned as u64);
    }
    for (app, now, _) in &batch.mini_apps {
        let owner = SecretOwner::app(&app.appid);
        let sealed = rules.vault.seal(SecretKind::AppSecret, owner, &app.secret);
        let mut put_mini_app = change.prepare_cached(PUT_MINI_APP)?;
        put_mini_app.execute((&app.appid, sealed, now))?;
    }
    Ok(done)
}

/// A user's sessions in memory are out of date.
fn forget(user: i64, change: &Connection, done: &mut BatchResult) -> Result<()> {
    let mut sessions_of = change.prepare_cached(SESSIONS_OF)?;
    let hashes = sessions_of.query_map([user], |row| row.get(1).map(SkeyHash))?;
    for hash in hashes {
        done.stale.push(hash?);
    }
    Ok(())
}

fn put_phone(new: &NewPhone, change: &Connection, rules: &WriteRules) -> Result<()> {
    let owner = SecretOwner::of(&new.who);
    let phone = new.phone.as_ref();
    let sealed = phone.map(|phone| rules.vault.seal(SecretKind::Phone, owner, phone));
    change
        .prepare_cached(PUT_PHONE)?
        .execute((new.user, sealed))?;
    Ok(())
}

fn revoke(which: &RevokeScope, change: &Connection, done: &mut BatchResult) -> Result<()> {
    let hash = |row: &rusqlite::Row<'_>| row.get(0).map(SkeyHash);
    let ended: Result<Vec<SkeyHash>> = match which {
        RevokeScope::One(seq) => {
            let mut revoke = change.prepare_cached(REVOKE_ONE)?;
            revoke.query_map([seq], hash)?.collect()
        }
        RevokeScope::User { appid, openid } => {
            let mut revoke = change.prepare_cached(REVOKE_USER)?;
            revoke.query_map([appid, openid], hash)?.collect()
        }
        RevokeScope::All => {
            let rows = change.execute("DELETE FROM sessions", [])?;
            done.all_stale = true;
            done.revoked.push(rows as u64);
            return Ok(());
        }
    };
    let ended = ended?;
    done.revoked.push(ended.len() as u64);
    done.stale.extend(ended);
    Ok(())
}
