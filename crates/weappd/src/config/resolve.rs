//! From what is written to what is meant: the two forms become one, defaults are filled
//! in, and everything that crosses sections is checked.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};
use weappd_base::language::pick;
use weappd_base::words;

use weappd_apps::AppConfig;
use weappd_edge::ProtectedFiles;
use weappd_session::MiniApp;

use crate::config::whole_path::whole;
use crate::config::{
    address, app_section,
    checker::ConfigChecker,
    document::PathStep,
    exposed, internal, placeholders, push,
    raw::{self, ListenSection, LogSection, RawConfig, TunnelShort},
    redirect::RedirectRule,
    site, spelling, tunnel, wechat_address,
};
use crate::plan::{InternalAccess, PushPlan, SitePlan};
use crate::site_rooms;

/// What weappd.toml means. Every relative path is settled.
#[derive(Debug)]
pub(crate) struct Config {
    /// The directory weappd.toml stands in; where apps start that name no other.
    pub(crate) base_dir: PathBuf,
    /// Where state is kept.
    pub(crate) data_dir: PathBuf,
    /// What no site serves.
    pub(crate) protected: ProtectedFiles,
    /// Where plain HTTP is listened for; `[::]` is every address, IPv4 too.
    pub(crate) http: Vec<SocketAddr>,
    /// Where HTTPS is listened for; nowhere if no site has a certificate.
    pub(crate) https: Vec<SocketAddr>,
    /// How long everything may take to end.
    pub(crate) grace: Duration,
    /// The sites in the file's order; the first one answers unknown TLS names.
    pub(crate) sites: Vec<SitePlan>,
    /// Every mini program.
    pub(crate) mini_apps: Vec<MiniApp>,
    /// Every app by its name; `[app]` is called `app`.
    pub(crate) apps: BTreeMap<String, AppConfig>,
    /// Where business servers call weappd.
    pub(crate) internal: SocketAddr,
    /// Where weappd stands in for WeChat.
    pub(crate) wechat_https: Option<SocketAddr>,
    /// Who may call it.
    pub(crate) internal_access: InternalAccess,
    /// What is logged.
    pub(crate) log: LogSection,
    /// The rooms' own sections.
    pub(crate) edge: weappd_edge::Config,
    pub(crate) session: weappd_session::Config,
    pub(crate) tunnel: weappd_tunnel::Config,
    pub(crate) files: weappd_files::Config,
    pub(crate) wechat: weappd_wechat::Config,
    pub(crate) gateway: weappd_gateway::Config,
    /// The mini programs' messages, by AppID.
    pub(crate) pushes: BTreeMap<String, PushPlan>,
}

/// Sections that share a table with a room's own settings.
pub(crate) struct Shared {
    pub(crate) doors: ListenSection,
    pub(crate) edge: weappd_edge::Config,
    pub(crate) tunnel_short: TunnelShort,
    pub(crate) tunnel: weappd_tunnel::Config,
}

/// Settles everything; what is wrong is noted at `checker`, and the result then not used.
pub(crate) fn resolve(checker: &ConfigChecker<'_>, mut raw: RawConfig, shared: Shared) -> Config {
    let mut doors = OpenDoors {
        http: listeners(checker, "http", &shared.doors.http.0),
        https: listeners(checker, "https", &shared.doors.https.0),
        internal: internal::listener(checker, &raw.internal),
        wechat_https: internal::stand_in(checker, &raw.internal),
        redirect: shared.doors.redirect,
        no_http: shared.doors.http.0.is_empty(),
        no_https: shared.doors.https.0.is_empty(),
    };
    let mini_apps = mini_apps(checker, &raw);
    let pushes = push::all(checker, &raw);
    let apps = app_section::all(checker, &mut raw);
    let mut sites = site::all(checker, &raw, &doors, &mini_apps, &apps);
    let tunnel = tunnel::settle(
        checker,
        shared.tunnel,
        &shared.tunnel_short,
        &mut sites,
        &doors,
    );
    for site in &mut sites {
        let mut messages = site.appids.clone();
        messages.retain(|appid| pushes.get(appid).is_some_and(PushPlan::takes_messages));
        site.push_paths = push::further_paths(&messages, &pushes);
        site.messages = messages;
    }
    site_rooms::settle_message_targets(&mut sites, |appid| {
        pushes.get(appid).map(|push| push.path.clone())
    });
    push::same_token(checker, &raw, &sites);
    push::tell_addresses(checker, &raw, &sites);
    site::tell(checker, &raw, &sites);
    ports(checker, &doors, &apps);
    rooms(checker, &raw, &shared.edge);
    log(checker, &raw.log);
    let data_dir = checker.dir.join(&raw.data_dir);
    let protected = exposed::protected(checker, &raw, &sites, &data_dir);
    exposed::tell(checker, &raw, &protected);
    placeholders::tell(checker);
    if !sites.iter().any(|site| site.tls.is_some()) {
        doors.https.clear();
    }
    if !mini_apps.is_empty() {
        let open: Vec<_> = doors.all().collect();
        wechat_address::tell(checker, &raw.wechat.endpoint, &open);
    }
    Config {
        base_dir: whole(&checker.dir),
        data_dir,
        protected,
        http: doors.http,
        https: doors.https,
        grace: Duration::from_secs(shared.doors.grace_secs),
        sites,
        mini_apps,
        apps,
        internal: doors.internal,
        wechat_https: doors.wechat_https,
        internal_access: internal::access(checker, &raw.internal),
        log: raw.log,
        edge: shared.edge,
        session: raw.session,
        tunnel,
        files: raw.files,
        wechat: raw.wechat,
        gateway: raw.gateway,
        pushes,
    }
}

