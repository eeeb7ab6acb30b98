//! The MySQL and MariaDB store: a server that may be slow, go away, and come back.
//!
//! Reads go through a bounded pool, writes through one connection. What fails because the
//! server is gone is tried again until the caller's patience ends: every statement may be
//! repeated, and what was committed unseen is found by the next trial. A connection that
//! kept silent is thrown away, never used again; one that rested is asked for a sign of
//! life first, because what stands between (firewalls, balancers) forgets it silently.

mod connections;
pub(crate) mod errors;
mod logins;
mod native;
mod schema;
mod shared_values;
pub(crate) mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool};
use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection};
use tokio::time::{Instant, sleep, timeout_at};
use weappd_base::secret::Secret;

use crate::config::{Config, MiniApp};
use crate::error::Error;
use crate::identity::UserIdentity;
use crate::store::cauth;
use crate::store::change::{CacheEffects, CauthChange, NativeChange};
use crate::store::job::{self, StoreJob};
use crate::store::mysql::connections::{LastSilence, PAUSE, again, bound_locks, pool, sign};
use crate::store::mysql::errors::{hint, is_passing, silent};
use crate::store::mysql::logins::UserIdCache;
use crate::store::mysql::schema::TableShape;
use crate::store::records::{SessionLookup, SessionRecord, SessionRow, UserRecord};
use crate::store::rules::{LONGEST_OPENID, WriteRules};

const NEWEST_KEY: &str = include_str!("../../schema/mysql/newest_key.sql");

/// What the store is opened with.
pub(crate) struct MysqlParts<'a> {
    pub(crate) options: MySqlConnectOptions,
    pub(crate) config: &'a Config,
    pub(crate) appids: &'a [String],
    pub(crate) rules: Arc<WriteRules>,
}

/// The readers.
#[derive(Clone)]
pub(crate) struct MysqlStore(Arc<MysqlShared>);

struct MysqlShared {
    options: MySqlConnectOptions,
    place: String,
    patience: Duration,
    connections: u32,
    rules: Arc<WriteRules>,
    shape: TableShape,
    ids: UserIdCache,
    /// Replaced when its connections kept silent; counted, so that one silence replaces
    /// it once.
    pool: Mutex<(u64, MySqlPool)>,
    silence: LastSilence,
    closed: AtomicBool,
}

/// The writing connection.
pub(crate) struct MysqlWriteConn {
    inner: Arc<MysqlShared>,
    /// With the time it was last used.
    conn: Option<(MySqlConnection, Instant)>,
}

impl MysqlStore {
    pub(crate) async fn open(settled: MysqlParts<'_>) -> Result<(Self, MysqlWriteConn), Error> {
        let zone = &settled.config.cauth_time_zone;
        let zone = Some(zone.clone()).filter(|zone| !zone.is_empty());
        let options = settled
            .options
            .timezone(zone.clone())
            .log_statements(tracing::log::LevelFilter::Off)
            .log_slow_statements(tracing::log::LevelFilter::Off, Duration::MAX);
        let place = format!(
            "mysql://{}:{}/{}",
            options.get_host(),
            options.get_port(),
            options.get_database().unwrap_or_default()
        );
        let patience = Duration::from_millis(settled.config.store_wait_ms);
        let deadline = Instant::now() + patience;
        let refused = |place, err: sqlx::Error| Error::OpenStore {
            place,
            hint: hint(&err),
            source: Arc::new(err),
        };
        let mut said = None;
        let (shape, conn, zone) = loop {
            let opened = async {
                let (appids, vault) = (settled.appids, &settled.rules.vault);
                let (shape, mut conn) = schema::open(&options, &place, appids, vault).await?;
                bound_locks(&mut conn, patience).await?;
                let zone = match (&zone, &shape) {
                    (None, TableShape::Cauth(tables)) => tables.own_zone(&mut conn).await?,
                    _ => zone.clone(),
                };
                Ok((shape, conn, zone))
            };
            match timeout_at(deadline, opened).await {
                Ok(Ok(opened)) => break opened,
                Ok(Err(schema::SchemaError::Told(err))) => return Err(err),
                Ok(Err(schema::SchemaError::Sql(err))) => {
                    if !is_passing(&err) || Instant::now() + PAUSE >= deadline {
                        return Err(refused(place, err));
                    }
                    said = Some(err);
                    sleep(PAUSE).await;
                }
                // What it said before tells more than its silence at the end.
                Err(_) => {
                    return Err(match said {
                        Some(err) => refused(place, err),
                        None => silent(place, patience),
                    });
                }
            }
        };
        let options = options.timezone(zone);
        let connections = settled.config.store_connections;
        let silence = LastSilence::default();
        let inner = Arc::new(MysqlShared {
            pool: Mutex::new((0, pool(&options, connections, patience, silence.clone()))),
            silence,
            options,
            place,
            patience,
            connections,
            rules: settled.rules,
            shape,
            ids: UserIdCache::default(),
            closed: AtomicBool::new(false),
        });
        let writer = MysqlWriteConn {
            inner: Arc::clone(&inner),
            conn: Some((conn, Instant::now())),
        };
        Ok((Self(inner), writer))
    }

