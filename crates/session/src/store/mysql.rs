//! The MySQL and MariaDB store: a server that may be slow, go away, and come back.
//!
//! Reads go through a bounded pool, writes through one connection. What fails because the
//! server is gone is tried again until the caller's patience ends: every statement may be
//! repeated, and what was committed unseen is found by the next trial. A connection that
//! kept silent is thrown away, never used again; one that rested is asked for a sign of
//! life first, because what stands between (firewalls, balancers) forgets it silently.

mod line;
mod logins;
mod native;
mod schema;
mod shelf;
mod text;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlPool};
use sqlx::{ConnectOptions as _, Connection as _, MySqlConnection};
use tokio::time::{Instant, sleep, timeout_at};
use weappd_base::secret::Secret;

use crate::config::{Config, MiniApp};
use crate::error::Error;
use crate::identity::Identity;
use crate::session::Found;
use crate::store::batch::{Batch, Done};
use crate::store::cauth::{self, Cauth};
use crate::store::mysql::line::{again, alive, bound_locks, pool, sign};
use crate::store::mysql::logins::Ids;
use crate::store::{Known, LONGEST_OPENID, Listed, Rules, Wanted};

/// How long after a failure the server is tried again.
const PAUSE: Duration = Duration::from_millis(100);

const NEWEST_KEY: &str = include_str!("../../schema/mysql/newest_key.sql");

/// What the store is opened with.
pub(crate) struct Settled<'a> {
    pub(crate) options: MySqlConnectOptions,
    pub(crate) config: &'a Config,
    pub(crate) appids: &'a [String],
    pub(crate) rules: Arc<Rules>,
}

/// The readers.
#[derive(Clone)]
pub(crate) struct Mysql(Arc<Inner>);

struct Inner {
    options: MySqlConnectOptions,
    place: String,
    patience: Duration,
    connections: u32,
    rules: Arc<Rules>,
    shape: Shape,
    ids: Ids,
    /// Replaced when its connections kept silent; counted, so that one silence replaces
    /// it once.
    pool: Mutex<(u64, MySqlPool)>,
    closed: AtomicBool,
}

/// Whose tables they are.
pub(crate) enum Shape {
    Native,
    Cauth(Cauth),
}

/// The writing connection.
pub(crate) struct Desk {
    inner: Arc<Inner>,
    /// With the time it was last used.
    conn: Option<(MySqlConnection, Instant)>,
}

impl Mysql {
    pub(crate) async fn open(settled: Settled<'_>) -> Result<(Self, Desk), Error> {
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
        let (shape, conn, zone) = loop {
            let opened = async {
                let (appids, vault) = (settled.appids, &settled.rules.vault);
                let (shape, mut conn) = schema::open(&options, &place, appids, vault).await?;
                bound_locks(&mut conn, patience).await?;
                let zone = match (&zone, &shape) {
                    (None, Shape::Cauth(tables)) => tables.own_zone(&mut conn).await?,
                    _ => zone.clone(),
                };
                Ok((shape, conn, zone))
            };
            match timeout_at(deadline, opened).await {
                Ok(Ok(opened)) => break opened,
                Ok(Err(schema::Trouble::Told(err))) => return Err(err),
                Ok(Err(schema::Trouble::Sql(err))) => {
                    if !is_passing(&err) || Instant::now() + PAUSE >= deadline {
                        return Err(Error::OpenStore {
                            place,
                            hint: hint(&err),
                            source: Arc::new(err),
                        });
                    }
                    sleep(PAUSE).await;
                }
                Err(_) => return Err(silent(place, patience)),
            }
        };
        let options = options.timezone(zone);
        let connections = settled.config.store_connections;
        let inner = Arc::new(Inner {
            pool: Mutex::new((0, pool(&options, connections, patience))),
            options,
            place,
            patience,
            connections,
            rules: settled.rules,
            shape,
            ids: Ids::default(),
            closed: AtomicBool::new(false),
        });
        let desk = Desk {
            inner: Arc::clone(&inner),
            conn: Some((conn, Instant::now())),
        };
        Ok((Self(inner), desk))
    }

    pub(crate) fn patience(&self) -> Duration {
        self.0.patience
    }

