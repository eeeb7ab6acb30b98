//! The simulated WeChat and its phone page, for `weappd dev` and `weappd simulate`. Nothing
//! else opens them.

use std::net::TcpListener;
use std::time::Duration;

use weappd_base::tasks::Tasks;
use weappd_edge::{BoundListener, ListenerKind, RouteTarget, SessionRule, SiteRoute};
use weappd_simulator::{PushSettings, SimulatedApp, Simulator, SimulatorParts};
use weappd_wechat::AppCredential;

use crate::edge_servers::EdgeServers;
use crate::exit::ExitFailure;
use crate::loopback::small_edge;
use crate::plan::DevPlan;
use crate::server_context::ServerContext;
use crate::signals::ShutdownSignals;

/// The mini program of the simulated WeChat.
pub(crate) const DEV_APPID: &str = "wxde00000000000001";

/// The simulated WeChat alone.
pub(crate) async fn alone(
    socket: TcpListener,
    credentials: Vec<AppCredential>,
    push: Option<PushSettings>,
    mut signals: ShutdownSignals,
) -> Result<(), ExitFailure> {
    let context = ServerContext::new(false);
    let url = socket
        .local_addr()
        .map(|addr| format!("http://{addr}"))
        .unwrap_or_default();
    let (doors, mut failures) = EdgeServers::new(context.front.clone(), context.inner.clone());
    let simulator = simulator(&context, url, credentials)?;
    if let Some(push) = push {
        simulator.set_push(push).map_err(|error| {
            ExitFailure::new(&error, "see the --push options of weappd simulate --help")
        })?;
    }
    open(&context, &doors, socket, simulator)?;
    let crashed = tokio::select! {
        () = signals.stop() => None,
        failure = failures.next() => Some(failure),
    };
    context.inner.force();
    doors.close_inner(Duration::from_secs(1)).await;
    crashed.map_or(Ok(()), |failure| Err(failure.crashed()))
}

/// The phone page, before every other route of the site.
pub(crate) fn pages(context: &ServerContext, dev: &DevPlan) -> Vec<SiteRoute> {
    let config =
        weappd_simulator::page::PageConfig::new(dev.wechat_url.as_str(), context.front.clone());
    let router = weappd_simulator::page::router(context.tap.clone(), config);
    ["= /", "/_dev/"]
        .map(|path| SiteRoute {
            path: path.to_owned(),
            target: RouteTarget::Router(router.clone().into()),
            session: SessionRule::Pass,
        })
        .to_vec()
}

/// Opens the simulated WeChat at `socket`, with one mini program whose messages it pushes.
pub(crate) fn open_wechat(
    context: &ServerContext,
    doors: &EdgeServers,
    socket: TcpListener,
    public_url: String,
    (credential, push): (AppCredential, PushSettings),
) -> Result<(), ExitFailure> {
    let simulator = simulator(context, public_url, vec![credential])?;
    simulator
        .set_push(push)
        .map_err(|error| ExitFailure::new(&error, ""))?;
    open(context, doors, socket, simulator)
}

fn simulator(
    context: &ServerContext,
    public_url: String,
    credentials: Vec<AppCredential>,
) -> Result<Simulator, ExitFailure> {
    Simulator::new(SimulatorParts {
        mini_apps: (credentials.into_iter())
            .map(|credential| SimulatedApp {
                credential,
                has_unionid: true,
            })
            .collect(),
        public_url,
        clock: context.clock.clone(),
        random: context.random.clone(),
        tap: context.tap.clone(),
        // Nobody waits for a push that is still to come when weappd stops.
        tasks: Tasks::new(),
    })
    .map_err(|error| ExitFailure::new(&error, ""))
}

fn open(
    context: &ServerContext,
    doors: &EdgeServers,
    socket: TcpListener,
    simulator: Simulator,
) -> Result<(), ExitFailure> {
    let edge = small_edge(context, weappd_simulator::http::router(simulator))?;
    let kind = ListenerKind::Http;
    doors.open_inner(
        "the simulated WeChat",
        edge,
        vec![BoundListener { socket, kind }],
    );
    Ok(())
}