    pub(crate) fn patience(&self) -> Duration {
        self.0.patience
    }

    pub(crate) fn place(&self) -> &str {
        &self.0.place
    }

    pub(crate) fn rules(&self) -> &WriteRules {
        &self.0.rules
    }

    /// The one mini program of an old server's database.
    pub(crate) fn cauth_appid(&self) -> Option<&str> {
        match &self.0.shape {
            TableShape::Native => None,
            TableShape::Cauth(tables) => Some(&tables.appid),
        }
    }

    pub(crate) fn longest_openid(&self) -> usize {
        match &self.0.shape {
            TableShape::Native => LONGEST_OPENID,
            TableShape::Cauth(tables) => tables.openid_length.min(LONGEST_OPENID),
        }
    }

    /// The error for a caller whose patience has ended.
    pub(crate) fn silent(&self) -> Error {
        silent(self.0.place.clone(), self.0.patience)
    }

    pub(crate) async fn find(
        &self,
        wanted: &SessionLookup<'_>,
    ) -> Result<Option<SessionRow>, Error> {
        let patience = wanted.patience.unwrap_or(self.0.patience);
        self.read(patience, |pool| async move {
            match &self.0.shape {
                TableShape::Native => native::find(&pool, wanted).await,
                TableShape::Cauth(tables) => cauth::find(&pool, tables, wanted).await,
            }
        })
        .await
    }

    pub(crate) async fn session_keys(
        &self,
        user: i64,
        who: &UserIdentity,
    ) -> Result<Vec<Secret>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                TableShape::Native => native::session_keys(&pool, &self.0.rules, user, who).await,
                TableShape::Cauth(_) => cauth::session_keys(&pool, who).await,
            }
        })
        .await
    }

    /// The newest session key, with its user's AppID and openid; an old server's database
    /// seals nothing.
    pub(crate) async fn newest_key(&self) -> Result<Option<(Vec<u8>, String, String)>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                TableShape::Native => sqlx::query_as(NEWEST_KEY).fetch_optional(&pool).await,
                TableShape::Cauth(_) => Ok(None),
            }
        })
        .await
    }

    pub(crate) async fn list(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Vec<SessionRecord>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                TableShape::Native => native::list(&pool, appid, openid).await,
                TableShape::Cauth(tables) => cauth::list(&pool, tables, appid, openid).await,
            }
        })
        .await
    }

    pub(crate) async fn user(
        &self,
        appid: &str,
        openid: &str,
    ) -> Result<Option<UserRecord>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                TableShape::Native => native::user(&pool, appid, openid).await,
                TableShape::Cauth(tables) => cauth::user(&pool, tables, appid, openid).await,
            }
        })
        .await
    }

    pub(crate) async fn owner(&self, session: i64) -> Result<Option<(String, String)>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                TableShape::Native => native::owner(&pool, session).await,
                TableShape::Cauth(tables) => cauth::owner(&pool, tables, session).await,
            }
        })
        .await
    }

    pub(crate) async fn mini_apps(&self) -> Result<Vec<MiniApp>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                TableShape::Native => native::mini_apps(&pool, &self.0.rules).await,
                TableShape::Cauth(tables) => cauth::mini_apps(&pool, tables).await,
            }
        })
        .await
    }

    pub(crate) async fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
        let (_, pool) = self.0.pool.lock().clone();
        // A server that keeps silent is not said goodbye to.
        let _closed = timeout_at(Instant::now() + PAUSE, pool.close()).await;
    }

    /// Reads, again and again while the server is gone, until the patience ends.
    async fn read<T, F>(&self, patience: Duration, ask: impl Fn(MySqlPool) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, sqlx::Error>>,
    {
        let deadline = Instant::now() + patience;
        loop {
            if self.0.closed.load(Ordering::Acquire) {
                return Err(Error::Closed);
            }
            let (turn, pool) = self.0.pool.lock().clone();
            match timeout_at(deadline, ask(pool)).await {
                Ok(Ok(found)) => return Ok(found),
                Ok(Err(err)) if is_passing(&err) && Instant::now() + PAUSE < deadline => {
                    sleep(PAUSE).await;
                }
                Ok(Err(err)) => {
                    return Err(Error::ReadStore {
                        place: self.0.place.clone(),
                        hint: hint(&err),
                        source: Arc::new(err),
                    });
                }
                Err(_) => {
                    self.renew(turn);
                    return Err(silent(self.0.place.clone(), patience));
                }
            }
        }
    }

    /// Takes a new pool: the connections of this one keep silent.
    fn renew(&self, turn: u64) {
        let mut current = self.0.pool.lock();
        if current.0 == turn && !self.0.closed.load(Ordering::Acquire) {
            let silence = self.0.silence.clone();
            let fresh = pool(
                &self.0.options,
                self.0.connections,
                self.0.patience,
                silence,
            );
            *current = (turn + 1, fresh);
        }
    }
}

