//! weappd's own tables in MySQL and MariaDB.
//!
//! Only what both have had for ten years: several rows an INSERT, `ON DUPLICATE KEY`, and
//! `VALUES()`, which MariaDB needs.

use sqlx::{MySql, MySqlConnection, MySqlPool, QueryBuilder};
use weappd_base::secret::Secret;

use crate::config::MiniApp;
use crate::identity::Identity;
use crate::session::Found;
use crate::store::batch::{Batch, Done, SessionRow, User, Users, beyond, hashes, key, rank};
use crate::store::sqlite::unsealed;
use crate::store::{Listed, Revoke, Rules, Visit, Wanted};
use crate::vault::Owner;

const FIND: &str = include_str!("../../../schema/mysql/find_session.sql");
const LIST: &str = include_str!("../../../schema/mysql/list_sessions.sql");
const PUT_MINI_APP: &str = include_str!("../../../schema/mysql/put_mini_app.sql");
/// How many visits one statement writes.
const VISITS: usize = 200;

/// A row of [`FIND`].
type FoundRow = (
    i64,
    i64,
    i64,
    i64,
    String,
    String,
    Option<String>,
    String,
    Option<String>,
);
/// user, appid, openid, unionid, id, user object.
type UserRow = (i64, String, String, Option<String>, String, Option<String>);

pub(crate) async fn find(
    pool: &MySqlPool,
    wanted: &Wanted<'_>,
) -> Result<Option<Found>, sqlx::Error> {
    let row: Option<FoundRow> = sqlx::query_as(FIND)
        .bind(&wanted.hash.0[..])
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| Found {
        seq: row.0,
        created: row.1,
        last_visit: row.2,
        user: row.3,
        appid: row.4,
        openid: row.5,
        unionid: row.6,
        id: row.7,
        user_info: row.8,
    }))
}

pub(crate) async fn session_keys(
    pool: &MySqlPool,
    rules: &Rules,
    user: i64,
    who: &Identity,
) -> Result<Vec<Secret>, sqlx::Error> {
    let sql = "SELECT sealed FROM weappd_session_keys WHERE user = ? ORDER BY given DESC, seq DESC";
    let keys: Vec<Vec<u8>> = sqlx::query_scalar(sql).bind(user).fetch_all(pool).await?;
    Ok(unsealed(&rules.vault, who, &keys))
}

pub(crate) async fn list(
    pool: &MySqlPool,
    appid: &str,
    openid: &str,
) -> Result<Vec<Listed>, sqlx::Error> {
    let rows: Vec<(i64, i64, i64, Option<String>)> = sqlx::query_as(LIST)
        .bind(appid)
        .bind(openid)
        .fetch_all(pool)
        .await?;
    Ok(rows.into_iter().map(Listed::from).collect())
}

pub(crate) async fn mini_apps(pool: &MySqlPool) -> Result<Vec<MiniApp>, sqlx::Error> {
    let sql = "SELECT appid, secret FROM weappd_mini_apps ORDER BY given";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(pool).await?;
    let apps = rows.into_iter();
    Ok(apps
        .map(|(appid, secret)| MiniApp::new(appid, Secret::new(secret)))
        .collect())
}

/// Writes all jobs, inside the caller's transaction.
pub(crate) async fn write(
    batch: &Batch,
    change: &mut MySqlConnection,
    rules: &Rules,
) -> Result<Done, sqlx::Error> {
    let mut done = Done::default();
    if !batch.logins.is_empty() {
        write_logins(batch, change, rules, &mut done).await?;
    }
    for (info, _) in &batch.infos {
        sqlx::query("UPDATE weappd_users SET user_info = ? WHERE user = ?")
            .bind(&info.user_info)
            .bind(info.user)
            .execute(&mut *change)
            .await?;
        let of = sqlx::query_scalar("SELECT skey_hash FROM weappd_sessions WHERE user = ?");
        let rows = of.bind(info.user).fetch_all(&mut *change).await?;
        done.stale.extend(hashes(rows));
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
        let sql = "DELETE FROM weappd_sessions WHERE created < ? ORDER BY created LIMIT 1000";
        let rows = sqlx::query(sql).bind(before).execute(&mut *change).await?;
        done.pruned.push(rows.rows_affected());
    }
    for (app, now, _) in &batch.mini_apps {
        sqlx::query(PUT_MINI_APP)
            .bind(&app.appid)
            .bind(app.secret.expose())
            .bind(now)
            .execute(&mut *change)
            .await?;
    }
    Ok(done)
}

