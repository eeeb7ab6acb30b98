//! What a running weappd tells of itself over the control socket, and how it is asked to
//! stop there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Value, json};
use weappd_base::clock::Clock;
use weappd_base::tasks::Stop;
use weappd_base::unix_time::UnixSecs;
use weappd_edge::{BoundListener, ListenerKind};

use crate::bound_sockets::BoundSockets;
use crate::plan::ServerPlan;
use crate::stand_in::StandIn;

/// A weappd that runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ServerFacts {
    version: &'static str,
    pid: u32,
    /// `dev` or `serve`.
    command: &'static str,
    /// What each listener is, and where.
    listeners: Vec<ListenerView>,
    /// How long a stop may take.
    grace_ms: u64,
    #[serde(skip)]
    since: UnixSecs,
}

#[derive(Clone, Debug, Serialize)]
struct ListenerView {
    name: &'static str,
    address: String,
}

impl ServerFacts {
    /// The facts of what is about to run.
    pub(crate) fn of(plan: &ServerPlan, sockets: &BoundSockets, clock: &Clock) -> Self {
        let public = sockets.public.iter();
        let public = public.filter_map(|BoundListener { socket, kind }| {
            Some((kind_name(*kind), socket.local_addr().ok()?))
        });
        let stand_in = sockets.stand_in.as_ref().and_then(StandIn::address);
        let simulated = sockets.wechat.as_ref();
        let simulated = simulated.and_then(|socket| socket.local_addr().ok());
        let inner = [
            ("Internal", Some(sockets.internal_addr)),
            ("WeChat", stand_in),
            ("Simulated", simulated),
        ];
        let inner = inner.into_iter().filter_map(|(name, at)| Some((name, at?)));
        let listeners = public.chain(inner).map(ListenerView::new);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            command: if plan.dev.is_some() { "dev" } else { "serve" },
            listeners: listeners.collect(),
            grace_ms: millis(plan.grace),
            since: clock.unix_secs(),
        }
    }
}

impl ListenerView {
    fn new((name, at): (&'static str, SocketAddr)) -> Self {
        Self {
            name,
            address: at.to_string(),
        }
    }
}

fn kind_name(kind: ListenerKind) -> &'static str {
    match kind {
        ListenerKind::Http => "HTTP",
        ListenerKind::Https => "HTTPS",
    }
}

/// What is told of the running weappd. All clones are one board.
#[derive(Clone, Debug)]
pub(crate) struct StatusBoard(Arc<Mutex<ServerFacts>>);

impl StatusBoard {
    pub(crate) fn new(facts: ServerFacts) -> Self {
        Self(Arc::new(Mutex::new(facts)))
    }

    /// Other listeners of the front door, and another time for a stop.
    pub(crate) fn change(&self, public: Vec<(ListenerKind, SocketAddr)>, grace: Duration) {
        let mut facts = self.0.lock();
        let public = public.into_iter();
        let mut listeners: Vec<ListenerView> = public
            .map(|(kind, at)| ListenerView::new((kind_name(kind), at)))
            .collect();
        let inner = facts.listeners.drain(..);
        listeners.extend(inner.filter(|one| !one.name.starts_with("HTTP")));
        facts.listeners = listeners;
        facts.grace_ms = millis(grace);
    }

    fn facts(&self) -> ServerFacts {
        self.0.lock().clone()
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Clone)]
struct StatusState {
    board: StatusBoard,
    clock: Clock,
    stop: Stop,
}

/// `GET /status`, and `POST /stop`, which asks `stop`.
pub(crate) fn control_router(board: StatusBoard, clock: Clock, stop: Stop) -> Router {
    Router::new()
        .route("/status", get(status))
        .route("/stop", post(ask_stop))
        .with_state(StatusState { board, clock, stop })
}

async fn status(State(parts): State<StatusState>) -> Json<Value> {
    let facts = parts.board.facts();
    let up = parts.clock.unix_secs().since(facts.since).as_secs();
    let mut told = json!(facts);
    told["uptime_secs"] = json!(up);
    told["is_stopping"] = json!(parts.stop.is_asked());
    Json(told)
}

async fn ask_stop(State(parts): State<StatusState>) -> Json<Value> {
    tracing::info!("asked to stop by `weappd stop`");
    let facts = parts.board.facts();
    // The answer goes out before the socket it is asked on ends.
    weappd_base::tasks::Tasks::new().spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        parts.stop.ask();
    });
    Json(json!(facts))
}
