//! The tables of the old servers, used in place: the PHP session server of Wafer 1 and
//! Wafer 2's `wafer-node-sdk`.
//!
//! One row is one user and one session: the original had no more. The skey stands in clear
//! and the session key too, because the old server reads them; it can go on beside weappd.
//! Times are in Beijing's zone (PHP) or the database's, so the database converts them. Read in
//! tencentyun/wafer-session-server (`db.sql`) and `wafer-node-sdk` 1.4.5
//! (`tools/cAuth.sql`).

pub(crate) mod logins;
pub(crate) mod rows;
pub(crate) mod tables;
pub(crate) mod user_info;
mod zone;

use sqlx::MySqlPool;
use weappd_base::secret::{Secret, same_bytes};
use weappd_base::unix_time::UnixSecs;

use crate::config::MiniApp;
use crate::identity::UserIdentity;
use crate::store::cauth::tables::{CauthTables, ENDED};
use crate::store::from_row::impl_from_row;
use crate::store::records::{SessionLookup, SessionRecord, SessionRow, UserRecord};

/// A user's row, which is its session too.
struct CauthSession {
    id: i64,
    uuid: String,
    skey: String,
    openid: String,
    created: UnixSecs,
    last_visit: UnixSecs,
    user_info: String,
}

impl_from_row!(CauthSession {
    id,
    uuid,
    skey,
    openid,
    created: UnixSecs::new,
    last_visit: UnixSecs::new,
    user_info
});

pub(crate) async fn find(
    pool: &MySqlPool,
    tables: &CauthTables,
    wanted: &SessionLookup<'_>,
) -> Result<Option<SessionRow>, sqlx::Error> {
    let sql = match (tables.is_wafer2, wanted.id.is_some()) {
        (false, false) => {
            "SELECT CAST(id AS SIGNED), uuid, skey, open_id, \
                CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
                CAST(COALESCE(UNIX_TIMESTAMP(last_visit_time), 0) AS SIGNED), \
                COALESCE(user_info, '') \
            FROM cSessionInfo WHERE skey = ? LIMIT 16"
        }
        (false, true) => {
            "SELECT CAST(id AS SIGNED), uuid, skey, open_id, \
                CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
                CAST(COALESCE(UNIX_TIMESTAMP(last_visit_time), 0) AS SIGNED), \
                COALESCE(user_info, '') \
            FROM cSessionInfo WHERE skey = ? AND uuid = ? LIMIT 16"
        }
        (true, false) => {
            "SELECT 0, uuid, skey, open_id, \
                CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
                CAST(COALESCE(UNIX_TIMESTAMP(last_visit_time), 0) AS SIGNED), \
                COALESCE(user_info, '') \
            FROM cSessionInfo WHERE skey = ? LIMIT 16"
        }
        (true, true) => {
            "SELECT 0, uuid, skey, open_id, \
                CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
                CAST(COALESCE(UNIX_TIMESTAMP(last_visit_time), 0) AS SIGNED), \
                COALESCE(user_info, '') \
            FROM cSessionInfo WHERE skey = ? AND uuid = ? LIMIT 16"
        }
    };
    let query = sqlx::query_as(sql).bind(wanted.skey);
    let query = match wanted.id {
        Some(id) => query.bind(id),
        None => query,
    };
    let rows: Vec<CauthSession> = query.fetch_all(pool).await?;
    // The column's collation takes other letters for the same; weappd does not.
    let row = rows.into_iter().find(|row| {
        same_bytes(row.skey.as_bytes(), wanted.skey.as_bytes())
            && wanted.id.is_none_or(|id| id == row.uuid)
    });
    let row = row.map(|row| {
        let created = tables.login_time(&row.skey, row.created, row.last_visit);
        (created, row)
    });
    let row = row.filter(|(created, _)| *created > ENDED);
    Ok(row.map(|(created, row)| SessionRow {
        seq: row.id,
        created,
        last_visit: row.last_visit,
        user: row.id,
        appid: tables.appid.clone(),
        openid: row.openid,
        unionid: user_info::unionid(&row.user_info),
        id: row.uuid,
        user_info: user_info::read(&row.user_info),
        // The old servers have no room for it.
        phone: None,
    }))
}

/// The one key the tables have room for.
pub(crate) async fn session_keys(
    pool: &MySqlPool,
    who: &UserIdentity,
) -> Result<Vec<Secret>, sqlx::Error> {
    let sql = "SELECT session_key FROM cSessionInfo WHERE open_id = ? AND uuid = ?";
    let keys: Vec<Option<String>> = sqlx::query_scalar(sql)
        .bind(&who.openid)
        .bind(&who.id)
        .fetch_all(pool)
        .await?;
    let keys = keys.into_iter().flatten().filter(|key| !key.is_empty());
    Ok(keys.map(Secret::new).collect())
}

