//! The running server, and how it takes another plan while it runs.
//!
//! Every room prepares itself for the new plan, which changes nothing; if all of them can, all
//! commit, which cannot fail. Requests, uploads, WebSockets, tunnels and apps that did not
//! change notice nothing: what is under way goes on with what it began with, and what outlives
//! a plan (connections to upstreams, open tunnels, running apps, messages that wait) is known
//! by its name.
//!
//! # Walk: a reload
//!
//! 1. `weappd reload` or SIGHUP; `reload` reads weappd.toml as `weappd check` does.
//! 2. `prepare`: sockets that are new are bound, certificates and secret files read, routes
//!    compiled, apps compared by name, mini programs by AppID, tunnels' business servers by
//!    host. Whatever fails ends the reload here, and dropping what was staged leaves no trace.
//! 3. `commit`: sessions and gateway first, so that no site serves a mini program that they do
//!    not know yet; then tunnels, files and apps; the front door last.
//! 4. Whoever asked, and the log, are told which keys changed, and which count only after a
//!    restart.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use weappd_apps::{AppChange, StagedApps};
use weappd_base::tap::TrafficTap;
use weappd_edge::{
    BoundListener, Edge, EdgeControl, EdgeParts, EdgeReload, ListenerChanges, ListenerKind,
    ProtectedFiles, Site, StagedEdge,
};
use weappd_files::StagedFiles;
use weappd_gateway::StagedGateway;
use weappd_session::{SessionReload, StagedSessions};
use weappd_tunnel::StagedTunnels;
use weappd_wechat::WechatClient;

use crate::builtin::SessionIdentify;
use crate::config::address;
use crate::edge_servers::EdgeServers;
use crate::exit::ExitFailure;
use crate::gateway::{self, PassIdentify};
use crate::loopback::{everything, small_config, small_reload};
use crate::metrics::ReloadCounts;
use crate::plan::{FixedSettings, ListenAddrs, PushPlan, RoomSections, ServerPlan};
use crate::plan_source::ReadPlan;
use crate::rooms::{ServerRooms, TUNNEL_HINT, apps_failure, wechat_failure};
use crate::status::StatusBoard;
use crate::{listen, logging, site_rooms};

/// weappd as it runs.
pub(crate) struct RunningServer {
    pub(crate) rooms: ServerRooms,
    pub(crate) edges: EdgeServers,
    /// What the control socket tells.
    pub(crate) status: StatusBoard,
    pub(crate) reloads: ReloadCounts,
    front: EdgeControl,
    internal: EdgeControl,
    state: Mutex<ServerState>,
}

/// What the plan that holds was, as far as the next one is compared with it.
struct ServerState {
    sections: RoomSections,
    fixed: FixedSettings,
    listeners: Vec<FrontListener>,
    wechat: WechatClient,
    /// Where weappd's own callbacks are taken, if anybody makes some.
    loopback: Option<(SocketAddr, EdgeControl)>,
    grace: Duration,
}

/// A listener of the front door.
#[derive(Clone, Debug)]
struct FrontListener {
    /// As the plan names it; the port may be 0.
    wanted: SocketAddr,
    kind: ListenerKind,
    at: SocketAddr,
}

/// A plan that every room can take.
pub(crate) struct StagedServer {
    sections: RoomSections,
    grace: Duration,
    listeners: Vec<FrontListener>,
    wechat: WechatClient,
    front: StagedEdge,
    internal: StagedEdge,
    loopback: StagedLoopback,
    sessions: StagedSessions,
    gateway: StagedGateway,
    tunnels: StagedTunnels,
    files: StagedFiles,
    apps: StagedApps,
}

impl StagedServer {
    /// What becomes of apps, in a word each.
    pub(crate) fn app_changes(&self) -> BTreeMap<String, &'static str> {
        let word = |change: &AppChange| match change {
            AppChange::Begins => "starts",
            AppChange::Restarts => "restarts",
            AppChange::Adjusts => "changes",
            AppChange::Ends => "stops",
        };
        let changes = self.apps.changes().iter();
        let changes = changes.map(|(name, change)| (name.clone(), word(change)));
        changes.collect()
    }
}

