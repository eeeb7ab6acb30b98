//! The rooms behind the listeners, opened once, and what of them each site answers with.
//!
//! Rooms on one floor do not know each other; what looks like a missing arrow is a value
//! handed over here: the apps' addresses to the edge, the sessions' answer to "who is
//! calling?" to the edge, each room's router to a site.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use weappd_apps::{AppSupervisor, EnvVariables, SupervisorParts};
use weappd_base::metrics::MetricRegistry;
use weappd_base::secret::Secret;
use weappd_edge::{RoomRouter, Site};
use weappd_files::http::PublicBase;
use weappd_files::{Files, FilesParts};
use weappd_gateway::GatewayService;
use weappd_session::http::{InstantUser, SiteChoice, avatar_router};
use weappd_session::{SessionParts, SessionService};
use weappd_tunnel::{TunnelServer, TunnelServerParts};
use weappd_wechat::WechatClient;

use crate::bound_sockets::BoundSockets;
use crate::builtin::{UserFromMemory, is_https, tunnel_router};
use crate::data_dir::DataDir;
use crate::exit::ExitFailure;
use crate::gateway::{self, DeliveryPasses};
use crate::internal::{self, AppTokens};
use crate::metrics;
use crate::pictures::FilePictures;
use crate::plan::{ServerPlan, SitePlan, TunnelForApps};
use crate::server_context::ServerContext;
use crate::session_leases::SessionLeases;
use crate::simulated::pages;
use crate::site_rooms;
use crate::withdrawals::LateSessions;

/// The supervisor's word for "become this app, and end when weappd ends". It is no command
/// for people, and what follows it is the app's own command line, which clap must not read.
pub(crate) const LAUNCH_APP: &str = "launch-app";

/// The rooms that live behind the listeners.
pub(crate) struct ServerRooms {
    pub(crate) context: ServerContext,
    pub(crate) sessions: SessionService,
    pub(crate) tunnels: TunnelServer,
    pub(crate) files: Files,
    pub(crate) gateway: GatewayService,
    pub(crate) passes: DeliveryPasses,
    pub(crate) apps: AppSupervisor,
    /// The first way to WeChat; each reload makes the next one of the one before.
    pub(crate) first_wechat: WechatClient,
    pub(crate) metrics: MetricRegistry,
    /// For the gateway's deliveries, which ask the session room.
    pub(crate) late_sessions: LateSessions,
    /// What opens the internal API to apps, for as long as this process lives.
    token: Secret,
    /// What all apps are told, whatever the configuration says.
    common_env: EnvVariables,
}

impl ServerRooms {
    /// Opens every room. weappd's own callbacks will be taken at `loopback`.
    pub(crate) async fn open(
        context: &ServerContext,
        plan: &ServerPlan,
        sockets: &BoundSockets,
        (data, loopback): (&DataDir, Option<SocketAddr>),
    ) -> Result<Self, ExitFailure> {
        let token = Secret::new(context.random.url256());
        let common_env = common_env(sockets, &token);
        let passes = DeliveryPasses::default();
        let is_shared = plan.sections.session.is_shared();
        let leases = is_shared.then(SessionLeases::default);
        let late_sessions = LateSessions::default();
        let settings = gateway::settings(
            context,
            gateway::of_plan(plan, callers(plan, &token)),
            (loopback, passes.clone()),
            late_sessions.clone(),
        );
        let gateway = gateway::build(context, data.path(), settings, leases.clone()).await?;
        let wechat = WechatClient::new(&plan.sections.wechat, context.tap.clone());
        let wechat = wechat.map_err(|error| wechat_failure(&error))?;
        let sessions = SessionService::open(SessionParts {
            config: plan.sections.session.clone(),
            data_dir: data.path().to_owned(),
            mini_apps: plan.mini_apps.clone(),
            calls: Some(Arc::new(gateway.clone())),
            wechat: wechat.clone(),
            clock: context.clock.clone(),
            tokens: context.random.clone(),
            work: context.work.clone(),
            tap: context.tap.clone(),
        })
        .await
        .map_err(|error| ExitFailure::new(&error, ""))?;
        // A server has one session room.
        let _first = late_sessions.set(sessions.clone());
        if let (Some(leases), Some(opened)) = (leases, sessions.shared_values()) {
            leases.open(opened);
        }
        let tunnels = TunnelServer::build(TunnelServerParts {
            config: plan.sections.tunnel.clone(),
            clock: context.clock.clone(),
            random: context.random.clone(),
            work: context.work.clone(),
            tasks: context.tunnel_tasks.clone(),
            tap: context.tap.clone(),
            stop: context.front.clone(),
        })
        .map_err(|error| ExitFailure::new(&error, TUNNEL_HINT))?;
        let files = Files::open(FilesParts {
            config: plan.sections.files.clone(),
            data_dir: data.path().to_owned(),
            random: context.random.clone(),
            work: context.work.clone(),
        })
        .map_err(|error| ExitFailure::new(&error, "make the data directory writable"))?;
        let apps = supervisor(context, plan, data.path().to_owned(), &common_env)?;
        Ok(Self {
            context: context.clone(),
            sessions,
            tunnels,
            files,
            gateway,
            passes,
            apps,
            first_wechat: wechat,
            metrics: MetricRegistry::new(),
            late_sessions,
            token,
            common_env,
        })
    }