    pub(crate) fn place(&self) -> &str {
        &self.0.place
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// The one mini program of an old server's database.
    pub(crate) fn cauth_appid(&self) -> Option<&str> {
        match &self.0.shape {
            Shape::Native => None,
            Shape::Cauth(tables) => Some(&tables.appid),
        }
    }

    pub(crate) fn longest_openid(&self) -> usize {
        match &self.0.shape {
            Shape::Native => LONGEST_OPENID,
            Shape::Cauth(tables) => tables.openid_length.min(LONGEST_OPENID),
        }
    }

    /// The error for a caller whose patience has ended.
    pub(crate) fn silent(&self) -> Error {
        silent(self.0.place.clone(), self.0.patience)
    }

    pub(crate) async fn find(&self, wanted: &Wanted<'_>) -> Result<Option<Found>, Error> {
        let patience = wanted.patience.unwrap_or(self.0.patience);
        self.read(patience, |pool| async move {
            match &self.0.shape {
                Shape::Native => native::find(&pool, wanted).await,
                Shape::Cauth(tables) => cauth::find(&pool, tables, wanted).await,
            }
        })
        .await
    }

    pub(crate) async fn session_keys(
        &self,
        user: i64,
        who: &Identity,
    ) -> Result<Vec<Secret>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                Shape::Native => native::session_keys(&pool, &self.0.rules, user, who).await,
                Shape::Cauth(_) => cauth::session_keys(&pool, who).await,
            }
        })
        .await
    }

    /// The newest session key, with its user's AppID and openid; an old server's database
    /// seals nothing.
    pub(crate) async fn newest_key(&self) -> Result<Option<(Vec<u8>, String, String)>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                Shape::Native => sqlx::query_as(NEWEST_KEY).fetch_optional(&pool).await,
                Shape::Cauth(_) => Ok(None),
            }
        })
        .await
    }

    pub(crate) async fn list(&self, appid: &str, openid: &str) -> Result<Vec<Listed>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                Shape::Native => native::list(&pool, appid, openid).await,
                Shape::Cauth(tables) => cauth::list(&pool, tables, appid, openid).await,
            }
        })
        .await
    }

    pub(crate) async fn user(&self, appid: &str, openid: &str) -> Result<Option<Known>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                Shape::Native => native::user(&pool, appid, openid).await,
                Shape::Cauth(tables) => cauth::user(&pool, tables, appid, openid).await,
            }
        })
        .await
    }

    pub(crate) async fn owner(&self, session: i64) -> Result<Option<(String, String)>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                Shape::Native => native::owner(&pool, session).await,
                Shape::Cauth(tables) => cauth::owner(&pool, tables, session).await,
            }
        })
        .await
    }

    pub(crate) async fn mini_apps(&self) -> Result<Vec<MiniApp>, Error> {
        self.read(self.0.patience, |pool| async move {
            match &self.0.shape {
                Shape::Native => native::mini_apps(&pool, &self.0.rules).await,
                Shape::Cauth(tables) => cauth::mini_apps(&pool, tables).await,
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
            let fresh = pool(&self.0.options, self.0.connections, self.0.patience);
            *current = (turn + 1, fresh);
        }
    }
}

impl Desk {
    /// Writes the batch in one transaction, again and again while the server is gone.
    pub(crate) async fn commit(&mut self, batch: &Batch, rules: &Rules) -> Result<Done, Error> {
        let deadline = Instant::now() + self.inner.patience;
        loop {
            // On any failure the connection is gone, and its transaction with it.
            let conn = match self.conn.take() {
                Some((conn, used)) => alive(conn, used, sign(self.inner.patience)).await,
                None => None,
            };
            match timeout_at(deadline, self.inner.write(conn, batch, rules)).await {
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

impl Inner {
    /// A new writing connection.
    async fn connect(&self) -> Result<MySqlConnection, sqlx::Error> {
        let mut conn = self.options.connect().await?;
        bound_locks(&mut conn, self.patience).await?;
        Ok(conn)
    }

    async fn write(
        &self,
        conn: Option<MySqlConnection>,
        batch: &Batch,
        rules: &Rules,
    ) -> Result<(Done, MySqlConnection), sqlx::Error> {
        let mut conn = match conn {
            Some(conn) => conn,
            None => self.connect().await?,
        };
        let mut change = conn.begin().await?;
        let done = match &self.shape {
            Shape::Native => native::write(batch, &mut change, rules, &self.ids).await?,
            Shape::Cauth(tables) => cauth::write(batch, &mut change, tables, rules).await?,
        };
        change.commit().await?;
        Ok((done, conn))
    }
}

fn silent(place: String, waited: Duration) -> Error {
    Error::StoreSilent {
        place,
        waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The server's error number (MariaDB's and MySQL's lists agree on these).
pub(crate) fn number(err: &sqlx::Error) -> Option<u16> {
    let err = err.as_database_error()?;
    Some(err.try_downcast_ref::<MySqlDatabaseError>()?.number())
}

/// Whether the server refused what was to be written, not the writing: a packet beyond its
/// `max_allowed_packet`, or a text or number that a column of an old server does not take.
pub(crate) fn refuses_data(err: &Error) -> bool {
    let Error::WriteStore { source, .. } = err else {
        return false;
    };
    let number = source.downcast_ref::<sqlx::Error>().and_then(number);
    number.is_some_and(|number| matches!(number, 1153 | 1264 | 1366 | 1406 | 3988))
}

/// Whether the same may go well a moment later.
fn is_passing(err: &sqlx::Error) -> bool {
    match err {
        sqlx::Error::Io(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        // Too many connections, shutting down, killed, lock waits and deadlocks, read only
        // while another server takes over.
        err => number(err).is_some_and(|number| {
            matches!(
                number,
                1020 | 1040 | 1047 | 1053 | 1077 | 1152 | 1158
                    ..=1161 | 1205 | 1213 | 1290 | 1317 | 1836 | 1927
            )
        }),
    }
}

/// What a person can do about an error of the server.
fn hint(err: &sqlx::Error) -> &'static str {
    match number(err) {
        Some(1044 | 1045 | 1698) => {
            "it refuses the user or the password; check the URL in [session] store"
        }
        Some(1049) => "there is no such database; create it with CHARACTER SET utf8mb4",
        Some(1142 | 1143 | 1227) => "grant weappd's account all rights on the database",
        Some(1290 | 1836) => "it is read only; name the server that may be written",
        Some(1021 | 1114) => "its disk is full; make room",
        Some(1153) => "raise its max_allowed_packet to at least 1M",
        Some(1205 | 1213) => {
            "somebody else holds rows of weappd's tables locked; end that transaction"
        }
        Some(1040) => "it has too many connections; raise its max_connections",
        None if matches!(err, sqlx::Error::Io(_)) => {
            "nobody answers there; check that it runs and the URL in [session] store"
        }
        _ => "see the cause",
    }
}
