//! A mini program that was registered over the RPC.

use weappd_base::unix_time::UnixSecs;

use crate::config::MiniApp;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::rules::WriteRules;
use crate::store::write::StoreWrite;
use crate::vault::{SecretKind, SecretOwner};

const PUT_MINI_APP: &str = include_str!("../../../schema/sqlite/put_mini_app.sql");
const PUT_NATIVE: &str = include_str!("../../../schema/mysql/put_mini_app.sql");

/// A mini program to be kept.
pub(crate) struct RegisteredApp {
    pub(crate) app: MiniApp,
    pub(crate) now: UnixSecs,
}

impl RegisteredApp {
    fn sealed(&self, rules: &WriteRules) -> Vec<u8> {
        let owner = SecretOwner::app(&self.app.appid);
        rules
            .vault
            .seal(SecretKind::AppSecret, owner, &self.app.secret)
    }
}

impl StoreWrite for RegisteredApp {
    type Answer = ();

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<()> {
        let sealed = self.sealed(change.rules);
        let mut put_mini_app = change.conn.prepare_cached(PUT_MINI_APP)?;
        put_mini_app.execute((&self.app.appid, sealed, self.now.get()))?;
        Ok(())
    }

    async fn native(&self, change: &mut NativeChange<'_>) -> Result<(), sqlx::Error> {
        sqlx::query(PUT_NATIVE)
            .bind(&self.app.appid)
            .bind(self.sealed(change.rules))
            .bind(self.now.get())
            .execute(&mut *change.conn)
            .await?;
        Ok(())
    }

    /// It is registered with the old server, not here: the RPC refuses it.
    async fn cauth(&self, _: &mut CauthChange<'_>) -> Result<(), sqlx::Error> {
        Ok(())
    }
}