    /// Everything the internal API answers.
    pub(crate) fn internal_router(&self, plan: &ServerPlan) -> Router {
        let appids = plan.mini_apps.iter().map(|app| app.appid.clone());
        let hosts = plan.sections.internal_access.hosts.clone();
        let router = internal::router(
            &self.sessions,
            &self.tunnels,
            appids.collect(),
            (self.callers(plan), hosts),
            metrics::router(self.metrics.clone(), self.context.work.clone()),
        );
        weappd_gateway::http::in_front_of(self.gateway.clone(), router)
    }

    /// The tokens that open the internal API.
    pub(crate) fn callers(&self, plan: &ServerPlan) -> AppTokens {
        callers(plan, &self.token)
    }

    /// What every app is told, beside its PORT.
    pub(crate) fn extra_env(&self, plan: &ServerPlan) -> BTreeMap<String, EnvVariables> {
        extra_env(plan, &self.common_env)
    }

    /// The sites with the rooms' endpoints, and the same sites for weappd's own callbacks. The
    /// plan keeps its sites: the gateway reads there where messages go.
    pub(crate) fn sites(&self, plan: &ServerPlan) -> (Vec<Site>, Vec<Site>) {
        let sites = plan.sites.iter().map(|site| self.site(site.clone(), plan));
        let sites: Vec<Site> = sites.collect();
        let callbacks = site_rooms::callback_paths(&plan.sections.tunnel);
        let inside = |site: &Site| site_rooms::inside(site, &callbacks);
        let inner = sites.iter().map(inside).collect();
        (sites, inner)
    }

    /// The rooms' endpoints of one site.
    fn site(&self, site: SitePlan, plan: &ServerPlan) -> Site {
        let served = !site.appids.is_empty();
        let rooms = served.then(|| self.rooms_of(&site, &plan.sections.files));
        let dev = plan.dev.as_ref();
        let pages = dev.map(|dev| pages(&self.context, dev, &self.apps));
        site_rooms::site(site, rooms.as_ref(), pages.unwrap_or_default())
    }

    fn rooms_of(&self, site: &SitePlan, files: &weappd_files::Config) -> RoomRouter {
        let login = weappd_session::http::require_login(self.sessions.clone());
        let login = login.of_apps(&site.appids);
        let choice = SiteChoice {
            appids: site.appids.clone(),
            wafer1: site.wafer1,
            wafer2: site.wafer2,
        };
        let base = PublicBase::of_request(is_https);
        let upload = || weappd_files::http::upload_router(self.files.clone(), base);
        let (mut guarded, open) = match (files.enabled, files.anonymous) {
            (false, _) => (Router::new(), Router::new()),
            (true, true) => (Router::new(), upload()),
            (true, false) => (upload(), Router::new()),
        };
        if let Some(business) = &site.tunnel_business {
            guarded = guarded.merge(tunnel_router(self.tunnels.clone(), business));
        }
        let inbox = (!site.messages.is_empty()).then(|| {
            let (gateway, further) = (self.gateway.clone(), &site.push_paths);
            weappd_gateway::http::inbox_router(gateway, &site.messages, further)
        });
        let pictures = files.enabled.then(|| {
            let pictures = Arc::new(FilePictures::new(self.files.clone()));
            avatar_router(self.sessions.clone(), &site.appids, pictures)
        });
        let downloads = || weappd_files::http::download_router(self.files.clone());
        let downloads = files.enabled.then(downloads);
        let instant = InstantUser::new(self.sessions.clone(), &choice);
        let router = weappd_session::http::public_router(self.sessions.clone(), choice)
            .merge(pictures.unwrap_or_default())
            .merge(inbox.unwrap_or_default())
            .merge(guarded.layer(login))
            .merge(open)
            .merge(downloads.unwrap_or_default())
            .merge(weappd_tunnel::http::public_router(self.tunnels.clone()));
        RoomRouter::after(Arc::new(UserFromMemory(instant)), router)
    }

