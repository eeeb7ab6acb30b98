//! The store's side of the one writer: which database it is, and what the cache is told.
//!
//! The cache is told before the callers are, in the order of the transactions: see
//! [`SessionCache::opened`].

use std::collections::HashSet;
use std::sync::Arc;

use weappd_durable::{Committed, ReplyBatch, WriteTarget};

use crate::cache::SessionCache;
use crate::error::Error;
use crate::skey::SkeyHash;
use crate::store::change::CacheEffects;
use crate::store::job::StoreJob;
use crate::store::rules::WriteRules;
use crate::store::{mysql, sqlite};

/// The writing connection to a database.
pub(crate) enum StoreWriteConn {
    Sqlite(sqlite::SqliteWriteConn),
    Mysql(mysql::MysqlWriteConn),
}

/// What the one writer writes to.
pub(crate) struct StoreTarget {
    pub(crate) conn: StoreWriteConn,
    pub(crate) cache: Arc<SessionCache>,
    pub(crate) rules: Arc<WriteRules>,
}

impl WriteTarget for StoreTarget {
    type Job = StoreJob;
    type Done = CacheEffects;
    type Error = Error;

    /// Whoever asked for a login may have waited too long, and been told so.
    fn is_wanted(job: &StoreJob) -> bool {
        job.as_login().is_none_or(|job| !job.reply.is_closed())
    }

    async fn commit(&mut self, jobs: Vec<StoreJob>) -> Committed<Self> {
        let (jobs, outcome) = match &mut self.conn {
            StoreWriteConn::Sqlite(conn) => conn.commit(jobs, &self.rules).await,
            StoreWriteConn::Mysql(conn) => conn.commit(jobs, &self.rules).await,
        };
        Committed { jobs, outcome }
    }

    fn refuses_data(error: &Error) -> bool {
        mysql::errors::refuses_data(error) || sqlite::errors::refuses_data(error)
    }

    fn acknowledge(&mut self, jobs: Vec<StoreJob>, done: CacheEffects, replies: &mut ReplyBatch) {
        let cache = &self.cache;
        if done.all_ended {
            cache.forget_all();
        }
        for hash in done.stale.iter().chain(&done.ended) {
            cache.forget(hash);
        }
        let ended: HashSet<SkeyHash> = done.ended.into_iter().collect();
        let is_over = |hash| done.all_ended || ended.contains(hash);
        for job in jobs.iter().filter_map(StoreJob::as_login) {
            let Some(opened) = job.opened.as_ref().filter(|opened| opened.is_kept) else {
                continue;
            };
            if !is_over(&job.login.hash) {
                opened.session.confirm(job.login.now.to_millis());
                cache.opened(Arc::clone(&opened.session));
            }
        }
        for job in jobs {
            job.acknowledge(replies);
        }
    }

    fn refuse(&mut self, jobs: Vec<StoreJob>, error: &Error, replies: &mut ReplyBatch) {
        for job in jobs {
            job.refuse(error, replies);
        }
    }

