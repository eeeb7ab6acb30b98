//! The values that nodes share, as rows: see the room's `shelf`.
//!
//! The table is made when it is first missed, also in a database of the old servers, which
//! do not look at it.

use std::time::Duration;

use sqlx::mysql::MySqlPool;

use crate::error::Error;
use crate::shelf::Row;
use crate::store::mysql::{Mysql, number};

/// How long the database may take: whoever asks has another way.
const PATIENCE: Duration = Duration::from_millis(1500);
/// The error for a table that is not there.
const NO_TABLE: u16 = 1146;

const TABLE: &str = include_str!("../../../schema/mysql/shelf.sql");
const LOOK: &str = include_str!("../../../schema/mysql/shelf_look.sql");
const MAKE: &str = include_str!("../../../schema/mysql/shelf_make.sql");
const HOLD: &str = include_str!("../../../schema/mysql/shelf_hold.sql");
const PUT: &str = include_str!("../../../schema/mysql/shelf_put.sql");
const LET_GO: &str = include_str!("../../../schema/mysql/shelf_let_go.sql");

/// sealed value, put at, fence, the server's time.
type Columns = (Vec<u8>, i64, i64, i64);

impl Mysql {
    /// The value, if its row was ever made.
    pub(crate) async fn shelf_row(&self, name: &str) -> Result<Option<Row>, Error> {
        let found = self
            .read(PATIENCE, |pool| async move {
                match look(&pool, name).await {
                    Err(err) if number(&err) == Some(NO_TABLE) => Ok(None),
                    found => found,
                }
            })
            .await?;
        Ok(found.map(|(_, row)| row))
    }

    /// Takes hold of the value; none if somebody else has it.
    pub(crate) async fn shelf_hold(
        &self,
        name: &str,
        millis: i64,
    ) -> Result<Option<(i64, Row)>, Error> {
        self.read(PATIENCE, |pool| async move {
            let held = match hold(&pool, name, millis).await {
                Err(err) if number(&err) == Some(NO_TABLE) => {
                    sqlx::raw_sql(TABLE).execute(&pool).await?;
                    hold(&pool, name, millis).await
                }
                held => held,
            };
            let Some(fence) = held? else {
                return Ok(None);
            };
            let found = look(&pool, name).await?;
            // Somebody else may have it already, if this node slept in between.
            Ok(found.filter(|(now, _)| *now == fence))
        })
        .await
    }

    /// Puts the value there and ends the hold, if it is still the newest.
    pub(crate) async fn shelf_put(
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
    pub(crate) async fn shelf_let_go(&self, name: &str, fence: i64) -> Result<(), Error> {
        self.read(PATIENCE, |pool| async move {
            let end = sqlx::query(LET_GO).bind(name.as_bytes()).bind(fence);
            end.execute(&pool).await?;
            Ok(())
        })
        .await
    }
}

async fn look(pool: &MySqlPool, name: &str) -> Result<Option<(i64, Row)>, sqlx::Error> {
    let found: Option<Columns> = sqlx::query_as(LOOK)
        .bind(name.as_bytes())
        .fetch_optional(pool)
        .await?;
    Ok(found.map(|(sealed, put_at, fence, now)| {
        let row = Row {
            sealed,
            put_at,
            now,
        };
        (fence, row)
    }))
}

async fn hold(pool: &MySqlPool, name: &str, millis: i64) -> Result<Option<i64>, sqlx::Error> {
    for is_made in [false, true] {
        let held = sqlx::query(HOLD).bind(millis).bind(name.as_bytes());
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