    /// Declares what the rooms count. Called once, at the start.
    pub(crate) fn register_metrics(&self) {
        self.sessions.register_metrics(&self.metrics);
        self.gateway.register_metrics(&self.metrics);
        self.tunnels.register_metrics(&self.metrics);
        self.apps.register_metrics(&self.metrics);
        self.files.register_metrics(&self.metrics);
    }

    /// What the control socket answers of the rooms.
    pub(crate) fn control_router(&self) -> Router {
        weappd_apps::http::control_router(self.apps.clone())
            .merge(weappd_session::http::control_router(self.sessions.clone()))
            .merge(weappd_gateway::http::control_router(self.gateway.clone()))
    }
}

/// What to do about tunnel settings that do not work.
pub(crate) const TUNNEL_HINT: &str = "see [tunnel] in weappd.toml";

/// Why the apps cannot be as a plan says.
pub(crate) fn apps_failure(error: &weappd_apps::Error) -> ExitFailure {
    ExitFailure::new(error, error.hint())
}

/// Why there is no way to WeChat.
pub(crate) fn wechat_failure(error: &weappd_wechat::Error) -> ExitFailure {
    ExitFailure::new(error, error.hint().unwrap_or_default())
}

fn supervisor(
    context: &ServerContext,
    plan: &ServerPlan,
    data_dir: PathBuf,
    common_env: &EnvVariables,
) -> Result<AppSupervisor, ExitFailure> {
    let is_dev = plan.dev.is_some();
    AppSupervisor::build(SupervisorParts {
        apps: plan.apps.clone(),
        data_dir,
        base_dir: plan.base_dir.clone(),
        own_env: own_env(),
        deny_env: Vec::new(),
        extra_env: extra_env(plan, common_env),
        launcher: Some(["/proc/self/exe", LAUNCH_APP].map(OsString::from).to_vec()),
        stop_deadline: is_dev.then(|| plan.grace / 3),
        port_setting: if is_dev { "--port " } else { "port = " },
        clock: context.clock.clone(),
        random: context.random.clone(),
        work: context.work.clone(),
        stop: context.back.clone(),
    })
    .map_err(|error| apps_failure(&error))
}

/// The tokens that open the internal API: the apps' and, if there is one, everybody else's.
fn callers(plan: &ServerPlan, token: &Secret) -> AppTokens {
    let others = plan.sections.internal_access.token.clone();
    Arc::new(std::iter::once(token.clone()).chain(others).collect())
}

/// weappd's own environment, for apps; the apps room leaves the secrets out.
#[expect(
    clippy::disallowed_methods,
    reason = "the binary is who reads the environment"
)]
fn own_env() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

/// What all apps are told of this process.
fn common_env(sockets: &BoundSockets, token: &Secret) -> EnvVariables {
    let mut common = EnvVariables::new();
    let internal = format!("http://{}", sockets.internal_addr);
    common.insert("WEAPPD_INTERNAL_URL".to_owned(), Secret::new(internal));
    common.insert("WEAPPD_TOKEN".to_owned(), token.clone());
    if let Some(stand_in) = &sockets.stand_in {
        common.extend(stand_in.variables.clone());
    }
    common
}

/// What every app is told, beside its PORT.
fn extra_env(plan: &ServerPlan, common: &EnvVariables) -> BTreeMap<String, EnvVariables> {
    let mut common = common.clone();
    // The name WeChat's cloud hosting has for it.
    let env_id = Secret::new(plan.sections.edge.env_id.as_str());
    common.insert("CBR_ENV_ID".to_owned(), env_id);
    if let Some(TunnelForApps { server_host, key }) = &plan.tunnel_for_apps {
        let host = Secret::new(server_host.as_str());
        common.insert("WEAPPD_SERVER_HOST".to_owned(), host);
        common.insert("WEAPPD_TUNNEL_KEY".to_owned(), key.clone());
    }
    let names = plan.apps.keys();
    names.map(|name| (name.clone(), common.clone())).collect()
}
