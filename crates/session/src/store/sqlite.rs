//! The SQLite store: one file, one writer, a few readers.
//!
//! Write-ahead logging with `synchronous=FULL`: what was acknowledged is on the disk, and
//! neither a killed process nor a cut power line takes it back.

mod connection;
pub(crate) mod errors;
pub(crate) mod key_list;
mod logins;
mod schema;
pub(crate) mod session_list;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};
use weappd_base::file_place::FilePlace;
use weappd_base::secret::Secret;

use crate::config::MiniApp;
use crate::error::Error;
use crate::identity::UserIdentity;
use crate::skey::SkeyHash;
use crate::store::records::{SessionRecord, SessionRow, UserRecord, UserRow};
use crate::store::rules::WriteRules;
use crate::store::sealed_columns::{registered, unsealed};
pub(crate) use crate::store::sqlite::connection::SqliteWriteConn;
use crate::store::sqlite::errors::{code, gone_from, hint};
use crate::store::sqlite::key_list::KeyList;
use crate::store::sqlite::session_list::SessionList;

/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const FIND: &str = include_str!("../../schema/sqlite/find_session.sql");
const SESSION_KEYS: &str = include_str!("../../schema/sqlite/session_keys.sql");
const NEWEST_KEY: &str = include_str!("../../schema/sqlite/newest_key.sql");
const SESSIONS_OF_NAMED: &str = include_str!("../../schema/sqlite/sessions_of_named.sql");
const LIST: &str = include_str!("../../schema/sqlite/list_sessions.sql");
const FIND_USER: &str = include_str!("../../schema/sqlite/find_user.sql");
const OWNER_OF: &str = include_str!("../../schema/sqlite/owner_of.sql");
const MINI_APPS: &str = include_str!("../../schema/sqlite/mini_apps.sql");

/// The readers.
#[derive(Clone)]
pub(crate) struct SqliteStore {
    readers: SqlitePool,
    place: Arc<str>,
    file: FilePlace,
    rules: Arc<WriteRules>,
}

impl SqliteStore {
    pub(crate) async fn open(
        path: &Path,
        rules: Arc<WriteRules>,
    ) -> Result<(Self, SqliteWriteConn), Error> {
        let place = || path.display().to_string();
        let options = options(path);
        let failed = |err: sqlx::Error| Error::OpenStore {
            place: place(),
            hint: hint(code(&err)),
            source: Arc::new(err),
        };
        let mut conn = SqliteConnection::connect_with(&options)
            .await
            .map_err(failed)?;
        match schema::version(&mut conn).await.map_err(failed)? {
            None => return Err(Error::ForeignStore { place: place() }),
            Some(found) if found > schema::KNOWN => {
                return Err(Error::NewerStore {
                    place: place(),
                    found,
                    known: schema::KNOWN,
                });
            }
            Some(found) => schema::migrate(&mut conn, found, &rules.vault)
                .await
                .map_err(failed)?,
        }
        conn.close().await.map_err(failed)?;
        let file = FilePlace::of(path).map_err(|err| failed(err.into()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(BUSY_TIMEOUT)
            .connect_lazy_with(options);
        let sqlite = Self {
            readers,
            place: place().into(),
            file: file.clone(),
            rules,
        };
        Ok((sqlite, SqliteWriteConn::new(path, BUSY_TIMEOUT, file)))
    }

    /// An error if the file was deleted or replaced.
    pub(crate) fn check_place(&self) -> Result<(), Error> {
        let gone = |err| gone_from(Path::new(&*self.place), err);
        self.file.check().map_err(gone)
    }

    pub(crate) async fn find(&self, hash: SkeyHash) -> Result<Option<SessionRow>, Error> {
        sqlx::query_as(FIND)
            .bind(&hash.0[..])
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))
    }

    /// The newest user's newest session key, with its AppID and openid.
    pub(crate) async fn newest_key(&self) -> Result<Option<(Vec<u8>, String, String)>, Error> {
        let row: Option<(Option<Vec<u8>>, String, String)> = sqlx::query_as(NEWEST_KEY)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(row.and_then(|(keys, appid, openid)| {
            let keys = KeyList::of(keys);
            let newest = keys.keys().next()?.sealed.to_vec();
            Some((newest, appid, openid))
        }))
    }

    /// A user's sealed session keys.
    async fn key_list(&self, user: i64) -> Result<KeyList, Error> {
        let keys: Option<Option<Vec<u8>>> = sqlx::query_scalar(SESSION_KEYS)
            .bind(user)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(KeyList::of(keys.flatten()))
    }

    pub(crate) async fn session_keys(
        &self,
        user: i64,
        who: &UserIdentity,
    ) -> Result<Vec<Secret>, Error> {
        let keys = self.key_list(user).await?;
        let keys: Vec<Vec<u8>> = keys.keys().map(|key| key.sealed.to_vec()).collect();
        Ok(unsealed(&self.rules.vault, who, &keys))
    }

    pub(crate) async fn list(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Vec<SessionRecord>, Error> {
        let listed: Option<Option<Vec<u8>>> = sqlx::query_scalar(SESSIONS_OF_NAMED)
            .bind(appid)
            .bind(openid)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        let listed = SessionList::of(listed.flatten());
        let numbers: Vec<i64> = listed.sessions().map(|(seq, _)| seq).collect();
        sqlx::query_as(LIST)
            .bind(serde_json::Value::from(numbers).to_string())
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))
    }

    pub(crate) async fn user(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Option<UserRecord>, Error> {
        let row: Option<UserRow> = sqlx::query_as(FIND_USER)
            .bind(appid)
            .bind(openid)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let keys = self.key_list(row.user).await?;
        let given = keys.keys().map(|key| key.given).collect();
        Ok(Some(row.with_keys(given)))
    }

    pub(crate) async fn owner(&self, session: i64) -> Result<Option<(String, String)>, Error> {
        sqlx::query_as(OWNER_OF)
            .bind(session)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))
    }

    pub(crate) async fn mini_apps(&self) -> Result<Vec<MiniApp>, Error> {
        let rows: Vec<(String, Vec<u8>)> = sqlx::query_as(MINI_APPS)
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(registered(&self.rules.vault, rows))
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
    }

    fn read_failed(&self, err: sqlx::Error) -> Error {
        match err {
            sqlx::Error::PoolClosed => Error::Closed,
            err => Error::ReadStore {
                place: self.place.to_string(),
                hint: hint(code(&err)),
                source: Arc::new(err),
            },
        }
    }
}

/// How every connection is opened: a COMMIT returns when it is on the disk.
fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(BUSY_TIMEOUT)
}

/// Makes the file, if it is not there.
pub(crate) fn create(path: &Path) -> Result<(), Error> {
    create_file(path).map_err(|source| Error::CreateStore {
        place: path.display().to_string(),
        source: Arc::new(source),
    })
}

/// Readable for nobody else: users stand in it.
fn create_file(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path)
        .map(drop)
}

/// A file of the newest schema, for the tests of this folder.
#[cfg(test)]
pub(crate) async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    create_file(path).map_err(sqlx::Error::Io)?;
    let mut conn = SqliteConnection::connect_with(&options(path)).await?;
    schema::migrate(&mut conn, 0, &crate::vault::tests::vault()).await?;
    Ok(conn)
}
