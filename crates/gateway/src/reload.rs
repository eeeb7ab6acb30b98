//! Reload: other settings and mini programs while calls and messages go on.
//!
//! Each call and each message keeps the table it began with. Token centres outlive a reload by
//! their mini program's AppID, secret and WeChat; the queue and the pushes that wait for an answer
//! by the queue's one file.

use std::sync::Arc;

use weappd_base::rate_limit::LogLimit;

use crate::api_client::ApiClient;
use crate::centre::{TokenCentre, TokenCentreParts};
use crate::config::{Config, GatewayApp};
use crate::dispatcher::{MessageDispatcher, WARN_INTERVAL, WARN_SUBJECTS};
use crate::error::Error;
use crate::gateway::{GatewayService, GatewaySettings, Shared};
use crate::inbox::MessageInbox;
use crate::inbox_core::{DeliverySettings, InboxCore};
use crate::queue::MessageQueue;
use crate::queue_file::NewFile;
use crate::sealed::ApiSealers;
use crate::token_cluster::TokenCluster;

/// What was read and checked, and waits for [`GatewayService::commit`]. Dropped, it leaves no
/// trace.
pub struct StagedGateway {
    next: Shared,
    delivery: Arc<DeliverySettings>,
    /// The queue's file, if it was opened for this; made, it goes again with this.
    opened: Option<NewFile>,
}

impl GatewayService {
    /// Checks what the gateway is to be; nothing changes yet.
    pub async fn prepare(&self, next: GatewaySettings) -> Result<StagedGateway, Error> {
        let (room, before) = (&self.0, self.shared());
        let api = if before.api.is_at(&next.wechat_endpoint) {
            Arc::clone(&before.api)
        } else {
            Arc::new(ApiClient::build(&next.wechat_endpoint)?)
        };
        let apps = next.mini_apps.iter();
        let centres = apps.map(|app| self.centre_of(app, &next, (&api, &before)));
        let centres = centres.collect();
        let (clock, tokens) = (room.clock.clone(), room.tokens.clone());
        let sealers = ApiSealers::build(&next.mini_apps, clock.clone(), tokens.clone())?;
        let appids = next.mini_apps.iter();
        let delivery = Arc::new(DeliverySettings {
            config: next.config.inbox.clone(),
            deliver: next.deliver,
            appids: appids.map(|app| app.credential.appid.clone()).collect(),
        });
        let mut opened = None;
        let core = match &before.inbox {
            Some(inbox) => Some(Arc::clone(inbox.core())),
            None if next.mini_apps.iter().any(GatewayApp::takes_messages) => {
                let path = room.data_dir.join("inbox.db");
                opened = Some(NewFile::at(&path));
                let most = delivery.config.max_waiting;
                let queue = MessageQueue::open(path, most, &room.work).await?;
                Some(InboxCore::new(queue, Arc::clone(&delivery)))
            }
            None => None,
        };
        let config = delivery.config.clone();
        let inbox =
            core.map(|core| MessageInbox::build(config, &next.mini_apps, core, (clock, tokens)));
        Ok(StagedGateway {
            next: Shared {
                spool: before.spool.up_to(next.config.spool_bytes),
                config: next.config,
                centres,
                api,
                sealers,
                inbox: inbox.transpose()?,
                callers: next.callers,
                local_hosts: next.local_hosts,
                tasks: room.tasks.clone(),
                work: room.work.clone(),
                tap: room.tap.clone(),
                counters: room.counters.clone(),
            },
            delivery,
            opened,
        })
    }

    /// Does it.
    pub fn commit(&self, staged: StagedGateway) {
        let StagedGateway {
            next,
            delivery,
            opened,
        } = staged;
        let core = next.inbox.as_ref().map(|inbox| Arc::clone(inbox.core()));
        self.0.now.store(Arc::new(next));
        let Some(core) = core else {
            return;
        };
        core.deliver_by(delivery);
        if let Some(file) = opened {
            file.keep();
            let room = &self.0;
            let dispatcher = MessageDispatcher {
                core,
                clock: room.clock.clone(),
                tokens: room.tokens.clone(),
                work: room.work.clone(),
                tasks: room.tasks.clone(),
                stop: room.stop.clone(),
                tap: room.tap.clone(),
                counters: room.counters.clone(),
                warnings: LogLimit::new(WARN_INTERVAL, WARN_SUBJECTS),
            };
            room.tasks.spawn_on(&room.work, dispatcher.run());
        }
    }

    /// The token centre of a mini program: the one there is, if it asks the same WeChat with the
    /// same secret in the same way. Another one remembers only when tokens were forced.
    fn centre_of(
        &self,
        app: &GatewayApp,
        next: &GatewaySettings,
        (api, before): (&Arc<ApiClient>, &Shared),
    ) -> Arc<TokenCentre> {
        let (mode, credential) = (next.config.token, &app.credential);
        let mut known = before.centres.iter();
        let known = known.find(|centre| centre.credential().appid == credential.appid);
        let is_there = |centre: &&Arc<TokenCentre>| centre.parts.api.is_at(&next.wechat_endpoint);
        let known = known.filter(is_there);
        if let Some(same) = known
            && same.credential() == credential
            && same.parts.mode == mode
        {
            return Arc::clone(same);
        }
        let room = &self.0;
        let centre = TokenCentre::new(TokenCentreParts {
            credential: credential.clone(),
            mode,
            api: Arc::clone(api),
            cluster: room
                .lease_store
                .clone()
                .map(|leases| TokenCluster::new(leases, &next.wechat_endpoint, credential, mode)),
            clock: room.clock.clone(),
            work: room.work.clone(),
            tasks: room.tasks.clone(),
            tap: room.tap.clone(),
        });
        if let Some(other) = known {
            centre.add_forced(&other.asked().0);
        }
        centre
    }
}

impl std::fmt::Debug for StagedGateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("StagedGateway")
            .field(&self.next.centres)
            .finish()
    }
}

impl Config {
    /// The settings that differ in `next` and count only after a restart: none.
    #[must_use]
    pub fn restart_keys(&self, _next: &Self) -> Vec<&'static str> {
        Vec::new()
    }
}
