//! A user object.

use std::sync::Arc;

use crate::identity::UserIdentity;
use crate::skey::SkeyHash;
use crate::store::cauth::rows::locked_rows;
use crate::store::cauth::user_info;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::write::StoreWrite;

const PUT_INFO: &str = include_str!("../../../schema/sqlite/put_info.sql");

/// A user object to be kept in place of the known one; the user's sessions in the cache are out
/// of date then.
pub(crate) struct NewProfile {
    pub(crate) user: i64,
    pub(crate) who: Arc<UserIdentity>,
    pub(crate) user_info: String,
}

impl StoreWrite for NewProfile {
    type Answer = ();

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<()> {
        let mut put_info = change.conn.prepare_cached(PUT_INFO)?;
        put_info.execute((self.user, &self.user_info))?;
        change.forget_user(self.user)
    }

    async fn native(&self, change: &mut NativeChange<'_>) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE weappd_users SET user_info = ? WHERE user = ?")
            .bind(&self.user_info)
            .bind(self.user)
            .execute(&mut *change.conn)
            .await?;
        change.forget_user(self.user).await
    }

    async fn cauth(&self, change: &mut CauthChange<'_>) -> Result<(), sqlx::Error> {
        let who = &self.who;
        let rows = locked_rows(change.conn, change.tables, &[&who.openid]).await?;
        let sql = "UPDATE cSessionInfo SET user_info = ?, create_time = create_time, \
            last_visit_time = last_visit_time WHERE open_id = ? AND uuid = ?";
        sqlx::query(sql)
            .bind(user_info::write(change.tables, &self.user_info))
            .bind(&who.openid)
            .bind(&who.id)
            .execute(&mut *change.conn)
            .await?;
        let stale = rows.values().map(|row| SkeyHash::of(&row.skey));
        change.effects.stale.extend(stale);
        Ok(())
    }
}
