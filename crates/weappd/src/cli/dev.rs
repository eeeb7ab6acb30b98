//! `weappd dev`: everything on loopback with a simulated WeChat.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use weappd_apps::{AppConfig, config::RunCommand};
use weappd_base::language::pick;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::words;
use weappd_edge::{BoundListener, ListenerKind, RouteTarget, SessionRule, SiteRoute};
use weappd_session::MiniApp;
use weappd_simulator::PushSettings;
use weappd_tunnel::{BusinessConfig, OwnSites};

use crate::bound_sockets::BoundSockets;
use crate::cli::dev_ports::{self, PortWish};
use crate::cli::running::padded;
use crate::cli::{check, say};
use crate::data_dir::DataDir;
use crate::exit::ExitFailure;
use crate::plan::{
    DevPlan, FixedSettings, ListenAddrs, PushPlan, RoomSections, ServerPlan, SitePlan,
    TunnelForApps, TunnelIssuer,
};
use crate::simulated::PHONE_PAGE;
use crate::{
    config, dev_cert, logging, simulated,
    wiring::{self, FirstPlan},
};

#[derive(Debug, clap::Args)]
pub(super) struct DevArgs {
    /// Port of the phone page and the site over HTTP; else 8080, or the next free one
    #[arg(long)]
    http: Option<u16>,
    /// Port of the site over HTTPS, with a certificate made on first run; else 8443
    #[arg(long)]
    https: Option<u16>,
    /// Port of the internal API; else 8081
    #[arg(long)]
    internal: Option<u16>,
    /// Port of the simulated WeChat; else 8082
    #[arg(long)]
    wechat: Option<u16>,
    /// The `PORT` of your own business server; else a free one
    #[arg(long, requires = "run")]
    port: Option<u16>,
    /// Where the database, the certificate, uploads and logs are kept
    #[arg(long, default_value = ".weappd")]
    data_dir: PathBuf,
    /// What to log: `warn`, `info`, `debug`, or a filter such as `info,weappd_tunnel=debug`
    #[arg(long, default_value = "warn,weappd=info,weappd_apps=error")]
    log: String,
    /// Your own business server in place of the chat room, after `--`: `weappd dev -- node app.js`
    #[arg(last = true)]
    run: Vec<String>,
}

/// The name the chat room has under the supervisor.
const CHAT: &str = "chat";
/// The name of one's own.
const OWN: &str = "app";

pub(super) async fn run(args: DevArgs) -> Result<(), ExitFailure> {
    if let Some(command) = quoted_whole(&args.run) {
        return Err(ExitFailure::say(
            words!(
                "there is no program called `{command}`",
                "没有叫 `{command}` 的程序"
            ),
            &words!(
                "leave out the quotes: weappd dev -- {command}",
                "去掉引号：weappd dev -- {command}"
            ),
        ));
    }
    logging::start(&args.log, false)?;
    let data = DataDir::open(&args.data_dir)?;
    let cert = dev_cert::find_or_make(data.path())?;
    let (sockets, moved) = bind(&args)?;
    let [page, secure, internal, wechat] = sockets;
    let ((page, http_addr), (secure, tls_addr)) = (page, secure);
    let ((internal, internal_addr), (wechat, wechat_addr)) = (internal, wechat);
    let sockets = BoundSockets {
        public: vec![
            BoundListener {
                socket: page,
                kind: ListenerKind::Http,
            },
            BoundListener {
                socket: secure,
                kind: ListenerKind::Https,
            },
        ],
        internal,
        internal_addr,
        stand_in: None,
        wechat: Some(wechat),
    };
    let own = !args.run.is_empty();
    let logs = logs(&args);
    let plan = plan(args, cert, http_addr, wechat_addr)?;
    let banner = DevBanner {
        http: http_addr,
        https: tls_addr,
        internal: internal_addr,
        wechat: wechat_addr,
        data_dir: data.path(),
        has_own_app: own,
        logs,
        moved,
    };
    let banner = banner.words();
    let first = FirstPlan {
        plan,
        listen: ListenAddrs {
            http: vec![http_addr],
            https: vec![tls_addr],
        },
        sockets,
        source: None,
    };
    wiring::run(first, &data, || say(banner)).await
}