/// Every address weappd listens on.
pub(crate) struct OpenDoors {
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) https: Vec<SocketAddr>,
    pub(crate) internal: SocketAddr,
    pub(crate) wechat_https: Option<SocketAddr>,
    pub(crate) redirect: RedirectRule,
    /// Whether the file closes the door on purpose.
    pub(crate) no_http: bool,
    pub(crate) no_https: bool,
}

impl OpenDoors {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = SocketAddr> {
        let public = self.http.iter().chain(&self.https).copied();
        public.chain([self.internal]).chain(self.wechat_https)
    }
}

fn listeners(checker: &ConfigChecker<'_>, key: &str, written: &[String]) -> Vec<SocketAddr> {
    let mut addresses = Vec::new();
    for (at, text) in written.iter().enumerate() {
        match address::listen(text) {
            Ok(address) => addresses.push(address),
            Err((message, hint)) => {
                checker.error(&["edge".into(), key.into(), at.into()], message, hint);
            }
        }
    }
    addresses
}

fn mini_apps(checker: &ConfigChecker<'_>, raw: &RawConfig) -> Vec<MiniApp> {
    let mut all: Vec<MiniApp> = Vec::new();
    let short = raw.miniapp.iter().map(|mini| {
        let appid = mini.appid.as_deref().unwrap_or_default();
        (vec![PathStep::from("miniapp")], appid, mini, true)
    });
    let long = raw.miniapps.0.iter().map(|(appid, mini)| {
        let path = vec!["miniapps".into(), appid.as_str().into()];
        (path, appid.as_str(), mini, false)
    });
    for (path, appid, mini, short) in short.chain(long) {
        let at = |key| [path.as_slice(), &[PathStep::Key(key)]].concat();
        if !short && mini.appid.is_some() {
            checker.error(
                &at("appid"),
                pick(
                    "the AppID stands in the table's name already",
                    "节名里已经有 AppID",
                ),
                pick("remove this line", "删掉这一行"),
            );
        }
        if short && !checker.says(&at("appid")) {
            checker.error(
                &path,
                pick("[miniapp] has no `appid`", "[miniapp] 缺少 `appid`"),
                appid_hint(),
            );
        } else if !is_appid(appid) {
            let place = if short { at("appid") } else { path.clone() };
            checker.warning(
                &place,
                words!(
                    "`{appid}` does not look like an AppID",
                    "`{appid}` 不像 AppID"
                ),
                appid_hint(),
            );
        }
        if all.iter().any(|other| other.appid == appid) {
            checker.error(
                &path,
                words!(
                    "the mini program {appid} stands here twice",
                    "小程序 {appid} 在这里写了两次"
                ),
                pick("keep one", "只留一个"),
            );
        }
        secret(checker, &path, mini);
        for (key, value) in [
            ("login_duration_days", u64::from(mini.login_duration_days)),
            ("session_duration_secs", mini.session_duration_secs),
        ] {
            if value == 0 {
                checker.error(
                    &at(key),
                    pick("nobody would stay logged in", "这样所有用户都无法保持登录"),
                    pick("leave it out for 30 days", "删掉这一行即为默认的 30 天"),
                );
            }
        }
        all.push(MiniApp {
            login_duration_days: mini.login_duration_days,
            session_duration_secs: mini.session_duration_secs,
            ..MiniApp::new(appid, mini.secret.clone().unwrap_or_default())
        });
    }
    all
}

