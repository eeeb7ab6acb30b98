//! Says who answers what on a site.

use std::{borrow::Cow, collections::BTreeMap};
use weappd_base::language::pick;
use weappd_base::words;

use super::{WrittenSite, short_form, written};
use crate::{
    config::{checker::ConfigChecker, raw::RawConfig},
    plan::{SitePlan, TunnelIssuer},
    site_rooms::{self, PathOwner, builtin_paths, takes_over},
};

/// Says who answers what on the settled `sites`, so that nobody has to guess.
pub(crate) fn tell(checker: &ConfigChecker<'_>, raw: &RawConfig, sites: &[SitePlan]) {
    let short = short_form(checker, raw);
    for (written, site) in written(raw, short.as_ref()).iter().zip(sites) {
        tell_of(checker, written, site);
    }
}

fn tell_of(checker: &ConfigChecker<'_>, written: &WrittenSite<'_>, site: &SitePlan) {
    let name = site
        .hosts
        .first()
        .map_or(pick("the site", "该站点"), String::as_str);
    let said = ["app", "proxy", "root", "routes", "services"];
    if site.routes.is_empty() && !said.iter().any(|key| checker.says(&written.at(key))) {
        checker.warning(
            &written.name_place(),
            words!("no app, proxy or root answers the paths of {name}", "{name} 的路径没有 app、proxy 或 root 来处理"),
            pick("add proxy = 1937 for a server that runs already, or [app] run = \"node app.js\" for one that weappd starts", "服务器已经在运行就加 proxy = 1937；要 weappd 启动它就写 [app] run = \"node app.js\""),
        );
    }
    if site.appids.is_empty() {
        checker.note(
            &written.name_place(),
            words!(
                "{name} has no [miniapp]: weappd answers no login, upload or tunnel there itself",
                "{name} 没有 [miniapp]：weappd 在那里不提供登录、上传和信道"
            ),
        );
        return;
    }
    let mut own = Vec::new();
    let mut taken: BTreeMap<&str, Vec<Cow<'static, str>>> = BTreeMap::new();
    let tunnels = site_rooms::tunnel_paths(site);
    let taken_over = site_rooms::all_tunnel_paths(site).filter(|path| !tunnels.contains(path));
    for path in builtin_paths(site)
        .into_iter()
        .chain(taken_over.map(Cow::from))
    {
        match site
            .routes
            .iter()
            .find(|route| takes_over(&route.path, &path))
        {
            Some(route) => taken.entry(route.path.as_str()).or_default().push(path),
            None => own.push(path),
        }
    }
    let has_app = |path: &&str| site_rooms::who_takes(site, path) == PathOwner::App;
    let is_shared = site.tunnel_issuer == TunnelIssuer::Auto && tunnels.iter().any(has_app);
    if !is_shared {
        own.extend(tunnels.iter().map(|path| format!("GET {path}").into()));
    }
    if !own.is_empty() {
        let own = own.join(", ");
        checker.note(
            &written.name_place(),
            words!(
                "weappd itself answers {own} of {name}",
                "{name} 的 {own} 由 weappd 自己处理"
            ),
        );
    }
    if is_shared {
        let paths = tunnels.join(", ");
        checker.note(
            &written.name_place(),
            words!("phones ask your app for tunnels at {paths} of {name}, and weappd if your app has no such path; callbacks are your app's", "手机在 {name} 的 {paths} 向你的应用申请信道，应用没有这个路径时由 weappd 处理；回调由你的应用接收"),
        );
    }
    for (at, route) in written.routes.iter().enumerate() {
        if let Some(paths) = taken.get(route.path.trim()) {
            let place = [written.at("routes").as_slice(), &[at.into(), "path".into()]].concat();
            let paths = paths.join(", ");
            checker.note(
                &place,
                words!(
                    "this route takes over {paths}, which weappd would answer",
                    "这条路由接管了 {paths}，原本由 weappd 处理"
                ),
            );
        }
    }
}
