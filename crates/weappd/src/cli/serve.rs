//! `weappd serve`: what weappd.toml says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use weappd_base::language::pick;
use weappd_base::words;

use parking_lot::Mutex;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_edge::{BoundListener, ListenerKind};

use crate::bound_sockets::BoundSockets;
use crate::cli::running::padded;
use crate::cli::{check, say, status};
use crate::config::{self, Config, ConfigProblem, LoadedConfig, LogFormat};
use crate::data_dir::DataDir;
use crate::exit::ExitFailure;
use crate::plan::{FixedSettings, ListenAddrs, RoomSections, ServerPlan, TunnelForApps};
use crate::plan_source::{PlanSource, ReadPlan};
use crate::stand_in::StandIn;
use crate::wiring::{self, FirstPlan};
use crate::{host_lookup, listen, logging};

/// A configuration that can be served, or every problem of it.
pub(super) fn load(file: &Path) -> Result<LoadedConfig, ExitFailure> {
    told(config::load(
        file,
        &check::variable,
        &host_lookup::addresses,
    ))
}

/// What was loaded, its warnings told; or every problem of it.
pub(super) fn told(
    loaded: Result<LoadedConfig, Vec<ConfigProblem>>,
) -> Result<LoadedConfig, ExitFailure> {
    let color = check::ColorChoice::of_terminal().stderr;
    match loaded {
        Ok(mut loaded) => {
            let loud = loud(std::mem::take(&mut loaded.warnings));
            warn(&config::render(&loud, color));
            Ok(loaded)
        }
        Err(problems) => Err(ExitFailure::config(config::render(&problems, color))),
    }
}

/// Those that somebody who starts weappd must see.
fn loud(mut warnings: Vec<ConfigProblem>) -> Vec<ConfigProblem> {
    warnings.retain(|problem| problem.severity == config::ProblemSeverity::Warning);
    warnings
}

#[expect(
    clippy::print_stderr,
    reason = "warnings for the person who started us"
)]
fn warn(words: &str) {
    eprint!("{words}");
}

pub(super) async fn run(file: PathBuf, loaded: LoadedConfig) -> Result<(), ExitFailure> {
    let LoadedConfig { config, keys, .. } = loaded;
    logging::start(&config.log.level, is_json(&config))?;
    let data = DataDir::open(&config.data_dir)?;
    let sockets = bind(&config, data.path())?;
    let banner = banner(&config, &sockets);
    let source = Arc::new(FileSource {
        file,
        made_keys: Mutex::default(),
    });
    let listen = listen_addrs(&config);
    let plan = plan(config, &mut source.made_keys.lock());
    let first = FirstPlan {
        plan,
        listen,
        sockets,
        source: Some((source, keys)),
    };
    wiring::run(first, &data, || say(banner)).await
}

/// weappd.toml, read again and again.
struct FileSource {
    file: PathBuf,
    /// The keys of business servers that have none of their own, by host: apps that run were
    /// told.
    made_keys: Mutex<BTreeMap<String, Secret>>,
}

impl PlanSource for FileSource {
    fn read(&self) -> Result<ReadPlan, ExitFailure> {
        let loaded = config::load(&self.file, &check::variable, &host_lookup::addresses);
        let LoadedConfig {
            config,
            warnings,
            keys,
        } = loaded.map_err(|problems| ExitFailure::config(config::render(&problems, false)))?;
        let (listen, log_level) = (listen_addrs(&config), config.log.level.clone());
        Ok(ReadPlan {
            plan: plan(config, &mut self.made_keys.lock()),
            listen,
            log_level,
            keys,
            warnings: config::render(&loud(warnings), false),
        })
    }

    fn file(&self) -> &Path {
        &self.file
    }
}

fn listen_addrs(config: &Config) -> ListenAddrs {
    ListenAddrs {
        http: config.http.clone(),
        https: config.https.clone(),
    }
}

fn is_json(config: &Config) -> bool {
    config.log.format == LogFormat::Json
}