    async fn close(self) {
        match self.conn {
            StoreWriteConn::Sqlite(conn) => conn.close().await,
            StoreWriteConn::Mysql(conn) => conn.close().await,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::path::Path;
    use std::time::Duration;
    use weappd_base::file_place::FilePlace;

    use futures_util::future::join_all;

    use crate::app_terms::AppTerms;
    use crate::config::Config;
    use crate::identity::UserIdentity;
    use crate::session_lifetime::SessionLifetime;
    use crate::skey::SkeyHash;
    use crate::store::new_login::NewLogin;
    use crate::store::sqlite;
    use crate::store::sqlite::key_list::KeyList;
    use crate::store::write::AskedWrite;
    use crate::store::write::log_out::EndedSession;
    use crate::store::write::revoke::RevokeScope;
    use crate::vault;
    use weappd_base::secret::Secret;
    use weappd_base::unix_time::UnixSecs;
    use weappd_durable::DurableWriter;

    pub(crate) fn login(n: usize) -> NewLogin {
        NewLogin {
            appid: "wx1".to_owned(),
            openid: format!("o{}", n % 2),
            unionid: None,
            new_id: format!("id{n}"),
            user_info: None,
            session_key: Secret::new("key"),
            skey: Secret::new(n.to_string()),
            hash: SkeyHash::of(&n.to_string()),
            device: None,
            address: None,
            now: UnixSecs::new(7),
            terms: AppTerms::of(SessionLifetime {
                login: Duration::from_secs(10),
                idle: Duration::from_secs(10),
            }),
        }
    }

    /// A writer at a file, and its cache.
    fn target(path: &Path) -> (StoreTarget, Arc<SessionCache>) {
        let cache = Arc::new(SessionCache::new(1 << 20));
        let conn = sqlite::SqliteWriteConn::new(
            path,
            std::time::Duration::from_secs(1),
            FilePlace::of(path).expect("a file"),
        );
        let target = StoreTarget {
            conn: StoreWriteConn::Sqlite(conn),
            cache: Arc::clone(&cache),
            rules: Arc::new(WriteRules::new(&Config::default(), vault::tests::vault())),
        };
        (target, cache)
    }

    /// How many transactions a write-ahead log holds: the frames that tell the size of
    /// the database after a COMMIT (sqlite.org/fileformat2, 4.1).
    fn commits(log: &Path, page_size: usize) -> usize {
        let bytes = std::fs::read(log).expect("a log");
        let frames = bytes[32..].chunks_exact(24 + page_size);
        frames.filter(|frame| frame[4..8] != [0; 4]).count()
    }

    #[tokio::test]
    async fn what_waits_is_written_in_one_transaction() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        // Somebody who reads keeps the log from being folded in when the writer closes.
        let mut reader = sqlite::connect(&path).await.expect("opens");
        let before = commits(&dir.path().join("weappd.db-wal"), 4096);
        let (target, cache) = target(&path);
        let (writer, task) = DurableWriter::new(target);
        let asked = (0..100).map(|n| writer.ask(move |reply| StoreJob::log_in(login(n), reply)));
        let asked = async {
            let answers = join_all(asked).await;
            writer.close().await;
            answers
        };
        // All have asked before the writer runs.
        let (answers, ()) = tokio::join!(asked, task);
        for (n, answer) in answers.into_iter().enumerate() {
            let opened = answer.expect("an answer").expect("written");
            assert_eq!(opened.is_new_user, n < 2, "login {n}");
            // Two users with fifty logins each: the last eight of each are kept.
            assert_eq!(opened.is_kept, n >= 84, "login {n}");
            let hash = SkeyHash::of(&n.to_string());
            assert_eq!(cache.get(&hash).is_some(), n >= 84, "login {n}");
        }
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions")
            .fetch_one(&mut reader)
            .await
            .expect("counts");
        assert_eq!(kept, 16);
        let keys: Vec<Option<Vec<u8>>> = sqlx::query_scalar("SELECT session_keys FROM users")
            .fetch_all(&mut reader)
            .await
            .expect("reads");
        let counts = keys
            .into_iter()
            .map(|keys| KeyList::of(keys).keys().count());
        assert_eq!(
            counts.collect::<Vec<_>>(),
            [1, 1],
            "the same key is kept once"
        );
        let after = commits(&dir.path().join("weappd.db-wal"), 4096);
        assert_eq!(after - before, 1, "one flush for a hundred logins");
    }

    #[tokio::test]
    async fn a_login_that_is_refused_takes_no_other_along() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        let mut conn = sqlite::connect(&path).await.expect("opens");
        let rule = "CREATE TRIGGER rule BEFORE INSERT ON users WHEN NEW.id = 'id77' \
            BEGIN SELECT RAISE(ABORT, 'against the rule'); END";
        sqlx::raw_sql(rule)
            .execute(&mut conn)
            .await
            .expect("a rule");
        let (target, _) = target(&path);
        let (writer, task) = DurableWriter::new(target);
        let of = |n: usize| NewLogin {
            openid: format!("o{n}"),
            ..login(n)
        };
        let logins = (0..200).map(|n| writer.ask(move |reply| StoreJob::log_in(of(n), reply)));
        let asked = async {
            let answers = join_all(logins).await;
            writer.close().await;
            answers
        };
        let (answers, ()) = tokio::join!(asked, task);
        for (n, answer) in answers.into_iter().enumerate() {
            let answer = answer.expect("open");
            assert_eq!(answer.is_ok(), n != 77, "{n}: {:?}", answer.err());
        }
        let counts = writer.counts();
        assert_eq!((counts.written, counts.refused), (199, 1));
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM sessions")
            .fetch_one(&mut conn)
            .await
            .expect("counts");
        assert_eq!(kept, 199);
    }

    #[tokio::test]
    async fn what_ended_in_the_transaction_of_its_login_is_not_remembered() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let path = dir.path().join("weappd.db");
        drop(sqlite::connect(&path).await.expect("opens"));
        let user = |n: usize| RevokeScope::User {
            appid: "wx1".to_owned(),
            openid: format!("o{n}"),
        };
        let identity = UserIdentity {
            appid: "wx1".to_owned(),
            openid: "o1".to_owned(),
            unionid: None,
            id: "id1".to_owned(),
            user_info_json: "{}".to_owned(),
        };
        let log_out = EndedSession {
            hash: login(3).hash,
            who: Arc::new(identity),
        };
        let (target, cache) = target(&path);
        let (writer, task) = DurableWriter::new(target);
        let logins = (0..5).map(|n| writer.ask(move |reply| StoreJob::log_in(login(n), reply)));
        let revoke = writer.ask(|reply| StoreJob::Other(Box::new(AskedWrite::new(user(0), reply))));
        let log_out =
            writer.ask(|reply| StoreJob::Other(Box::new(AskedWrite::new(log_out, reply))));
        let asked = async {
            let done = tokio::join!(join_all(logins), revoke, log_out);
            writer.close().await;
            done
        };
        let ((logins, revoked, ended), ()) = tokio::join!(asked, task);
        assert!(logins.into_iter().all(|login| matches!(login, Ok(Ok(_)))));
        assert_eq!(revoked.expect("open").expect("written"), 3);
        assert!(ended.expect("open").expect("written"));
        let known = |n: usize| cache.get(&login(n).hash).is_some();
        assert_eq!(
            [0, 1, 2, 3, 4].map(known),
            [false, true, false, false, false]
        );
    }
}
