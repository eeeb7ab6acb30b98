//! The logins of one transaction in weappd's own tables: all of them in three journeys to the
//! server, however many they are.
//!
//! Users who are not remembered are looked for first: a row that is put and found to be there
//! costs the server an insertion and its undoing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};

use quick_cache::sync::Cache;
use sqlx::MySqlConnection;
use weappd_base::unix_time::UnixSecs;

use crate::skey::SkeyHash;
use crate::store::batch::{BatchUser, BatchUsers, RankedSession, beyond, key, opened, rank};
use crate::store::change::CacheEffects;
use crate::store::from_row::impl_from_row;
use crate::store::mysql::text::SqlText;
use crate::store::new_login::{NewLogin, OpenedSession};
use crate::store::rules::WriteRules;
use crate::vault::{SecretKind, SecretOwner};

/// How many users one statement writes: a user object may have 24 KB, and a server need not
/// take more than 4 MB at once.
const USERS: usize = 64;

/// How many users' rows are remembered.
const REMEMBERED: usize = 65_536;

/// The rows of users who logged in lately: they need not be looked for. Each is proven when
/// it is read.
pub(crate) struct UserIdCache(Cache<(String, String), i64>);

impl Default for UserIdCache {
    fn default() -> Self {
        Self(Cache::new(REMEMBERED))
    }
}

/// The rows of a batch's users by their names.
type UserIds = HashMap<(String, String), i64>;

/// Writes the logins, inside the caller's transaction, which has done nothing yet.
pub(crate) async fn write(
    logins: &[&NewLogin],
    change: &mut MySqlConnection,
    (rules, ids): (&WriteRules, &UserIdCache),
    effects: &mut CacheEffects,
) -> Result<Vec<OpenedSession>, sqlx::Error> {
    let ordered = in_order(logins);
    let of = rows_of(&ordered, ids, change).await?;
    let mut rows = put(logins, &of, rules, change).await?;
    if of
        .iter()
        .any(|(name, row)| rows.users.get(name).is_none_or(|user| user.row != *row))
    {
        // Somebody took users away or put others in their place. The next trial knows none.
        ids.0.clear();
        return Err(sqlx::Error::Protocol(
            "users have other rows now".to_owned(),
        ));
    }
    let changed = renew(&ordered, &mut rows.users);
    // Other sessions of theirs tell another story now.
    let news: HashSet<i64> = changed
        .iter()
        .filter_map(|name| rows.users.get(name))
        .map(|user| user.row)
        .collect();
    let stale = rows.sessions.iter().filter(|row| news.contains(&row.user));
    effects.stale.extend(stale.map(|row| row.hash));
    let (sessions, dropped) = rank(rows.sessions, rules.max_sessions());
    let mut sql = SqlText::new();
    for changed in changed.chunks(USERS) {
        put_changes(&mut sql, changed, &rows.users)?;
        if sql.is_long() {
            sql.take().execute(&mut *change).await?;
        }
    }
    drop_rows(
        &mut sql,
        "DELETE FROM weappd_session_keys WHERE seq IN (",
        &beyond(&rows.keys, rules.keys_kept()),
    );
    drop_rows(
        &mut sql,
        "DELETE FROM weappd_sessions WHERE seq IN (",
        &dropped,
    );
    sql.execute(&mut *change).await?;
    let opened = opened(logins, &rows.users, &sessions).ok_or(sqlx::Error::RowNotFound)?;
    let ended = sessions.into_iter().filter(|(_, row)| !row.kept);
    effects.stale.extend(ended.map(|(hash, _)| hash));
    Ok(opened)
}

fn drop_rows(sql: &mut SqlText, from: &'static str, seqs: &[i64]) {
    if !seqs.is_empty() {
        sql.words(from).numbers(seqs).words("); ");
    }
}

/// The logins in one order everywhere: nodes that log the same users in do not wait in a
/// circle.
fn in_order<'a>(logins: &[&'a NewLogin]) -> Vec<&'a NewLogin> {
    let mut logins = logins.to_vec();
    logins.sort_by(|a, b| (&a.appid, &a.openid).cmp(&(&b.appid, &b.openid)));
    logins
}

