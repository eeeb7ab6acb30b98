//! What the rest of weappd calls: one cheap handle over both directions.

use std::path::PathBuf;
use std::sync::Arc;

use weappd_base::clock::Clock;
use weappd_base::local_host::LocalHosts;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::api_client::ApiClient;
use crate::centre::{TokenCentre, TokenCentreParts};
use crate::config::{Config, GatewayApp};
use crate::deliver::DeliverMessage;
use crate::error::Error;
use crate::inbox::{DeadLetter, InboxParts, InboxStatus, MessageInbox, ReplayScope};
use crate::lease_store::LeaseStore;
use crate::proxy_error::ProxyError;
use crate::sealed::ApiSealers;
use crate::spool::BodySpool;
use crate::token_cluster::TokenCluster;

/// What a gateway is made of.
pub struct GatewayParts {
    /// The `[gateway]` section.
    pub config: Config,
    /// Where the queue's file stands.
    pub data_dir: PathBuf,
    /// The mini programs it speaks for.
    pub mini_apps: Vec<GatewayApp>,
    /// Where WeChat is (`wechat.endpoint`).
    pub wechat_endpoint: String,
    /// Who may ask the token centre for tokens.
    pub callers: Arc<Vec<Secret>>,
    /// By which names programs call it; a browser's page has none of them.
    pub local_hosts: LocalHosts,
    /// Where nodes share the tokens, if there may be several.
    pub lease_store: Option<Arc<dyn LeaseStore>>,
    /// How a message reaches the app.
    pub deliver: Arc<dyn DeliverMessage>,
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

/// Calls to WeChat and messages from it. Cheap to clone; all clones are one gateway.
#[derive(Clone)]
pub struct GatewayService(Arc<Shared>);

/// What all clones share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) centres: Vec<Arc<TokenCentre>>,
    pub(crate) api: Arc<ApiClient>,
    pub(crate) sealers: ApiSealers,
    pub(crate) spool: BodySpool,
    pub(crate) inbox: Option<MessageInbox>,
    pub(crate) callers: Arc<Vec<Secret>>,
    pub(crate) local_hosts: LocalHosts,
    pub(crate) tokens: RandomSource,
    pub(crate) tasks: Tasks,
    pub(crate) work: Work,
    pub(crate) tap: TrafficTap,
}

impl GatewayService {
    /// Opens the queue, if any mini program takes messages, and begins to deliver what
    /// waits in it. WeChat is not called before somebody needs it.
    pub async fn build(parts: GatewayParts) -> Result<Self, Error> {
        let api = Arc::new(ApiClient::build(&parts.wechat_endpoint)?);
        let centre = |app: &GatewayApp| {
            TokenCentre::new(TokenCentreParts {
                credential: app.credential.clone(),
                mode: parts.config.token,
                api: Arc::clone(&api),
                cluster: parts.lease_store.clone().map(|leases| {
                    let (at, mode) = (&parts.wechat_endpoint, parts.config.token);
                    TokenCluster::new(leases, at, &app.credential, mode)
                }),
                clock: parts.clock.clone(),
                work: parts.work.clone(),
                tasks: parts.tasks.clone(),
                tap: parts.tap.clone(),
            })
        };
        let sealers =
            ApiSealers::build(&parts.mini_apps, parts.clock.clone(), parts.tokens.clone())?;
        let centres = parts.mini_apps.iter().map(centre).collect();
        let (dir, most) = (parts.data_dir.clone(), parts.config.spool_bytes);
        let spool = BodySpool::new(dir, most, parts.work.clone());
        let inbox = if parts.mini_apps.iter().any(GatewayApp::takes_messages) {
            let inbox = InboxParts {
                config: parts.config.inbox.clone(),
                file: parts.data_dir.join("inbox.db"),
                mini_apps: parts.mini_apps,
                deliver: parts.deliver,
                clock: parts.clock,
                tokens: parts.tokens.clone(),
                work: parts.work.clone(),
                tasks: parts.tasks.clone(),
                stop: parts.stop,
                tap: parts.tap.clone(),
            };
            Some(MessageInbox::open(inbox).await?)
        } else {
            None
        };
        Ok(Self(Arc::new(Shared {
            config: parts.config,
            centres,
            api,
            sealers,
            spool,
            inbox,
            callers: parts.callers,
            local_hosts: parts.local_hosts,
            tokens: parts.tokens,
            tasks: parts.tasks,
            work: parts.work,
            tap: parts.tap,
        })))
    }

    /// Messages that could not be delivered, oldest first, at most `most`.
    pub async fn dead_letters(&self, most: u32) -> Result<Vec<DeadLetter>, Error> {
        self.inbox()?.dead_letters(most).await
    }

    /// Delivers dead letters anew; tells how many.
    pub async fn replay(&self, which: ReplayScope) -> Result<u64, Error> {
        self.inbox()?.replay(which).await
    }

    /// How many messages wait for the app, and how many are dead letters.
    pub async fn waiting(&self) -> Result<InboxStatus, Error> {
        self.inbox()?.waiting().await
    }

    /// Writes what is left and closes the queue; messages that wait are delivered after
    /// the next start.
    pub async fn close(&self) {
        if let Some(inbox) = &self.0.inbox {
            inbox.close().await;
        }
    }

    fn inbox(&self) -> Result<&MessageInbox, Error> {
        self.0.inbox.as_ref().ok_or(Error::NoInbox)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl std::fmt::Debug for GatewayService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gateway").field(&self.0.centres).finish()
    }
}

impl Shared {
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

    /// A new `x-openapi-seqid`.
    pub(crate) fn seqid(&self) -> String {
        hex::encode(self.tokens.bytes::<16>())
    }
}
