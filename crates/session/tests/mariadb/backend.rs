//! Where the sessions of these tests are kept: a database each, on one private MariaDB
//! that runs as long as any test wants it.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::mariadb::MariaDb;

static RUNNING: Mutex<Weak<Mutex<MariaDb>>> = Mutex::new(Weak::new());
static MADE: AtomicUsize = AtomicUsize::new(0);

/// A database of its own.
pub(crate) struct Backend {
    server: Arc<Mutex<MariaDb>>,
    name: String,
}

impl Backend {
    pub(crate) fn new() -> Self {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let server = running.upgrade().unwrap_or_else(|| {
            let server = Arc::new(Mutex::new(MariaDb::start(&[])));
            *running = Arc::downgrade(&server);
            server
        });
        drop(running);
        Self::on(server)
    }

    /// A database on a server that this test alone has, to be ill-treated.
    pub(crate) fn alone() -> Self {
        Self::on(Arc::new(Mutex::new(MariaDb::start(&[]))))
    }

    fn on(server: Arc<Mutex<MariaDb>>) -> Self {
        let name = format!("w{}", MADE.fetch_add(1, Ordering::SeqCst));
        let sql =
            format!("CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci");
        locked(&server).query("mysql", &sql);
        Self { server, name }
    }

    /// The `[session] store` of a world.
    pub(crate) fn store(&self) -> String {
        locked(&self.server).url(&self.name)
    }

    /// The last visits of all sessions, the oldest session first.
    #[expect(clippy::unused_async, reason = "the other backend reads a file")]
    pub(crate) async fn last_visits(&self, _dir: &Path) -> Vec<i64> {
        let visits = self.query("SELECT last_visit FROM weappd_sessions ORDER BY seq");
        visits.lines().filter_map(|at| at.parse().ok()).collect()
    }

    /// Runs SQL in the database, by the clock of the old PHP server, which is Beijing's.
    pub(crate) fn query(&self, sql: &str) -> String {
        let sql = format!("SET time_zone = '+08:00'; {sql}");
        locked(&self.server).query(&self.name, &sql)
    }

    pub(crate) fn port(&self) -> u16 {
        locked(&self.server).port
    }
}

fn locked(server: &Mutex<MariaDb>) -> MutexGuard<'_, MariaDb> {
    server.lock().unwrap_or_else(PoisonError::into_inner)
}
