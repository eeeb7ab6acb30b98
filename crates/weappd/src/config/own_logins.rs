//! Apps that log users in, or check sessions, by themselves: what they open weappd does not
//! know, and what weappd opens they do not.

use std::path::{Path, PathBuf};
use weappd_base::language::pick;
use weappd_base::words;

use weappd_apps::AppConfig;
use weappd_base::small_file;
use weappd_edge::{RouteTarget, SessionRule};

use crate::config::{checker::ConfigChecker, resolve::Config};
use crate::plan::SitePlan;
use crate::site_rooms::{builtin_paths, takes_over, tunnel_paths};

/// The Wafer 2 SDK that looks every skey up in a MySQL database of its own.
const SDK: &str = "wafer-node-sdk";

fn two_ways() -> &'static str {
    pick(
        "one of two ways: [session] store = \"mysql://user:password@host:3306/cAuth\", \
         the database of the SDK, so that both know every session; or dialects = [] for the site, \
         and the app logs its users in itself",
        "两种办法选一种：[session] store = \"mysql://user:password@host:3306/cAuth\"，即 SDK 的\
         数据库，这样两边都认识所有会话；或给站点写 dialects = []，由应用自己处理用户登录",
    )
}

/// Warns of both, unless they may share a database.
pub(crate) fn tell(checker: &ConfigChecker<'_>, config: &Config) {
    if config.session.store.starts_with("mysql:") {
        return;
    }
    for site in config.sites.iter().filter(|site| !site.appids.is_empty()) {
        for (name, app) in &config.apps {
            if asks_weappd(site) && leads_to(site, name) && has_sdk(app, &config.base_dir) {
                sdk(checker, site, name);
            }
        }
        taken_login(checker, site);
    }
}

fn sdk(checker: &ConfigChecker<'_>, site: &SitePlan, name: &str) {
    let long = ["apps".into(), name.into(), "run".into()];
    let short = ["app".into(), "run".into()];
    let place = if checker.says(&long) {
        long.as_slice()
    } else {
        &short
    };
    let host = site
        .hosts
        .first()
        .map_or(pick("the site", "该站点"), String::as_str);
    checker.warning(
        place,
        words!(
            "weappd logs the users of {host} in, and this app looks skeys up in a database of its \
             own ({SDK}): it will call every session invalid (ERR_SKEY_INVALID)", "{host} 的用户由 weappd 登录，而这个应用在自己的数据库里查 skey（{SDK}）：它会认为所有会话都无效（ERR_SKEY_INVALID）"
        ),
        two_ways(),
    );
}

/// Whether phones get their skeys of weappd.
fn asks_weappd(site: &SitePlan) -> bool {
    let is_taken = |path: &str| site.routes.iter().any(|own| takes_over(&own.path, path));
    site.wafer2 && !is_taken("/weapp/login")
}

fn leads_to(site: &SitePlan, name: &str) -> bool {
    let routes = site.routes.iter().map(|route| &route.target);
    let services = site.services.iter().map(|service| &service.target);
    routes
        .chain(services)
        .any(|target| matches!(target, RouteTarget::App(app) if app == name))
}

/// Warns where the app has the logins of a site, and weappd what wants a session.
fn taken_login(checker: &ConfigChecker<'_>, site: &SitePlan) {
    let route_of = |path: &str| site.routes.iter().find(|own| takes_over(&own.path, path));
    for (speaks, login) in [(site.wafer2, "/weapp/login"), (site.wafer1, "/login")] {
        let taken = route_of(login).filter(|route| {
            speaks && matches!(route.target, RouteTarget::App(_) | RouteTarget::Proxy(_))
        });
        let Some(route) = taken else { continue };
        let wants = |path: &str| matches!(path, "/weapp/user" | "/user" | "/weapp/upload");
        let own = builtin_paths(site);
        let left = own
            .iter()
            .map(AsRef::as_ref)
            .filter(|path| wants(path))
            .chain(tunnel_paths(site))
            .find(|path| route_of(path).is_none());
        let guarded = site.routes.iter();
        let mut guarded = guarded.filter(|route| route.session == SessionRule::Require);
        let Some(left) = left.or_else(|| guarded.next().map(|route| route.path.as_str())) else {
            continue;
        };
        let host = site
            .hosts
            .first()
            .map_or(pick("the site", "该站点"), String::as_str);
        checker.warning(
            &["routes".into()],
            words!(
                "the app behind `{}` logs the users of {host} in, and weappd, which answers {left}, \
                 knows none of its sessions", "`{}` 后面的应用自己处理 {host} 的用户登录，而处理 {left} 的 weappd 不认识这些会话",
                route.path
            ),
            two_ways(),
        );
    }
}