impl MysqlWriteConn {
    /// Writes the jobs in one transaction, again and again while the server is gone.
    pub(crate) async fn commit(
        &mut self,
        mut jobs: Vec<StoreJob>,
        rules: &WriteRules,
    ) -> (Vec<StoreJob>, Result<CacheEffects, Error>) {
        let outcome = self.commit_all(&mut jobs, rules).await;
        (jobs, outcome)
    }

    async fn commit_all(
        &mut self,
        jobs: &mut [StoreJob],
        rules: &WriteRules,
    ) -> Result<CacheEffects, Error> {
        let deadline = Instant::now() + self.inner.patience;
        loop {
            // On any failure the connection is gone, and its transaction with it.
            let conn = match self.conn.take() {
                Some((mut conn, used)) => {
                    let sign = sign(self.inner.patience);
                    let may = self.inner.silence.may_use(&mut conn, used, sign).await;
                    may.then_some(conn)
                }
                None => None,
            };
            match timeout_at(deadline, self.inner.write(conn, jobs, rules)).await {
                Ok(Ok((done, conn))) => {
                    self.conn = Some((conn, Instant::now()));
                    return Ok(done);
                }
                Ok(Err(err)) if is_passing(&err) && again(&err, self.inner.patience) < deadline => {
                    sleep(PAUSE).await;
                }
                Ok(Err(err)) => {
                    return Err(Error::WriteStore {
                        place: self.inner.place.clone(),
                        hint: hint(&err),
                        source: Arc::new(err),
                    });
                }
                Err(_) => return Err(silent(self.inner.place.clone(), self.inner.patience)),
            }
        }
    }

    pub(crate) async fn close(self) {
        if let Some((conn, _)) = self.conn {
            // All is committed: a goodbye that is not heard loses nothing.
            let _closed = timeout_at(Instant::now() + PAUSE, conn.close()).await;
        }
    }
}

impl MysqlShared {
    /// A new writing connection.
    async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        let mut conn = self.options.connect().await?;
        bound_locks(&mut conn, self.patience).await?;
        Ok(conn)
    }

    async fn write(
        &self,
        conn: Option<MySqlConnection>,
        jobs: &mut [StoreJob],
        rules: &WriteRules,
    ) -> Result<(CacheEffects, MySqlConnection), sqlx::Error> {
        let mut conn = match conn {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        let mut change = conn.begin().await?;
        let mut effects = CacheEffects::default();
        let new = job::logins(jobs);
        if !new.is_empty() {
            let opened = match &self.shape {
                TableShape::Native => {
                    let with = (rules, &self.ids);
                    logins::write(&new, &mut change, with, &mut effects).await?
                }
                TableShape::Cauth(tables) => {
                    cauth::logins::write(&new, &mut change, tables, &mut effects).await?
                }
            };
            job::give(jobs, opened);
        }
        for write in job::others(jobs) {
            let (conn, effects) = (&mut *change, &mut effects);
            match &self.shape {
                TableShape::Native => {
                    let mut change = NativeChange {
                        conn,
                        rules,
                        effects,
                    };
                    write.native(&mut change).await?;
                }
                TableShape::Cauth(tables) => {
                    let mut change = CauthChange {
                        conn,
                        tables,
                        rules,
                        effects,
                    };
                    write.cauth(&mut change).await?;
                }
            }
        }
        change.commit().await?;
        Ok((effects, conn))
    }
}
