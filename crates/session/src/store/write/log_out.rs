//! The end of one session, by its user.

use std::sync::Arc;

use rusqlite::OptionalExtension as _;

use crate::identity::UserIdentity;
use crate::skey::SkeyHash;
use crate::store::cauth::rows::{end_rows, locked_rows};
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::write::StoreWrite;

const LOG_OUT: &str = include_str!("../../../schema/sqlite/log_out.sql");

/// A session to be ended; the answer says whether there was one.
pub(crate) struct EndedSession {
    pub(crate) hash: SkeyHash,
    pub(crate) who: Arc<UserIdentity>,
}

impl StoreWrite for EndedSession {
    type Answer = bool;

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<bool> {
        let mut log_out = change.conn.prepare_cached(LOG_OUT)?;
        let gone = log_out.query_row([&self.hash.0], |row| Ok((row.get(0)?, row.get(1)?)));
        let gone: Option<(i64, i64)> = gone.optional()?;
        if let Some((seq, user)) = gone {
            change.unlist(user, seq)?;
        }
        change.effects.ended.push(self.hash);
        Ok(gone.is_some())
    }

    async fn native(&self, change: &mut NativeChange<'_>) -> Result<bool, sqlx::Error> {
        let rows = sqlx::query("DELETE FROM weappd_sessions WHERE skey_hash = ?")
            .bind(&self.hash.0[..])
            .execute(&mut *change.conn)
            .await?;
        change.effects.ended.push(self.hash);
        Ok(rows.rows_affected() > 0)
    }

    /// The row gets an skey that nobody is told, and the time long ago that ends it for the old
    /// server too.
    async fn cauth(&self, change: &mut CauthChange<'_>) -> Result<bool, sqlx::Error> {
        let openid = &self.who.openid;
        let rows = locked_rows(change.conn, change.tables, &[openid]).await?;
        change.effects.ended.push(self.hash);
        let row = rows.get(openid);
        if row.is_none_or(|row| SkeyHash::of(&row.skey) != self.hash) {
            return Ok(false);
        }
        end_rows("open_id", openid, change).await?;
        Ok(true)
    }
}
