//! The rows of an old server's table: found and locked, and ended.

use std::collections::HashMap;

use sqlx::{MySql, MySqlConnection, QueryBuilder};

use crate::store::cauth::tables::{CauthTables, ENDED};
use crate::store::change::CauthChange;
use crate::store::from_row::impl_from_row;

/// A user's row, as it is found or as this transaction leaves it.
pub(crate) struct LockedRow {
    pub(crate) id: i64,
    pub(crate) openid: String,
    pub(crate) uuid: String,
    pub(crate) skey: String,
    pub(crate) info: String,
}

impl_from_row!(LockedRow {
    id,
    openid,
    uuid,
    skey,
    info
});

/// The rows of the openids, locked until the transaction ends.
pub(crate) async fn locked_rows(
    change: &mut MySqlConnection,
    tables: &CauthTables,
    openids: &[&String],
) -> Result<HashMap<String, LockedRow>, sqlx::Error> {
    let id = if tables.is_wafer2 {
        "0"
    } else {
        "CAST(id AS SIGNED)"
    };
    let mut query = QueryBuilder::<MySql>::new(format!(
        "SELECT {id}, open_id, uuid, skey, COALESCE(user_info, '') FROM cSessionInfo WHERE open_id IN ("
    ));
    let mut list = query.separated(", ");
    for openid in openids {
        list.push_bind(*openid);
    }
    query.push(") FOR UPDATE");
    let rows: Vec<LockedRow> = query.build_query_as().fetch_all(&mut *change).await?;
    let by_openid = rows.into_iter().map(|row| (row.openid.clone(), row));
    Ok(by_openid.collect())
}

/// Ends sessions: their rows get an skey that nobody is told, and the time long ago that ends them
/// for the old server too. Says how many.
pub(crate) async fn end_rows(
    column: &'static str,
    value: &str,
    change: &mut CauthChange<'_>,
) -> Result<u64, sqlx::Error> {
    let mut query = QueryBuilder::<MySql>::new("UPDATE cSessionInfo SET skey = SHA2(CONCAT(");
    query
        .push_bind(change.rules.vault.random())
        .push(", open_id), 256), create_time = FROM_UNIXTIME(")
        .push_bind(ENDED.get())
        .push("), last_visit_time = FROM_UNIXTIME(")
        .push_bind(ENDED.get())
        .push(format!(") WHERE {column} = "))
        .push_bind(value)
        .push(" AND last_visit_time > FROM_UNIXTIME(")
        .push_bind(ENDED.get())
        .push(")");
    let rows = query.build().execute(&mut *change.conn).await?;
    Ok(rows.rows_affected())
}