/// Binds every socket; what stands in the way of any is told at once.
fn bind(config: &Config, data_dir: &Path) -> Result<BoundSockets, ExitFailure> {
    let mut failures = Vec::new();
    let mut public = Vec::new();
    let doors = [
        (
            &config.http,
            ListenerKind::Http,
            pick("set `http` under [edge]", "在 [edge] 里设置 `http`"),
        ),
        (
            &config.https,
            ListenerKind::Https,
            pick("set `https` under [edge]", "在 [edge] 里设置 `https`"),
        ),
    ];
    for (addresses, kind, change) in doors {
        for addr in addresses {
            let bound = listen::bind(*addr, pick("the front door", "站点入口"), change);
            public.extend(noted(bound, &mut failures).map(|socket| BoundListener { socket, kind }));
        }
    }
    let change = pick(
        "set `listen` under [internal]",
        "在 [internal] 里设置 `listen`",
    );
    let internal = listen::bind(
        config.internal,
        pick("the internal API", "内部接口"),
        change,
    );
    let internal = noted(internal, &mut failures);
    let stand_in = config.wechat_https;
    let stand_in = stand_in.map(|at| StandIn::bind(at, data_dir, &check::variable));
    let stand_in = noted(stand_in.transpose(), &mut failures);
    match (internal, stand_in) {
        (Some(internal), Some(stand_in)) if failures.is_empty() => Ok(BoundSockets {
            public,
            stand_in,
            internal_addr: internal.local_addr().unwrap_or(config.internal),
            internal,
            wechat: None,
        }),
        _ => Err(ExitFailure::all(failures)),
    }
}

/// What was bound; a failure is noted.
fn noted<T>(bound: Result<T, ExitFailure>, failures: &mut Vec<ExitFailure>) -> Option<T> {
    bound.map_err(|failure| failures.push(failure)).ok()
}

/// What answers where, in a few lines.
fn banner(config: &Config, sockets: &BoundSockets) -> String {
    use std::fmt::Write as _;

    let version = env!("CARGO_PKG_VERSION");
    let mut text = words!(
        "weappd {version} serves\n\n",
        "weappd {version} 开始服务\n\n"
    );
    let label = |name| padded(status::listener_name(name), 11);
    for site in &config.sites {
        let scheme = if site.tls.is_some() { "https" } else { "http" };
        let hosts = site.hosts.iter().map(|host| format!("{scheme}://{host}/"));
        let _ = writeln!(text, "  {}", hosts.collect::<Vec<_>>().join("  "));
    }
    for BoundListener { socket, kind } in &sockets.public {
        let name = match kind {
            ListenerKind::Http => "HTTP",
            ListenerKind::Https => "HTTPS",
        };
        if let Ok(addr) = socket.local_addr() {
            let _ = writeln!(text, "  {} {addr}", label(name));
        }
    }
    if let Some(at) = sockets.stand_in.as_ref().and_then(StandIn::address) {
        let told = words!(
            "  {} {at}, as https://api.weixin.qq.com\n",
            "  {} {at}，供应用代替 https://api.weixin.qq.com 使用\n",
            label("WeChat")
        );
        text.push_str(&told);
    }
    let internal: SocketAddr = sockets.internal_addr;
    let _ = writeln!(text, "  {} http://{internal}/", label("Internal"));
    for name in config.apps.keys() {
        let _ = writeln!(text, "  {} {name}", padded(pick("App", "应用"), 11));
    }
    text
}

fn plan(mut config: Config, made_keys: &mut BTreeMap<String, Secret>) -> ServerPlan {
    let is_json = is_json(&config);
    for business in &mut config.tunnel.businesses {
        // Nobody but our own app knows it, and the app is told.
        if business.key.is_empty() {
            let made = || Secret::new(RandomSource::system().hex256());
            let key = made_keys.entry(business.host.clone()).or_insert_with(made);
            business.key = key.clone();
        }
    }
    let business = config.tunnel.businesses.first();
    let tunnel_for_apps = business.map(|business| TunnelForApps {
        server_host: business.host.clone(),
        key: business.key.clone(),
    });
    ServerPlan {
        base_dir: config.base_dir,
        sites: config.sites,
        protected: config.protected,
        mini_apps: config.mini_apps,
        pushes: config.pushes,
        apps: config.apps,
        tunnel_for_apps,
        sections: RoomSections {
            edge: config.edge,
            session: config.session,
            tunnel: config.tunnel,
            files: config.files,
            wechat: config.wechat,
            gateway: config.gateway,
            internal_access: config.internal_access,
        },
        fixed: FixedSettings {
            data_dir: config.data_dir,
            internal: Some(config.internal),
            wechat_https: config.wechat_https,
            log_json: is_json,
        },
        grace: config.grace,
        dev: None,
    }
}