/// Whether the program's package, in its directory or its script's, uses the SDK.
fn has_sdk(app: &AppConfig, base: &Path) -> bool {
    let dir = app.dir.as_deref().unwrap_or(base);
    let words = app.run.words().unwrap_or_default();
    let scripts = words.iter().skip(1).filter(|word| !word.starts_with('-'));
    let homes = scripts.flat_map(|script| {
        let above = Path::new(script).ancestors().skip(1);
        above.map(|above| dir.join(above)).collect::<Vec<PathBuf>>()
    });
    homes.chain([dir.to_owned()]).any(|home| names_sdk(&home))
}

fn names_sdk(dir: &Path) -> bool {
    let path = dir.join("package.json");
    let text = small_file::read(&path, small_file::MAX_BYTES).unwrap_or_default();
    let Ok(package) = serde_json::from_slice::<serde_json::Value>(&text) else {
        return false;
    };
    package["dependencies"].get(SDK).is_some()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::config::{ProblemSeverity, load};

    const MINI: &str = "[miniapp]\nappid = \"wx1234567890abcdef\"\nsecret = \"5ec2e70f7e57a99000000000c0ffee11\"\n";
    const PACKAGE: &str = r#"{"dependencies": {"koa": "2", "wafer-node-sdk": "^1.4.5"}}"#;

    /// The warnings about sessions that somebody does not know.
    fn told(text: &str, packages: &[(&str, &str)]) -> Vec<String> {
        let dir = tempfile::tempdir().expect("a directory");
        for (home, package) in packages {
            let home = dir.path().join(home);
            fs::create_dir_all(&home).expect("made");
            fs::write(home.join("package.json"), package).expect("written");
            fs::write(home.join("app.js"), "").expect("written");
        }
        let path = dir.path().join("weappd.toml");
        fs::write(&path, text).expect("written");
        let found = load(&path, &|_| None, &|_| Vec::new())
            .expect("a fine file")
            .warnings;
        let found = found.into_iter();
        let found = found.filter(|problem| problem.severity == ProblemSeverity::Warning);
        let about = |problem: &crate::config::ConfigProblem| {
            problem
                .hint
                .as_ref()
                .is_some_and(|hint| hint.contains("dialects = []"))
        };
        found.filter(about).map(|problem| problem.message).collect()
    }

    #[test]
    fn an_app_with_sessions_of_its_own_is_warned_of() {
        let site = "domain = \"a.com\"\ntls = \"off\"\n";
        let own = |head: &str, run: &str, session: &str| {
            format!("{site}{head}{MINI}[app]\nrun = \"{run}\"\n{session}")
        };
        for (run, home) in [
            ("node app.js", "."),
            ("node server/app.js", "server"),
            ("npm start", "."),
        ] {
            let found = told(&own("", run, ""), &[(home, PACKAGE)]);
            assert!(
                matches!(found.as_slice(), [one] if one.contains("ERR_SKEY_INVALID")),
                "{run}: {found:?}"
            );
        }
        let none = Vec::<String>::new();
        let shared = "[session]\nstore = \"mysql://u:p@127.0.0.1:3306/cAuth\"\n";
        assert_eq!(
            told(&own("", "node app.js", shared), &[(".", PACKAGE)]),
            none
        );
        let silent = own("dialects = []\n", "node app.js", "");
        assert_eq!(told(&silent, &[(".", PACKAGE)]), none);
        for package in [
            r#"{"dependencies": {"qcloud-weapp-server-sdk": "0.8"}}"#,
            "{}",
            "not JSON",
            r#"{"dependencies": ["wafer-node-sdk"]}"#,
        ] {
            let found = told(&own("", "node app.js", ""), &[(".", package)]);
            assert_eq!(found, none, "{package}");
        }
        let long = format!(
            "{MINI}[apps.shop]\nrun = \"node app.js\"\ndir = \"shop\"\n[sites.\"a.com\"]\napp = \"shop\"\ntls = \"off\"\n"
        );
        assert_eq!(told(&long, &[("shop", PACKAGE)]).len(), 1);
    }

    #[test]
    fn a_login_that_is_the_apps_beside_sessions_that_are_weappds_is_warned_of() {
        let told = |head: &str, tail: &str| {
            let site = "domain = \"a.com\"\ntls = \"off\"\nproxy = 1937\n";
            told(&format!("{site}{head}{MINI}{tail}"), &[])
        };
        let login = "routes = [{ path = \"= /weapp/login\", proxy = 5757 }]\n";
        let found = told(login, "");
        assert!(
            matches!(found.as_slice(), [one] if one.contains("/weapp/user")),
            "{found:?}"
        );
        let all = "routes = [{ path = \"/weapp/\", proxy = 5757 }]\n";
        assert_eq!(told(all, ""), Vec::<String>::new());
        let guarded = "routes = [{ path = \"/weapp/\", proxy = 5757 }, { path = \"/shop\", proxy = 5757, session = \"require\" }]\n";
        assert!(told(guarded, "")[0].contains("/shop"));
        let shared = "[session]\nstore = \"mysql://u:p@127.0.0.1:3306/cAuth\"\n";
        assert_eq!(told(login, shared), Vec::<String>::new());
    }
}
