//! What is to run, settled to the last address: the one value that `dev` and `serve` make
//! and `wiring` builds.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use weappd_apps::AppConfig;
use weappd_base::local_host::LocalHosts;
use weappd_base::secret::Secret;
use weappd_certs::CertFiles;
use weappd_edge::{ListenerKind, ProtectedFiles, SiteRoute, SiteService};
use weappd_session::MiniApp;

/// What is to run.
#[derive(Debug)]
pub(crate) struct ServerPlan {
    /// What relative paths of apps stand under.
    pub(crate) base_dir: PathBuf,
    /// Every site, the first one answers unknown TLS names.
    pub(crate) sites: Vec<SitePlan>,
    /// What no site serves.
    pub(crate) protected: ProtectedFiles,
    /// Every mini program.
    pub(crate) mini_apps: Vec<MiniApp>,
    /// How their messages come and where they go, by AppID.
    pub(crate) pushes: BTreeMap<String, PushPlan>,
    /// Every app.
    pub(crate) apps: BTreeMap<String, AppConfig>,
    /// What apps are told of the tunnel, unless they bring their own.
    pub(crate) tunnel_for_apps: Option<TunnelForApps>,
    /// The rooms' own sections.
    pub(crate) sections: RoomSections,
    /// What a reload does not change.
    pub(crate) fixed: FixedSettings,
    /// How long everything may take to end.
    pub(crate) grace: Duration,
    /// What only `weappd dev` has.
    pub(crate) dev: Option<DevPlan>,
}

/// Settings of weappd's own that count only after a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FixedSettings {
    /// Where state is kept.
    pub(crate) data_dir: PathBuf,
    /// Where the internal API was asked to be: apps were told.
    pub(crate) internal: Option<SocketAddr>,
    /// Where weappd stands in for WeChat: apps were told.
    pub(crate) wechat_https: Option<SocketAddr>,
    /// Whether log lines are JSON.
    pub(crate) log_json: bool,
}

impl FixedSettings {
    /// The settings that `next` has otherwise, as weappd.toml calls them.
    pub(crate) fn differing(&self, next: &Self) -> Vec<&'static str> {
        let keys = [
            ("data_dir", self.data_dir != next.data_dir),
            ("internal.listen", self.internal != next.internal),
            (
                "internal.wechat_https",
                self.wechat_https != next.wechat_https,
            ),
            ("log.format", self.log_json != next.log_json),
        ];
        let differing = keys.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| key).collect()
    }
}

/// Where the front door listens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListenAddrs {
    /// Over plain HTTP.
    pub(crate) http: Vec<SocketAddr>,
    /// Over HTTPS.
    pub(crate) https: Vec<SocketAddr>,
}

impl ListenAddrs {
    /// All of them, those of plain HTTP first.
    pub(crate) fn front(&self) -> impl Iterator<Item = (SocketAddr, ListenerKind)> + '_ {
        let of = |addresses: &'_ [SocketAddr], kind| {
            let addresses = addresses.to_vec();
            addresses.into_iter().map(move |address| (address, kind))
        };
        of(&self.http, ListenerKind::Http).chain(of(&self.https, ListenerKind::Https))
    }
}

/// The rooms' own sections.
#[derive(Clone, Debug, Default)]
pub(crate) struct RoomSections {
    pub(crate) edge: weappd_edge::Config,
    pub(crate) session: weappd_session::Config,
    pub(crate) tunnel: weappd_tunnel::Config,
    pub(crate) files: weappd_files::Config,
    pub(crate) wechat: weappd_wechat::Config,
    pub(crate) gateway: weappd_gateway::Config,
    /// Who may call the internal API besides weappd's own apps.
    pub(crate) internal_access: InternalAccess,
}

/// Who may call the internal API.
#[derive(Clone, Debug, Default)]
pub(crate) struct InternalAccess {
    /// What opens it besides the token that apps are given.
    pub(crate) token: Option<Secret>,
    /// By which names it is called.
    pub(crate) hosts: LocalHosts,
}

