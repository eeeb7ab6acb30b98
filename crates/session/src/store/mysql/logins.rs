//! The logins of one transaction in weappd's own tables: all of them in four journeys to the
//! server, however many they are.

use std::collections::BTreeMap;

use sqlx::MySqlConnection;

use crate::store::batch::{Batch, Done, SessionRow, UserRow, Users, beyond, key, named, rank};
use crate::store::mysql::text::Sql;
use crate::store::{NewLogin, Rules};
use crate::vault::{Matter, Owner};

/// How many users one statement writes: a user object may have 24 KB, and a server need not
/// take more than 4 MB at once.
const USERS: usize = 64;

/// Writes the batch's logins, inside the caller's transaction.
pub(crate) async fn write(
    batch: &Batch,
    change: &mut MySqlConnection,
    rules: &Rules,
    done: &mut Done,
) -> Result<(), sqlx::Error> {
    let users = put_users(batch, change).await?;
    let of: Vec<i64> = users.values().map(|user| user.row).collect();
    let keys: Vec<(i64, i64)> = {
        let mut sql = Sql::new();
        put_sessions(&mut sql, batch, &users)?;
        put_keys(&mut sql, batch, &users, rules)?;
        sql.words("SELECT seq, user FROM weappd_session_keys WHERE user IN (")
            .numbers(&of)
            .words(") ORDER BY user, given DESC, seq DESC");
        sql.fetch(&mut *change).await?
    };
    let mut sql = Sql::new();
    drop_rows(
        &mut sql,
        "DELETE FROM weappd_session_keys WHERE seq IN (",
        &beyond(&keys, rules.keys_kept),
    );
    sql.words(
        "SELECT seq, skey_hash, user, created, last_visit FROM weappd_sessions WHERE user IN (",
    )
    .numbers(&of)
    .words(") ORDER BY user, seq DESC");
    let rows: Vec<SessionRow> = sql.fetch(&mut *change).await?;
    let (sessions, dropped) = rank(rows, rules.max_sessions).ok_or(sqlx::Error::RowNotFound)?;
    let mut sql = Sql::new();
    drop_rows(
        &mut sql,
        "DELETE FROM weappd_sessions WHERE seq IN (",
        &dropped,
    );
    sql.execute(&mut *change).await?;
    done.opened = batch
        .opened(&users, &sessions)
        .ok_or(sqlx::Error::RowNotFound)?;
    done.stale.extend(sessions.into_keys());
    Ok(())
}

fn drop_rows(sql: &mut Sql, from: &'static str, seqs: &[i64]) {
    if !seqs.is_empty() {
        sql.words(from).numbers(seqs).words("); ");
    }
}

async fn put_users(batch: &Batch, change: &mut MySqlConnection) -> Result<Users, sqlx::Error> {
    // In one order everywhere: nodes that log the same users in do not wait in a circle.
    let mut logins: Vec<_> = batch.logins.iter().map(|(login, _)| login).collect();
    logins.sort_by(|a, b| (&a.appid, &a.openid).cmp(&(&b.appid, &b.openid)));
    let mut users = Users::default();
    for logins in logins.chunks(USERS) {
        let mut sql = Sql::new();
        sql.words(
            "INSERT INTO weappd_users \
                (appid, openid, unionid, id, user_info, created, last_login) VALUES ",
        )
        .list(logins, |sql, login| {
            sql.words("(").text(&login.appid).words(", ");
            sql.text(&login.openid).words(", ");
            sql.maybe(login.unionid.as_deref()).words(", ");
            sql.text(&login.new_id).words(", ");
            sql.maybe(login.user_info.as_deref()).words(", ");
            sql.numbers(&[login.now, login.now]).words(")");
        })
        .words(
            " ON DUPLICATE KEY UPDATE \
                unionid = COALESCE(VALUES(unionid), unionid), \
                user_info = COALESCE(VALUES(user_info), user_info), \
                last_login = VALUES(last_login); ",
        );
        select_users(&mut sql, logins);
        let rows: Vec<UserRow> = sql.fetch(&mut *change).await?;
        users.extend(rows.into_iter().map(named));
    }
    Ok(users)
}

fn select_users(sql: &mut Sql, logins: &[&NewLogin]) {
    let mut by_app: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for login in logins {
        let openids = by_app.entry(&login.appid).or_default();
        openids.push(&login.openid);
    }
    sql.words("SELECT user, appid, openid, unionid, id, user_info, phone FROM weappd_users WHERE ");
    for (at, (appid, openids)) in by_app.into_iter().enumerate() {
        sql.words(if at > 0 { " OR (appid = " } else { "(appid = " })
            .text(appid)
            .words(" AND openid IN (")
            .list(openids, |sql, openid| {
                sql.text(openid);
            })
            .words("))");
    }
}

fn put_sessions(sql: &mut Sql, batch: &Batch, users: &Users) -> Result<(), sqlx::Error> {
    let logins = with_users(batch, users)?;
    sql.words(
        "INSERT INTO weappd_sessions \
            (skey_hash, user, created, last_visit, device, address) VALUES ",
    )
    .list(logins, |sql, (login, user)| {
        sql.words("(").bytes(&login.hash.0).words(", ");
        sql.numbers(&[user, login.now, login.now]).words(", ");
        sql.maybe(login.device.as_deref()).words(", ");
        sql.maybe(login.address.as_deref()).words(")");
    })
    // A login repeated with the same skey leaves its session as it is.
    .words(" ON DUPLICATE KEY UPDATE seq = seq; ");
    Ok(())
}

fn put_keys(sql: &mut Sql, batch: &Batch, users: &Users, rules: &Rules) -> Result<(), sqlx::Error> {
    let logins = with_users(batch, users)?;
    sql.words("INSERT INTO weappd_session_keys (user, fingerprint, sealed, given) VALUES ")
        .list(logins, |sql, (login, user)| {
            let owner = Owner {
                appid: &login.appid,
                openid: &login.openid,
            };
            let key = &login.session_key;
            let name = rules.vault.fingerprint(key);
            let sealed = rules.vault.seal(Matter::SessionKey, owner, key);
            sql.words("(").number(user).words(", ").bytes(&name);
            sql.words(", ").bytes(&sealed).words(", ");
            sql.number(login.now).words(")");
        })
        .words(" ON DUPLICATE KEY UPDATE given = VALUES(given); ");
    Ok(())
}

/// Each login with the row of its user.
fn with_users<'a>(
    batch: &'a Batch,
    users: &Users,
) -> Result<Vec<(&'a NewLogin, i64)>, sqlx::Error> {
    let logins = batch.logins.iter().map(|(login, _)| {
        let user = users.get(&key(login)).ok_or(sqlx::Error::RowNotFound)?;
        Ok((login, user.row))
    });
    logins.collect()
}
