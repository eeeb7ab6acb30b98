//! A transaction under way, as a write sees it, and what it leaves to be told to the cache.

use sqlx::MySqlConnection;

use crate::skey::SkeyHash;
use crate::store::batch::hashes;
use crate::store::cauth::tables::CauthTables;
use crate::store::mysql::text::SqlText;
use crate::store::rules::WriteRules;

const SESSIONS_OF: &str = include_str!("../../schema/sqlite/sessions_of.sql");

/// What a transaction leaves to be told to the cache.
#[derive(Default)]
pub(crate) struct CacheEffects {
    /// Sessions whose user changed, or that a login pushed out.
    pub(crate) stale: Vec<SkeyHash>,
    /// Sessions that ended after the transaction's logins: a login of the same transaction is
    /// not kept in the cache.
    pub(crate) ended: Vec<SkeyHash>,
    /// Whether all did.
    pub(crate) all_ended: bool,
}

/// In the SQLite file.
pub(crate) struct SqliteChange<'a> {
    pub(crate) conn: &'a rusqlite::Connection,
    pub(crate) rules: &'a WriteRules,
    pub(crate) effects: &'a mut CacheEffects,
}

/// In weappd's own tables on a server.
pub(crate) struct NativeChange<'a> {
    pub(crate) conn: &'a mut MySqlConnection,
    pub(crate) rules: &'a WriteRules,
    pub(crate) effects: &'a mut CacheEffects,
}

/// In the tables of an old server.
pub(crate) struct CauthChange<'a> {
    pub(crate) conn: &'a mut MySqlConnection,
    pub(crate) tables: &'a CauthTables,
    pub(crate) rules: &'a WriteRules,
    pub(crate) effects: &'a mut CacheEffects,
}

impl SqliteChange<'_> {
    /// A user's sessions in memory are out of date.
    pub(crate) fn forget_user(&mut self, user: i64) -> rusqlite::Result<()> {
        let mut sessions_of = self.conn.prepare_cached(SESSIONS_OF)?;
        let hashes = sessions_of.query_map([user], |row| row.get(1).map(SkeyHash))?;
        for hash in hashes {
            self.effects.stale.push(hash?);
        }
        Ok(())
    }
}

impl NativeChange<'_> {
    /// A user's sessions in memory are out of date.
    pub(crate) async fn forget_user(&mut self, user: i64) -> Result<(), sqlx::Error> {
        let of = sqlx::query_scalar("SELECT skey_hash FROM weappd_sessions WHERE user = ?");
        let rows = of.bind(user).fetch_all(&mut *self.conn).await?;
        self.effects.stale.extend(hashes(rows));
        Ok(())
    }

    /// Drops rows by their numbers; `delete` ends in an open parenthesis.
    pub(crate) async fn drop_rows(
        &mut self,
        delete: &'static str,
        seqs: &[i64],
    ) -> Result<(), sqlx::Error> {
        if seqs.is_empty() {
            return Ok(());
        }
        let mut sql = SqlText::new();
        sql.words(delete).numbers(seqs).words(")");
        sql.execute(&mut *self.conn).await
    }
}
