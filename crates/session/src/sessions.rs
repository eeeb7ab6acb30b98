//! The head of the room: a handle over everything that belongs to sessions.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde_json::Value;
use tokio::sync::Semaphore;
use weappd_base::causes::chain;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_durable::WriteCounts;
use weappd_wechat::{WechatCalls, WechatClient};

use crate::breaker::StoreBreaker;
use crate::cache::SessionCache;
use crate::config::{Config, MiniApp};
use crate::error::Error;
use crate::flight::CodeFlights;
use crate::limits::LoginLimits;
use crate::mini_apps::MiniApps;
use crate::picture_store::PictureStore;
use crate::profile_locks::ProfileLocks;
use crate::settings::SessionSettings;
use crate::store::write::prune::PruneSessions;
use crate::store::{SessionStore, StoreParts};
use crate::visits::PendingVisits;

/// How often visits are written.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// How many writings pass between two looks for sessions that ended long ago.
const PRUNE_EVERY: u32 = 720;
/// How many late answers of WeChat are waited for at once.
const MAX_LATE: usize = 1024;
/// How long closing waits for the room's tasks.
const GRACE: Duration = Duration::from_secs(10);

/// What the room needs from the rest of weappd.
#[derive(Debug)]
pub struct SessionParts {
    /// The `[session]` section.
    pub config: Config,
    /// Where a relative database file stands.
    pub data_dir: PathBuf,
    /// The mini programs whose users may log in.
    pub mini_apps: Vec<MiniApp>,
    /// The way to WeChat.
    pub wechat: WechatClient,
    /// What time it is.
    pub clock: Clock,
    /// Where skeys come from.
    pub tokens: RandomSource,
    /// Where the database and the calls to WeChat live.
    pub work: Work,
    /// Where logins are drawn.
    pub tap: TrafficTap,
    /// Calls of WeChat's API with an `access_token`. Without them no phone number is told for
    /// a code, and no session key checked or reset.
    pub calls: Option<Arc<dyn WechatCalls>>,
}

/// Who is calling. Cheap to clone; all clones share one store and one memory.
#[derive(Clone)]
pub struct SessionService(Arc<Shared>);

impl std::fmt::Debug for SessionService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

pub(crate) struct Shared {
    pub(crate) settings: ArcSwap<SessionSettings>,
    pub(crate) apps: MiniApps,
    pub(crate) clock: Clock,
    pub(crate) tokens: RandomSource,
    pub(crate) work: Work,
    pub(crate) tap: TrafficTap,
    pub(crate) store: SessionStore,
    /// Whether the store confirms what memory knows.
    pub(crate) breaker: StoreBreaker,
    pub(crate) cache: Arc<SessionCache>,
    pub(crate) visits: PendingVisits,
    pub(crate) calls: Option<Arc<dyn WechatCalls>>,
    pub(crate) flights: CodeFlights,
    /// Places for exchanges that nobody waits for any more.
    pub(crate) late: Arc<Semaphore>,
    pub(crate) phone_flights: CodeFlights<Value, ()>,
    pub(crate) reset_flights: CodeFlights<Secret, ()>,
    pub(crate) limits: LoginLimits,
    pub(crate) turns: ProfileLocks,
    pub(crate) pictures: OnceLock<Arc<dyn PictureStore>>,
    tasks: Tasks,
    stop: Stop,
}

impl Shared {
    /// For how long memory is believed, where others write the store too.
    pub(crate) fn recheck_after(&self) -> Option<Duration> {
        let secs = || self.settings.load().config.recheck_secs;
        self.store.is_shared().then(|| Duration::from_secs(secs()))
    }
}

impl SessionService {
    /// Opens the store, and makes it if it is not there.
    pub async fn open(parts: SessionParts) -> Result<Self, Error> {
        let work = parts.work.clone();
        work.run(Self::open_here(parts)).await?
    }

