//! Where users and sessions are kept.
//!
//! A closed set of databases. All writes go through one writer as jobs, whichever database
//! it is (`job`, and each kind of `write`); reads go to the database's own readers. To add one: its SQL stands in
//! `schema/<name>/`, its code in `store/<name>.rs`, and the compiler lists every `match`
//! that misses it.

mod batch;
pub(crate) mod cauth;
mod change;
mod from_row;
mod job;
pub(crate) mod mysql;
pub(crate) mod new_login;
pub(crate) mod records;
pub(crate) mod rules;
mod sealed_columns;
mod sqlite;
pub(crate) mod write;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tasks::{Tasks, Work};
use weappd_durable::{DurableWriter, WriteCounts, WriteReply};

use crate::cache::SessionCache;
use crate::config::{Config, MiniApp, StorePlace};
use crate::error::Error;
use crate::identity::UserIdentity;
use crate::store::job::StoreJob;
use crate::store::mysql::MysqlStore;
use crate::store::new_login::{NewLogin, OpenedSession};
use crate::store::records::SessionRow;
use crate::store::records::{SessionLookup, SessionRecord, UserRecord};
use crate::store::rules::{LONGEST_OPENID, WriteRules};
use crate::store::sqlite::SqliteStore;
use crate::store::write::{AskedWrite, StoreWrite};
use crate::store::writer::{StoreTarget, StoreWriteConn};
use crate::vault::{SecretKind, SecretOwner, SecretVault};

/// What the store needs from the rest of the room.
pub(crate) struct StoreParts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) data_dir: &'a Path,
    pub(crate) cache: Arc<SessionCache>,
    pub(crate) tokens: RandomSource,
    pub(crate) tasks: &'a Tasks,
    pub(crate) work: &'a Work,
    /// The mini programs that are configured.
    pub(crate) appids: Vec<String>,
}

/// Where users and sessions are kept: readers, and the way to the writer.
#[derive(Clone)]
pub(crate) struct SessionStore {
    writer: DurableWriter<StoreJob>,
    readers: StoreReaders,
    rules: Arc<WriteRules>,
    /// How long a write may take as far as the caller is concerned.
    patience: Option<Duration>,
}

#[derive(Clone)]
enum StoreReaders {
    Sqlite(SqliteStore),
    Mysql(MysqlStore),
}

impl SessionStore {
    pub(crate) async fn open(parts: StoreParts<'_>) -> Result<Self, Error> {
        let place = parts.config.place(parts.data_dir)?;
        if let StorePlace::Sqlite(path) = &place {
            sqlite::create(path)?;
        }
        let key_file = parts.data_dir.join(&parts.config.key_file);
        let rules = Arc::new(WriteRules::new(
            parts.config,
            SecretVault::of(&parts.config.key, &key_file, parts.tokens)?,
        ));
        let (readers, conn, patience) = match place {
            StorePlace::Sqlite(path) => {
                let (sqlite, conn) = SqliteStore::open(&path, Arc::clone(&rules)).await?;
                (
                    StoreReaders::Sqlite(sqlite),
                    StoreWriteConn::Sqlite(conn),
                    None,
                )
            }
            StorePlace::Mysql(options) => {
                let settled = mysql::MysqlParts {
                    options: *options,
                    config: parts.config,
                    appids: &parts.appids,
                    rules: Arc::clone(&rules),
                };
                let (mysql, conn) = MysqlStore::open(settled).await?;
                let patience = mysql.patience();
                (
                    StoreReaders::Mysql(mysql),
                    StoreWriteConn::Mysql(conn),
                    Some(patience),
                )
            }
        };
        let (writer, task) = DurableWriter::new(StoreTarget {
            conn,
            cache: parts.cache,
            rules: Arc::clone(&rules),
        });
        parts.tasks.spawn_on(parts.work, task);
        let store = Self {
            writer,
            readers,
            rules,
            patience,
        };
        if !store.opens_newest_key().await? {
            tracing::warn!(key_file = %key_file.display(), "the session keys in the database were sealed with another session key file; restore it, or what users bring encrypted opens only after their next login");
        }
        Ok(store)
    }

