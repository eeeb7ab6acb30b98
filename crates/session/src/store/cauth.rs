//! The tables of the old servers, used in place: the PHP session server of Wafer 1 and
//! Wafer 2's `wafer-node-sdk`.
//!
//! One row is one user and one session: the original had no more. The skey stands in clear
//! and the session key too, because the old server reads them; it can go on beside weappd.
//! Times are in Beijing's zone (PHP) or the database's, so the database converts them. Read in
//! tencentyun/wafer-session-server (`db.sql`) and `wafer-node-sdk` 1.4.5
//! (`tools/cAuth.sql`).

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod user_info;
mod write;
mod zone;

use std::collections::HashMap;

use sqlx::{MySqlConnection, MySqlPool};
use weappd_base::secret::{Secret, same_bytes};

use crate::config::MiniApp;
use crate::identity::Identity;
use crate::session::Found;
use crate::store::cauth::zone::Zones;
use crate::store::{Known, Listed, Wanted};

pub(crate) use write::write;

/// The `create_time` of a row whose session was ended: a second that every zone can write.
const ENDED: i64 = 86_400;
/// What stands in a skey column that nobody may log in by has at least this length.
const SKEY: usize = 64;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    pub(crate) is_primary: bool,
    pub(crate) length: usize,
    /// The last letter it takes.
    pub(crate) last_letter: u32,
}

/// The old servers' tables.
#[derive(Clone, Debug)]
pub(crate) struct Cauth {
    /// Whether they are Wafer 2's, with the openid as primary key and the user object as
    /// JSON text; else the PHP server's, with a number and base64.
    pub(crate) is_wafer2: bool,
    /// The one mini program whose users they hold.
    pub(crate) appid: String,
    pub(crate) has_apps: bool,
    /// How many characters of user object fit.
    pub(crate) info_length: usize,
    /// The last letter its column takes: MySQL's "utf8" has three bytes, latin1 one.
    pub(crate) last_letter: u32,
    pub(crate) key_length: usize,
    pub(crate) openid_length: usize,
}

/// What the PHP server's log sets for the whole of it (`Asia/Shanghai`).
const BEIJING: &str = "+08:00";
/// How many hex digits the skeys have that Wafer 2 makes: they are the sha1 of a session key.
const WAFER2_SKEY: usize = 40;

/// id, uuid, skey, openid, create time, last visit, user object.
type SessionRow = (i64, String, String, String, i64, i64, String);

impl Cauth {
    /// The tables, if the columns of `cSessionInfo` are theirs.
    pub(crate) fn of(columns: &HashMap<String, Column>) -> Option<Self> {
        let column = |name: &str| columns.get(name).copied();
        let (open_id, info) = (column("open_id")?, column("user_info")?);
        column("create_time")?;
        column("last_visit_time")?;
        if column("uuid")?.length < SKEY || column("skey")?.length < SKEY {
            return None;
        }
        let is_wafer2 = open_id.is_primary;
        if !is_wafer2 && !column("id").is_some_and(|id| id.is_primary) {
            return None;
        }
        Some(Self {
            is_wafer2,
            appid: String::new(),
            has_apps: false,
            info_length: info.length,
            last_letter: info.last_letter,
            key_length: column("session_key")?.length,
            openid_length: open_id.length,
        })
    }

    /// When the user logged in, from the row's own times. Wafer 2 sets `create_time` at a
    /// user's first login and `last_visit_time` at every one; it knows no end but that of
    /// an unused session.
    fn login_time(&self, skey: &str, created: i64, last_visit: i64) -> i64 {
        if self.is_wafer2 && skey.len() == WAFER2_SKEY {
            created.max(last_visit)
        } else {
            created
        }
    }

    /// The zone of the tables' times where the configuration names none, set for `conn`
    /// too: the PHP server's clock shows Beijing's time wherever it stands; Wafer 2's
    /// columns are of a type that the database converts.
    pub(crate) async fn own_zone(
        &self,
        conn: &mut MySqlConnection,
    ) -> Result<Option<String>, sqlx::Error> {
        if self.is_wafer2 {
            return Ok(None);
        }
        sqlx::query("SET time_zone = ?")
            .bind(BEIJING)
            .execute(conn)
            .await?;
        Ok(Some(BEIJING.to_owned()))
    }

