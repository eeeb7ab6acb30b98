//! When sessions were last used.

use crate::store::cauth::tables::ENDED;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::mysql::text::SqlText;
use crate::store::records::LastVisit;
use crate::store::write::StoreWrite;

const PUT_VISIT: &str = include_str!("../../../schema/sqlite/put_visit.sql");
/// How many visits one statement writes.
const VISITS: usize = 200;

/// Last visits to be written.
pub(crate) struct LastVisits(pub(crate) Vec<LastVisit>);

impl StoreWrite for LastVisits {
    type Answer = ();

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<()> {
        let mut put_visit = change.conn.prepare_cached(PUT_VISIT)?;
        for visit in &self.0 {
            put_visit.execute([visit.seq, visit.at.get()])?;
        }
        Ok(())
    }

    async fn native(&self, change: &mut NativeChange<'_>) -> Result<(), sqlx::Error> {
        for visits in self.0.chunks(VISITS) {
            let mut put = SqlText::new();
            put.words("UPDATE weappd_sessions SET last_visit = GREATEST(last_visit, CASE seq");
            for visit in visits {
                put.words(" WHEN ").number(visit.seq);
                put.words(" THEN ").number(visit.at.get());
            }
            put.words(" ELSE 0 END) WHERE seq IN (")
                .list(visits, |put, visit| {
                    put.number(visit.seq);
                })
                .words(")");
            put.execute(&mut *change.conn).await?;
        }
        Ok(())
    }

    /// `create_time` is named because some of these tables set it at every change. What was
    /// ended is not visited.
    async fn cauth(&self, change: &mut CauthChange<'_>) -> Result<(), sqlx::Error> {
        let sql = "UPDATE cSessionInfo SET create_time = create_time, \
                last_visit_time = GREATEST(last_visit_time, FROM_UNIXTIME(?)) \
            WHERE open_id = ? AND uuid = ? AND last_visit_time > FROM_UNIXTIME(?)";
        for visit in &self.0 {
            sqlx::query(sql)
                .bind(visit.at.get())
                .bind(&visit.who.openid)
                .bind(&visit.who.id)
                .bind(ENDED.get())
                .execute(&mut *change.conn)
                .await?;
        }
        Ok(())
    }
}
