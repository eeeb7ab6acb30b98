//! Puts the rooms together: the only file that knows them all.
//!
//! Rooms on one floor do not know each other; what looks like a missing arrow is a value
//! handed over here: the apps' addresses to the edge, the sessions' answer to "who is
//! calling?" to the edge, each room's router to a site.
//!
//! # Goodbye
//!
//! In this order, so that nothing acknowledged is lost and nobody is told too late: the
//! front door finishes what it holds and tunnels close (their business servers hear it),
//! then the apps end, then the doors on loopback close, through which apps were told and say
//! their own last words, then sessions write what they hold back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use weappd_apps::{AppSupervisor, EnvVariables, SupervisorParts};
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Stop;
use weappd_edge::{BoundListener, Edge, EdgeParts, ListenerKind, ProtectedFiles, Site};
use weappd_files::http::PublicBase;
use weappd_files::{Files, FilesParts};
use weappd_gateway::GatewayService;
use weappd_session::http::{SiteChoice, avatar_router};
use weappd_session::{SessionParts, SessionService};
use weappd_tunnel::{TunnelServer, TunnelServerParts};
use weappd_wechat::{AppCredential, WechatClient};

use crate::app_output::AppOutput;
use crate::bound_sockets::BoundSockets;
use crate::builtin::{SessionIdentify, is_https, tunnel_router};
use crate::data_dir::DataDir;
use crate::descriptors;
use crate::edge_servers::EdgeServers;
use crate::exit::ExitFailure;
use crate::gateway::{self, DeliveryPasses, PassIdentify};
use crate::internal::AppTokens;
use crate::loopback::{small_config, small_edge};
use crate::pictures::FilePictures;
use crate::plan::{DevPlan, PushPlan, ServerPlan, SitePlan, TunnelForApps};
use crate::server_context::ServerContext;
use crate::session_leases::SessionLeases;
use crate::signals::{HangupMeaning, ShutdownSignals};
use crate::simulated::{open_wechat, pages};
use crate::status::ServerFacts;
use crate::withdrawals::LateSessions;
use crate::{control, internal, listen, logging, site_rooms, status};

/// What the front door does not draw: the page's own files, and paths whose rooms draw what
/// happens in better words.
const QUIET: [&str; 9] = [
    "/_dev/",
    "/favicon.ico",
    "/login",
    "/user",
    "/weapp/login",
    "/weapp/user",
    "/weapp/session",
    "/weapp/ws/",
    site_rooms::INBOX,
];

/// The supervisor's word for "become this app, and end when weappd ends". It is no command
/// for people, and what follows it is the app's own command line, which clap must not read.
pub(crate) const LAUNCH_APP: &str = "launch-app";

/// The rooms that live behind the doors.
struct RunningServer {
    context: ServerContext,
    sessions: SessionService,
    tunnels: TunnelServer,
    files: Files,
    gateway: GatewayService,
    passes: DeliveryPasses,
    apps: AppSupervisor,
}

/// Builds the server, calls `announce` when it listens, and runs it until a signal.
pub(crate) async fn run(
    plan: ServerPlan,
    sockets: BoundSockets,
    data: &DataDir,
    announce: impl FnOnce(),
) -> Result<(), ExitFailure> {
    descriptors::raise_limit();
    let mut signals = ShutdownSignals::listen(match plan.dev {
        Some(_) => HangupMeaning::Ends,
        None => HangupMeaning::Reload,
    })?;
    let grace = plan.grace;
    let context = ServerContext::new(plan.dev.is_some());
    let asked = Stop::new();
    let facts = ServerFacts::of(&plan, &sockets, &context.clock);
    let status = status::control_router(facts, context.clock.clone(), asked.clone());
    let mut doors = EdgeServers::new(context.front.clone(), context.inner.clone());
    let (server, output) = build(&context, plan, sockets, data, &doors).await?;
    server.start(data, status);
    announce();
    if let Some((output, has_color)) = output {
        output.show(&context, has_color);
    }
    let crashed = tokio::select! {
        () = signals.next() => None,
        () = asked.asked() => None,
        failure = doors.ended() => Some(failure),
    };
    tokio::select! {
        () = server.close(&doors, grace) => {}
        () = signals.next() => {}
    }
    crashed.map_or(Ok(()), |failure| Err(failure.crashed()))
}

