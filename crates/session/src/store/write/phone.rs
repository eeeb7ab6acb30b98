//! A user's phone number.

use std::sync::Arc;

use weappd_base::secret::Secret;

use crate::identity::UserIdentity;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::rules::WriteRules;
use crate::store::write::StoreWrite;
use crate::vault::{SecretKind, SecretOwner};

const PUT_PHONE: &str = include_str!("../../../schema/sqlite/put_phone.sql");

/// A phone number to be kept for a user, or forgotten; the user's sessions in the cache are out
/// of date then.
pub(crate) struct NewPhone {
    pub(crate) user: i64,
    pub(crate) who: Arc<UserIdentity>,
    /// As JSON text.
    pub(crate) phone: Option<Secret>,
}

impl NewPhone {
    fn sealed(&self, rules: &WriteRules) -> Option<Vec<u8>> {
        let owner = SecretOwner::of(&self.who);
        let phone = self.phone.as_ref();
        phone.map(|phone| rules.vault.seal(SecretKind::Phone, owner, phone))
    }
}

impl StoreWrite for NewPhone {
    type Answer = ();

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<()> {
        let sealed = self.sealed(change.rules);
        let mut put_phone = change.conn.prepare_cached(PUT_PHONE)?;
        put_phone.execute((self.user, sealed))?;
        change.forget_user(self.user)
    }

    async fn native(&self, change: &mut NativeChange<'_>) -> Result<(), sqlx::Error> {
        sqlx::query("UPDATE weappd_users SET phone = ? WHERE user = ?")
            .bind(self.sealed(change.rules))
            .bind(self.user)
            .execute(&mut *change.conn)
            .await?;
        change.forget_user(self.user).await
    }

    /// There is no room for it: it is answered, not kept.
    async fn cauth(&self, _: &mut CauthChange<'_>) -> Result<(), sqlx::Error> {
        Ok(())
    }
}
