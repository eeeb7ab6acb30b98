//! Where users and sessions are kept.
//!
//! A closed set of databases. All writes go through one writer as jobs, whichever database
//! it is; reads go to the database's own readers. To add one: its SQL stands in
//! `schema/<name>/`, its code in `store/<name>.rs`, and the compiler lists every `match`
//! that misses it.

mod batch;
pub(crate) mod cauth;
pub(crate) mod mysql;
mod sqlite;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tasks::{Tasks, Work};

use crate::cache::Cache;
use crate::config::{Config, MiniApp, Place};
use crate::error::Error;
use crate::identity::Identity;
use crate::session::{Found, Limits, Session};
use crate::skey::SkeyHash;
use crate::store::mysql::Mysql;
use crate::store::sqlite::Sqlite;
use crate::store::writer::{Answer, Desk, Job, Writer};
use crate::vault::{Matter, Owner, Vault};

/// How many writes may wait for the writer before logins wait too.
const QUEUE: usize = 1024;
/// The longest openid our own tables take; WeChat's have 28 characters.
pub(crate) const LONGEST_OPENID: usize = 128;

/// A login to be written: its user as WeChat told, its session by the hash of its skey.
#[derive(Clone)]
pub(crate) struct NewLogin {
    pub(crate) appid: String,
    pub(crate) openid: String,
    pub(crate) unionid: Option<String>,
    /// The id the user gets, if this is the first login.
    pub(crate) new_id: String,
    /// The decrypted user object; without one, what is known already stays.
    pub(crate) user_info: Option<String>,
    pub(crate) session_key: Secret,
    /// For the old servers' tables, which keep it in clear.
    pub(crate) skey: Secret,
    pub(crate) hash: SkeyHash,
    /// What the phone says it is.
    pub(crate) device: Option<String>,
    /// Where it calls from.
    pub(crate) address: Option<String>,
    pub(crate) now: i64,
    pub(crate) limits: Limits,
}

/// A login that is written: it survives a crash from here on.
#[derive(Clone)]
pub(crate) struct Opened {
    pub(crate) session: Arc<Session>,
    pub(crate) is_new_user: bool,
    /// Whether the session still stands: as many newer ones may have come in the same
    /// transaction as a user may hold.
    pub(crate) is_kept: bool,
}

/// A session as it is looked for.
pub(crate) struct Wanted<'a> {
    pub(crate) hash: SkeyHash,
    /// For the old servers' tables, which keep it in clear.
    pub(crate) skey: &'a str,
    /// The id shown beside it: spares some tables a long search.
    pub(crate) id: Option<&'a str>,
    /// How long to wait for a database server, if not as long as usual.
    pub(crate) patience: Option<Duration>,
}

/// A last visit to be written.
pub(crate) struct Visit {
    pub(crate) seq: i64,
    pub(crate) at: i64,
    pub(crate) who: Arc<Identity>,
}

/// A session to be ended.
#[derive(Clone)]
pub(crate) struct Ended {
    pub(crate) hash: SkeyHash,
    pub(crate) who: Arc<Identity>,
}

/// Sessions to be ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Revoke {
    /// One, by its number.
    One(i64),
    /// All of a user.
    User { appid: String, openid: String },
    /// Everybody's.
    All,
}

/// A user object to be kept in place of the known one.
#[derive(Clone)]
pub(crate) struct NewInfo {
    pub(crate) user: i64,
    pub(crate) who: Arc<Identity>,
    pub(crate) user_info: String,
}

/// A phone number to be kept for a user, or forgotten.
#[derive(Clone)]
pub(crate) struct NewPhone {
    pub(crate) user: i64,
    pub(crate) who: Arc<Identity>,
    /// As JSON text.
    pub(crate) phone: Option<Secret>,
}

/// A session key that WeChat gave without a login.
#[derive(Clone)]
pub(crate) struct NewKey {
    pub(crate) user: i64,
    pub(crate) who: Arc<Identity>,
    pub(crate) session_key: Secret,
    pub(crate) now: i64,
}

/// A session as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) seq: i64,
    pub(crate) created: i64,
    pub(crate) last_visit: i64,
    pub(crate) device: Option<String>,
    pub(crate) address: Option<String>,
}

/// A user as people are shown them.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// The row's number; 0 in an old server's tables.
    pub(crate) user: i64,
    pub(crate) unionid: Option<String>,
    pub(crate) id: String,
    /// When the user first logged in; the old servers do not keep it.
    pub(crate) created: Option<i64>,
    pub(crate) last_login: i64,
    /// Sealed.
    pub(crate) phone: Option<Vec<u8>>,
    /// The user object as JSON text.
    pub(crate) user_info: Option<String>,
    /// When each of the kept session keys was given, the newest first.
    pub(crate) keys: Vec<i64>,
}

