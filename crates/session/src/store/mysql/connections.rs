//! The connections to a server: how they are kept, proven alive, and kept from waiting long.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::{Connection as _, MySqlConnection};
use tokio::time::{Instant, timeout};

use crate::store::mysql::errors::number;

/// How long after a failure the server is tried again.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// How long an idle connection is held.
const IDLE: Duration = Duration::from_mins(5);
/// After what rest a connection is asked for a sign of life before it is used.
const RESTED: Duration = Duration::from_secs(1);
/// How long that sign is waited for, if the patience is not shorter still.
const SIGN: Duration = Duration::from_secs(1);
/// The error for rows that stayed locked.
const LOCK_WAIT: u16 = 1205;

/// When a connection was last found silent. Whatever forgot it on the way most likely forgot
/// the others that rested since before then: they are not waited for one by one.
#[derive(Clone, Debug, Default)]
pub(crate) struct LastSilence(Arc<Mutex<Option<Instant>>>);

impl LastSilence {
    /// Whether the connection, last used at `used`, may carry a statement. One that rested
    /// is asked for a sign of life first.
    pub(crate) async fn may_use(
        &self,
        conn: &mut MySqlConnection,
        used: Instant,
        sign: Duration,
    ) -> bool {
        if used.elapsed() < RESTED {
            return true;
        }
        if self.0.lock().is_some_and(|silent| used <= silent) {
            return false;
        }
        let asked = Instant::now();
        let Ok(answer) = timeout(sign, conn.ping()).await else {
            *self.0.lock() = Some(asked);
            return false;
        };
        answer.is_ok()
    }
}

pub(crate) fn pool(
    options: &MySqlConnectOptions,
    connections: u32,
    patience: Duration,
    silence: LastSilence,
) -> MySqlPool {
    let sign = sign(patience);
    MySqlPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(patience)
        .idle_timeout(IDLE)
        // Theirs waits without end, and asks before every read.
        .test_before_acquire(false)
        .before_acquire(move |conn, meta| {
            let silence = silence.clone();
            Box::pin(async move {
                let now = Instant::now();
                let used = now.checked_sub(meta.idle_for).unwrap_or(now);
                if silence.may_use(conn, used, sign).await {
                    return Ok(true);
                }
                // An error has it closed at once: nobody would hear a goodbye. It is logged.
                let told = "a connection that rested gives no sign of life: another is taken";
                Err(io::Error::new(io::ErrorKind::TimedOut, told).into())
            })
        })
        .connect_lazy_with(options.clone())
}

/// How long a sign of life is waited for.
pub(crate) fn sign(patience: Duration) -> Duration {
    SIGN.min(patience / 4)
}

/// How long the server waits for rows that somebody else holds locked: whole seconds.
fn lock_wait(patience: Duration) -> Duration {
    Duration::from_secs((patience.as_secs() / 2).clamp(1, 50))
}

/// When another trial may have an answer, at the earliest: locked rows are waited for, and
/// whoever asked is rather told of them than of silence.
pub(crate) fn again(err: &sqlx::Error, patience: Duration) -> Instant {
    let wait = match number(err) {
        Some(LOCK_WAIT) => lock_wait(patience),
        _ => Duration::ZERO,
    };
    Instant::now() + PAUSE + wait
}

/// Lets the server give up on rows that somebody else holds locked before the callers do:
/// then it says so, and no half-done transaction stays behind on it.
pub(crate) async fn bound_locks(
    conn: &mut MySqlConnection,
    patience: Duration,
) -> Result<(), sqlx::Error> {
    let secs = lock_wait(patience).as_secs();
    let sql = format!("SET SESSION innodb_lock_wait_timeout = {secs}");
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql))
        .execute(conn)
        .await?;
    Ok(())
}