async fn build(
    context: &ServerContext,
    mut plan: ServerPlan,
    sockets: BoundSockets,
    data: &DataDir,
    doors: &EdgeServers,
) -> Result<(RunningServer, Option<(AppOutput, bool)>), ExitFailure> {
    let token = Secret::new(context.tokens.url256());
    let side = loopback_listener(&mut plan)?;
    let side_addr = side.as_ref().and_then(|side| side.local_addr().ok());
    let server = rooms(context, &plan, &sockets, (data, side_addr), &token).await?;
    let inner = internal::router(
        &server.sessions,
        &server.tunnels,
        plan.mini_apps.iter().map(|app| app.appid.clone()).collect(),
        (
            callers(&plan, &token),
            plan.sections.internal_access.hosts.clone(),
        ),
    );
    let inner = weappd_gateway::http::in_front_of(server.gateway.clone(), inner);
    if let (Some(dev), Some(wechat)) = (&plan.dev, sockets.wechat) {
        let credential = AppCredential {
            appid: dev.appid.clone(),
            secret: dev.secret.clone(),
        };
        let known = (credential, dev.push.clone());
        open_wechat(context, doors, wechat, dev.wechat_url.clone(), known)?;
    }
    doors.open_inner(
        "the internal API",
        small_edge(context, inner)?,
        vec![BoundListener {
            socket: sockets.internal,
            kind: ListenerKind::Http,
        }],
    );
    if let Some(stand_in) = sockets.stand_in {
        stand_in.open(context, doors, server.gateway.clone())?;
    }
    let sites: Vec<Site> = (plan.sites.into_iter())
        .map(|site| server.site(context, site, plan.dev.as_ref()))
        .collect();
    if let Some(socket) = side {
        let kind = ListenerKind::Http;
        let callbacks = site_rooms::callback_paths(&plan.sections.tunnel);
        let inside = |site: &Site| site_rooms::inside(site, &callbacks);
        let inner = sites.iter().map(inside).collect();
        let edge = server.loopback_edge(inner, plan.protected.clone())?;
        doors.open_inner("the side door", edge, vec![BoundListener { socket, kind }]);
    }
    let edge = Edge::build(EdgeParts {
        config: plan.sections.edge,
        sites,
        protected: plan.protected.clone(),
        upstreams: server.apps.addresses(),
        identify: Arc::new(SessionIdentify(server.sessions.clone())),
        clock: context.clock.clone(),
        tap: context.tap.clone(),
        quiet_paths: QUIET.map(str::to_owned).to_vec(),
        access: logging::access_log(plan.log_json),
        inside: false,
    })
    .map_err(|error| {
        let hint = match &plan.dev {
            // Nothing else of this is the user's in `weappd dev`.
            Some(_) => "remove dev-cert.pem and dev-key.pem: the next start makes new ones",
            None => "`weappd check` looks at all of it at once",
        };
        ExitFailure::new(&error, hint)
    })?;
    doors.open("the front door", edge, sockets.public);
    let output = match &plan.dev {
        Some(dev) => Some((AppOutput::open(&server.apps).await?, dev.has_color)),
        None => None,
    };
    Ok((server, output))
}