fn appid_hint() -> &'static str {
    pick(
        "wx and 16 hex digits, as mp.weixin.qq.com shows it under Development settings (开发设置)",
        "wx 加 16 位十六进制字符，在 mp.weixin.qq.com 的“开发设置”里可以看到",
    )
}

fn is_appid(text: &str) -> bool {
    text.strip_prefix("wx")
        .is_some_and(|rest| rest.len() == 16 && rest.bytes().all(|c| c.is_ascii_hexdigit()))
}

fn secret(checker: &ConfigChecker<'_>, mini: &[PathStep<'_>], written: &raw::MiniAppSection) {
    let path = [mini, &["secret".into()]].concat();
    let hint = pick(
        "give the AppSecret: secret = { env = \"WEAPP_SECRET\" }, or { file = \"...\" }, or the text itself",
        "写上 AppSecret：secret = { env = \"WEAPP_SECRET\" }，或 { file = \"...\" }，或直接写 AppSecret 本身",
    );
    match &written.secret {
        Some(secret) if secret.is_empty() => {
            checker.error(&path, pick("the secret is empty", "secret 为空"), hint);
        }
        None if !checker.says(&path) => {
            checker.error(
                mini,
                pick("the mini program has no `secret`", "小程序缺少 `secret`"),
                hint,
            );
        }
        Some(secret) if !placeholders::is_app_secret(secret.expose()) => checker.warning(
            &path,
            pick(
                "this does not look like an AppSecret, which has 32 hex digits",
                "这不像 AppSecret：AppSecret 是 32 位十六进制字符",
            ),
            pick(
                "mp.weixin.qq.com shows a new one under Development settings (开发设置)",
                "在 mp.weixin.qq.com 的“开发设置”里可以重置，得到新的 AppSecret",
            ),
        ),
        _ => {}
    }
}

/// No two listeners, and no app, want the same port.
fn ports(checker: &ConfigChecker<'_>, doors: &OpenDoors, apps: &BTreeMap<String, AppConfig>) {
    let mut taken: Vec<(String, SocketAddr)> = Vec::new();
    let mut take = |path: &[PathStep<'_>], who: String, address: SocketAddr| {
        let other = taken
            .iter()
            .find(|(_, other)| address::collide(*other, address));
        if let Some((other, _)) = other {
            checker.error(
                path,
                words!(
                    "{who} and {other} both want port {}",
                    "{who} 和 {other} 都要用端口 {}",
                    address.port()
                ),
                pick("give one of them another port", "请给其中一个换个端口"),
            );
        }
        taken.push((who, address));
    };
    for (key, addresses) in [("http", &doors.http), ("https", &doors.https)] {
        for (at, address) in addresses.iter().enumerate() {
            let path = ["edge".into(), key.into(), at.into()];
            take(&path, format!("[edge] {key}"), *address);
        }
    }
    let path = ["internal".into(), "listen".into()];
    take(&path, "[internal] listen".to_owned(), doors.internal);
    if let Some(address) = doors.wechat_https {
        let path = ["internal".into(), "wechat_https".into()];
        take(&path, "[internal] wechat_https".to_owned(), address);
    }
    for (name, app) in apps {
        for port in app
            .port
            .into_iter()
            .flat_map(|port| (0..app.instances).map_while(move |n| port.checked_add(n)))
        {
            let long = ["apps".into(), name.as_str().into(), "port".into()];
            let short = ["app".into(), "port".into()];
            let path = if checker.says(&long) {
                long.as_slice()
            } else {
                &short
            };
            take(
                path,
                words!("the app `{name}`", "应用 `{name}`"),
                SocketAddr::from(([127, 0, 0, 1], port)),
            );
        }
    }
}

/// What the rooms themselves find wrong.
fn rooms(checker: &ConfigChecker<'_>, raw: &RawConfig, edge: &weappd_edge::Config) {
    checker.room(&["edge".into()], edge.problems());
    checker.room(&["session".into()], raw.session.problems());
    checker.room(&["files".into()], raw.files.problems());
    checker.room(&["wechat".into()], raw.wechat.problems());
    checker.room(&["gateway".into()], raw.gateway.problems());
}

fn log(checker: &ConfigChecker<'_>, log: &LogSection) {
    const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
    let level = log.level.as_str();
    if !level.contains(['=', ',']) && !LEVELS.contains(&level) {
        let hint = spelling::nearest(level, &LEVELS);
        checker.error(
            &["log".into(), "level".into()],
            words!("`{level}` is not a log level", "`{level}` 不是日志级别"),
            hint.unwrap_or_else(|| words!("write {}", "写 {}", spelling::one_of(&LEVELS))),
        );
    }
}
