//! A session key that WeChat gave without a login.

use std::sync::Arc;

use rusqlite::OptionalExtension as _;
use weappd_base::secret::Secret;
use weappd_base::unix_time::UnixSecs;

use crate::identity::UserIdentity;
use crate::store::batch::beyond;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::sqlite::key_list::KeyList;
use crate::store::write::StoreWrite;
use crate::vault::{SecretKind, SecretOwner};

const SESSION_KEYS: &str = include_str!("../../../schema/sqlite/session_keys.sql");
const PUT_KEYS: &str = include_str!("../../../schema/sqlite/put_keys.sql");

/// A session key to be kept as the user's newest.
pub(crate) struct NewKey {
    pub(crate) user: i64,
    pub(crate) who: Arc<UserIdentity>,
    pub(crate) session_key: Secret,
    pub(crate) now: UnixSecs,
}

impl StoreWrite for NewKey {
    type Answer = ();

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<()> {
        let mut known = change.conn.prepare_cached(SESSION_KEYS)?;
        let known = known.query_row([self.user], |row| row.get(0)).optional()?;
        let mut keys = KeyList::of(known.flatten());
        let owner = SecretOwner::of(&self.who);
        keys.put((&self.session_key, self.now), owner, change.rules);
        let mut put_keys = change.conn.prepare_cached(PUT_KEYS)?;
        put_keys.execute((self.user, keys.bytes()))?;
        Ok(())
    }

    async fn native(&self, change: &mut NativeChange<'_>) -> Result<(), sqlx::Error> {
        let (vault, key) = (&change.rules.vault, &self.session_key);
        let owner = SecretOwner::of(&self.who);
        sqlx::query(
            "INSERT INTO weappd_session_keys (user, fingerprint, sealed, given) \
                VALUES (?, ?, ?, ?) ON DUPLICATE KEY UPDATE given = VALUES(given)",
        )
        .bind(self.user)
        .bind(vault.fingerprint(key).to_vec())
        .bind(vault.seal(SecretKind::SessionKey, owner, key))
        .bind(self.now.get())
        .execute(&mut *change.conn)
        .await?;
        let sql = "SELECT seq, user FROM weappd_session_keys WHERE user = ? \
            ORDER BY given DESC, seq DESC";
        let keys: Vec<(i64, i64)> = sqlx::query_as(sql)
            .bind(self.user)
            .fetch_all(&mut *change.conn)
            .await?;
        let old = beyond(&keys, change.rules.keys_kept());
        let delete = "DELETE FROM weappd_session_keys WHERE seq IN (";
        change.drop_rows(delete, &old).await
    }

    /// In place of the known one, as a login would.
    async fn cauth(&self, change: &mut CauthChange<'_>) -> Result<(), sqlx::Error> {
        let key = Some(self.session_key.expose());
        let key = key.filter(|key| key.len() <= change.tables.key_length);
        let sql = "UPDATE cSessionInfo SET session_key = ?, create_time = create_time, \
            last_visit_time = last_visit_time WHERE open_id = ? AND uuid = ?";
        sqlx::query(sql)
            .bind(key.unwrap_or_default())
            .bind(&self.who.openid)
            .bind(&self.who.id)
            .execute(&mut *change.conn)
            .await?;
        Ok(())
    }
}
