//! The routes of a site.

use std::{collections::BTreeMap, path::Path as FilePath};
use weappd_base::language::pick;
use weappd_base::words;

use weappd_apps::AppConfig;
use weappd_edge::{RouteTarget, SessionRule, SiteRoute};

use crate::config::{
    address, checker::ConfigChecker, document::PathStep, raw, resolve::OpenDoors, spelling,
};

/// What routes may lead to.
pub(crate) struct RouteContext<'a> {
    pub(crate) doors: &'a OpenDoors,
    pub(crate) apps: &'a BTreeMap<String, AppConfig>,
}

/// Settles the routes of the site at `base`: `/` from its own `app`, `proxy` or `root`, and
/// its list.
pub(crate) fn all(
    checker: &ConfigChecker<'_>,
    base: &[PathStep<'_>],
    site: &raw::SiteSection,
    written: &[raw::RouteSection],
    known: &RouteContext<'_>,
) -> Vec<SiteRoute> {
    let root = RouteTargets {
        place: base.to_vec(),
        app: site.app.as_deref(),
        proxy: &site.proxy.0,
        root: site.root.as_deref(),
        redirect: None,
    };
    let mut routes: Vec<SiteRoute> = Vec::new();
    routes.extend(root.target(checker, known).map(|target| SiteRoute {
        path: "/".to_owned(),
        target,
        session: SessionRule::Pass,
    }));
    for (at, route) in written.iter().enumerate() {
        let place = [base, &["routes".into(), at.into()]].concat();
        let path = [place.as_slice(), &["path".into()]].concat();
        check_path(checker, &place, route);
        if routes.iter().any(|other| other.path == route.path.trim()) {
            let message = words!(
                "the path `{}` leads two ways",
                "路径 `{}` 写了两次",
                route.path.trim()
            );
            checker.error(&path, message, pick("keep one of them", "只留一个"));
        }
        let leads = RouteTargets {
            app: route.app.as_deref(),
            proxy: &route.proxy.0,
            root: route.root.as_deref(),
            redirect: route.redirect.as_deref().map(|to| (to, route.code)),
            place,
        };
        if let Some(target) = leads.target(checker, known) {
            if let RouteTarget::Static(dir) = &target {
                below_root(checker, &leads.at("root"), route, dir);
            }
            routes.push(SiteRoute {
                path: route.path.trim().to_owned(),
                target,
                session: rule(route.session),
            });
        } else {
            leads.nowhere(checker);
        }
    }
    routes
}

/// Warns where nothing lies under a root that the route could find: its path stays part of
/// the file's name.
fn below_root(
    checker: &ConfigChecker<'_>,
    place: &[PathStep<'_>],
    route: &raw::RouteSection,
    dir: &FilePath,
) {
    let written = route.path.trim().trim_start_matches('=').trim_start();
    let path = written.trim_end_matches('*').trim_matches('/');
    let is_plain = path.split('/').all(|part| part != ".." && part != ".");
    if !is_plain || path.contains('%') || !dir.is_dir() || dir.join(path).exists() {
        return;
    }
    let link = if path.contains('/') || written.len() < route.path.trim().len() {
        String::new()
    } else {
        words!(
            "; or `ln -s . {path}` there leaves them where they are",
            "；或在那里执行 `ln -s . {path}`，文件就不用移动"
        )
    };
    checker.warning(
        place,
        words!(
            "{} is not there, and the route `{}` finds its files in it", "{} 不存在，而路由 `{}` 要在那里找文件",
            dir.join(path).display(),
            route.path.trim(),
        ),
        words!(
            "the whole path is looked up under `root` (nginx's root, not its alias): move the \
             files into that directory, or name as `root` the one in which it lies{link}", "请求的完整路径都在 `root` 下面查找（相当于 nginx 的 root，不是 alias）：请把文件移到那个目录里，或把 `root` 写成它的上一级目录{link}"
        ),
    );
}

/// The edge's word for it.
pub(crate) fn rule(written: raw::SessionWord) -> SessionRule {
    match written {
        raw::SessionWord::Pass => SessionRule::Pass,
        raw::SessionWord::Require => SessionRule::Require,
    }
}

fn check_path(checker: &ConfigChecker<'_>, place: &[PathStep<'_>], route: &raw::RouteSection) {
    let at = |key| [place, &[PathStep::Key(key)]].concat();
    let written = route.path.trim();
    let path = written.strip_prefix('=').map_or(written, str::trim_start);
    let path = path.strip_suffix("/*").unwrap_or(path);
    if !checker.says(&at("path")) {
        checker.error(
            place,
            pick("the route has no `path`", "路由缺少 `path`"),
            pick(
                "write path = \"/\" for everything",
                "要匹配所有路径就写 path = \"/\"",
            ),
        );
    } else if !path.starts_with('/') && written != "/*" {
        let hint = pick(
            "write it like \"/api\", or \"= /api\" for exactly that path",
            "写成 \"/api\"；只匹配这一个路径就写 \"= /api\"",
        );
        checker.error(
            &at("path"),
            words!(
                "`{written}` does not begin with /",
                "`{written}` 没有以 / 开头"
            ),
            hint,
        );
    } else if path.contains(['*', '?', '#']) || path.contains(char::is_whitespace) {
        let hint = pick(
            "a path leads everything under it: \"/api\" also leads /api/users?id=1",
            "路径也匹配它下面的所有路径：\"/api\" 也匹配 /api/users?id=1",
        );
        checker.error(
            &at("path"),
            words!(
                "`{written}` is a pattern, not a path",
                "`{written}` 是通配符或表达式，不是路径"
            ),
            hint,
        );
    }
    if route.redirect.is_none() && route.code.is_some() {
        checker.error(
            &at("code"),
            pick(
                "`code` goes with `redirect`",
                "`code` 要和 `redirect` 一起用",
            ),
            pick("remove it", "删掉它"),
        );
    }
}

/// Where something leads, as it is written.
pub(crate) struct RouteTargets<'a> {
    pub(crate) place: Vec<PathStep<'a>>,
    pub(crate) app: Option<&'a str>,
    pub(crate) proxy: &'a [String],
    pub(crate) root: Option<&'a FilePath>,
    pub(crate) redirect: Option<(&'a str, Option<u16>)>,
}

impl RouteTargets<'_> {
    fn at(&self, key: &'static str) -> Vec<PathStep<'_>> {
        [self.place.as_slice(), &[key.into()]].concat()
    }

    /// The keys that lead somewhere and are there, readable or not.
    pub(crate) fn given(&self, checker: &ConfigChecker<'_>) -> Vec<&'static str> {
        // The short form's app is a table elsewhere, not a key here.
        let says = |key| checker.says(&self.at(key)) || (key == "app" && self.app.is_some());
        let listed = self
            .place
            .last()
            .is_some_and(|step| matches!(step, PathStep::At(_)));
        let keys = ["app", "proxy", "root", "redirect"].into_iter();
        keys.filter(|key| says(key))
            .filter(|key| *key != "redirect" || listed)
            .filter(|key| *key != "app" || self.app.is_some() || listed)
            .collect()
    }

    fn nowhere(&self, checker: &ConfigChecker<'_>) {
        if self.given(checker).is_empty() {
            let hint = pick(
                "give one of app, proxy, root, redirect",
                "请写 app、proxy、root、redirect 其中一个",
            );
            checker.error(
                &self.place,
                pick("the route leads nowhere", "这条路由没有写由谁处理"),
                hint,
            );
        }
    }

    /// The one place it leads to.
    pub(crate) fn target(
        &self,
        checker: &ConfigChecker<'_>,
        known: &RouteContext<'_>,
    ) -> Option<RouteTarget> {
        if let [first, second, ..] = self.given(checker).as_slice() {
            checker.error(
                &self.at(second),
                words!(
                    "both `{first}` and `{second}` answer here",
                    "这里同时写了 `{first}` 和 `{second}`"
                ),
                pick(
                    "keep one; to have both, give each a path of its own in routes = [...]",
                    "只留一个；两个都要的话，在 routes = [...] 里各写一个路径",
                ),
            );
        }
        if let Some(app) = self.app {
            return self.app(checker, known, app);
        }
        if !self.proxy.is_empty() {
            return Some(self.proxy(checker, known));
        }
        if let Some(root) = self.root {
            let dir = checker.dir.join(root);
            if !dir.is_dir() {
                let message = words!("{} is not a directory", "{} 不是目录", dir.display());
                let hint = pick(
                    "make it; a relative path begins at the directory of weappd.toml",
                    "请创建它；相对路径以 weappd.toml 所在目录为起点",
                );
                checker.error(&self.at("root"), message, hint);
            }
            return Some(RouteTarget::Static(dir));
        }
        let (to, code) = self.redirect?;
        Some(self.redirect(checker, to, code))
    }

    fn app(
        &self,
        checker: &ConfigChecker<'_>,
        known: &RouteContext<'_>,
        name: &str,
    ) -> Option<RouteTarget> {
        match known.apps.get(name) {
            Some(app) if app.listens => return Some(RouteTarget::App(name.to_owned())),
            Some(_) => checker.error(
                &self.at("app"),
                words!(
                    "the app `{name}` has listens = false",
                    "应用 `{name}` 写了 listens = false"
                ),
                pick(
                    "only apps that listen on PORT can answer requests",
                    "只有监听 PORT 的应用才能处理请求",
                ),
            ),
            None => {
                let names: Vec<&str> = known.apps.keys().map(String::as_str).collect();
                let hint = if names.is_empty() {
                    words!(
                        "describe it under [apps.{name}]",
                        "请在 [apps.{name}] 里定义它"
                    )
                } else {
                    spelling::hint(name, names.iter())
                };
                checker.error(
                    &self.at("app"),
                    words!("no app is called `{name}`", "没有名为 `{name}` 的应用"),
                    hint,
                );
            }
        }
        None
    }

    fn proxy(&self, checker: &ConfigChecker<'_>, known: &RouteContext<'_>) -> RouteTarget {
        let mut upstreams = Vec::new();
        for (at, text) in self.proxy.iter().enumerate() {
            let place = [self.at("proxy").as_slice(), &[at.into()]].concat();
            match address::upstream(text) {
                Err((message, hint)) => checker.error(&place, message, hint),
                Ok(upstream) => {
                    if known
                        .doors
                        .all()
                        .any(|door| address::leads_to(&upstream, door))
                    {
                        let message =
                            words!("{upstream} is weappd itself", "{upstream} 就是 weappd 自己");
                        checker.error(
                            &place,
                            message,
                            pick(
                                "give the port your own server listens on",
                                "请写你自己的服务器监听的端口",
                            ),
                        );
                    }
                    upstreams.push(upstream);
                }
            }
        }
        RouteTarget::Proxy(upstreams)
    }

    fn redirect(&self, checker: &ConfigChecker<'_>, to: &str, code: Option<u16>) -> RouteTarget {
        let address = ["https://", "http://", "/"]
            .iter()
            .any(|start| to.starts_with(start));
        if !address || to.contains(char::is_whitespace) || to.contains(char::is_control) {
            let hint = pick(
                "write it like https://www.example.com{path}, or /elsewhere",
                "写成 https://www.example.com{path} 或 /elsewhere 这样",
            );
            checker.error(
                &self.at("redirect"),
                words!("`{to}` is not an address", "`{to}` 不是网址"),
                hint,
            );
        }
        let code = code.unwrap_or(302);
        if !matches!(code, 301 | 302 | 303 | 307 | 308) {
            let message = words!(
                "{code} is not the status of a redirect",
                "{code} 不是跳转的状态码"
            );
            checker.error(
                &self.at("code"),
                message,
                pick(
                    "301, 302, 303, 307 or 308; 302 if left out",
                    "301、302、303、307 或 308；不写则为 302",
                ),
            );
        }
        RouteTarget::Redirect {
            to: to.to_owned(),
            code,
        }
    }
}
