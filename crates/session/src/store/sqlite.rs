//! The SQLite store: one file, one writer, a few readers.
//!
//! Write-ahead logging with `synchronous=FULL`: what was acknowledged is on the disk, and
//! neither a killed process nor a cut power line takes it back.

mod desk;
mod logins;
mod schema;
mod write;

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
use crate::identity::Identity;
use crate::session::{Found, FoundRow};
use crate::skey::SkeyHash;
pub(crate) use crate::store::sqlite::desk::Desk;
use crate::store::{Known, Listed, Rules};
use crate::vault::{Matter, Owner, Vault};

/// How long another process may hold the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const FIND: &str = include_str!("../../schema/sqlite/find_session.sql");
const SESSION_KEYS: &str = include_str!("../../schema/sqlite/session_keys.sql");
const NEWEST_KEY: &str = include_str!("../../schema/sqlite/newest_key.sql");
const LIST: &str = include_str!("../../schema/sqlite/list_sessions.sql");
const FIND_USER: &str = include_str!("../../schema/sqlite/find_user.sql");
const KEYS_GIVEN: &str = include_str!("../../schema/sqlite/keys_given.sql");
const OWNER_OF: &str = include_str!("../../schema/sqlite/owner_of.sql");
const MINI_APPS: &str = include_str!("../../schema/sqlite/mini_apps.sql");

/// The readers.
#[derive(Clone)]
pub(crate) struct Sqlite {
    readers: SqlitePool,
    place: Arc<str>,
    file: FilePlace,
    rules: Arc<Rules>,
}

impl Sqlite {
    pub(crate) async fn open(path: &Path, rules: Arc<Rules>) -> Result<(Self, Desk), Error> {
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
        Ok((sqlite, Desk::new(path, BUSY_TIMEOUT, file)))
    }

    /// An error if the file was deleted or replaced.
    pub(crate) fn check_place(&self) -> Result<(), Error> {
        let gone = |err| desk::gone_from(Path::new(&*self.place), err);
        self.file.check().map_err(gone)
    }

    pub(crate) async fn find(&self, hash: SkeyHash) -> Result<Option<Found>, Error> {
        let row: Option<FoundRow> = sqlx::query_as(FIND)
            .bind(&hash.0[..])
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(row.map(Found::from))
    }

    /// The newest user's newest session key, with its AppID and openid.
    pub(crate) async fn newest_key(&self) -> Result<Option<(Vec<u8>, String, String)>, Error> {
        sqlx::query_as(NEWEST_KEY)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))
    }

    pub(crate) async fn session_keys(
        &self,
        user: i64,
        who: &Identity,
    ) -> Result<Vec<Secret>, Error> {
        let keys: Vec<Vec<u8>> = sqlx::query_scalar(SESSION_KEYS)
            .bind(user)
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(unsealed(&self.rules.vault, who, &keys))
    }

    pub(crate) async fn list(&self, appid: &str, openid: &str) -> Result<Vec<Listed>, Error> {
        let rows: Vec<ListedRow> = sqlx::query_as(LIST)
            .bind(appid)
            .bind(openid)
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(rows.into_iter().map(Listed::from).collect())
    }

    pub(crate) async fn user(&self, appid: &str, openid: &str) -> Result<Option<Known>, Error> {
        let row: Option<KnownRow> = sqlx::query_as(FIND_USER)
            .bind(appid)
            .bind(openid)
            .fetch_optional(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        let Some(row) = row else {
            return Ok(None);
        };
        let keys = sqlx::query_scalar(KEYS_GIVEN)
            .bind(row.0)
            .fetch_all(&self.readers)
            .await
            .map_err(|err| self.read_failed(err))?;
        Ok(Some(known(row, keys)))
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

/// The keys that open; one that does not was sealed with another key file.
pub(crate) fn unsealed(vault: &Vault, who: &Identity, keys: &[Vec<u8>]) -> Vec<Secret> {
    let owner = Owner {
        appid: &who.appid,
        openid: &who.openid,
    };
    let open: Vec<_> = keys
        .iter()
        .filter_map(|key| vault.unseal(Matter::SessionKey, owner, key))
        .collect();
    if open.len() < keys.len() {
        tracing::warn!(openid = %who.openid, "a session key was sealed with another key file; see [session] key_file");
    }
    open
}

/// The mini programs whose AppSecret opens.
pub(crate) fn registered(vault: &Vault, rows: Vec<(String, Vec<u8>)>) -> Vec<MiniApp> {
    let apps = rows.into_iter().filter_map(|(appid, sealed)| {
        let secret = vault.unseal(Matter::AppSecret, Owner::app(&appid), &sealed);
        if secret.is_none() {
            tracing::warn!(appid, "the AppSecret of a registered mini program was sealed with another key file; register it again, or see [session] key_file");
        }
        Some(MiniApp::new(appid, secret?))
    });
    apps.collect()
}

/// user, unionid, id, created, last login, sealed phone number, user object.
pub(crate) type KnownRow = (
    i64,
    Option<String>,
    String,
    i64,
    i64,
    Option<Vec<u8>>,
    Option<String>,
);

pub(crate) fn known(row: KnownRow, keys: Vec<i64>) -> Known {
    Known {
        user: row.0,
        unionid: row.1,
        id: row.2,
        created: Some(row.3),
        last_login: row.4,
        phone: row.5,
        user_info: row.6,
        keys,
    }
}

/// seq, created, last visit, device, address.
pub(crate) type ListedRow = (i64, i64, i64, Option<String>, Option<String>);

impl From<ListedRow> for Listed {
    fn from(row: ListedRow) -> Self {
        Self {
            seq: row.0,
            created: row.1,
            last_visit: row.2,
            device: row.3,
            address: row.4,
        }
    }
}

/// The result code of an SQLite error.
fn code(err: &sqlx::Error) -> Option<i32> {
    err.as_database_error()?.code()?.parse().ok()
}

/// What a person can do about an SQLite error, by its result code (sqlite.org/rescode).
pub(crate) fn hint(code: Option<i32>) -> &'static str {
    // It could not make the file of shared memory larger: there, room is what is missing.
    if code == Some(4874) {
        return "the disk is full; make room";
    }
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => "another program holds it locked; end that program",
        Some(3 | 8 | 23) => "give weappd the right to write the file and its directory",
        Some(10) => "the disk reports errors; check it",
        Some(11 | 26) => {
            "the file is broken; restore a backup, or move it away to begin anew (everybody logs in again)"
        }
        Some(13) => "the disk is full; make room",
        Some(14) => "check that the directory exists and that weappd may write in it",
        _ => "see the cause",
    }
}

/// A file of the newest schema, for the tests of this folder.
#[cfg(test)]
pub(crate) async fn connect(path: &Path) -> Result<SqliteConnection, sqlx::Error> {
    create_file(path).map_err(sqlx::Error::Io)?;
    let mut conn = SqliteConnection::connect_with(&options(path)).await?;
    schema::migrate(&mut conn, 0, &crate::vault::tests::vault()).await?;
    Ok(conn)
}