enum StagedLoopback {
    /// It is there, and stays.
    Changes(StagedEdge),
    Opens(SocketAddr, TcpListener, Box<Edge>),
    IsUnused,
}

/// What a start opens before there is a server to change.
pub(crate) struct OpenedEdges {
    pub(crate) edges: EdgeServers,
    pub(crate) front: EdgeControl,
    /// The front door's local addresses, in the plan's order.
    pub(crate) front_at: Vec<SocketAddr>,
    pub(crate) internal: EdgeControl,
    pub(crate) loopback: Option<(SocketAddr, EdgeControl)>,
}

impl RunningServer {
    /// Waits until every door is open: from then on all of it can be changed.
    pub(crate) async fn wait_for_edges(&self) {
        let loopback = self.state.lock().loopback.clone();
        self.front.started().await;
        self.internal.started().await;
        if let Some((_, loopback)) = loopback {
            loopback.started().await;
        }
    }

    pub(crate) fn new(
        rooms: ServerRooms,
        opened: OpenedEdges,
        status: StatusBoard,
        (plan, listen): (&ServerPlan, &ListenAddrs),
    ) -> Self {
        let OpenedEdges {
            edges,
            front,
            front_at,
            internal,
            loopback,
        } = opened;
        let listeners = listen.front().zip(front_at);
        let listeners = listeners.map(|((wanted, kind), at)| FrontListener { wanted, kind, at });
        Self {
            state: Mutex::new(ServerState {
                sections: plan.sections.clone(),
                fixed: plan.fixed.clone(),
                listeners: listeners.collect(),
                wechat: rooms.first_wechat.clone(),
                loopback,
                grace: plan.grace,
            }),
            reloads: ReloadCounts::new(&rooms.context.clock),
            rooms,
            edges,
            status,
            front,
            internal,
        }
    }

    /// How long everything may take to end.
    pub(crate) fn grace(&self) -> Duration {
        self.state.lock().grace
    }

