//! Where the sessions of these tests are kept: a SQLite file in the world's directory.

use std::path::Path;

use sqlx::{Connection as _, SqliteConnection};

/// Nothing to hold.
pub(crate) struct Backend;

impl Backend {
    pub(crate) fn new() -> Self {
        Self
    }

    /// The `[session] store` of a world.
    #[expect(clippy::unused_self, reason = "the other backend has a server")]
    pub(crate) fn store(&self) -> String {
        "sqlite:weappd.db".to_owned()
    }

    /// The last visits of all sessions, the oldest session first.
    pub(crate) async fn last_visits(&self, dir: &Path) -> Vec<i64> {
        let url = format!("sqlite:{}", dir.join("weappd.db").display());
        let mut conn = SqliteConnection::connect(&url).await.expect("opens");
        sqlx::query_scalar("SELECT last_visit FROM sessions ORDER BY seq")
            .fetch_all(&mut conn)
            .await
            .expect("reads")
    }
}
