//! What is read of weappd's own tables in MySQL and MariaDB.
//!
//! Only what both have had for ten years: several rows an INSERT, `ON DUPLICATE KEY`, and
//! `VALUES()`, which MariaDB needs.

use sqlx::MySqlPool;
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;

use crate::config::MiniApp;
use crate::identity::UserIdentity;
use crate::store::records::{SessionLookup, SessionRecord, SessionRow, UserRecord, UserRow};
use crate::store::rules::WriteRules;
use crate::store::sealed_columns::{registered, unsealed};

const FIND: &str = include_str!("../../../schema/mysql/find_session.sql");
const LIST: &str = include_str!("../../../schema/mysql/list_sessions.sql");

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
    let keys: Vec<i64> = sqlx::query_scalar(sql)
        .bind(row.user)
        .fetch_all(pool)
        .await?;
    let given = keys.into_iter().map(UnixSecs::new);
    Ok(Some(row.with_keys(given.collect())))
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