async fn rooms(
    context: &ServerContext,
    plan: &ServerPlan,
    sockets: &BoundSockets,
    (data, side): (&DataDir, Option<SocketAddr>),
    token: &Secret,
) -> Result<RunningServer, ExitFailure> {
    let wechat = WechatClient::new(&plan.sections.wechat, context.tap.clone())
        .map_err(|error| ExitFailure::new(&error, error.hint().unwrap_or_default()))?;
    let passes = DeliveryPasses::default();
    let is_shared = plan.sections.session.is_shared();
    let leases = is_shared.then(SessionLeases::default);
    let late_sessions = LateSessions::default();
    let gateway = gateway::build(
        context,
        data.path(),
        gateway::of_plan(plan, callers(plan, token)),
        (side, passes.clone()),
        (leases.clone(), late_sessions.clone()),
    )
    .await?;
    let sessions = SessionService::open(SessionParts {
        config: plan.sections.session.clone(),
        data_dir: data.path().to_owned(),
        mini_apps: plan.mini_apps.clone(),
        calls: Some(Arc::new(gateway.clone())),
        wechat,
        clock: context.clock.clone(),
        tokens: context.tokens.clone(),
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
        random: context.tokens.clone(),
        work: context.work.clone(),
        tasks: context.tunnel_tasks.clone(),
        tap: context.tap.clone(),
        stop: context.front.clone(),
    })
    .map_err(|error| ExitFailure::new(&error, "see [tunnel] in weappd.toml"))?;
    let files = Files::open(FilesParts {
        config: plan.sections.files.clone(),
        data_dir: data.path().to_owned(),
        random: context.tokens.clone(),
        work: context.work.clone(),
    })
    .map_err(|error| ExitFailure::new(&error, "make the data directory writable"))?;
    let apps = AppSupervisor::build(SupervisorParts {
        apps: plan.apps.clone(),
        data_dir: data.path().to_owned(),
        base_dir: plan.base_dir.clone(),
        own_env: own_env(),
        deny_env: Vec::new(),
        extra_env: extra_env(plan, sockets, token),
        launcher: Some(["/proc/self/exe", LAUNCH_APP].map(OsString::from).to_vec()),
        stop_deadline: plan.dev.is_some().then(|| plan.grace / 3),
        port_setting: if plan.dev.is_some() {
            "--port "
        } else {
            "port = "
        },
        clock: context.clock.clone(),
        random: context.tokens.clone(),
        work: context.work.clone(),
        stop: context.back.clone(),
    })
    .map_err(|error| ExitFailure::new(&error, "see [app] in weappd.toml"))?;
    Ok(RunningServer {
        context: context.clone(),
        sessions,
        tunnels,
        files,
        gateway,
        passes,
        apps,
    })
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

/// What every app is told, beside its PORT.
fn extra_env(
    plan: &ServerPlan,
    sockets: &BoundSockets,
    token: &Secret,
) -> BTreeMap<String, EnvVariables> {
    let mut common = EnvVariables::new();
    let internal = format!("http://{}", sockets.internal_addr);
    common.insert("WEAPPD_INTERNAL_URL".to_owned(), Secret::new(internal));
    common.insert("WEAPPD_TOKEN".to_owned(), token.clone());
    // The name WeChat's cloud hosting has for it.
    let env_id = Secret::new(plan.sections.edge.env_id.as_str());
    common.insert("CBR_ENV_ID".to_owned(), env_id);
    if let Some(TunnelForApps { server_host, key }) = &plan.tunnel_for_apps {
        let host = Secret::new(server_host.as_str());
        common.insert("WEAPPD_SERVER_HOST".to_owned(), host);
        common.insert("WEAPPD_TUNNEL_KEY".to_owned(), key.clone());
    }
    if let Some(stand_in) = &sockets.stand_in {
        common.extend(stand_in.variables.clone());
    }
    let names = plan.apps.keys();
    names.map(|name| (name.clone(), common.clone())).collect()
}

impl RunningServer {
    /// The rooms' endpoints of one site.
    fn site(&self, context: &ServerContext, plan: SitePlan, dev: Option<&DevPlan>) -> Site {
        let served = !plan.appids.is_empty();
        let rooms = served.then(|| self.rooms_of(&plan));
        let pages = dev.filter(|dev| dev.page).map(|dev| pages(context, dev));
        site_rooms::site(plan, rooms.as_ref(), pages.unwrap_or_default())
    }

    /// Uploads and downloads, if there are any.
    fn file_routers(&self) -> (Router, Router) {
        if !self.files.is_enabled() {
            return (Router::new(), Router::new());
        }
        let base = PublicBase::of_request(is_https);
        (
            weappd_files::http::upload_router(self.files.clone(), base),
            weappd_files::http::download_router(self.files.clone()),
        )
    }

    fn rooms_of(&self, plan: &SitePlan) -> Router {
        let login = weappd_session::http::require_login(self.sessions.clone());
        let login = login.of_apps(&plan.appids);
        let choice = SiteChoice {
            appids: plan.appids.clone(),
            wafer1: plan.wafer1,
            wafer2: plan.wafer2,
        };
        let (upload, download) = self.file_routers();
        let (mut guarded, open) = if self.files.is_anonymous() {
            (Router::new(), upload)
        } else {
            (upload, Router::new())
        };
        if let Some(business) = &plan.tunnel_business {
            guarded = guarded.merge(tunnel_router(self.tunnels.clone(), business));
        }
        let inbox = (!plan.messages.is_empty()).then(|| {
            let (gateway, further) = (self.gateway.clone(), &plan.push_paths);
            weappd_gateway::http::inbox_router(gateway, &plan.messages, further)
        });
        let pictures = self.files.is_enabled().then(|| {
            let pictures = Arc::new(FilePictures::new(self.files.clone()));
            avatar_router(self.sessions.clone(), &plan.appids, pictures)
        });
        weappd_session::http::public_router(self.sessions.clone(), choice)
            .merge(pictures.unwrap_or_default())
            .merge(inbox.unwrap_or_default())
            .merge(guarded.layer(login))
            .merge(open)
            .merge(download)
            .merge(weappd_tunnel::http::public_router(self.tunnels.clone()))
    }

    /// The same sites for weappd's own callbacks: plain HTTP on loopback, sent nowhere else,
    /// drawn and logged by the rooms that make them.
    fn loopback_edge(
        &self,
        sites: Vec<Site>,
        protected: ProtectedFiles,
    ) -> Result<Edge, ExitFailure> {
        Edge::build(EdgeParts {
            config: small_config(),
            sites,
            protected,
            upstreams: self.apps.addresses(),
            identify: Arc::new(PassIdentify {
                passes: self.passes.clone(),
                others: SessionIdentify(self.sessions.clone()),
            }),
            clock: self.context.clock.clone(),
            tap: TrafficTap::off(),
            quiet_paths: Vec::new(),
            access: None,
            inside: true,
        })
        .map_err(|error| ExitFailure::new(&error, ""))
    }

    /// Starts what runs behind the doors.
    fn start(&self, data: &DataDir, status: Router) {
        let ServerContext { tasks, back, .. } = &self.context;
        let apps = self.apps.clone();
        tasks.spawn(async move { apps.run().await });
        let router = weappd_apps::http::control_router(self.apps.clone())
            .merge(weappd_session::http::control_router(self.sessions.clone()))
            .merge(weappd_gateway::http::control_router(self.gateway.clone()))
            .merge(status);
        match control::open(data.path()) {
            Ok(listener) => {
                tasks.spawn(control::serve(
                    listener,
                    router,
                    tasks.clone(),
                    back.clone(),
                ));
            }
            Err(error) => tracing::warn!(%error, "`weappd app` cannot reach this weappd"),
        }
    }

    /// Says goodbye, in the order of the module's doc.
    async fn close(&self, doors: &EdgeServers, grace: Duration) {
        let ServerContext {
            tasks,
            tunnel_tasks,
            front,
            back,
            ..
        } = &self.context;
        front.ask();
        let part = grace / 2;
        tokio::join!(doors.closed(part), tunnel_tasks.finish(part));
        front.force();
        tokio::join!(doors.closed(part / 4), tunnel_tasks.finish(part / 4));
        back.ask();
        if !tasks.finish(grace).await {
            tracing::warn!(tasks = tasks.len(), "some work was cut short");
        }
        back.force();
        doors.close_inner(part / 4).await;
        self.gateway.close().await;
        if let Err(error) = self.sessions.close().await {
            tracing::error!(%error, "the last visits of sessions could not be written");
        }
    }
}

/// Tunnels whose business server is one of our own sites call back through the loopback listener, and
/// pushed messages come to the app through it. It is there only if somebody uses it.
fn loopback_listener(plan: &mut ServerPlan) -> Result<Option<TcpListener>, ExitFailure> {
    let tunnels = !plan.sections.tunnel.businesses.is_empty();
    let messages = plan.pushes.values().any(PushPlan::takes_messages);
    if !tunnels && !messages {
        return Ok(None);
    }
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let door = listen::bind(loopback, "the side door", "free a port")?;
    plan.sections.tunnel.own_sites.via = door.local_addr().ok();
    Ok(Some(door))
}