    /// Learns which mini program it is, and makes sure that an skey is found without
    /// reading the whole table.
    pub(crate) async fn settle(
        &mut self,
        conn: &mut MySqlConnection,
        appids: &[String],
    ) -> Result<(), sqlx::Error> {
        if self.has_apps {
            let first: Option<String> = sqlx::query_scalar("SELECT appid FROM cAppinfo LIMIT 1")
                .fetch_optional(&mut *conn)
                .await?;
            self.appid = first.unwrap_or_default();
        }
        if let ([only], true) = (appids, self.appid.is_empty()) {
            self.appid.clone_from(only);
        }
        let found: i64 = sqlx::query_scalar(
            "SELECT COUNT(*) FROM information_schema.statistics \
             WHERE table_schema = DATABASE() AND table_name = 'cSessionInfo' \
                AND LOWER(column_name) = 'skey' AND seq_in_index = 1",
        )
        .fetch_one(&mut *conn)
        .await?;
        // The PHP server asked by id and skey only; Wafer 2 and ours ask by skey alone.
        let index = "CREATE INDEX weappd_skey ON cSessionInfo (skey)";
        if found == 0
            && let Err(err) = sqlx::query(index).execute(&mut *conn).await
        {
            tracing::warn!(error = %err, sql = index, "checks by skey alone will be slow: an index could not be made");
        }
        let tables = if self.is_wafer2 {
            "Wafer 2"
        } else {
            "the PHP session server"
        };
        tracing::info!(
            appid = self.appid,
            tables,
            "an old server's database is used in place"
        );
        if self.is_wafer2
            && let Some(advice) = Zones::of(conn).await?.advice()
        {
            tracing::warn!("{advice}");
        }
        Ok(())
    }
}

pub(crate) async fn find(
    pool: &MySqlPool,
    tables: &Cauth,
    wanted: &Wanted<'_>,
) -> Result<Option<Found>, sqlx::Error> {
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
    let rows: Vec<SessionRow> = query.fetch_all(pool).await?;
    // The column's collation takes other letters for the same; weappd does not.
    let row = rows.into_iter().find(|row| {
        same_bytes(row.2.as_bytes(), wanted.skey.as_bytes())
            && wanted.id.is_none_or(|id| id == row.1)
    });
    let row = row.map(|row| (tables.login_time(&row.2, row.4, row.5), row));
    let row = row.filter(|(created, _)| *created > ENDED);
    Ok(row.map(|(created, row)| Found {
        seq: row.0,
        created,
        last_visit: row.5,
        user: row.0,
        appid: tables.appid.clone(),
        openid: row.3,
        unionid: user_info::unionid(&row.6),
        id: row.1,
        user_info: user_info::read(&row.6),
        // The old servers have no room for it.
        phone: None,
    }))
}

/// The one key the tables have room for.
pub(crate) async fn session_keys(
    pool: &MySqlPool,
    who: &Identity,
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
    tables: &Cauth,
    appid: &str,
    openid: &str,
) -> Result<Vec<Listed>, sqlx::Error> {
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
        .map(|row| (tables.login_time(&row.1, row.2, row.3), row))
        .filter(|(created, _)| *created > ENDED)
        .map(|(created, row)| Listed {
            seq: row.0,
            created,
            last_visit: row.3,
            device: None,
            address: None,
        })
        .collect())
}

/// uuid, create time, user object, whether there is a session key.
type KnownRow = (String, i64, String, i64);

pub(crate) async fn user(
    pool: &MySqlPool,
    tables: &Cauth,
    appid: &str,
    openid: &str,
) -> Result<Option<Known>, sqlx::Error> {
    if appid != tables.appid {
        return Ok(None);
    }
    let sql = "SELECT uuid, CAST(COALESCE(UNIX_TIMESTAMP(create_time), 0) AS SIGNED), \
            COALESCE(user_info, ''), CAST(COALESCE(session_key, '') <> '' AS SIGNED) \
        FROM cSessionInfo WHERE open_id = ? LIMIT 1";
    let row: Option<KnownRow> = sqlx::query_as(sql)
        .bind(openid)
        .fetch_optional(pool)
        .await?;
    Ok(row.map(|(id, created, info, has_key)| Known {
        user: 0,
        unionid: user_info::unionid(&info),
        id,
        created: None,
        last_login: created,
        phone: None,
        user_info: user_info::read(&info),
        keys: (has_key != 0).then_some(created).into_iter().collect(),
    }))
}

/// The user of a row; Wafer 2's rows have no numbers.
pub(crate) async fn owner(
    pool: &MySqlPool,
    tables: &Cauth,
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
    tables: &Cauth,
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
