//! Reload: other settings and other mini programs while the room runs.
//!
//! What is under way goes on with what it began with; what outlives a reload (the store, the
//! cache, counted logins, codes that were brought) is known by its name. Sessions of a mini
//! program that is configured no more are refused from the commit on, and stay in the store.

use std::path::Path;
use std::sync::Arc;

use weappd_wechat::WechatClient;

use crate::config::{Config, MiniApp};
use crate::error::Error;
use crate::sessions::SessionService;
use crate::settings::SessionSettings;

/// What the room is to be from now on.
#[derive(Clone, Debug)]
pub struct SessionReload {
    /// The `[session]` section.
    pub config: Config,
    /// The mini programs whose users may log in.
    pub mini_apps: Vec<MiniApp>,
    /// The way to WeChat.
    pub wechat: WechatClient,
}

/// What was read and checked, and waits for [`SessionService::commit`]. Dropped, it leaves no
/// trace.
#[derive(Debug)]
pub struct StagedSessions(SessionReload);

impl SessionService {
    /// Checks what the room is to be; nothing changes yet.
    pub fn prepare(&self, next: SessionReload) -> Result<StagedSessions, Error> {
        // Told now, and not at the restart that it takes.
        next.config.place(Path::new("."))?;
        let shared = self.shared();
        if let Some((appid, mysql)) = shared.store.cauth_appid().zip(shared.store.mysql()) {
            let is_known = shared.apps.is_adopted(appid)
                || next.mini_apps.iter().any(|app| app.appid == appid);
            if !is_known {
                return Err(Error::OtherApp {
                    place: mysql.place().to_owned(),
                    appid: appid.to_owned(),
                });
            }
        }
        Ok(StagedSessions(next))
    }

    /// Does it.
    pub fn commit(&self, staged: StagedSessions) {
        let shared = self.shared();
        let SessionReload {
            config,
            mini_apps,
            wechat,
        } = staged.0;
        let takes_registered = config.rpc_initdata && shared.store.cauth_appid().is_none();
        let cache_bytes = config.cache_bytes;
        shared.limits.change(&config);
        shared.store.change(&config);
        let before = shared
            .settings
            .swap(Arc::new(SessionSettings { config, wechat }));
        if before.config.cache_bytes != cache_bytes {
            shared.cache.set_bytes(cache_bytes);
        }
        shared.apps.configure(mini_apps, takes_registered);
    }
}

impl Config {
    /// The settings that differ in `next` and count only after a restart.
    #[must_use]
    pub fn restart_keys(&self, next: &Self) -> Vec<&'static str> {
        // Those of a database server say nothing where there is none.
        let is_server = self.is_shared() || next.is_shared();
        let keys = [
            ("store", self.store != next.store),
            (
                "store_wait_ms",
                is_server && self.store_wait_ms != next.store_wait_ms,
            ),
            (
                "store_connections",
                is_server && self.store_connections != next.store_connections,
            ),
            (
                "cauth_time_zone",
                is_server && self.cauth_time_zone != next.cauth_time_zone,
            ),
            ("key", self.key != next.key),
            ("key_file", self.key_file != next.key_file),
        ];
        let changed = keys.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::path::PathBuf;

    use weappd_base::clock::Clock;
    use weappd_base::random::RandomSource;
    use weappd_base::secret::Secret;
    use weappd_base::tap::TrafficTap;
    use weappd_base::tasks::Work;

    use super::*;
    use crate::sessions::SessionParts;
    use crate::store::write::registered_app::RegisteredApp;

    fn client(timeout_ms: u64) -> WechatClient {
        let nowhere = weappd_wechat::Config {
            endpoint: "http://127.0.0.1:1".to_owned(),
            timeout_ms,
        };
        WechatClient::new(&nowhere, TrafficTap::off()).expect("a client")
    }

    fn reload(config: Config, appids: &[&str]) -> SessionReload {
        let apps = appids.iter();
        SessionReload {
            config,
            mini_apps: apps
                .map(|appid| MiniApp::new(*appid, Secret::new("s")))
                .collect(),
            wechat: client(5000),
        }
    }

    pub(crate) async fn open(dir: &Path) -> SessionService {
        let reload = reload(Config::default(), &["wx1", "wx2"]);
        SessionService::open(SessionParts {
            config: reload.config,
            data_dir: dir.to_owned(),
            mini_apps: reload.mini_apps,
            wechat: reload.wechat,
            clock: Clock::system(),
            tokens: RandomSource::system(),
            work: Work::current(),
            tap: TrafficTap::off(),
            calls: None,
        })
        .await
        .expect("opens")
    }

    /// How many of a thousand are let through.
    fn count(mut take: impl FnMut() -> bool) -> usize {
        (0..1000).take_while(|_| take()).count()
    }

