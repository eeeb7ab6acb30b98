//! A transaction under way, as a write sees it, and what it leaves to be told to the cache.

use rusqlite::OptionalExtension as _;
use sqlx::MySqlConnection;

use crate::skey::SkeyHash;
use crate::store::batch::hashes;
use crate::store::cauth::tables::CauthTables;
use crate::store::mysql::text::SqlText;
use crate::store::rules::WriteRules;
use crate::store::sqlite::session_list::SessionList;

const SESSIONS_OF: &str = include_str!("../../schema/sqlite/sessions_of.sql");
const PUT_SESSIONS: &str = include_str!("../../schema/sqlite/put_sessions.sql");

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
        let sessions = self.sessions_of(user)?;
        let hashes = sessions.sessions().map(|(_, hash)| hash);
        self.effects.stale.extend(hashes);
        Ok(())
    }

    /// A user's sessions, and some that ended.
    pub(crate) fn sessions_of(&self, user: i64) -> rusqlite::Result<SessionList> {
        let mut sessions_of = self.conn.prepare_cached(SESSIONS_OF)?;
        let listed = sessions_of.query_row([user], |row| row.get(0));
        Ok(SessionList::of(listed.optional()?.flatten()))
    }

    /// A user has these sessions now.
    pub(crate) fn put_sessions(&self, user: i64, sessions: &SessionList) -> rusqlite::Result<()> {
        let mut put_sessions = self.conn.prepare_cached(PUT_SESSIONS)?;
        put_sessions.execute((user, sessions.bytes()))?;
        Ok(())
    }

    /// One of a user's sessions is gone.
    pub(crate) fn unlist(&self, user: i64, seq: i64) -> rusqlite::Result<()> {
        let mut sessions = self.sessions_of(user)?;
        if sessions.remove(seq) {
            self.put_sessions(user, &sessions)?;
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