    /// The settings of a plan that count only after a restart, as weappd.toml calls them.
    pub(crate) fn restart_keys(&self, read: &ReadPlan) -> Vec<String> {
        let state = self.state.lock();
        let (now, next) = (&state.sections, &read.plan.sections);
        let of = |section: &str, keys: Vec<&'static str>| {
            let named = keys.into_iter().map(|key| format!("{section}.{key}"));
            named.collect::<Vec<_>>()
        };
        let fixed = state.fixed.differing(&read.plan.fixed);
        let fixed = fixed.into_iter().map(str::to_owned);
        fixed
            .chain(of("edge", now.edge.restart_keys(&next.edge)))
            .chain(of("session", now.session.restart_keys(&next.session)))
            .chain(of("tunnel", now.tunnel.restart_keys(&next.tunnel)))
            .chain(of("files", now.files.restart_keys(&next.files)))
            .chain(of("wechat", now.wechat.restart_keys(&next.wechat)))
            .chain(of("gateway", now.gateway.restart_keys(&next.gateway)))
            .collect()
    }

    /// Asks every room whether it can take `plan`; nothing changes yet.
    pub(crate) async fn prepare(
        &self,
        mut plan: ServerPlan,
        listen: &ListenAddrs,
    ) -> Result<StagedServer, ExitFailure> {
        let rooms = &self.rooms;
        let (is_json, wechat) = {
            let state = self.state.lock();
            let wechat = state.wechat.prepare(&plan.sections.wechat);
            (
                state.fixed.log_json,
                wechat.map_err(|e| wechat_failure(&e))?,
            )
        };
        let (listeners, changes) = self.listeners(listen)?;
        let loopback_at = self.loopback_listener(&plan)?;
        plan.sections.tunnel.own_sites.via = loopback_at.as_ref().map(LoopbackAt::address);
        let (sites, inner) = rooms.sites(&plan);
        let failed = |error: &weappd_edge::Error| ExitFailure::new(error, EDGE_HINT);
        let loopback = match loopback_at {
            None => StagedLoopback::IsUnused,
            Some(LoopbackAt::New(at, socket)) => {
                let edge = loopback_edge(rooms, inner, plan.protected.clone())?;
                StagedLoopback::Opens(at, socket, Box::new(edge))
            }
            Some(LoopbackAt::Open(_, control)) => {
                let mut reload = small_reload(inner);
                reload.protected = plan.protected.clone();
                StagedLoopback::Changes(control.prepare(reload).map_err(|e| failed(&e))?)
            }
        };
        let front = EdgeReload {
            config: plan.sections.edge.clone(),
            sites,
            protected: plan.protected.clone(),
            quiet_paths: quiet_paths(),
            identify: None,
            access: logging::access_log(is_json),
            listeners: changes,
        };
        let internal = small_reload(vec![everything(rooms.internal_router(&plan))]);
        let sessions = SessionReload {
            config: plan.sections.session.clone(),
            mini_apps: plan.mini_apps.clone(),
            wechat: wechat.clone(),
        };
        let gateway = gateway::settings(
            &rooms.context,
            gateway::of_plan(&plan, rooms.callers(&plan)),
            (plan.sections.tunnel.own_sites.via, rooms.passes.clone()),
            rooms.late_sessions.clone(),
        );
        let apps = rooms
            .apps
            .prepare(plan.apps.clone(), rooms.extra_env(&plan));
        Ok(StagedServer {
            front: self.front.prepare(front).map_err(|e| failed(&e))?,
            internal: self.internal.prepare(internal).map_err(|e| failed(&e))?,
            loopback,
            sessions: (rooms.sessions.prepare(sessions))
                .map_err(|error| ExitFailure::new(&error, ""))?,
            gateway: (rooms.gateway.prepare(gateway).await)
                .map_err(|error| ExitFailure::new(&error, error.hint()))?,
            tunnels: (rooms.tunnels.prepare(plan.sections.tunnel.clone()))
                .map_err(|error| ExitFailure::new(&error, TUNNEL_HINT))?,
            // It may count the files.
            files: tokio::task::block_in_place(|| rooms.files.prepare(plan.sections.files.clone()))
                .map_err(|error| ExitFailure::new(&error, "see [files] in weappd.toml"))?,
            apps: apps.map_err(|error| apps_failure(&error))?,
            listeners,
            wechat,
            grace: plan.grace,
            sections: plan.sections,
        })
    }

    /// All rooms take it.
    pub(crate) fn commit(&self, staged: StagedServer) {
        let rooms = &self.rooms;
        rooms.sessions.commit(staged.sessions);
        rooms.gateway.commit(staged.gateway);
        rooms.tunnels.commit(staged.tunnels);
        rooms.files.commit(staged.files);
        rooms.apps.commit(staged.apps);
        self.internal.commit(staged.internal);
        let mut state = self.state.lock();
        match staged.loopback {
            StagedLoopback::Changes(edge) => {
                if let Some((_, control)) = &state.loopback {
                    control.commit(edge);
                }
            }
            StagedLoopback::Opens(at, socket, edge) => {
                state.loopback = Some((at, edge.control()));
                let kind = ListenerKind::Http;
                let listener = BoundListener { socket, kind };
                self.edges.open_inner(LOOPBACK, *edge, vec![listener]);
            }
            StagedLoopback::IsUnused => {}
        }
        self.front.commit(staged.front);
        let public = staged.listeners.iter().map(|one| (one.kind, one.at));
        self.status.change(public.collect(), staged.grace);
        state.listeners = staged.listeners;
        state.wechat = staged.wechat;
        state.grace = staged.grace;
        state.sections = staged.sections;
    }

    /// The front door's listeners from then on, and what is to be done for it. Those that stay
    /// keep their sockets.
    fn listeners(
        &self,
        listen: &ListenAddrs,
    ) -> Result<(Vec<FrontListener>, ListenerChanges), ExitFailure> {
        let mut before = self.state.lock().listeners.clone();
        let mut after = Vec::new();
        let mut new = Vec::new();
        let mut changes = ListenerChanges::default();
        for (wanted, kind) in listen.front() {
            match before.iter().position(|one| one.wanted == wanted) {
                Some(at) => {
                    let mut stays = before.swap_remove(at);
                    if stays.kind != kind {
                        stays.kind = kind;
                        changes.change.push((stays.at, kind));
                    }
                    after.push(stays);
                }
                None => new.push((wanted, kind)),
            }
        }
        for (wanted, kind) in new {
            let own = before.iter().find(|one| address::collide(one.at, wanted));
            if let Some(own) = own {
                return Err(ExitFailure::say(
                    format_args!(
                        "the front door cannot listen on {wanted} while it still listens on {}",
                        own.at
                    ),
                    "restart weappd for this change",
                ));
            }
            let change = "set `http` and `https` under [edge] to other ports";
            let socket = listen::bind(wanted, "the front door", change)?;
            let at = socket.local_addr().unwrap_or(wanted);
            after.push(FrontListener { wanted, kind, at });
            changes.open.push(BoundListener { socket, kind });
        }
        changes.close = before.into_iter().map(|one| one.at).collect();
        Ok((after, changes))
    }

    /// Where weappd's own callbacks are to be taken.
    fn loopback_listener(&self, plan: &ServerPlan) -> Result<Option<LoopbackAt>, ExitFailure> {
        if let Some((at, control)) = &self.state.lock().loopback {
            return Ok(Some(LoopbackAt::Open(*at, control.clone())));
        }
        let new = loopback_socket(plan)?;
        Ok(new.map(|(at, socket)| LoopbackAt::New(at, socket)))
    }
}