/// What holds for every write.
pub(crate) struct Rules {
    pub(crate) max_sessions: usize,
    /// How many session keys of a user are kept.
    pub(crate) keys_kept: usize,
    pub(crate) vault: Vault,
}

/// The store's helpers from the rest of the house.
pub(crate) struct StoreParts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) data_dir: &'a Path,
    pub(crate) cache: Arc<Cache>,
    pub(crate) tokens: RandomSource,
    pub(crate) tasks: &'a Tasks,
    pub(crate) work: &'a Work,
    /// The mini programs that are configured.
    pub(crate) appids: Vec<String>,
}

/// Where users and sessions are kept: readers, and the way to the writer.
#[derive(Clone)]
pub(crate) struct Store {
    jobs: mpsc::Sender<Job>,
    readers: Readers,
    rules: Arc<Rules>,
    /// How long a write may take as far as the caller is concerned.
    patience: Option<Duration>,
}

#[derive(Clone)]
enum Readers {
    Sqlite(Sqlite),
    Mysql(Mysql),
}

impl Store {
    pub(crate) async fn open(parts: StoreParts<'_>) -> Result<Self, Error> {
        let place = parts.config.place(parts.data_dir)?;
        if let Place::Sqlite(path) = &place {
            sqlite::create(path)?;
        }
        let key_file = parts.data_dir.join(&parts.config.key_file);
        let rules = Arc::new(Rules {
            max_sessions: parts.config.max_sessions_per_user as usize,
            keys_kept: parts.config.session_keys_kept as usize,
            vault: Vault::of(&parts.config.key, &key_file, parts.tokens)?,
        });
        let (readers, desk, patience) = match place {
            Place::Sqlite(path) => {
                let (sqlite, desk) = Sqlite::open(&path, Arc::clone(&rules)).await?;
                (Readers::Sqlite(sqlite), Desk::Sqlite(desk), None)
            }
            Place::Mysql(options) => {
                let settled = mysql::Settled {
                    options: *options,
                    config: parts.config,
                    appids: &parts.appids,
                    rules: Arc::clone(&rules),
                };
                let (mysql, desk) = Mysql::open(settled).await?;
                let patience = mysql.patience();
                (Readers::Mysql(mysql), Desk::Mysql(desk), Some(patience))
            }
        };
        let (jobs, queue) = mpsc::channel(QUEUE);
        let writer = Writer {
            desk,
            queue,
            cache: parts.cache,
            rules: Arc::clone(&rules),
        };
        parts.tasks.spawn_on(parts.work, writer.run());
        let store = Self {
            jobs,
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
            Readers::Sqlite(sqlite) => sqlite.newest_key().await?,
            Readers::Mysql(mysql) => mysql.newest_key().await?,
        };
        let Some((sealed, appid, openid)) = newest else {
            return Ok(true);
        };
        let owner = Owner {
            appid: &appid,
            openid: &openid,
        };
        let key = self.vault().unseal(Matter::SessionKey, owner, &sealed);
        Ok(key.is_some())
    }