/// What is where, for whoever typed `weappd dev`.
struct DevBanner<'a> {
    http: SocketAddr,
    https: SocketAddr,
    internal: SocketAddr,
    wechat: SocketAddr,
    data_dir: &'a Path,
    has_own_app: bool,
    /// The command that shows the app's output again.
    logs: String,
    /// What is not at its usual port.
    moved: Vec<String>,
}

impl DevBanner<'_> {
    fn words(&self) -> String {
        let mut text = format!("weappd dev {}\n\n", env!("CARGO_PKG_VERSION"));
        for (label, place) in self.places() {
            text += &["  ", &padded(label, 12), &place, "\n"].concat();
        }
        for line in &self.moved {
            text += &["\n  ", line].concat();
        }
        if !self.moved.is_empty() {
            text.push('\n');
        }
        format!("{text}\n{}", self.next_step())
    }

    fn places(&self) -> Vec<(&'static str, String)> {
        let (http, https) = (self.http, self.https);
        let phones = words!(
            "http://{http}{}    two phones, two users, and the wire",
            "http://{http}{}    两部手机、两个用户和线路",
            page_path(self.has_own_app)
        );
        let mut places = vec![(pick("Phones", "手机"), phones)];
        if self.has_own_app {
            let app = words!(
                "http://{http}/    all other paths",
                "http://{http}/    其余的路径"
            );
            places.push((pick("Your app", "你的应用"), app));
        }
        let cert = self.data_dir.join("dev-cert.pem");
        places.extend([
            (
                "HTTPS",
                words!(
                    "https://{https}/   certificate: {}",
                    "https://{https}/   证书：{}",
                    cert.display()
                ),
            ),
            (
                pick("Internal", "内部接口"),
                words!(
                    "http://{}/    session RPC and tunnel API, for business servers",
                    "http://{}/    会话 RPC 和信道接口，供业务服务器调用",
                    self.internal
                ),
            ),
            (
                pick("WeChat", "微信"),
                words!(
                    "http://{}/    simulated; appid {}",
                    "http://{}/    模拟的；AppID {}",
                    self.wechat,
                    simulated::DEV_APPID
                ),
            ),
            (pick("Data", "数据"), self.data_dir.display().to_string()),
            (
                pick("Logs", "日志"),
                words!(
                    "{}    what your app prints is shown here too",
                    "{}    应用的输出也会显示在这里",
                    self.logs
                ),
            ),
        ]);
        places
    }

    fn next_step(&self) -> String {
        let http = self.http;
        if self.has_own_app {
            return words!(
                "Next: open http://{http}{PHONE_PAGE} — your app answers what the phones ask. Ctrl-C stops.",
                "下一步：打开 http://{http}{PHONE_PAGE}，手机的请求由你的应用回答。按 Ctrl-C 停止。"
            );
        }
        words!(
            "Next: open http://{http}/ and press the green button on both phones. Ctrl-C stops.",
            "下一步：打开 http://{http}/，在两部手机上点绿色按钮。按 Ctrl-C 停止。"
        )
    }
}

type BoundSocket = (TcpListener, SocketAddr);

/// The phone page's socket, the HTTPS site's, the internal API's, the simulated WeChat's; and
/// what is to be said of those that are not where they usually are.
fn bind(args: &DevArgs) -> Result<([BoundSocket; 4], Vec<String>), ExitFailure> {
    let wish = |what, option, asked, usual| PortWish {
        what,
        option,
        asked,
        usual,
    };
    let wishes = [
        wish(
            pick("the phone page", "手机页面"),
            "--http",
            args.http,
            8080,
        ),
        wish(
            pick("the HTTPS site", "HTTPS 站点"),
            "--https",
            args.https,
            8443,
        ),
        wish(
            pick("the internal API", "内部接口"),
            "--internal",
            args.internal,
            8081,
        ),
        wish(
            pick("the simulated WeChat", "模拟微信"),
            "--wechat",
            args.wechat,
            8082,
        ),
    ];
    let bound = dev_ports::bind(&wishes)?;
    let sockets = bound.sockets.try_into();
    let sockets = sockets.map_err(|_| ExitFailure::say("a port was not bound", ""))?;
    Ok((sockets, bound.moved))
}

