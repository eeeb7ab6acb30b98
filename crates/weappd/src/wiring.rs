//! From a plan to a running weappd, and to its end.
//!
//! # Goodbye
//!
//! In this order, so that nothing acknowledged is lost and nobody is told too late: the
//! front door finishes what it holds and tunnels close (their business servers hear it),
//! then the apps end, then the listeners on loopback close, through which apps were told and
//! say their own last words, then sessions write what they hold back.

use std::sync::Arc;

use axum::Router;
use weappd_base::tasks::Stop;
use weappd_edge::{BoundListener, Edge, EdgeParts, ListenerKind};

use crate::app_output::AppOutput;
use crate::apply::{
    LOOPBACK, OpenedEdges, RunningServer, loopback_edge, loopback_socket, quiet_paths,
};
use crate::bound_sockets::BoundSockets;
use crate::builtin::SessionIdentify;
use crate::config::WrittenKeys;
use crate::data_dir::DataDir;
use crate::edge_servers::{EdgeFailures, EdgeServers};
use crate::exit::ExitFailure;
use crate::loopback::small_edge;
use crate::plan::{ListenAddrs, ServerPlan};
use crate::plan_source::PlanSource;
use crate::reload::{self, ReloadRequests};
use crate::rooms::ServerRooms;
use crate::server_context::ServerContext;
use crate::signals::{HangupMeaning, ShutdownSignals, SignalWish};
use crate::simulated::open_wechat;
use crate::status::{self, ServerFacts, StatusBoard};
use crate::{control, descriptors, logging, metrics};

/// A plan, the sockets it asked for, and where it can be read again.
pub(crate) struct FirstPlan {
    pub(crate) plan: ServerPlan,
    pub(crate) listen: ListenAddrs,
    pub(crate) sockets: BoundSockets,
    /// `weappd dev` has none.
    pub(crate) source: Option<(Arc<dyn PlanSource>, WrittenKeys)>,
}

/// Opens everything, calls `announce` when it listens, and runs it until a signal.
pub(crate) async fn run(
    first: FirstPlan,
    data: &DataDir,
    announce: impl FnOnce(),
) -> Result<(), ExitFailure> {
    descriptors::raise_limit();
    let is_dev = first.plan.dev.is_some();
    let mut signals = ShutdownSignals::listen(if is_dev {
        HangupMeaning::Ends
    } else {
        HangupMeaning::Reload
    })?;
    let context = ServerContext::new(is_dev);
    let has_color = first.plan.dev.as_ref().is_some_and(|dev| dev.has_color);
    let source = first.source;
    let (edges, mut failures) = EdgeServers::new(context.front.clone(), context.inner.clone());
    let server = open(
        &context,
        first.plan,
        &first.listen,
        first.sockets,
        data,
        edges,
    )
    .await?;
    let server = Arc::new(server);
    server.rooms.register_metrics();
    metrics::register(&server.rooms.metrics, &context, &server.reloads);
    let output = if is_dev {
        Some(AppOutput::open(&server.rooms.apps).await?)
    } else {
        None
    };
    let asked = Stop::new();
    let requests = source.map(|(source, keys)| {
        let (requests, queue) = ReloadRequests::channel(source.file());
        let reloads = reload::serve(Arc::clone(&server), source, keys, queue);
        // A stop does not wait for a file to be read.
        let stop = context.front.clone();
        context.tasks.spawn(async move {
            tokio::select! {
                () = reloads => {}
                () = stop.asked() => {}
            }
        });
        requests
    });
    // Whoever is told that weappd serves may change it at once.
    let failed = tokio::select! {
        () = server.wait_for_edges() => None,
        failure = failures.next() => Some(failure),
    };
    let status =
        status::control_router(server.status.clone(), context.clock.clone(), asked.clone());
    server.start(data, status.merge(reload::control_router(requests.clone())));
    let crashed = if failed.is_some() {
        failed
    } else {
        announce();
        if let Some(output) = output {
            output.show(&context, has_color);
        }
        until_end(&mut signals, &asked, &mut failures, requests.as_ref()).await
    };
    tokio::select! {
        () = server.close() => {}
        () = signals.stop() => {}
    }
    crashed.map_or(Ok(()), |failure| Err(failure.crashed()))
}