    #[tokio::test]
    #[expect(clippy::too_many_lines, reason = "one step for each setting")]
    async fn every_setting_counts_after_a_commit_or_asks_for_a_restart() {
        let next = Config {
            store: "mysql://user:password@host/db".to_owned(),
            store_wait_ms: 1,
            store_connections: 1,
            recheck_secs: 7,
            cauth_time_zone: "+01:00".to_owned(),
            key: Secret::new("ab".repeat(32)),
            key_file: PathBuf::from("other.key"),
            session_keys_kept: 1,
            open_data_max_age_secs: 0,
            logins_per_minute_per_ip: 3,
            logins_per_minute_per_user: 4,
            decrypt_failures_per_hour_per_user: 5,
            decrypt_failures_per_hour_per_ip: 6,
            wafer1: true,
            wafer2: false,
            max_sessions_per_user: 2,
            cache_bytes: 128 * 1024,
            rpc_initdata: true,
        };
        let before = Config::default();
        assert_eq!(
            before.restart_keys(&next),
            [
                "store",
                "store_wait_ms",
                "store_connections",
                "cauth_time_zone",
                "key",
                "key_file"
            ]
        );
        assert!(next.restart_keys(&next).is_empty());
        let dir = tempfile::TempDir::new().expect("a directory");
        let sessions = open(dir.path()).await;
        let shared = sessions.shared();
        shared
            .store
            .write(RegisteredApp {
                app: MiniApp::new("wx3", Secret::new("s")),
                now: weappd_base::unix_time::UnixSecs::new(1),
            })
            .await
            .expect("kept");
        let staged = sessions.prepare(reload(next, &["wx1"])).expect("good");
        let now = shared.settings.load_full();
        assert!(now.config == before && shared.apps.get("wx2").is_some());
        sessions.commit(staged);
        let now = shared.settings.load_full();
        let Config {
            // A restart key, each of them.
            store: _,
            store_wait_ms: _,
            store_connections: _,
            cauth_time_zone: _,
            key: _,
            key_file: _,
            // Read where they are used, at each use.
            recheck_secs,
            open_data_max_age_secs,
            rpc_initdata,
            logins_per_minute_per_ip,
            logins_per_minute_per_user,
            decrypt_failures_per_hour_per_user,
            decrypt_failures_per_hour_per_ip,
            session_keys_kept,
            max_sessions_per_user,
            cache_bytes,
            // The sites' routers, which are built anew.
            wafer1: _,
            wafer2: _,
        } = &now.config;
        assert!(*recheck_secs == 7 && *open_data_max_age_secs == 0 && *rpc_initdata);
        assert!(sessions.is_new(&serde_json::json!({})), "of any age");
        let address = Some([192, 0, 2, 1].into());
        let sender = crate::limits::DataSender {
            appid: "wx1",
            openid: "o1",
            address: None,
        };
        let now = weappd_base::unix_time::UnixMillis::default();
        let sent = |n: usize| {
            let openid = n.to_string();
            let sender = crate::limits::DataSender {
                openid: &openid,
                address,
                ..sender
            };
            shared
                .limits
                .open(sender, weappd_base::unix_time::UnixMillis::default())
                .is_ok()
        };
        let mut users = 0..;
        let counts = [
            count(|| shared.limits.try_from(address, now).is_ok()),
            count(|| shared.limits.log_in("wx1", "o1", now).is_ok()),
            count(|| shared.limits.call("wx1", "o1", now).is_ok()),
            count(|| {
                shared
                    .limits
                    .open(sender, weappd_base::unix_time::UnixMillis::default())
                    .is_ok()
            }),
            count(|| users.next().is_some_and(sent)),
        ];
        let (ip, user) = (*logins_per_minute_per_ip, *logins_per_minute_per_user);
        let failures = decrypt_failures_per_hour_per_user;
        let expected = [ip, user, user, *failures, *decrypt_failures_per_hour_per_ip];
        assert_eq!(counts.map(|count| count as u64), expected.map(u64::from));
        let (kept, most) = (*session_keys_kept as usize, *max_sessions_per_user as usize);
        assert_eq!(shared.store.limits(), (most, kept));
        assert_eq!(shared.cache.bytes(), *cache_bytes);
        assert!(shared.apps.get("wx2").is_none());
        sessions.close().await.expect("closes");
    }

    #[tokio::test]
    async fn a_store_that_is_none_is_told_at_once_and_nothing_changes() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let sessions = open(dir.path()).await;
        let bad = Config {
            store: "redis://host".to_owned(),
            max_sessions_per_user: 1,
            ..Config::default()
        };
        let refused = sessions.prepare(reload(bad, &[])).expect_err("no store");
        assert!(matches!(refused, Error::StoreKind(_)), "{refused:?}");
        drop(sessions.prepare(reload(Config::default(), &[])));
        assert!(sessions.shared().apps.get("wx1").is_some());
        assert_eq!(sessions.shared().store.limits().0, 8);
        sessions.close().await.expect("closes");
    }

    #[tokio::test]
    async fn a_hundred_reloads_leave_nothing_behind() {
        let dir = tempfile::TempDir::new().expect("a directory");
        let sessions = open(dir.path()).await;
        let shared = sessions.shared();
        for n in 0..100 {
            let own = format!("wx{n}");
            let next = reload(Config::default(), &["wx1", &own]);
            sessions.commit(sessions.prepare(next).expect("good"));
        }
        assert!(shared.apps.known_terms() <= 2);
        let settings = shared.settings.load_full();
        assert_eq!(Arc::strong_count(&settings), 2, "this one and the room's");
        sessions.close().await.expect("closes");
    }
}
