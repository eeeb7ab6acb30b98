//! Whose tables stand in the database, and weappd's own schema.

use std::collections::HashMap;

use sqlx::mysql::MySqlConnectOptions;
use sqlx::{ConnectOptions as _, MySqlConnection};
use weappd_base::secret::Secret;

use crate::error::Error;
use crate::store::cauth::tables::{CauthTables, ColumnShape};
use crate::store::mysql::errors::number;
use crate::vault::{SecretKind, SecretOwner, SecretVault};

/// The schema, some files a version.
const MIGRATIONS: [&[&str]; 3] = [
    &[include_str!(
        "../../../schema/mysql/0001_users_and_sessions.sql"
    )],
    &[
        include_str!("../../../schema/mysql/0002_phones.sql"),
        include_str!("../../../schema/mysql/0002_addresses.sql"),
        include_str!("../../../schema/mysql/0002_sealed_secrets.sql"),
    ],
    &[include_str!("../../../schema/mysql/0003_indexes.sql")],
];
/// The errors for a column that is there already and an index that is gone: a change of the
/// schema is not undone when its connection breaks.
const DONE_BEFORE: [u16; 2] = [1060, 1091];

/// Whose tables they are.
pub(crate) enum TableShape {
    Native,
    Cauth(CauthTables),
}

/// Why the database was not opened.
pub(crate) enum SchemaError {
    Sql(sqlx::Error),
    Told(Error),
}

impl From<sqlx::Error> for SchemaError {
    fn from(err: sqlx::Error) -> Self {
        Self::Sql(err)
    }
}

/// Connects, looks whose tables there are, and brings weappd's own to the newest schema.
pub(crate) async fn open(
    options: &MySqlConnectOptions,
    place: &str,
    appids: &[String],
    vault: &SecretVault,
) -> Result<(TableShape, MySqlConnection), SchemaError> {
    let mut conn = options.connect().await?;
    let ours = columns(&mut conn, "weappd_schema").await?;
    let theirs = columns(&mut conn, "cSessionInfo").await?;
    if ours.is_empty() && !theirs.is_empty() {
        let Some(mut tables) = CauthTables::of(&theirs) else {
            return Err(SchemaError::Told(Error::ForeignStore {
                place: place.to_owned(),
            }));
        };
        tables.has_apps = !columns(&mut conn, "cAppinfo").await?.is_empty();
        tables.settle(&mut conn, appids).await?;
        if tables.appid.is_empty() {
            return Err(SchemaError::Told(Error::WhichApp {
                place: place.to_owned(),
                configured: appids.len(),
            }));
        }
        return Ok((TableShape::Cauth(tables), conn));
    }
    migrate(&mut conn, place, vault).await?;
    Ok((TableShape::Native, conn))
}

/// The columns of a table, by lower-case name; none if there is no such table.
async fn columns(
    conn: &mut MySqlConnection,
    table: &str,
) -> Result<HashMap<String, ColumnShape>, sqlx::Error> {
    // The casts: servers disagree on the types of their own tables.
    let sql = "SELECT CAST(LOWER(column_name) AS CHAR), CAST(column_key AS CHAR), \
            CAST(COALESCE(character_maximum_length, 0) AS SIGNED), \
            CAST(COALESCE(character_set_name, '') AS CHAR) \
        FROM information_schema.columns \
        WHERE table_schema = DATABASE() AND table_name = ?";
    let rows: Vec<(String, String, i64, String)> =
        sqlx::query_as(sql).bind(table).fetch_all(conn).await?;
    Ok(rows
        .into_iter()
        .map(|(name, key, length, charset)| {
            let column = ColumnShape {
                is_primary: key == "PRI",
                length: usize::try_from(length).unwrap_or(usize::MAX),
                last_letter: last_letter(&charset),
            };
            (name, column)
        })
        .collect())
}

/// The last of Unicode's letters that a column of this character set takes, with all those
/// before it.
fn last_letter(charset: &str) -> u32 {
    match charset {
        "utf8mb4" | "utf16" | "utf16le" | "utf32" => 0x10_ffff,
        "utf8" | "utf8mb3" | "ucs2" => 0xffff,
        _ => 0x7f,
    }
}

/// Brings the database to the newest schema, one weappd at a time.
async fn migrate(
    conn: &mut MySqlConnection,
    place: &str,
    vault: &SecretVault,
) -> Result<(), SchemaError> {
    let _locked: Option<i64> =
        sqlx::query_scalar("SELECT CAST(GET_LOCK('weappd_schema', 3) AS SIGNED)")
            .fetch_one(&mut *conn)
            .await?;
    let outcome = migrate_alone(conn, place, vault).await;
    sqlx::query("DO RELEASE_LOCK('weappd_schema')")
        .execute(&mut *conn)
        .await?;
    outcome
}

async fn migrate_alone(
    conn: &mut MySqlConnection,
    place: &str,
    vault: &SecretVault,
) -> Result<(), SchemaError> {
    let table = "CREATE TABLE IF NOT EXISTS weappd_schema (version BIGINT NOT NULL PRIMARY KEY) \
        ENGINE = InnoDB";
    sqlx::query(table).execute(&mut *conn).await?;
    let found: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(version), 0) FROM weappd_schema")
        .fetch_one(&mut *conn)
        .await?;
    let known = i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX);
    if found > known {
        return Err(SchemaError::Told(Error::NewerStore {
            place: place.to_owned(),
            found,
            known,
        }));
    }
    for (version, changes) in (1_i64..).zip(MIGRATIONS).filter(|(v, _)| *v > found) {
        for change in changes {
            match sqlx::raw_sql(*change).execute(&mut *conn).await {
                Err(err) if number(&err).is_some_and(|number| DONE_BEFORE.contains(&number)) => {}
                changed => {
                    changed?;
                }
            }
        }
        sqlx::query("INSERT IGNORE INTO weappd_schema (version) VALUES (?)")
            .bind(version)
            .execute(&mut *conn)
            .await?;
    }
    // At every start: an older weappd beside this one may still write them in clear.
    seal_secrets(conn, vault).await?;
    Ok(())
}

/// Seals every `AppSecret` that stands in clear.
async fn seal_secrets(conn: &mut MySqlConnection, vault: &SecretVault) -> Result<(), sqlx::Error> {
    let sql = "SELECT appid, secret FROM weappd_mini_apps WHERE secret <> ''";
    let rows: Vec<(String, String)> = sqlx::query_as(sql).fetch_all(&mut *conn).await?;
    for (appid, secret) in rows {
        let sealed = vault.seal(
            SecretKind::AppSecret,
            SecretOwner::app(&appid),
            &Secret::new(secret),
        );
        sqlx::query("UPDATE weappd_mini_apps SET sealed = ?, secret = '' WHERE appid = ?")
            .bind(sealed)
            .bind(&appid)
            .execute(&mut *conn)
            .await?;
    }
    Ok(())
}
