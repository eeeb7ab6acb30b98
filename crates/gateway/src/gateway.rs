//! What the rest of weappd calls: one cheap handle over both directions.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use weappd_base::clock::Clock;
use weappd_base::local_host::LocalHosts;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_durable::WriteCounts;

use crate::api_client::ApiClient;
use crate::centre::TokenCentre;
use crate::config::{Config, GatewayApp};
use crate::deliver::DeliverMessage;
use crate::error::Error;
use crate::gateway_counters::GatewayCounters;
use crate::inbox::{DeadLetter, InboxStatus, MessageInbox, ReplayScope};
use crate::lease_store::LeaseStore;
use crate::proxy_error::ProxyError;
use crate::sealed::ApiSealers;
use crate::spool::BodySpool;

/// What a gateway is made of.
pub struct GatewayParts {
    /// What a reload may change.
    pub settings: GatewaySettings,
    /// Where the queue's file stands.
    pub data_dir: PathBuf,
    /// Where nodes share the tokens, if there may be several.
    pub lease_store: Option<Arc<dyn LeaseStore>>,
    /// What time it is.
    pub clock: Clock,
    /// Randomness.
    pub tokens: RandomSource,
    /// Where calls and the queue run.
    pub work: Work,
    /// Who owns their tasks.
    pub tasks: Tasks,
    /// Ends the deliveries.
    pub stop: Stop,
    /// Where traffic is reported.
    pub tap: TrafficTap,
}

/// What a gateway is told to be, at its start and at each reload.
#[derive(Clone)]
pub struct GatewaySettings {
    /// The `[gateway]` section.
    pub config: Config,
    /// The mini programs it speaks for.
    pub mini_apps: Vec<GatewayApp>,
    /// Where WeChat is (`wechat.endpoint`).
    pub wechat_endpoint: String,
    /// Who may ask the token centre for tokens.
    pub callers: Arc<Vec<Secret>>,
    /// By which names programs call it; a browser's page has none of them.
    pub local_hosts: LocalHosts,
    /// How a message reaches the app.
    pub deliver: Arc<dyn DeliverMessage>,
}

/// Calls to WeChat and messages from it. Cheap to clone; all clones are one gateway.
#[derive(Clone)]
pub struct GatewayService(pub(crate) Arc<GatewayRoom>);

/// What no reload changes, and the table of now.
pub(crate) struct GatewayRoom {
    pub(crate) now: ArcSwap<Shared>,
    pub(crate) data_dir: PathBuf,
    pub(crate) lease_store: Option<Arc<dyn LeaseStore>>,
    pub(crate) clock: Clock,
    pub(crate) tokens: RandomSource,
    pub(crate) work: Work,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
    pub(crate) tap: TrafficTap,
    pub(crate) counters: GatewayCounters,
}

/// The table that a call or a message goes by, from its beginning to its end.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) centres: Vec<Arc<TokenCentre>>,
    pub(crate) api: Arc<ApiClient>,
    pub(crate) sealers: ApiSealers,
    pub(crate) spool: BodySpool,
    pub(crate) inbox: Option<MessageInbox>,
    pub(crate) callers: Arc<Vec<Secret>>,
    pub(crate) local_hosts: LocalHosts,
    pub(crate) tasks: Tasks,
    pub(crate) work: Work,
    pub(crate) tap: TrafficTap,
    pub(crate) counters: GatewayCounters,
}

impl GatewayService {
    /// Opens the queue, if any mini program takes messages, and begins to deliver what
    /// waits in it. WeChat is not called before somebody needs it.
    pub async fn build(parts: GatewayParts) -> Result<Self, Error> {
        let settings = parts.settings;
        let api = Arc::new(ApiClient::build(&settings.wechat_endpoint)?);
        let counters = GatewayCounters::default();
        let nothing = Shared {
            config: settings.config.clone(),
            centres: Vec::new(),
            api,
            sealers: ApiSealers::build(&[], parts.clock.clone(), parts.tokens.clone())?,
            spool: BodySpool::new(parts.data_dir.clone(), 0, parts.work.clone()),
            inbox: None,
            callers: Arc::default(),
            local_hosts: settings.local_hosts.clone(),
            tasks: parts.tasks.clone(),
            work: parts.work.clone(),
            tap: parts.tap.clone(),
            counters: counters.clone(),
        };
        let gateway = Self(Arc::new(GatewayRoom {
            now: ArcSwap::from_pointee(nothing),
            data_dir: parts.data_dir,
            lease_store: parts.lease_store,
            clock: parts.clock,
            tokens: parts.tokens,
            work: parts.work,
            tasks: parts.tasks,
            stop: parts.stop,
            tap: parts.tap,
            counters,
        }));
        // The start is the first reload.
        let staged = gateway.prepare(settings).await?;
        gateway.commit(staged);
        Ok(gateway)
    }

    /// Messages that could not be delivered, oldest first, at most `most`.
    pub async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, Error> {
        self.shared().inbox()?.dead_letters(most).await
    }

    /// Delivers dead letters anew; tells how many.
    pub async fn replay(&self, which: ReplayScope) -> Result<u64, Error> {
        self.shared().inbox()?.replay(which).await
    }

    /// How many messages wait for the app, and how many are dead letters.
    pub async fn waiting(&self) -> Result<InboxStatus, Error> {
        self.shared().inbox()?.waiting().await
    }

    /// What the queue's writer has done so far, in numbers; none if no messages are taken.
    pub fn write_counts(&self) -> Option<WriteCounts> {
        let shared = self.shared();
        let inbox = shared.inbox.as_ref()?;
        Some(inbox.core().queue.write_counts())
    }

    /// Writes what is left and closes the queue; messages that wait are delivered after
    /// the next start.
    pub async fn close(&self) {
        if let Some(inbox) = &self.shared().inbox {
            inbox.close().await;
        }
    }

    /// The table of now, for a call or a message that begins now.
    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.0.now.load_full()
    }
}

impl std::fmt::Debug for GatewayService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let centres = &self.shared().centres;
        f.debug_tuple("Gateway").field(centres).finish()
    }
}

impl Shared {
    fn inbox(&self) -> Result<&MessageInbox, Error> {
        self.inbox.as_ref().ok_or(Error::NoInbox)
    }

    /// The inbox, if any mini program takes messages now.
    pub(crate) fn open_inbox(&self) -> Option<&MessageInbox> {
        self.inbox.as_ref().filter(|inbox| inbox.is_open())
    }

    /// The token centre of the chosen mini program, or of the only one.
    pub(crate) fn centre(&self, appid: Option<&str>) -> Result<&Arc<TokenCentre>, ProxyError> {
        match (appid, self.centres.as_slice()) {
            (Some(appid), centres) => centres
                .iter()
                .find(|centre| centre.credential().appid == appid)
                .ok_or_else(|| ProxyError::UnknownApp {
                    appid: appid.chars().take(64).collect(),
                }),
            (None, [only]) => Ok(only),
            (None, _) => Err(ProxyError::WhichApp),
        }
    }
}