async fn revoke(
    which: &Revoke,
    change: &mut MySqlConnection,
    done: &mut Done,
) -> Result<(), sqlx::Error> {
    let rows: Vec<(i64, Vec<u8>)> = match which {
        Revoke::One(seq) => {
            let sql = "SELECT seq, skey_hash FROM weappd_sessions WHERE seq = ? FOR UPDATE";
            let query = sqlx::query_as(sql).bind(seq);
            query.fetch_all(&mut *change).await?
        }
        Revoke::User { appid, openid } => {
            let sql = "SELECT s.seq, s.skey_hash FROM weappd_sessions AS s \
                JOIN weappd_users AS u ON u.user = s.user \
                WHERE u.appid = ? AND u.openid = ? FOR UPDATE";
            let query = sqlx::query_as(sql).bind(appid).bind(openid);
            query.fetch_all(&mut *change).await?
        }
        Revoke::All => {
            let rows = sqlx::query("DELETE FROM weappd_sessions")
                .execute(&mut *change)
                .await?;
            done.all_stale = true;
            done.revoked.push(rows.rows_affected());
            return Ok(());
        }
    };
    let (seqs, ended): (Vec<i64>, Vec<Vec<u8>>) = rows.into_iter().unzip();
    drop_rows("weappd_sessions", &seqs, change).await?;
    done.revoked.push(ended.len() as u64);
    done.stale.extend(hashes(ended));
    Ok(())
}

async fn write_logins(
    batch: &Batch,
    change: &mut MySqlConnection,
    rules: &Rules,
    done: &mut Done,
) -> Result<(), sqlx::Error> {
    let users = put_users(batch, change).await?;
    put_sessions(batch, &users, change).await?;
    put_keys(batch, &users, rules, change).await?;
    let of: Vec<i64> = users.values().map(|user| user.row).collect();
    let sql = "SELECT seq, user FROM weappd_session_keys WHERE user IN (";
    let keys: Vec<(i64, i64)> = among(sql, &of, ") ORDER BY user, given DESC, seq DESC")
        .build_query_as()
        .fetch_all(&mut *change)
        .await?;
    let old = beyond(&keys, rules.keys_kept);
    drop_rows("weappd_session_keys", &old, change).await?;
    let sql =
        "SELECT seq, skey_hash, user, created, last_visit FROM weappd_sessions WHERE user IN (";
    let rows: Vec<SessionRow> = among(sql, &of, ") ORDER BY user, seq DESC")
        .build_query_as()
        .fetch_all(&mut *change)
        .await?;
    let (sessions, dropped) = rank(rows, rules.max_sessions).ok_or(sqlx::Error::RowNotFound)?;
    drop_rows("weappd_sessions", &dropped, change).await?;
    done.opened = batch
        .opened(&users, &sessions)
        .ok_or(sqlx::Error::RowNotFound)?;
    done.stale.extend(sessions.into_keys());
    Ok(())
}

async fn put_users(batch: &Batch, change: &mut MySqlConnection) -> Result<Users, sqlx::Error> {
    // In one order everywhere: nodes that log the same users in do not wait in a circle.
    let mut logins: Vec<_> = batch.logins.iter().map(|(login, _)| login).collect();
    logins.sort_by(|a, b| (&a.appid, &a.openid).cmp(&(&b.appid, &b.openid)));
    let mut put = QueryBuilder::<MySql>::new(
        "INSERT INTO weappd_users (appid, openid, unionid, id, user_info, created, last_login) ",
    );
    put.push_values(&logins, |mut row, login| {
        row.push_bind(&login.appid)
            .push_bind(&login.openid)
            .push_bind(&login.unionid)
            .push_bind(&login.new_id)
            .push_bind(&login.user_info)
            .push_bind(login.now)
            .push_bind(login.now);
    });
    put.push(
        " ON DUPLICATE KEY UPDATE \
            unionid = COALESCE(VALUES(unionid), unionid), \
            user_info = COALESCE(VALUES(user_info), user_info), \
            last_login = VALUES(last_login)",
    );
    put.build().execute(&mut *change).await?;
    let mut get = QueryBuilder::<MySql>::new(
        "SELECT user, appid, openid, unionid, id, user_info FROM weappd_users WHERE ",
    );
    let mut any = get.separated(" OR ");
    for login in &logins {
        any.push("(appid = ")
            .push_bind_unseparated(&login.appid)
            .push_unseparated(" AND openid = ")
            .push_bind_unseparated(&login.openid)
            .push_unseparated(")");
    }
    let rows: Vec<UserRow> = get.build_query_as().fetch_all(&mut *change).await?;
    Ok(rows.into_iter().map(named).collect())
}

