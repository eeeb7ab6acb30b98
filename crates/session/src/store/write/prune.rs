//! Sessions that ended long ago are dropped.

use weappd_base::unix_time::UnixSecs;

use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::write::StoreWrite;

const PRUNE: &str = include_str!("../../../schema/sqlite/prune.sql");

/// Drops some of the sessions whose login is older; the answer says how many.
pub(crate) struct PruneSessions {
    pub(crate) before: UnixSecs,
}

impl StoreWrite for PruneSessions {
    type Answer = u64;

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<u64> {
        let mut prune = change.conn.prepare_cached(PRUNE)?;
        Ok(prune.execute([self.before.get()])? as u64)
    }

    /// Logins stand in the order of seq, so the oldest thousand are the ones to look at.
    async fn native(&self, change: &mut NativeChange<'_>) -> Result<u64, sqlx::Error> {
        let sql = "SELECT seq FROM \
                (SELECT seq, created FROM weappd_sessions ORDER BY seq LIMIT 1000) AS oldest \
            WHERE created < ?";
        let old: Vec<i64> = sqlx::query_scalar(sql)
            .bind(self.before.get())
            .fetch_all(&mut *change.conn)
            .await?;
        let delete = "DELETE FROM weappd_sessions WHERE seq IN (";
        change.drop_rows(delete, &old).await?;
        Ok(old.len() as u64)
    }

    /// The rows are the users: none is dropped.
    async fn cauth(&self, _: &mut CauthChange<'_>) -> Result<u64, sqlx::Error> {
        Ok(0)
    }
}