/// The row of each user; those who log in for the first time get one. The transaction begins
/// anew after a look: what it reads later is read when the users' rows are its own.
async fn rows_of(
    logins: &[&NewLogin],
    ids: &UserIdCache,
    change: &mut MySqlConnection,
) -> Result<UserIds, sqlx::Error> {
    let (mut of, mut unknown) = (UserIds::new(), Vec::new());
    for login in logins {
        let name = key(login);
        match ids.0.get(&name) {
            Some(row) => {
                of.insert(name, row);
            }
            None => unknown.push(*login),
        }
    }
    if unknown.is_empty() {
        return Ok(of);
    }
    let mut sql = SqlText::new();
    select_ids(&mut sql, &unknown);
    sql.words("; COMMIT; BEGIN");
    let rows: Vec<(i64, String, String)> = sql.fetch(&mut *change).await?;
    for (row, appid, openid) in rows {
        ids.0.insert((appid.clone(), openid.clone()), row);
        of.insert((appid, openid), row);
    }
    unknown.retain(|login| !of.contains_key(&key(login)));
    for strangers in unknown.chunks(USERS) {
        let mut sql = SqlText::new();
        put_strangers(&mut sql, strangers);
        select_ids(&mut sql, strangers);
        // As it stands now, and not yet for the reads to come.
        sql.words(" FOR UPDATE");
        let rows: Vec<(i64, String, String)> = sql.fetch(&mut *change).await?;
        // They are remembered when they come again: this may be undone.
        of.extend(
            rows.into_iter()
                .map(|(row, appid, openid)| ((appid, openid), row)),
        );
    }
    Ok(of)
}

fn put_strangers(sql: &mut SqlText, strangers: &[&NewLogin]) {
    sql.words(
        "INSERT INTO weappd_users \
            (appid, openid, unionid, id, user_info, created, last_login) VALUES ",
    )
    .list(strangers, |sql, login| {
        sql.words("(").text(&login.appid).words(", ");
        sql.text(&login.openid).words(", ");
        sql.maybe(login.unionid.as_deref()).words(", ");
        sql.text(&login.new_id).words(", ");
        sql.maybe(login.user_info.as_deref()).words(", ");
        sql.numbers(&[login.now.get(), login.now.get()]).words(")");
    })
    // Another node may have been faster.
    .words(
        " ON DUPLICATE KEY UPDATE \
            unionid = COALESCE(VALUES(unionid), unionid), \
            user_info = COALESCE(VALUES(user_info), user_info), \
            last_login = VALUES(last_login); ",
    );
}

fn select_ids(sql: &mut SqlText, logins: &[&NewLogin]) {
    let mut by_app: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for login in logins {
        let openids = by_app.entry(&login.appid).or_default();
        openids.push(&login.openid);
    }
    sql.words("SELECT user, appid, openid FROM weappd_users FORCE INDEX (of_app) WHERE ");
    for (at, (appid, openids)) in by_app.into_iter().enumerate() {
        sql.words(if at > 0 { " OR (appid = " } else { "(appid = " })
            .text(appid)
            .words(" AND openid IN (")
            .list(openids, |sql, openid| {
                sql.text(openid);
            })
            .words("))");
    }
}

/// What a batch's users are and have after it was put.
#[derive(Default)]
struct BatchRows {
    users: BatchUsers,
    sessions: Vec<RankedSession>,
    keys: Vec<(i64, i64)>,
}

/// What a user is and has, and the newest session of all before this batch.
struct UserBundle {
    user: i64,
    appid: String,
    openid: String,
    unionid: Option<String>,
    id: String,
    info: Option<String>,
    phone: Option<Vec<u8>>,
    sessions: Option<Vec<u8>>,
    keys: Option<String>,
    newest: i64,
}

impl_from_row!(UserBundle {
    user,
    appid,
    openid,
    unionid,
    id,
    info,
    phone,
    sessions,
    keys,
    newest
});

/// The bytes of a session as it is read: its hash, and its `seq` in 19 digits.
const SESSION: usize = 32 + 19;

