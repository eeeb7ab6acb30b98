//! The shape of the old servers' tables, and whose they are.

use std::collections::HashMap;

use sqlx::MySqlConnection;
use weappd_base::unix_time::UnixSecs;

use crate::store::cauth::zone::ClockZones;

/// The `create_time` of a row whose session was ended: a second that every zone can write.
pub(crate) const ENDED: UnixSecs = UnixSecs::new(86_400);
/// What stands in a skey column that nobody may log in by has at least this length.
const SKEY: usize = 64;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ColumnShape {
    pub(crate) is_primary: bool,
    pub(crate) length: usize,
    /// The last letter it takes.
    pub(crate) last_letter: u32,
}

/// The old servers' tables.
#[derive(Clone, Debug)]
pub(crate) struct CauthTables {
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

impl CauthTables {
    /// The tables, if the columns of `cSessionInfo` are theirs.
    pub(crate) fn of(columns: &HashMap<String, ColumnShape>) -> Option<Self> {
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
    pub(crate) fn login_time(
        &self,
        skey: &str,
        created: UnixSecs,
        last_visit: UnixSecs,
    ) -> UnixSecs {
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
            && let Some(advice) = ClockZones::of(conn).await?.advice()
        {
            tracing::warn!("{advice}");
        }
        Ok(())
    }
}