/// Waits for what ends weappd: a signal, a command, or an edge that ends by itself.
async fn until_end(
    signals: &mut ShutdownSignals,
    asked: &Stop,
    failures: &mut EdgeFailures,
    requests: Option<&ReloadRequests>,
) -> Option<ExitFailure> {
    loop {
        tokio::select! {
            wish = signals.next() => match (wish, requests) {
                (SignalWish::Reload, Some(requests)) => requests.ask(),
                _ => return None,
            },
            () = asked.asked() => return None,
            failure = failures.next() => return Some(failure),
        }
    }
}

/// Opens the rooms, then what leads to them.
async fn open(
    context: &ServerContext,
    mut plan: ServerPlan,
    listen: &ListenAddrs,
    sockets: BoundSockets,
    data: &DataDir,
    edges: EdgeServers,
) -> Result<RunningServer, ExitFailure> {
    let board = StatusBoard::new(ServerFacts::of(&plan, &sockets, &context.clock));
    let loopback = loopback_socket(&plan)?;
    let loopback_at = loopback.as_ref().map(|(at, _)| *at);
    plan.sections.tunnel.own_sites.via = loopback_at;
    let rooms = ServerRooms::open(context, &plan, &sockets, (data, loopback_at)).await?;
    if let (Some(dev), Some(wechat)) = (&plan.dev, sockets.wechat) {
        open_wechat(context, &edges, wechat, dev)?;
    }
    let internal = small_edge(context, rooms.internal_router(&plan))?;
    let internal_control = internal.control();
    let kind = ListenerKind::Http;
    let socket = sockets.internal;
    edges.open_inner(
        "the internal API",
        internal,
        vec![BoundListener { socket, kind }],
    );
    if let Some(stand_in) = sockets.stand_in {
        stand_in.open(context, &edges, rooms.gateway.clone())?;
    }
    let (sites, inner) = rooms.sites(&plan);
    let loopback = match loopback {
        None => None,
        Some((at, socket)) => {
            let edge = loopback_edge(&rooms, inner, plan.protected.clone())?;
            let control = edge.control();
            edges.open_inner(LOOPBACK, edge, vec![BoundListener { socket, kind }]);
            Some((at, control))
        }
    };
    let front = Edge::build(EdgeParts {
        config: plan.sections.edge.clone(),
        sites,
        protected: plan.protected.clone(),
        upstreams: rooms.apps.addresses(),
        identify: Arc::new(SessionIdentify(rooms.sessions.clone())),
        clock: context.clock.clone(),
        tap: context.tap.clone(),
        quiet_paths: quiet_paths(),
        access: logging::access_log(plan.fixed.log_json),
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
    let front_control = front.control();
    front_control.register_metrics(&rooms.metrics);
    let local = |bound: &BoundListener| bound.socket.local_addr().ok();
    let front_at = sockets.public.iter().filter_map(local).collect();
    edges.open("the front door", front, sockets.public);
    let opened = OpenedEdges {
        edges,
        front: front_control,
        front_at,
        internal: internal_control,
        loopback,
    };
    Ok(RunningServer::new(rooms, opened, board, (&plan, listen)))
}

impl RunningServer {
    /// Starts what runs behind the listeners.
    fn start(&self, data: &DataDir, status: Router) {
        let ServerContext { tasks, back, .. } = &self.rooms.context;
        let apps = self.rooms.apps.clone();
        tasks.spawn(async move { apps.run().await });
        let router = self.rooms.control_router().merge(status);
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
    async fn close(&self) {
        let (rooms, edges) = (&self.rooms, &self.edges);
        let ServerContext {
            tasks,
            tunnel_tasks,
            front,
            back,
            ..
        } = &rooms.context;
        let grace = self.grace();
        front.ask();
        let part = grace / 2;
        tokio::join!(edges.closed(part), tunnel_tasks.finish(part));
        front.force();
        tokio::join!(edges.closed(part / 4), tunnel_tasks.finish(part / 4));
        back.ask();
        if !tasks.finish(grace).await {
            tracing::warn!(tasks = tasks.len(), "some work was cut short");
        }
        back.force();
        edges.close_inner(part / 4).await;
        rooms.gateway.close().await;
        if let Err(error) = rooms.sessions.close().await {
            tracing::error!(%error, "the last visits of sessions could not be written");
        }
    }
}