/// One site.
#[derive(Clone, Debug)]
pub(crate) struct SitePlan {
    /// Its names.
    pub(crate) hosts: Vec<String>,
    /// Its certificate.
    pub(crate) tls: Option<CertFiles>,
    /// The port plain HTTP is sent to.
    pub(crate) redirect: Option<u16>,
    /// The mini programs whose users it serves, the first of which a login means that names
    /// none; without one it has no built-in endpoints.
    pub(crate) appids: Vec<String>,
    /// Whether it speaks Wafer 1 at `/login`, `/user`, `/tunnel`.
    pub(crate) wafer1: bool,
    /// Whether it speaks Wafer 2 under `/weapp/`.
    pub(crate) wafer2: bool,
    /// Those of them that have a message Token: WeChat pushes their messages here.
    pub(crate) messages: Vec<String>,
    /// The paths of their further push configurations.
    pub(crate) push_paths: Vec<String>,
    /// The paths at which its apps take pushed messages, of whatever site these came to.
    pub(crate) message_targets: Vec<String>,
    /// Its own routes; they win over built-in endpoints.
    pub(crate) routes: Vec<SiteRoute>,
    /// What `X-WX-SERVICE` chooses among.
    pub(crate) services: Vec<SiteService>,
    /// The business server whose tunnels the built-in tunnel endpoint opens.
    pub(crate) tunnel_business: Option<String>,
    /// Who opens them.
    pub(crate) tunnel_issuer: TunnelIssuer,
}

/// Who answers phones that ask for a tunnel (`GET /weapp/tunnel`, `GET /tunnel`). Callbacks,
/// which are `POST`s to the same paths, are the app's in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum TunnelIssuer {
    /// The app, as with the Wafer SDKs; weappd, if the app has no such path.
    #[default]
    Auto,
    /// The app alone.
    App,
    /// weappd alone.
    Weappd,
}

/// How a mini program's messages come, and where they go.
#[derive(Clone, Debug)]
pub(crate) struct PushPlan {
    /// The message Token; without one no messages are taken.
    pub(crate) token: Option<Secret>,
    /// The `EncodingAESKey`.
    pub(crate) encoding_aes_key: Option<Secret>,
    /// The path at which the app takes them.
    pub(crate) path: String,
    /// When WeChat is told that a deed is done.
    pub(crate) answer: weappd_gateway::AnswerWhen,
    /// Further push configurations.
    pub(crate) further: Vec<weappd_gateway::PushChannel>,
    /// How calls the other way are encrypted and signed.
    pub(crate) api_security: Option<weappd_gateway::ApiSecurity>,
}

impl PushPlan {
    /// Whether messages come at all.
    pub(crate) fn takes_messages(&self) -> bool {
        self.token.is_some() || !self.further.is_empty()
    }
}

/// What an app needs to open tunnels.
#[derive(Clone, Debug)]
pub(crate) struct TunnelForApps {
    /// `WEAPPD_SERVER_HOST`.
    pub(crate) server_host: String,
    /// `WEAPPD_TUNNEL_KEY`.
    pub(crate) key: Secret,
}

/// What only `weappd dev` has.
#[derive(Debug)]
pub(crate) struct DevPlan {
    /// Where the simulated WeChat answers.
    pub(crate) wechat_url: String,
    /// Whether the apps' output is shown in colours, on a terminal.
    pub(crate) has_color: bool,
    /// Whether the site's `/` is one's own app's: the phone page then stands at `/_dev/` alone.
    pub(crate) has_own_app: bool,
    /// The address of the phone page.
    pub(crate) phone_page: String,
    /// The simulated mini program's secret.
    pub(crate) secret: Secret,
    /// The simulated mini program.
    pub(crate) appid: String,
    /// Where the simulated WeChat pushes its messages.
    pub(crate) push: weappd_simulator::PushSettings,
}
