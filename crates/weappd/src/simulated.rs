//! The simulated WeChat and its phone page, for `weappd dev` and `weappd simulate`. Nothing
//! else opens them.

use std::net::TcpListener;
use std::time::Duration;

use weappd_apps::AppSupervisor;
use weappd_base::tasks::Tasks;
use weappd_edge::{BoundListener, ListenerKind, RouteTarget, SessionRule, SiteRoute};
use weappd_simulator::page::{self, PageConfig};
use weappd_simulator::{PushSettings, SimulatedApp, Simulator, SimulatorParts};
use weappd_wechat::AppCredential;

use crate::edge_servers::EdgeServers;
use crate::exit::ExitFailure;
use crate::loopback::small_edge;
use crate::plan::DevPlan;
use crate::server_context::ServerContext;
use crate::server_watch::watch_server;
use crate::signals::ShutdownSignals;

/// Where the phone page stands beside one's own app.
pub(crate) const PHONE_PAGE: &str = "/_dev/";

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

/// The phone page, before every other route of the site. One's own app has its `/` to itself.
pub(crate) fn pages(
    context: &ServerContext,
    dev: &DevPlan,
    apps: &AppSupervisor,
) -> Vec<SiteRoute> {
    let mut run = context.random.hex256();
    run.truncate(12);
    let stop = context.front.clone();
    let config = PageConfig {
        app_home: dev.has_own_app.then(|| "/".to_owned()),
        run,
        server: Some(watch_server(context, apps.clone())),
        tasks: context.tasks.clone(),
        ..PageConfig::new(dev.wechat_url.as_str(), DEV_APPID, stop)
    };
    let router = page::router(&context.tap, config);
    let paths = if dev.has_own_app {
        &[PHONE_PAGE, "= /_dev"][..]
    } else {
        &["= /", PHONE_PAGE, "= /_dev"]
    };
    let to_page = |path: &&str| SiteRoute {
        path: (*path).to_owned(),
        target: RouteTarget::Router(router.clone().into()),
        session: SessionRule::Pass,
    };
    paths.iter().map(to_page).collect()
}

/// Opens the simulated WeChat at `socket`, with one mini program whose messages it pushes.
pub(crate) fn open_wechat(
    context: &ServerContext,
    doors: &EdgeServers,
    socket: TcpListener,
    dev: &DevPlan,
) -> Result<(), ExitFailure> {
    let credential = AppCredential {
        appid: dev.appid.clone(),
        secret: dev.secret.clone(),
    };
    let simulator = simulator(context, dev.wechat_url.clone(), vec![credential])?;
    simulator
        .set_push(dev.push.clone())
        .map_err(|error| ExitFailure::new(&error, ""))?;
    simulator.set_phone_page(&dev.phone_page);
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