enum LoopbackAt {
    Open(SocketAddr, EdgeControl),
    New(SocketAddr, TcpListener),
}

impl LoopbackAt {
    fn address(&self) -> SocketAddr {
        match self {
            Self::Open(at, _) | Self::New(at, _) => *at,
        }
    }
}

/// The name of the listener that takes weappd's own callbacks.
pub(crate) const LOOPBACK: &str = "the loopback listener";
/// What to do about sites and certificates that do not work.
const EDGE_HINT: &str = "`weappd check` looks at all of it at once";

/// What the front door does not draw: the page's own files, and paths whose rooms draw what
/// happens in better words.
pub(crate) fn quiet_paths() -> Vec<String> {
    let quiet = [
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
    quiet.map(str::to_owned).to_vec()
}

/// Tunnels whose business server is one of our own sites call back through the loopback
/// listener, and pushed messages come to the app through it. It is there only if somebody
/// uses it.
pub(crate) fn loopback_socket(
    plan: &ServerPlan,
) -> Result<Option<(SocketAddr, TcpListener)>, ExitFailure> {
    let tunnels = !plan.sections.tunnel.businesses.is_empty();
    let messages = plan.pushes.values().any(PushPlan::takes_messages);
    if !tunnels && !messages {
        return Ok(None);
    }
    let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let socket = listen::bind(any_port, LOOPBACK, "free a port")?;
    let at = socket.local_addr();
    let at = at.map_err(|error| ExitFailure::new(&error, ""))?;
    Ok(Some((at, socket)))
}

/// The same sites for weappd's own callbacks: plain HTTP on loopback, sent nowhere else,
/// drawn and logged by the rooms that make them.
pub(crate) fn loopback_edge(
    rooms: &ServerRooms,
    sites: Vec<Site>,
    protected: ProtectedFiles,
) -> Result<Edge, ExitFailure> {
    Edge::build(EdgeParts {
        config: small_config(),
        sites,
        protected,
        upstreams: rooms.apps.addresses(),
        identify: Arc::new(PassIdentify {
            passes: rooms.passes.clone(),
            others: SessionIdentify(rooms.sessions.clone()),
        }),
        clock: rooms.context.clock.clone(),
        tap: TrafficTap::off(),
        quiet_paths: Vec::new(),
        access: None,
        inside: true,
    })
    .map_err(|error| ExitFailure::new(&error, ""))
}
