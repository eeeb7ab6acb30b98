//! Where users and sessions are kept.
//!
//! A closed set of databases, one variant each. To add one: its SQL stands in
//! `schema/<name>/`, its code in `store/<name>.rs`, and the compiler lists every `match`
//! that misses it.

mod batch;
mod sqlite;
mod writer;

use std::path::Path;
use std::sync::Arc;

use weappd_base::secret::Secret;
use weappd_base::tasks::{Tasks, Work};

use crate::cache::Cache;
use crate::config::{Config, MiniApp};
use crate::error::Error;
use crate::session::{Found, Limits, Session};
use crate::skey::SkeyHash;
use crate::store::sqlite::Sqlite;

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
    pub(crate) hash: SkeyHash,
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

/// The store's helpers from the rest of the house.
pub(crate) struct StoreParts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) data_dir: &'a Path,
    pub(crate) cache: Arc<Cache>,
    pub(crate) tasks: &'a Tasks,
    pub(crate) work: &'a Work,
}

/// Where users and sessions are kept.
#[derive(Clone)]
pub(crate) enum Store {
    Sqlite(Sqlite),
}

impl Store {
    pub(crate) async fn open(parts: StoreParts<'_>) -> Result<Self, Error> {
        Sqlite::open(parts).await.map(Self::Sqlite)
    }

    /// Writes a login, and keeps the session in the cache.
    pub(crate) async fn log_in(&self, login: NewLogin) -> Result<Opened, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.log_in(login).await,
        }
    }

    /// Ends a session, in the cache too; says whether there was one.
    pub(crate) async fn log_out(&self, hash: SkeyHash) -> Result<bool, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.log_out(hash).await,
        }
    }

    /// Writes last visits: `(seq, seconds)`.
    pub(crate) async fn put_visits(&self, visits: Vec<(i64, i64)>) -> Result<(), Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.put_visits(visits).await,
        }
    }

    /// Drops some of the sessions whose login is older than `before`; says how many.
    pub(crate) async fn prune(&self, before: i64) -> Result<u64, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.prune(before).await,
        }
    }

    pub(crate) async fn find(&self, hash: SkeyHash) -> Result<Option<Found>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.find(hash).await,
        }
    }

    /// The key WeChat gave at the user's last login.
    pub(crate) async fn session_key(&self, user: i64) -> Result<Option<Secret>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.session_key(user).await,
        }
    }

    /// Keeps a mini program that was registered over the RPC.
    pub(crate) async fn put_mini_app(&self, app: MiniApp, now: i64) -> Result<(), Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.put_mini_app(app, now).await,
        }
    }

    /// The mini programs registered over the RPC, the last one last.
    pub(crate) async fn mini_apps(&self) -> Result<Vec<MiniApp>, Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.mini_apps().await,
        }
    }

    /// Finishes what waits and closes the database.
    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(sqlite) => sqlite.close().await,
        }
    }
}