/// Puts sessions and keys; reads what each user is and has then.
async fn put(
    logins: &[&NewLogin],
    of: &UserIds,
    rules: &WriteRules,
    change: &mut MySqlConnection,
) -> Result<BatchRows, sqlx::Error> {
    let mut users: Vec<i64> = of.values().copied().collect();
    users.sort_unstable();
    let newest = logins.iter().map(|login| login.now).max();
    let mut sql = SqlText::new();
    // Locks the rows of all the users, and no others: who comes next waits here.
    sql.words("UPDATE weappd_users FORCE INDEX (PRIMARY) SET last_login = ")
        .number(newest.unwrap_or_default().get())
        .words(" WHERE user IN (")
        .numbers(&users)
        .words("); ")
        .words("SET @before = (SELECT COALESCE(MAX(seq), 0) FROM weappd_sessions); ");
    put_sessions(&mut sql, logins, of)?;
    put_keys(&mut sql, logins, of, rules)?;
    // A row for each user: one for each session costs both sides more than taking it apart.
    sql.words("SET SESSION group_concat_max_len = 4194304; ")
        .words(
            "SELECT u.user, u.appid, u.openid, u.unionid, u.id, u.user_info, u.phone, \
                (SELECT GROUP_CONCAT(s.skey_hash, LPAD(s.seq, 19, '0') SEPARATOR '') \
                    FROM weappd_sessions AS s WHERE s.user = u.user), \
                (SELECT GROUP_CONCAT(k.given, ':', k.seq) FROM weappd_session_keys AS k \
                    WHERE k.user = u.user), \
                CAST(@before AS SIGNED) \
            FROM weappd_users AS u WHERE u.user IN (",
        )
        .numbers(&users)
        .words(")");
    let mut rows = BatchRows::default();
    let mut before = 0;
    for row in sql.fetch::<UserBundle>(&mut *change).await? {
        before = row.newest;
        rows.add(row.user, row.sessions.as_deref(), row.keys.as_deref());
        let user = BatchUser {
            row: row.user,
            unionid: row.unionid,
            id: row.id,
            info: row.info,
            phone: row.phone,
        };
        rows.users.insert((row.appid, row.openid), user);
    }
    rows.date(logins, before, change).await?;
    Ok(rows)
}

impl BatchRows {
    /// Adds the sessions and the keys of a user, newest first.
    fn add(&mut self, user: i64, sessions: Option<&[u8]>, keys: Option<&str>) {
        let (sessions, _) = sessions.unwrap_or_default().as_chunks::<SESSION>();
        let mut found: Vec<RankedSession> = sessions
            .iter()
            .filter_map(|session| {
                let (hash, seq) = session.split_first_chunk()?;
                let seq = str::from_utf8(seq).ok()?.parse().ok()?;
                Some(RankedSession {
                    seq,
                    hash: SkeyHash(*hash),
                    user,
                    created: UnixSecs::default(),
                    last_visit: UnixSecs::default(),
                })
            })
            .collect();
        found.sort_unstable_by_key(|row| Reverse(row.seq));
        self.sessions.append(&mut found);
        let mut found: Vec<(UnixSecs, i64)> = keys
            .unwrap_or_default()
            .split(',')
            .filter_map(|entry| {
                let (given, seq) = entry.split_once(':')?;
                Some((UnixSecs::new(given.parse().ok()?), seq.parse().ok()?))
            })
            .collect();
        found.sort_unstable_by_key(|key| Reverse(*key));
        self.keys
            .extend(found.into_iter().map(|(_, seq)| (seq, user)));
    }

    /// Dates the batch's sessions: those that are new now, and those that were there
    /// `before`. Of others nothing is told.
    async fn date(
        &mut self,
        logins: &[&NewLogin],
        before: i64,
        change: &mut MySqlConnection,
    ) -> Result<(), sqlx::Error> {
        let logins = logins.iter();
        let put: HashMap<_, _> = logins.map(|login| (login.hash, login.now)).collect();
        let mut repeated = Vec::new();
        for row in &mut self.sessions {
            if let Some(now) = put.get(&row.hash) {
                (row.created, row.last_visit) = (*now, *now);
                if row.seq <= before {
                    repeated.push(row.seq);
                }
            }
        }
        if repeated.is_empty() {
            return Ok(());
        }
        let mut sql = SqlText::new();
        sql.words("SELECT seq, created, last_visit FROM weappd_sessions WHERE seq IN (")
            .numbers(&repeated)
            .words(")");
        let dates: Vec<(i64, i64, i64)> = sql.fetch(change).await?;
        let dates: HashMap<_, _> = dates
            .into_iter()
            .map(|(seq, created, visited)| (seq, (UnixSecs::new(created), UnixSecs::new(visited))))
            .collect();
        for row in &mut self.sessions {
            if let Some(dates) = dates.get(&row.seq) {
                (row.created, row.last_visit) = *dates;
            }
        }
        Ok(())
    }
}

