//! The head of the room: one cheap handle over both doors.

use std::path::PathBuf;
use std::sync::Arc;

use weappd_base::clock::Clock;
use weappd_base::local_host::LocalHosts;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::centre::{Centre, CentreParts};
use crate::config::{Config, MiniApp};
use crate::deliver::Deliver;
use crate::error::Error;
use crate::inbox::{DeadLetter, Inbox, InboxParts, Replay, Waiting};
use crate::nodes::Nodes;
use crate::refusal::Refusal;
use crate::road::Road;
use crate::sealed::Sealers;
use crate::shelf::Shelf;
use crate::spool::Spool;

/// What a gateway is made of.
pub struct GatewayParts {
    /// The `[gateway]` section.
    pub config: Config,
    /// Where the queue's file stands.
    pub data_dir: PathBuf,
    /// The mini programs it speaks for.
    pub mini_apps: Vec<MiniApp>,
    /// Where WeChat is (`wechat.endpoint`).
    pub wechat_endpoint: String,
    /// Who may ask the token centre for tokens.
    pub callers: Arc<Vec<Secret>>,
    /// By which names programs call it; a browser's page has none of them.
    pub local_hosts: LocalHosts,
    /// Where nodes share the tokens, if there may be several.
    pub shelf: Option<Arc<dyn Shelf>>,
    /// How a message reaches the app.
    pub deliver: Arc<dyn Deliver>,
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

/// WeChat's two doors. Cheap to clone; all clones are one gateway.
#[derive(Clone)]
pub struct Gateway(Arc<Shared>);

/// What all clones share.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) centres: Vec<Arc<Centre>>,
    pub(crate) road: Arc<Road>,
    pub(crate) sealers: Sealers,
    pub(crate) spool: Spool,
    pub(crate) inbox: Option<Inbox>,
    pub(crate) callers: Arc<Vec<Secret>>,
    pub(crate) local_hosts: LocalHosts,
    pub(crate) tokens: RandomSource,
    pub(crate) tasks: Tasks,
    pub(crate) work: Work,
    pub(crate) tap: TrafficTap,
}

impl Gateway {
    /// Opens the queue, if any mini program takes messages, and begins to deliver what
    /// waits in it. WeChat is not called before somebody needs it.
    pub async fn build(parts: GatewayParts) -> Result<Self, Error> {
        let road = Arc::new(Road::build(&parts.wechat_endpoint)?);
        let centre = |app: &MiniApp| {
            Centre::new(CentreParts {
                credential: app.credential.clone(),
                mode: parts.config.token,
                road: Arc::clone(&road),
                nodes: parts.shelf.clone().map(|shelf| {
                    let (at, mode) = (&parts.wechat_endpoint, parts.config.token);
                    Nodes::new(shelf, at, &app.credential, mode)
                }),
                clock: parts.clock.clone(),
                work: parts.work.clone(),
                tasks: parts.tasks.clone(),
                tap: parts.tap.clone(),
            })
        };
        let sealers = Sealers::build(&parts.mini_apps, parts.clock.clone(), parts.tokens.clone())?;
        let centres = parts.mini_apps.iter().map(centre).collect();
        let (dir, most) = (parts.data_dir.clone(), parts.config.spool_bytes);
        let spool = Spool::new(dir, most, parts.work.clone());
        let inbox = if parts.mini_apps.iter().any(MiniApp::takes_messages) {
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
            Some(Inbox::open(inbox).await?)
        } else {
            None
        };
        Ok(Self(Arc::new(Shared {
            config: parts.config,
            centres,
            road,
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
    pub async fn replay(&self, which: Replay) -> Result<u64, Error> {
        self.inbox()?.replay(which).await
    }

    /// How many messages wait for the app, and how many are dead letters.
    pub async fn waiting(&self) -> Result<Waiting, Error> {
        self.inbox()?.waiting().await
    }

    /// Writes what is left and closes the queue; messages that wait are delivered after
    /// the next start.
    pub async fn close(&self) {
        if let Some(inbox) = &self.0.inbox {
            inbox.close().await;
        }
    }

    fn inbox(&self) -> Result<&Inbox, Error> {
        self.0.inbox.as_ref().ok_or(Error::NoInbox)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.0
    }
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Gateway").field(&self.0.centres).finish()
    }
}

impl Shared {
    /// The token centre of the chosen mini program, or of the only one.
    pub(crate) fn centre(&self, appid: Option<&str>) -> Result<&Arc<Centre>, Refusal> {
        match (appid, self.centres.as_slice()) {
            (Some(appid), centres) => centres
                .iter()
                .find(|centre| centre.credential().appid == appid)
                .ok_or_else(|| Refusal::UnknownApp {
                    appid: appid.chars().take(64).collect(),
                }),
            (None, [only]) => Ok(only),
            (None, _) => Err(Refusal::WhichApp),
        }
    }

    /// A new `x-openapi-seqid`.
    pub(crate) fn seqid(&self) -> String {
        hex::encode(self.tokens.bytes::<16>())
    }
}
