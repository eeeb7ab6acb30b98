//! The values that nodes share, as rows: see the room's `values`.
//!
//! The table is made when it is first missed, also in a database of the old servers, which
//! do not look at it.

use std::time::Duration;

use sqlx::mysql::MySqlPool;
use weappd_base::unix_time::UnixMillis;

use crate::error::Error;
use crate::shared_values::SealedValue;
use crate::store::mysql::MysqlStore;
use crate::store::mysql::errors::number;

/// How long the database may take: whoever asks has another way.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The error for a table that is not there.
const NO_TABLE: u16 = 1146;

const TABLE: &str = include_str!("../../../schema/mysql/shared_values.sql");
const READ: &str = include_str!("../../../schema/mysql/shared_value_read.sql");
const MAKE: &str = include_str!("../../../schema/mysql/shared_value_make.sql");
const LEASE: &str = include_str!("../../../schema/mysql/shared_value_lease.sql");
const PUT: &str = include_str!("../../../schema/mysql/shared_value_put.sql");
const RELEASE: &str = include_str!("../../../schema/mysql/shared_value_release.sql");

/// sealed value, put at, fence, the server's time.
type SealedColumns = (Vec<u8>, i64, i64, i64);

impl MysqlStore {
    /// The value, if its row was ever made.
    pub(crate) async fn shared_value(&self, name: &str) -> Result<Option<SealedValue>, Error> {
        let found = self
            .read(PATIENCE, |pool| async move {
                match read(&pool, name).await {
                    Err(err) if number(&err) == Some(NO_TABLE) => Ok(None),
                    found => found,
                }
            })
            .await?;
        Ok(found.map(|(_, row)| row))
    }

    /// Takes hold of the value; none if somebody else has it.
    pub(crate) async fn lease_shared_value(
        &self,
        name: &str,
        time: Duration,
    ) -> Result<Option<(i64, SealedValue)>, Error> {
        self.read(PATIENCE, |pool| async move {
            let held = match lease(&pool, name, time).await {
                Err(err) if number(&err) == Some(NO_TABLE) => {
                    sqlx::raw_sql(TABLE).execute(&pool).await?;
                    lease(&pool, name, time).await
                }
                held => held,
            };
            let Some(fence) = held? else {
                return Ok(None);
            };
            let found = read(&pool, name).await?;
            // Somebody else may have it already, if this node slept in between.
            Ok(found.filter(|(newest, _)| *newest == fence))
        })
        .await
    }

    /// Puts the value there and ends the hold, if it is still the newest.
    pub(crate) async fn put_shared_value(
        &self,
        name: &str,
        fence: i64,
        sealed: &[u8],
    ) -> Result<bool, Error> {
        self.read(PATIENCE, |pool| async move {
            let put = sqlx::query(PUT)
                .bind(sealed)
                .bind(name.as_bytes())
                .bind(fence);
            Ok(put.execute(&pool).await?.rows_affected() > 0)
        })
        .await
    }

    /// Ends a hold.
    pub(crate) async fn release_shared_value(&self, name: &str, fence: i64) -> Result<(), Error> {
        self.read(PATIENCE, |pool| async move {
            let end = sqlx::query(RELEASE).bind(name.as_bytes()).bind(fence);
            end.execute(&pool).await?;
            Ok(())
        })
        .await
    }
}

async fn read(pool: &MySqlPool, name: &str) -> Result<Option<(i64, SealedValue)>, sqlx::Error> {
    let found: Option<SealedColumns> = sqlx::query_as(READ)
        .bind(name.as_bytes())
        .fetch_optional(pool)
        .await?;
    Ok(found.map(|(sealed, put_at, fence, now)| {
        let row = SealedValue {
            sealed,
            put_at: UnixMillis::new(put_at),
            now: UnixMillis::new(now),
        };
        (fence, row)
    }))
}

async fn lease(pool: &MySqlPool, name: &str, time: Duration) -> Result<Option<i64>, sqlx::Error> {
    // Half of what a column holds: the database adds it to its own time.
    let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX / 2);
    for is_made in [false, true] {
        let held = sqlx::query(LEASE).bind(millis).bind(name.as_bytes());
        let held = held.execute(pool).await?;
        if held.rows_affected() > 0 {
            return Ok(i64::try_from(held.last_insert_id()).ok());
        }
        if !is_made {
            let made = sqlx::query(MAKE).bind(name.as_bytes());
            if made.execute(pool).await?.rows_affected() == 0 {
                break;
            }
        }
    }
    Ok(None)
}
