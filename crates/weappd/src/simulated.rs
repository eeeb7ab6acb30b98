//! The simulated WeChat and its phone page, for `weappd dev` and `weappd simulate`. Nothing
//! else opens them.

use std::net::TcpListener;
use std::time::Duration;

use weappd_base::tasks::Tasks;
use weappd_edge::{BoundListener, ListenerKind, RouteTarget, SessionRule, SiteRoute};
use weappd_simulator::{PushSettings, SimulatedApp, Simulator, SimulatorParts};
use weappd_wechat::AppCredential;

use crate::doors::Doors;
use crate::exit::Failure;
use crate::ground::Ground;
use crate::loopback::small_edge;
use crate::plan::DevPlan;
use crate::signals::Goodbye;

/// The mini program of the simulated WeChat.
pub(crate) const DEV_APPID: &str = "wxde00000000000001";

/// The simulated WeChat alone.
pub(crate) async fn alone(
    socket: TcpListener,
    credentials: Vec<AppCredential>,
    push: Option<PushSettings>,
    mut goodbye: Goodbye,
) -> Result<(), Failure> {
    let ground = Ground::new(false);
    let url = socket
        .local_addr()
        .map(|addr| format!("http://{addr}"))
        .unwrap_or_default();
    let mut doors = Doors::new(ground.front.clone(), ground.inner.clone());
    let simulator = simulator(&ground, url, credentials)?;
    if let Some(push) = push {
        simulator.set_push(push).map_err(|error| {
            Failure::new(&error, "see the --push options of weappd simulate --help")
        })?;
    }
    open(&ground, &doors, socket, simulator)?;
    let crashed = tokio::select! {
        () = goodbye.next() => None,
        failure = doors.ended() => Some(failure),
    };
    ground.inner.force();
    doors.close_inner(Duration::from_secs(1)).await;
    crashed.map_or(Ok(()), |failure| Err(failure.crashed()))
}

/// The phone page, before every other route of the site.
pub(crate) fn pages(ground: &Ground, dev: &DevPlan) -> Vec<SiteRoute> {
    let config =
        weappd_simulator::page::PageConfig::new(dev.wechat_url.as_str(), ground.front.clone());
    let router = weappd_simulator::page::router(ground.tap.clone(), config);
    ["= /", "/_dev/"]
        .map(|path| SiteRoute {
            path: path.to_owned(),
            target: RouteTarget::Router(router.clone()),
            session: SessionRule::Pass,
        })
        .to_vec()
}

/// Opens the simulated WeChat at `socket`, with one mini program whose messages it pushes.
pub(crate) fn open_wechat(
    ground: &Ground,
    doors: &Doors,
    socket: TcpListener,
    public_url: String,
    (credential, push): (AppCredential, PushSettings),
) -> Result<(), Failure> {
    let simulator = simulator(ground, public_url, vec![credential])?;
    simulator
        .set_push(push)
        .map_err(|error| Failure::new(&error, ""))?;
    open(ground, doors, socket, simulator)
}

fn simulator(
    ground: &Ground,
    public_url: String,
    credentials: Vec<AppCredential>,
) -> Result<Simulator, Failure> {
    Simulator::new(SimulatorParts {
        mini_apps: (credentials.into_iter())
            .map(|credential| SimulatedApp {
                credential,
                has_unionid: true,
            })
            .collect(),
        public_url,
        clock: ground.clock.clone(),
        random: ground.tokens.clone(),
        tap: ground.tap.clone(),
        // Nobody waits for a push that is still to come when the house closes.
        tasks: Tasks::new(),
    })
    .map_err(|error| Failure::new(&error, ""))
}

fn open(
    ground: &Ground,
    doors: &Doors,
    socket: TcpListener,
    simulator: Simulator,
) -> Result<(), Failure> {
    let edge = small_edge(ground, weappd_simulator::http::router(simulator))?;
    let kind = ListenerKind::Http;
    doors.open_inner(
        "the simulated WeChat",
        edge,
        vec![BoundListener { socket, kind }],
    );
    Ok(())
}