    async fn open_here(parts: SessionParts) -> Result<Self, Error> {
        let cache = Arc::new(SessionCache::new(parts.config.cache_bytes));
        let tasks = Tasks::new();
        let appids = parts.mini_apps.iter().map(|app| app.appid.clone());
        let store = SessionStore::open(StoreParts {
            config: &parts.config,
            data_dir: &parts.data_dir,
            cache: Arc::clone(&cache),
            tokens: parts.tokens.clone(),
            appids: appids.collect(),
            tasks: &tasks,
            work: &parts.work,
        })
        .await?;
        let apps = MiniApps::new(parts.mini_apps);
        let known = store.mini_apps().await?;
        match store.cauth_appid() {
            Some(appid) => apps.adopt(known, appid),
            None => apps.remember(known, parts.config.rpc_initdata),
        }
        let shared = Arc::new(Shared {
            limits: LoginLimits::new(&parts.config),
            breaker: StoreBreaker::default(),
            settings: ArcSwap::from_pointee(SessionSettings {
                config: parts.config,
                wechat: parts.wechat,
            }),
            apps,
            clock: parts.clock,
            tokens: parts.tokens,
            work: parts.work,
            tap: parts.tap,
            store,
            cache,
            visits: PendingVisits::default(),
            calls: parts.calls,
            flights: CodeFlights::default(),
            late: Arc::new(Semaphore::new(MAX_LATE)),
            phone_flights: CodeFlights::default(),
            reset_flights: CodeFlights::default(),
            turns: ProfileLocks::default(),
            pictures: OnceLock::new(),
            tasks,
            stop: Stop::new(),
        });
        let behind = write_behind(Arc::downgrade(&shared), shared.stop.clone());
        shared.tasks.spawn_on(&shared.work, behind);
        Ok(Self(shared))
    }

    /// What the store's writer has done so far, in numbers.
    pub fn write_counts(&self) -> WriteCounts {
        self.0.store.write_counts()
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.0
    }

    /// Runs a task of the room where the database lives; closing waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.tasks.spawn_on(&self.0.work, task);
    }

    /// Runs a task of the room where its caller runs; it ends when the room closes.
    pub(crate) fn spawn_here(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.0.stop.clone();
        self.0.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.asked() => {}
            }
        });
    }

    /// Writes the visits that wait to be written.
    pub async fn flush(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.0);
        self.0
            .work
            .run(async move { shared.visits.write(&shared.store).await })
            .await?
    }

    /// Writes what waits and closes the store; logins fail from here on. Says whether all
    /// was written.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.stop.ask();
        let written = self.flush().await;
        let shared = Arc::clone(&self.0);
        self.0
            .work
            .run(async move {
                shared.store.close().await;
                shared.tasks.finish(GRACE).await;
            })
            .await?;
        written
    }

    /// Drops sessions whose login is too long ago for any mini program; says how many.
    pub(crate) async fn prune(&self) -> Result<u64, Error> {
        let days = u64::from(self.0.apps.longest_login_days());
        let before = self.0.clock.unix_secs() - Duration::from_hours(24 * days);
        self.0.store.write(PruneSessions { before }).await
    }
}

/// Writes visits every few seconds, and now and then drops what ended long ago.
async fn write_behind(sessions: Weak<Shared>, stop: Stop) {
    let (mut until_prune, mut is_gone) = (0, false);
    loop {
        tokio::select! {
            () = tokio::time::sleep(WRITE_EVERY) => {}
            () = stop.asked() => return,
        }
        let Some(sessions) = sessions.upgrade().map(SessionService) else {
            return;
        };
        let shared = sessions.shared();
        if let Err(err) = shared.store.check_place() {
            if !std::mem::replace(&mut is_gone, true) {
                tracing::error!(error = chain(&err), "the session database is gone");
            }
            continue;
        }
        is_gone = false;
        if let Err(err) = shared.visits.write(&shared.store).await {
            tracing::warn!(error = chain(&err), "visits wait to be written");
            continue;
        }
        if until_prune > 0 {
            until_prune -= 1;
            continue;
        }
        match sessions.prune().await {
            // There may be more: the next turn goes on.
            Ok(dropped) if dropped > 0 => {}
            Ok(_) => until_prune = PRUNE_EVERY,
            Err(err) => {
                until_prune = PRUNE_EVERY;
                tracing::warn!(error = chain(&err), "ended sessions were not dropped");
            }
        }
    }
}
