//! The logins of one transaction in the old servers' tables.

use std::sync::Arc;

use sqlx::MySqlConnection;

use crate::session::CachedSession;
use crate::skey::SkeyHash;
use crate::store::cauth::rows::{LockedRow, locked_rows};
use crate::store::cauth::tables::CauthTables;
use crate::store::cauth::user_info;
use crate::store::change::CacheEffects;
use crate::store::new_login::{NewLogin, OpenedSession};
use crate::store::records::SessionRow;

/// Writes the logins, inside the caller's transaction.
pub(crate) async fn write(
    logins: &[&NewLogin],
    change: &mut MySqlConnection,
    tables: &CauthTables,
    effects: &mut CacheEffects,
) -> Result<Vec<OpenedSession>, sqlx::Error> {
    let mut openids: Vec<_> = logins.iter().map(|login| &login.openid).collect();
    openids.sort_unstable();
    openids.dedup();
    let mut users = locked_rows(change, tables, &openids).await?;
    let olds = users.values().map(|row| SkeyHash::of(&row.skey));
    effects.stale.extend(olds);
    let mut done = Vec::with_capacity(logins.len());
    for login in logins {
        let before = users.remove(&login.openid);
        let is_new_user = before.as_ref().is_none_or(|row| row.uuid == login.new_id);
        let row = put(login, before, change, tables).await?;
        let found = SessionRow {
            seq: row.id,
            created: login.now,
            last_visit: login.now,
            user: row.id,
            appid: tables.appid.clone(),
            openid: login.openid.clone(),
            unionid: user_info::unionid(&row.info).or_else(|| login.unionid.clone()),
            id: row.uuid.clone(),
            user_info: user_info::read(&row.info),
            phone: None,
        };
        users.insert(login.openid.clone(), row);
        done.push(OpenedSession {
            is_new_user,
            is_kept: false,
            session: Arc::new(CachedSession::new(
                login.hash,
                found,
                Arc::clone(&login.terms),
            )),
        });
        effects.stale.push(login.hash);
    }
    // The original's rule: one session for each user, the last one.
    for (login, opened) in logins.iter().zip(&mut done) {
        let row = users.get(&login.openid);
        opened.is_kept = row.is_some_and(|row| row.skey == login.skey.expose());
    }
    Ok(done)
}

/// Writes one login into the user's row, or makes the row.
async fn put(
    login: &NewLogin,
    before: Option<LockedRow>,
    change: &mut MySqlConnection,
    tables: &CauthTables,
) -> Result<LockedRow, sqlx::Error> {
    let key = Some(login.session_key.expose()).filter(|key| key.len() <= tables.key_length);
    let info = match (&login.user_info, &before) {
        (Some(info), _) => user_info::write(tables, info),
        (None, Some(before)) if !tells_more(login, &before.info) => before.info.clone(),
        (None, before) => {
            let known = before.as_ref().and_then(|row| user_info::read(&row.info));
            let mut fields: serde_json::Map<_, _> = known
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_default();
            crate::session::name_user(&mut fields, &login.openid, login.unionid.as_deref());
            user_info::write(tables, &serde_json::Value::from(fields).to_string())
        }
    };
    let sql = if before.is_some() {
        "UPDATE cSessionInfo SET uuid = ?, skey = ?, create_time = FROM_UNIXTIME(?), \
            last_visit_time = FROM_UNIXTIME(?), session_key = ?, user_info = ? WHERE open_id = ?"
    } else {
        "INSERT INTO cSessionInfo \
            (uuid, skey, create_time, last_visit_time, session_key, user_info, open_id) \
        VALUES (?, ?, FROM_UNIXTIME(?), FROM_UNIXTIME(?), ?, ?, ?)"
    };
    let uuid = before.as_ref().map_or(&login.new_id, |row| &row.uuid);
    let outcome = sqlx::query(sql)
        .bind(uuid)
        .bind(login.skey.expose())
        .bind(login.now.get())
        .bind(login.now.get())
        .bind(key.unwrap_or_default())
        .bind(&info)
        .bind(&login.openid)
        .execute(&mut *change)
        .await?;
    let made = i64::try_from(outcome.last_insert_id()).unwrap_or(0);
    Ok(LockedRow {
        id: before.as_ref().map_or(made, |row| row.id),
        openid: login.openid.clone(),
        uuid: uuid.clone(),
        skey: login.skey.expose().to_owned(),
        info,
    })
}

/// Whether WeChat told a unionid that the user's row does not know: it has no column.
fn tells_more(login: &NewLogin, info: &str) -> bool {
    login.unionid.is_some() && user_info::unionid(info).is_none()
}