/// Takes over what the logins tell of their users; gives the users of whom that is news.
fn renew(logins: &[&NewLogin], users: &mut BatchUsers) -> Vec<(String, String)> {
    let mut changed = Vec::new();
    for login in logins {
        let name = key(login);
        let Some(user) = users.get_mut(&name) else {
            continue;
        };
        let is_news =
            |told: &Option<String>, known: &Option<String>| told.is_some() && told != known;
        if !is_news(&login.unionid, &user.unionid) && !is_news(&login.user_info, &user.info) {
            continue;
        }
        user.unionid = login.unionid.clone().or(user.unionid.take());
        user.info = login.user_info.clone().or(user.info.take());
        changed.push(name);
    }
    changed.dedup();
    changed
}

/// The rows are there: of what is put only the two columns count.
fn put_changes(
    sql: &mut SqlText,
    changed: &[(String, String)],
    users: &BatchUsers,
) -> Result<(), sqlx::Error> {
    let changed = changed.iter().map(|name| {
        let user = users.get(name).ok_or(sqlx::Error::RowNotFound)?;
        Ok((name, user))
    });
    let changed: Vec<_> = changed.collect::<Result<_, sqlx::Error>>()?;
    sql.words(
        "INSERT INTO weappd_users \
            (user, appid, openid, unionid, id, user_info, created, last_login) VALUES ",
    )
    .list(changed, |sql, ((appid, openid), user)| {
        sql.words("(")
            .number(user.row)
            .words(", ")
            .text(appid)
            .words(", ");
        sql.text(openid)
            .words(", ")
            .maybe(user.unionid.as_deref())
            .words(", ");
        sql.text(&user.id)
            .words(", ")
            .maybe(user.info.as_deref())
            .words(", 0, 0)");
    })
    .words(" ON DUPLICATE KEY UPDATE unionid = VALUES(unionid), user_info = VALUES(user_info); ");
    Ok(())
}

fn put_sessions(sql: &mut SqlText, logins: &[&NewLogin], of: &UserIds) -> Result<(), sqlx::Error> {
    let logins = with_users(logins, of)?;
    sql.words(
        "INSERT INTO weappd_sessions \
            (skey_hash, user, created, last_visit, device, address) VALUES ",
    )
    .list(logins, |sql, (login, user)| {
        sql.words("(").bytes(&login.hash.0).words(", ");
        sql.numbers(&[user, login.now.get(), login.now.get()])
            .words(", ");
        sql.maybe(login.device.as_deref()).words(", ");
        sql.maybe(login.address.as_deref()).words(")");
    })
    // A login repeated with the same skey leaves its session as it is.
    .words(" ON DUPLICATE KEY UPDATE seq = seq; ");
    Ok(())
}

fn put_keys(
    sql: &mut SqlText,
    logins: &[&NewLogin],
    of: &UserIds,
    rules: &WriteRules,
) -> Result<(), sqlx::Error> {
    let logins = with_users(logins, of)?;
    sql.words("INSERT INTO weappd_session_keys (user, fingerprint, sealed, given) VALUES ")
        .list(logins, |sql, (login, user)| {
            let owner = SecretOwner {
                appid: &login.appid,
                openid: &login.openid,
            };
            let key = &login.session_key;
            let name = rules.vault.fingerprint(key);
            let sealed = rules.vault.seal(SecretKind::SessionKey, owner, key);
            sql.words("(").number(user).words(", ").bytes(&name);
            sql.words(", ").bytes(&sealed).words(", ");
            sql.number(login.now.get()).words(")");
        })
        .words(" ON DUPLICATE KEY UPDATE given = VALUES(given); ");
    Ok(())
}

/// Each login with the row of its user.
fn with_users<'a>(
    logins: &[&'a NewLogin],
    of: &UserIds,
) -> Result<Vec<(&'a NewLogin, i64)>, sqlx::Error> {
    let logins = logins.iter().map(|login| {
        let user = of.get(&key(login)).ok_or(sqlx::Error::RowNotFound)?;
        Ok((*login, *user))
    });
    logins.collect()
}