    /// Whether the newest sealed key opens, if there is one. A database that is broken inside
    /// is seen here too.
    async fn opens_newest_key(&self) -> Result<bool, Error> {
        let newest = match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.newest_key().await?,
            StoreReaders::Mysql(mysql) => mysql.newest_key().await?,
        };
        let Some((sealed, appid, openid)) = newest else {
            return Ok(true);
        };
        let owner = SecretOwner {
            appid: &appid,
            openid: &openid,
        };
        let key = self.vault().unseal(SecretKind::SessionKey, owner, &sealed);
        Ok(key.is_some())
    }

    /// An error if what is written would be lost: the file was deleted while it is open.
    pub(crate) fn check_place(&self) -> Result<(), Error> {
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.check_place(),
            StoreReaders::Mysql(_) => Ok(()),
        }
    }

    /// Whether other programs write the same database, so that memory must be checked
    /// against it.
    pub(crate) fn is_shared(&self) -> bool {
        match &self.readers {
            StoreReaders::Sqlite(_) => false,
            StoreReaders::Mysql(_) => true,
        }
    }

    /// The store, if it is one that nodes can share.
    pub(crate) fn mysql(&self) -> Option<&MysqlStore> {
        match &self.readers {
            StoreReaders::Sqlite(_) => None,
            StoreReaders::Mysql(mysql) => Some(mysql),
        }
    }

    /// The one mini program of an old server's database.
    pub(crate) fn cauth_appid(&self) -> Option<&str> {
        match &self.readers {
            StoreReaders::Sqlite(_) => None,
            StoreReaders::Mysql(mysql) => mysql.cauth_appid(),
        }
    }

    /// The longest openid there is room for.
    pub(crate) fn longest_openid(&self) -> usize {
        match &self.readers {
            StoreReaders::Sqlite(_) => LONGEST_OPENID,
            StoreReaders::Mysql(mysql) => mysql.longest_openid(),
        }
    }

    /// Writes a login, and keeps the session in the cache.
    pub(crate) async fn log_in(&self, login: NewLogin) -> Result<OpenedSession, Error> {
        self.ask(|reply| StoreJob::log_in(login, reply)).await
    }

    /// Writes anything else. On return it is on the disk, and the cache was told.
    pub(crate) async fn write<W: StoreWrite>(&self, write: W) -> Result<W::Answer, Error> {
        self.ask(|reply| StoreJob::Other(Box::new(AskedWrite::new(write, reply))))
            .await
    }

    /// Takes over what a reload may change, for writes to come.
    pub(crate) fn change(&self, config: &Config) {
        self.rules.change(config);
    }

    /// How many sessions and session keys a user may hold.
    #[cfg(test)]
    pub(crate) fn limits(&self) -> (usize, usize) {
        (self.rules.max_sessions(), self.rules.keys_kept())
    }

    /// Opens what was sealed for a user.
    pub(crate) fn vault(&self) -> &SecretVault {
        &self.rules.vault
    }

    pub(crate) async fn find(
        &self,
        wanted: &SessionLookup<'_>,
    ) -> Result<Option<SessionRow>, Error> {
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.find(wanted.hash).await,
            StoreReaders::Mysql(mysql) => mysql.find(wanted).await,
        }
    }

    /// The keys WeChat gave at the user's last logins, the newest first.
    pub(crate) async fn session_keys(
        &self,
        user: i64,
        who: &UserIdentity,
    ) -> Result<Vec<Secret>, Error> {
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.session_keys(user, who).await,
            StoreReaders::Mysql(mysql) => mysql.session_keys(user, who).await,
        }
    }

    /// A user's sessions, the newest first.
    pub(crate) async fn list(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Vec<SessionRecord>, Error> {
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.list(appid, openid).await,
            StoreReaders::Mysql(mysql) => mysql.list(appid, openid).await,
        }
    }

    /// What is known of a user.
    pub(crate) async fn user(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Option<UserRecord>, Error> {
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.user(appid, openid).await,
            StoreReaders::Mysql(mysql) => mysql.user(appid, openid).await,
        }
    }

    /// The mini program and the openid of a session's user.
    pub(crate) async fn owner(&self, session: i64) -> Result<Option<(String, String)>, Error> {
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.owner(session).await,
            StoreReaders::Mysql(mysql) => mysql.owner(session).await,
        }
    }

    /// The mini programs registered over the RPC or by the old server, the last one last.
    pub(crate) async fn mini_apps(&self) -> Result<Vec<MiniApp>, Error> {
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.mini_apps().await,
            StoreReaders::Mysql(mysql) => mysql.mini_apps().await,
        }
    }

    /// Finishes what waits and closes the database.
    pub(crate) async fn close(&self) {
        match self.patience {
            // A server that keeps silent is not waited for.
            Some(patience) => drop(tokio::time::timeout(patience, self.writer.close()).await),
            None => self.writer.close().await,
        }
        match &self.readers {
            StoreReaders::Sqlite(sqlite) => sqlite.close().await,
            StoreReaders::Mysql(mysql) => mysql.close().await,
        }
    }

    /// What the writer has done so far.
    pub(crate) fn write_counts(&self) -> WriteCounts {
        self.writer.counts()
    }

    /// Hands a job to the writer and waits for its transaction.
    async fn ask<T: Send + 'static>(
        &self,
        job: impl FnOnce(WriteReply<T, Error>) -> StoreJob,
    ) -> Result<T, Error> {
        let asked = async {
            let answered = self.writer.ask(job).await;
            answered.map_err(|_| Error::Closed).flatten()
        };
        match (self.patience, &self.readers) {
            (Some(patience), StoreReaders::Mysql(mysql)) => tokio::time::timeout(patience, asked)
                .await
                .unwrap_or_else(|_| Err(mysql.silent())),
            _ => asked.await,
        }
    }
}