    /// An error if what is written would be lost: the file was deleted while it is open.
    pub(crate) fn check_place(&self) -> Result<(), Error> {
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.check_place(),
            Readers::Mysql(_) => Ok(()),
        }
    }

    /// Whether other programs write the same database, so that memory must be checked
    /// against it.
    pub(crate) fn is_shared(&self) -> bool {
        match &self.readers {
            Readers::Sqlite(_) => false,
            Readers::Mysql(_) => true,
        }
    }

    /// The store, if it is one that nodes can share.
    pub(crate) fn mysql(&self) -> Option<&Mysql> {
        match &self.readers {
            Readers::Sqlite(_) => None,
            Readers::Mysql(mysql) => Some(mysql),
        }
    }

    /// The one mini program of an old server's database.
    pub(crate) fn cauth_appid(&self) -> Option<&str> {
        match &self.readers {
            Readers::Sqlite(_) => None,
            Readers::Mysql(mysql) => mysql.cauth_appid(),
        }
    }

    /// The longest openid there is room for.
    pub(crate) fn longest_openid(&self) -> usize {
        match &self.readers {
            Readers::Sqlite(_) => LONGEST_OPENID,
            Readers::Mysql(mysql) => mysql.longest_openid(),
        }
    }

    /// Writes a login, and keeps the session in the cache.
    pub(crate) async fn log_in(&self, login: NewLogin) -> Result<Opened, Error> {
        self.ask(|answer| Job::LogIn(Box::new(login), answer)).await
    }

    /// Ends a session, in the cache too; says whether there was one.
    pub(crate) async fn log_out(&self, ended: Ended) -> Result<bool, Error> {
        self.ask(|answer| Job::LogOut(ended, answer)).await
    }

    /// Ends sessions, in the cache too; says how many.
    pub(crate) async fn revoke(&self, which: Revoke) -> Result<u64, Error> {
        self.ask(|answer| Job::Revoke(which, answer)).await
    }

    /// Keeps a user object; the user's sessions in the cache are forgotten.
    pub(crate) async fn put_info(&self, info: NewInfo) -> Result<(), Error> {
        self.ask(|answer| Job::Info(info, answer)).await
    }

    /// Keeps or forgets a phone number; the user's sessions in the cache are forgotten. An
    /// old server's database has no room for it.
    pub(crate) async fn put_phone(&self, phone: NewPhone) -> Result<(), Error> {
        self.ask(|answer| Job::Phone(phone, answer)).await
    }

    /// Keeps a session key as the user's newest.
    pub(crate) async fn put_key(&self, key: NewKey) -> Result<(), Error> {
        self.ask(|answer| Job::Key(key, answer)).await
    }

    /// Opens what was sealed for a user.
    pub(crate) fn vault(&self) -> &Vault {
        &self.rules.vault
    }

    /// Writes last visits.
    pub(crate) async fn put_visits(&self, visits: Vec<Visit>) -> Result<(), Error> {
        self.ask(|answer| Job::Visits(visits, answer)).await
    }

    /// Drops some of the sessions whose login is older than `before`; says how many.
    pub(crate) async fn prune(&self, before: i64) -> Result<u64, Error> {
        self.ask(|answer| Job::Prune(before, answer)).await
    }

    /// Keeps a mini program that was registered over the RPC.
    pub(crate) async fn put_mini_app(&self, app: MiniApp, now: i64) -> Result<(), Error> {
        self.ask(|answer| Job::MiniApp(Box::new(app), now, answer))
            .await
    }

    pub(crate) async fn find(&self, wanted: &Wanted<'_>) -> Result<Option<Found>, Error> {
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.find(wanted.hash).await,
            Readers::Mysql(mysql) => mysql.find(wanted).await,
        }
    }

    /// The keys WeChat gave at the user's last logins, the newest first.
    pub(crate) async fn session_keys(
        &self,
        user: i64,
        who: &Identity,
    ) -> Result<Vec<Secret>, Error> {
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.session_keys(user, who).await,
            Readers::Mysql(mysql) => mysql.session_keys(user, who).await,
        }
    }

    /// A user's sessions, the newest first.
    pub(crate) async fn list(&self, appid: &str, openid: &str) -> Result<Vec<Listed>, Error> {
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.list(appid, openid).await,
            Readers::Mysql(mysql) => mysql.list(appid, openid).await,
        }
    }

    /// What is known of a user.
    pub(crate) async fn user(&self, appid: &str, openid: &str) -> Result<Option<Known>, Error> {
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.user(appid, openid).await,
            Readers::Mysql(mysql) => mysql.user(appid, openid).await,
        }
    }

    /// The mini program and the openid of a session's user.
    pub(crate) async fn owner(&self, session: i64) -> Result<Option<(String, String)>, Error> {
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.owner(session).await,
            Readers::Mysql(mysql) => mysql.owner(session).await,
        }
    }

    /// The mini programs registered over the RPC or by the old server, the last one last.
    pub(crate) async fn mini_apps(&self) -> Result<Vec<MiniApp>, Error> {
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.mini_apps().await,
            Readers::Mysql(mysql) => mysql.mini_apps().await,
        }
    }

    /// Finishes what waits and closes the database.
    pub(crate) async fn close(&self) {
        // The writer may be gone already: then there is nothing to wait for.
        let _closed = self.ask(Job::Close).await;
        match &self.readers {
            Readers::Sqlite(sqlite) => sqlite.close().await,
            Readers::Mysql(mysql) => mysql.close().await,
        }
    }

    /// Hands a job to the writer and waits for its transaction.
    async fn ask<T>(&self, job: impl FnOnce(Answer<T>) -> Job) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let job = job(answer);
        let asked = async {
            self.jobs.send(job).await.map_err(|_| Error::Closed)?;
            answered.await.map_err(|_| Error::Closed)?
        };
        match (self.patience, &self.readers) {
            (Some(patience), Readers::Mysql(mysql)) => tokio::time::timeout(patience, asked)
                .await
                .unwrap_or_else(|_| Err(mysql.silent())),
            _ => asked.await,
        }
    }
}