pub(crate) async fn list(
    pool: &MySqlPool,
    tables: &CauthTables,
    appid: &str,
    openid: &str,
) -> Result<Vec<SessionRecord>, sqlx::Error> {
    if appid != tables.appid {
        return Ok(Vec::new());
    }
    let sql = if tables.is_wafer2 {
        "SELECT 0, skey, CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
            CAST(COALESCE(UNIX_TIMESTAMP(last_visit_time), 0) AS SIGNED) \
        FROM cSessionInfo WHERE open_id = ?"
    } else {
        "SELECT CAST(id AS SIGNED), skey, \
            CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
            CAST(COALESCE(UNIX_TIMESTAMP(last_visit_time), 0) AS SIGNED) \
        FROM cSessionInfo WHERE open_id = ?"
    };
    let rows: Vec<(i64, String, i64, i64)> =
        sqlx::query_as(sql).bind(openid).fetch_all(pool).await?;
    Ok(rows
        .into_iter()
        .map(|(seq, skey, created, visited)| {
            let last_visit = UnixSecs::new(visited);
            let created = tables.login_time(&skey, UnixSecs::new(created), last_visit);
            (seq, created, last_visit)
        })
        .filter(|(_, created, _)| *created > ENDED)
        .map(|(seq, created, last_visit)| SessionRecord {
            seq,
            created,
            last_visit,
            device: None,
            address: None,
        })
        .collect())
}

/// What a user's row tells of the user.
struct CauthUser {
    uuid: String,
    created: UnixSecs,
    user_info: String,
    has_key: i64,
}

impl_from_row!(CauthUser {
    uuid,
    created: UnixSecs::new,
    user_info,
    has_key
});

pub(crate) async fn user(
    pool: &MySqlPool,
    tables: &CauthTables,
    appid: &str,
    openid: &str,
) -> Result<Option<UserRecord>, sqlx::Error> {
    if appid != tables.appid {
        return Ok(None);
    }
    let sql = "SELECT uuid, CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
            COALESCE(user_info, ''), CAST(COALESCE(session_key, '') <> '' AS SIGNED) \
        FROM cSessionInfo WHERE open_id = ? LIMIT 1";
    let row: Option<CauthUser> = sqlx::query_as(sql)
        .bind(openid)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|row| UserRecord {
        user: 0,
        unionid: user_info::unionid(&row.user_info),
        id: row.uuid,
        created: None,
        last_login: row.created,
        phone: None,
        user_info: user_info::read(&row.user_info),
        keys: (row.has_key != 0)
            .then_some(row.created)
            .into_iter()
            .collect(),
    }))
}

/// The user of a row; Wafer 2's rows have no numbers.
pub(crate) async fn owner(
    pool: &MySqlPool,
    tables: &CauthTables,
    session: i64,
) -> Result<Option<(String, String)>, sqlx::Error> {
    if tables.is_wafer2 {
        return Ok(None);
    }
    let sql = "SELECT open_id FROM cSessionInfo WHERE id = ?";
    let openid: Option<String> = sqlx::query_scalar(sql)
        .bind(session)
        .fetch_optional(pool)
        .await?;
    Ok(openid.map(|openid| (tables.appid.clone(), openid)))
}

/// The mini program as the old server knows it, with its durations.
pub(crate) async fn mini_apps(
    pool: &MySqlPool,
    tables: &CauthTables,
) -> Result<Vec<MiniApp>, sqlx::Error> {
    if !tables.has_apps {
        return Ok(Vec::new());
    }
    let sql = "SELECT appid, secret, CAST(COALESCE(login_duration, 30) AS SIGNED), \
            CAST(COALESCE(session_duration, 2592000) AS SIGNED) \
        FROM cAppinfo WHERE appid = ?";
    let rows: Vec<(String, String, i64, i64)> = sqlx::query_as(sql)
        .bind(&tables.appid)
        .fetch_all(pool)
        .await?;
    Ok(rows
        .into_iter()
        .map(|(appid, secret, days, secs)| MiniApp {
            login_duration_days: u32::try_from(days).unwrap_or(0),
            session_duration_secs: u64::try_from(secs).unwrap_or(0),
            ..MiniApp::new(appid, Secret::new(secret))
        })
        .collect())
}
