//! The end of sessions, by command.

use sqlx::{MySql, QueryBuilder};

use crate::skey::SkeyHash;
use crate::store::batch::hashes;
use crate::store::cauth::rows::end_rows;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::write::StoreWrite;

const REVOKE_ONE: &str = include_str!("../../../schema/sqlite/revoke_one.sql");
const REVOKE_USER: &str = include_str!("../../../schema/sqlite/revoke_user.sql");

/// Sessions to be ended; the answer says how many were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RevokeScope {
    /// One, by its number.
    One(i64),
    /// All of a user.
    User { appid: String, openid: String },
    /// Everybody's.
    All,
}

impl StoreWrite for RevokeScope {
    type Answer = u64;

    fn sqlite(&self, change: &mut SqliteChange<'_>) -> rusqlite::Result<u64> {
        let hash = |row: &rusqlite::Row<'_>| row.get(0).map(SkeyHash);
        let ended: rusqlite::Result<Vec<SkeyHash>> = match self {
            Self::One(seq) => {
                let mut revoke = change.conn.prepare_cached(REVOKE_ONE)?;
                revoke.query_map([seq], hash)?.collect()
            }
            Self::User { appid, openid } => {
                let mut revoke = change.conn.prepare_cached(REVOKE_USER)?;
                revoke.query_map([appid, openid], hash)?.collect()
            }
            Self::All => {
                let rows = change.conn.execute("DELETE FROM sessions", [])?;
                change.effects.all_ended = true;
                return Ok(rows as u64);
            }
        };
        let ended = ended?;
        let count = ended.len() as u64;
        change.effects.ended.extend(ended);
        Ok(count)
    }

    async fn native(&self, change: &mut NativeChange<'_>) -> Result<u64, sqlx::Error> {
        let rows: Vec<(i64, Vec<u8>)> = match self {
            Self::One(seq) => {
                let sql = "SELECT seq, skey_hash FROM weappd_sessions WHERE seq = ? FOR UPDATE";
                let query = sqlx::query_as(sql).bind(seq);
                query.fetch_all(&mut *change.conn).await?
            }
            Self::User { appid, openid } => {
                let sql = "SELECT s.seq, s.skey_hash FROM weappd_sessions AS s \
                    JOIN weappd_users AS u ON u.user = s.user \
                    WHERE u.appid = ? AND u.openid = ? FOR UPDATE";
                let query = sqlx::query_as(sql).bind(appid).bind(openid);
                query.fetch_all(&mut *change.conn).await?
            }
            Self::All => {
                let rows = sqlx::query("DELETE FROM weappd_sessions")
                    .execute(&mut *change.conn)
                    .await?;
                change.effects.all_ended = true;
                return Ok(rows.rows_affected());
            }
        };
        let (seqs, ended): (Vec<i64>, Vec<Vec<u8>>) = rows.into_iter().unzip();
        let delete = "DELETE FROM weappd_sessions WHERE seq IN (";
        change.drop_rows(delete, &seqs).await?;
        let count = ended.len() as u64;
        change.effects.ended.extend(hashes(ended));
        Ok(count)
    }

    async fn cauth(&self, change: &mut CauthChange<'_>) -> Result<u64, sqlx::Error> {
        let (column, value) = match self {
            Self::One(_) if change.tables.is_wafer2 => return Ok(0),
            Self::One(seq) => ("id", seq.to_string()),
            Self::User { appid, .. } if *appid != change.tables.appid => return Ok(0),
            Self::User { openid, .. } => ("open_id", openid.clone()),
            Self::All => {
                change.effects.all_ended = true;
                ("'all'", "all".to_owned())
            }
        };
        if !change.effects.all_ended {
            let sql = format!("SELECT skey FROM cSessionInfo WHERE {column} = ");
            let mut query = QueryBuilder::<MySql>::new(sql);
            query.push_bind(&value);
            let query = query.build_query_scalar();
            let skeys: Vec<String> = query.fetch_all(&mut *change.conn).await?;
            let ended = skeys.iter().map(|skey| SkeyHash::of(skey));
            change.effects.ended.extend(ended);
        }
        end_rows(column, &value, change).await
    }
}