/// Where the phone page stands: beside one's own app not at the app's `/`.
fn page_path(has_own_app: bool) -> &'static str {
    if has_own_app { PHONE_PAGE } else { "/" }
}

/// A whole command line in quotes, which is then the name of one program.
fn quoted_whole(run: &[String]) -> Option<&str> {
    let [command] = run else { return None };
    let is_line = command.contains(char::is_whitespace) && !Path::new(command).exists();
    is_line.then_some(command)
}

/// The command that shows the app's output again.
fn logs(args: &DevArgs) -> String {
    let name = if args.run.is_empty() { CHAT } else { OWN };
    if args.data_dir == config::data_dir_of(Path::new("weappd.toml")) {
        return format!("weappd app logs -f {name}");
    }
    let dir = args.data_dir.display();
    format!("weappd app logs -f --data-dir {dir} {name}")
}

/// Tunnels whose business server is the app, over plain HTTP.
fn tunnel(http_addr: SocketAddr, key: &Secret) -> weappd_tunnel::Config {
    weappd_tunnel::Config {
        public_url: format!("ws://{http_addr}"),
        allow_http_receive: true,
        drain_secs: 0,
        businesses: vec![BusinessConfig {
            host: http_addr.to_string(),
            key: key.clone(),
            ..BusinessConfig::default()
        }],
        own_sites: OwnSites {
            hosts: vec!["*".to_owned()],
            http_ports: vec![http_addr.port()],
            ..OwnSites::default()
        },
        ..weappd_tunnel::Config::default()
    }
}

fn plan(
    args: DevArgs,
    cert: weappd_certs::CertFiles,
    http_addr: SocketAddr,
    wechat_addr: SocketAddr,
) -> Result<ServerPlan, ExitFailure> {
    let tokens = RandomSource::system();
    let server_host = http_addr.to_string();
    let key = Secret::new(tokens.hex256());
    let secret = Secret::new(tokens.hex256());
    let push = push(&tokens, http_addr);
    let has_own_app = !args.run.is_empty();
    let (name, run) = command(args.run)?;
    let app = AppConfig {
        run,
        port: args.port,
        // It is one's own shell, and one's own program.
        pass_env: vec!["*".to_owned()],
        ..AppConfig::default()
    };
    let to_app = |path: &str| SiteRoute {
        path: path.to_owned(),
        target: RouteTarget::App(name.clone()),
        session: SessionRule::Pass,
    };
    let sections = RoomSections {
        wechat: weappd_wechat::Config {
            endpoint: format!("http://{wechat_addr}"),
            ..weappd_wechat::Config::default()
        },
        tunnel: tunnel(http_addr, &key),
        ..RoomSections::default()
    };
    Ok(ServerPlan {
        base_dir: std::env::current_dir().unwrap_or_default(),
        sites: vec![SitePlan {
            hosts: vec!["*".to_owned()],
            tls: Some(cert),
            redirect: None,
            appids: vec![simulated::DEV_APPID.to_owned()],
            wafer1: true,
            wafer2: true,
            messages: vec![simulated::DEV_APPID.to_owned()],
            push_paths: Vec::new(),
            message_targets: vec![taken(&push).path],
            routes: vec![to_app("/")],
            services: Vec::new(),
            tunnel_business: Some(server_host.clone()),
            tunnel_issuer: TunnelIssuer::Auto,
        }],
        protected: weappd_edge::ProtectedFiles::default(),
        mini_apps: vec![MiniApp::new(simulated::DEV_APPID, secret.clone())],
        pushes: BTreeMap::from([(simulated::DEV_APPID.to_owned(), taken(&push))]),
        apps: BTreeMap::from([(name.clone(), app)]),
        tunnel_for_apps: Some(TunnelForApps { server_host, key }),
        sections,
        fixed: FixedSettings::default(),
        grace: Duration::from_millis(1500),
        dev: Some(DevPlan {
            wechat_url: format!("http://{wechat_addr}"),
            has_color: check::ColorChoice::are_wanted(),
            has_own_app,
            phone_page: format!("http://{http_addr}{}", page_path(has_own_app)),
            secret,
            appid: simulated::DEV_APPID.to_owned(),
            push,
        }),
    })
}

