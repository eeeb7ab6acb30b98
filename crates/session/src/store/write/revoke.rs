//! The end of sessions, by command.

use rusqlite::OptionalExtension as _;
use sqlx::{MySql, QueryBuilder};

use crate::skey::SkeyHash;
use crate::store::batch::hashes;
use crate::store::cauth::rows::end_rows;
use crate::store::change::{CauthChange, NativeChange, SqliteChange};
use crate::store::sqlite::session_list::SessionList;
use crate::store::write::StoreWrite;

const REVOKE_ONE: &str = include_str!("../../../schema/sqlite/revoke_one.sql");
const USER_NAMED: &str = include_str!("../../../schema/sqlite/user_named.sql");
const DROP_SESSION: &str = include_str!("../../../schema/sqlite/drop_session.sql");

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
        match self {
            Self::One(seq) => {
                let mut revoke = change.conn.prepare_cached(REVOKE_ONE)?;
                let gone = revoke.query_row([seq], |row| Ok((row.get(0)?, row.get(1)?)));
                let gone: Option<([u8; 32], i64)> = gone.optional()?;
                if let Some((hash, user)) = gone {
                    change.unlist(user, *seq)?;
                    change.effects.ended.push(SkeyHash(hash));
                }
                Ok(u64::from(gone.is_some()))
            }
            Self::User { appid, openid } => {
                let mut user = change.conn.prepare_cached(USER_NAMED)?;
                let user = user.query_row([appid, openid], |row| row.get(0));
                let Some(user) = user.optional()? else {
                    return Ok(0);
                };
                let mut count = 0;
                for (seq, hash) in change.sessions_of(user)?.sessions() {
                    let mut end = change.conn.prepare_cached(DROP_SESSION)?;
                    count += end.execute([seq])? as u64;
                    change.effects.ended.push(hash);
                }
                change.put_sessions(user, &SessionList::default())?;
                Ok(count)
            }
            // The users' lists are left as they are: all in them is older than what comes.
            Self::All => {
                let rows = change.conn.execute("DELETE FROM sessions", [])?;
                change.effects.all_ended = true;
                Ok(rows as u64)
            }
        }
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