fn named(row: UserRow) -> ((String, String), User) {
    let user = User {
        row: row.0,
        unionid: row.3,
        id: row.4,
        info: row.5,
    };
    ((row.1, row.2), user)
}

async fn put_sessions(
    batch: &Batch,
    users: &Users,
    change: &mut MySqlConnection,
) -> Result<(), sqlx::Error> {
    let mut put = QueryBuilder::<MySql>::new(
        "INSERT INTO weappd_sessions (skey_hash, user, created, last_visit, device) ",
    );
    put.push_values(&batch.logins, |mut row, (login, _)| {
        row.push_bind(&login.hash.0[..])
            .push_bind(users.get(&key(login)).map(|user| user.row))
            .push_bind(login.now)
            .push_bind(login.now)
            .push_bind(&login.device);
    });
    // A login repeated with the same skey leaves its session as it is.
    put.push(" ON DUPLICATE KEY UPDATE seq = seq");
    put.build().execute(&mut *change).await?;
    Ok(())
}

async fn put_keys(
    batch: &Batch,
    users: &Users,
    rules: &Rules,
    change: &mut MySqlConnection,
) -> Result<(), sqlx::Error> {
    let mut put = QueryBuilder::<MySql>::new(
        "INSERT INTO weappd_session_keys (user, fingerprint, sealed, given) ",
    );
    put.push_values(&batch.logins, |mut row, (login, _)| {
        let owner = Owner {
            appid: &login.appid,
            openid: &login.openid,
        };
        let name = rules.vault.fingerprint(&login.session_key);
        row.push_bind(users.get(&key(login)).map(|user| user.row))
            .push_bind(name.to_vec())
            .push_bind(rules.vault.seal(owner, &login.session_key))
            .push_bind(login.now);
    });
    put.push(" ON DUPLICATE KEY UPDATE given = VALUES(given)");
    put.build().execute(&mut *change).await?;
    Ok(())
}

async fn put_visits(visits: &[Visit], change: &mut MySqlConnection) -> Result<(), sqlx::Error> {
    let mut put = QueryBuilder::<MySql>::new(
        "UPDATE weappd_sessions SET last_visit = GREATEST(last_visit, CASE seq",
    );
    for visit in visits {
        // Two numbers of ours.
        put.push(format_args!(" WHEN {} THEN {}", visit.seq, visit.at));
    }
    put.push(" ELSE 0 END) WHERE seq IN (");
    let mut seqs = put.separated(", ");
    for visit in visits {
        seqs.push(visit.seq);
    }
    put.push(")");
    put.build().persistent(false).execute(&mut *change).await?;
    Ok(())
}

async fn drop_rows(
    table: &'static str,
    seqs: &[i64],
    change: &mut MySqlConnection,
) -> Result<(), sqlx::Error> {
    if !seqs.is_empty() {
        among(&format!("DELETE FROM {table} WHERE seq IN ("), seqs, ")")
            .build()
            .execute(&mut *change)
            .await?;
    }
    Ok(())
}

/// `head` and the numbers and `tail`.
fn among(head: &str, numbers: &[i64], tail: &str) -> QueryBuilder<MySql> {
    let mut query = QueryBuilder::new(head);
    let mut list = query.separated(", ");
    for number in numbers {
        list.push_bind(*number);
    }
    query.push(tail);
    query
}