/// How the simulated WeChat pushes messages to the site: in safe mode, under keys that are
/// good for this run.
fn push(tokens: &RandomSource, http_addr: SocketAddr) -> PushSettings {
    let mut key = tokens.hex256();
    // What WeChat's console takes: 43 letters and digits.
    key.truncate(43);
    PushSettings {
        appid: None,
        url: Some(format!("http://{http_addr}/weapp/message")),
        trust: None,
        token: Secret::new(tokens.hex256()),
        encoding_aes_key: Some(Secret::new(key)),
        mode: Some(weappd_simulator::PushEncryption::Safe),
        format: weappd_simulator::PushBodyFormat::Json,
        // The site opens after the simulator; it shares its keys anyway.
        verify: false,
    }
}

/// How weappd takes what the simulated WeChat pushes.
fn taken(push: &PushSettings) -> PushPlan {
    PushPlan {
        token: Some(push.token.clone()),
        encoding_aes_key: push.encoding_aes_key.clone(),
        path: "/weapp/message".to_owned(),
        answer: weappd_gateway::AnswerWhen::Acted,
        further: Vec::new(),
        api_security: None,
    }
}

/// The business server: the user's own, or the chat room in this very binary.
fn command(own: Vec<String>) -> Result<(String, RunCommand), ExitFailure> {
    if !own.is_empty() {
        return Ok((OWN.to_owned(), RunCommand::from(own)));
    }
    let me = std::env::current_exe().map_err(|error| {
        ExitFailure::new(
            &error,
            "weappd must know its own path to start the chat room",
        )
    })?;
    // A newer weappd may have been put in this one's place since it began.
    let me = if me.exists() {
        me
    } else {
        PathBuf::from("/proc/self/exe")
    };
    let words = vec![me.display().to_string(), "demo-chat".to_owned()];
    Ok((CHAT.to_owned(), RunCommand::from(words)))
}

#[cfg(test)]
mod tests {
    use weappd_base::language::Language;

    use super::*;

    #[test]
    fn the_banner_names_every_place_in_either_language() {
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let banner = DevBanner {
            http: at(1),
            https: at(2),
            internal: at(3),
            wechat: at(4),
            data_dir: Path::new(".weappd"),
            has_own_app: true,
            logs: "weappd app logs -f app".to_owned(),
            moved: vec!["port 8080 is taken".to_owned()],
        };
        for (language, words) in [
            (
                Language::English,
                ["Phones      http", "Your app", "two users", "Next: open"],
            ),
            (
                Language::Chinese,
                ["手机        http", "你的应用", "两个用户", "下一步：打开"],
            ),
        ] {
            let told = language.speak(|| banner.words());
            let places = [
                "127.0.0.1:1/_dev/",
                "127.0.0.1:2",
                "127.0.0.1:3",
                "127.0.0.1:4",
            ];
            for word in words
                .iter()
                .chain(&places)
                .chain(&["-f app", "8080 is taken"])
            {
                assert!(told.contains(word), "{word} in\n{told}");
            }
        }
    }

    #[test]
    fn a_command_line_in_quotes_is_no_program() {
        let whole = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            quoted_whole(&words).is_some()
        };
        assert!(whole(&["node app.js"]) && whole(&["./run me now"]) && whole(&["npm\tstart"]));
        assert!(!whole(&["node", "app.js"]) && !whole(&["./server"]) && !whole(&[]));
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("my app");
        std::fs::write(&program, "").expect("written");
        assert!(!whole(&[&program.display().to_string()]));
    }
}
