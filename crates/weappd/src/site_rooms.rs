//! The built-in endpoints of a site, and which of them its own routes take over.

use std::borrow::Cow;

use weappd_edge::{RoomRouter, RouteTarget, SessionRule, Site, SiteRoute};

use crate::plan::{SitePlan, TunnelIssuer};

/// Endpoints of every site with a mini program. A path that ends in `/` stands for
/// everything under it.
const ALWAYS: [&str; 3] = [SESSION, "/weapp/files/", "/weapp/ws/"];
/// An endpoint with others under it (`/profile`, `/decrypt`).
const SESSION: &str = "/weapp/session";
/// Of sites that speak Wafer 2.
const WAFER2: [&str; 3] = ["/weapp/login", "/weapp/user", "/weapp/upload"];
/// Of sites that speak Wafer 1.
const WAFER1: [&str; 2] = ["/login", "/user"];

/// Where phones of Wafer 2 ask for tunnels, and business servers take callbacks.
pub(crate) const TUNNEL: &str = "/weapp/tunnel";
/// The same in Wafer 1.
pub(crate) const TUNNEL1: &str = "/tunnel";

/// Where WeChat pushes messages, on sites of a mini program that has a message Token; each
/// mini program's own path, its AppID, stands under it.
pub(crate) const INBOX: &str = "/weapp/message";

/// The paths weappd itself answers on a site, before its routes take any over.
pub(crate) fn builtin_paths(site: &SitePlan) -> Vec<Cow<'static, str>> {
    let mut paths: Vec<Cow<'static, str>> = ALWAYS.map(Cow::from).to_vec();
    if site.wafer2 {
        paths.extend(WAFER2.map(Cow::from));
    } else if site.wafer1 {
        paths.push("/weapp/upload".into());
    }
    if site.wafer1 {
        paths.extend(WAFER1.map(Cow::from));
    }
    if !site.messages.is_empty() {
        paths.push(INBOX.into());
    }
    let inbox = inbox_paths(site);
    paths.extend(inbox.into_iter().skip(1).map(Cow::from));
    paths
}

/// The paths at which WeChat pushes messages to a site, `/weapp/message` first.
pub(crate) fn inbox_paths(site: &SitePlan) -> Vec<String> {
    if site.messages.is_empty() {
        return Vec::new();
    }
    let mut paths = vec![INBOX.to_owned()];
    if site.appids.len() > 1 {
        let own = site.messages.iter();
        paths.extend(own.map(|appid| format!("{INBOX}/{appid}")));
    }
    paths.extend(site.push_paths.iter().cloned());
    paths
}

/// The paths at which weappd opens tunnels, by itself or where the app does not.
pub(crate) fn tunnel_paths(site: &SitePlan) -> Vec<&'static str> {
    let free = |path: &&str| !site.routes.iter().any(|own| takes_over(&own.path, path));
    all_tunnel_paths(site).filter(free).collect()
}

/// The same with those that the site's own routes lead to an app alone.
pub(crate) fn all_tunnel_paths(site: &SitePlan) -> impl Iterator<Item = &'static str> + use<> {
    let opens = !site.appids.is_empty()
        && site.tunnel_business.is_some()
        && site.tunnel_issuer != TunnelIssuer::App;
    let paths = [(site.wafer2, TUNNEL), (site.wafer1, TUNNEL1)];
    let spoken = paths.into_iter().filter(|(speaks, _)| opens && *speaks);
    let spoken: Vec<_> = spoken.map(|(_, path)| path).collect();
    spoken.into_iter()
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathOwner {
    /// An app or a proxy.
    App,
    /// weappd's own endpoints.
    Weappd,
    Files,
    Redirect,
    Nobody,
}

/// Who takes a callback, a `POST` to `path` of a site.
pub(crate) fn who_takes(site: &SitePlan, path: &str) -> PathOwner {
    let is_at = |builtin: &str| {
        path == builtin || (builtin.ends_with('/') || builtin == SESSION) && covers(builtin, path)
    };
    let inbox = inbox_paths(site);
    let own = builtin_paths(site).into_iter().any(|builtin| {
        // Where weappd calls its own sites, the inbox's paths are the app's.
        !inbox.iter().any(|own| **own == *builtin)
            && is_at(&builtin)
            && !site
                .routes
                .iter()
                .any(|own| takes_over(&own.path, &builtin))
    });
    if own && !site.appids.is_empty() {
        return PathOwner::Weappd;
    }
    match route_of(&site.routes, path).map(|route| &route.target) {
        Some(RouteTarget::App(_) | RouteTarget::Proxy(_) | RouteTarget::Shared { .. }) => {
            PathOwner::App
        }
        Some(RouteTarget::Static(_)) => PathOwner::Files,
        Some(RouteTarget::Redirect { .. }) => PathOwner::Redirect,
        Some(RouteTarget::Router(_)) => PathOwner::Weappd,
        None => PathOwner::Nobody,
    }
}

/// Whether `path` of a site leads to an app that weappd keeps alive.
pub(crate) fn is_apps(site: &SitePlan, path: &str) -> bool {
    let route = route_of(&site.routes, path);
    route.is_some_and(|route| matches!(route.target, RouteTarget::App(_)))
}

/// The site of a host name, as the front door finds it.
pub(crate) fn of_host<'a>(sites: &'a [SitePlan], host: &str) -> Option<&'a SitePlan> {
    let host = host.to_ascii_lowercase();
    let parent = host
        .split_once('.')
        .map(|(_, parent)| format!("*.{parent}"));
    let called = |name: &str| {
        sites
            .iter()
            .find(|site| site.hosts.iter().any(|own| own == name))
    };
    called(&host)
        .or_else(|| called(&parent?))
        .or_else(|| called("*"))
}

/// The most specific of a site's routes that `path` takes.
fn route_of<'a>(routes: &'a [SiteRoute], path: &str) -> Option<&'a SiteRoute> {
    let specific = |route: &&SiteRoute| (route.path.starts_with('='), route.path.len());
    let taken = routes.iter().filter(|route| covers(&route.path, path));
    taken.max_by_key(specific)
}

/// Whether `path` takes the route written as `route`.
fn covers(route: &str, path: &str) -> bool {
    let route = route
        .strip_suffix("/*")
        .map_or(Cow::from(route), |folder| format!("{folder}/").into());
    route == "/" || takes_over(&route, path)
}

/// Whether a site's route `route` takes the built-in endpoint `builtin` over. A route for
/// `/` is where everything else goes, and takes nothing over.
pub(crate) fn takes_over(route: &str, builtin: &str) -> bool {
    if let Some(exact) = route.strip_prefix('=') {
        return exact.trim() == builtin;
    }
    let prefix = route.trim_end_matches('/');
    if prefix.is_empty() {
        return false;
    }
    let point = builtin.trim_end_matches('/');
    point == prefix
        || point
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.starts_with('/'))
}

/// The edge's site: the plan's routes, and the built-in endpoints they leave.
pub(crate) fn site(plan: SitePlan, rooms: Option<&RoomRouter>, pages: Vec<SiteRoute>) -> Site {
    let mut routes = pages;
    let inbox = inbox_paths(&plan);
    let mut no_redirect = Vec::new();
    if let Some(rooms) = rooms {
        let paths = builtin_paths(&plan);
        for path in paths {
            if plan.routes.iter().any(|own| takes_over(&own.path, &path)) {
                continue;
            }
            if inbox.iter().any(|own| *own == path) {
                // In WeChat's console people write it with a slash at the end, or http://,
                // and WeChat follows no redirect.
                for path in [path.to_string(), format!("{path}/")] {
                    routes.push(SiteRoute {
                        path: format!("= {path}"),
                        target: RouteTarget::Router(rooms.clone()),
                        session: SessionRule::Pass,
                    });
                    no_redirect.push(path);
                }
                continue;
            }
            let path = if path.ends_with('/') || path == SESSION {
                path.into_owned()
            } else {
                format!("= {path}")
            };
            routes.push(SiteRoute {
                path,
                target: RouteTarget::Router(rooms.clone()),
                session: SessionRule::Pass,
            });
        }
        let tunnels = tunnel_paths(&plan).into_iter();
        routes.extend(tunnels.map(|path| tunnel_route(&plan, path, rooms)));
    }
    routes.extend(plan.routes);
    Site {
        hosts: plan.hosts,
        tls: plan.tls,
        redirect: plan.redirect,
        reserved: reserved(&no_redirect, &inbox, plan.message_targets),
        no_redirect,
        appids: plan.appids,
        routes,
        services: plan.services,
    }
}

/// What leads to an app from weappd alone: where apps take messages, and the inbox's paths in
/// other spellings. A path that a site's own route took over is its app's.
fn reserved(answered: &[String], inbox: &[String], targets: Vec<String>) -> Vec<String> {
    let is_taken = |path: &String| inbox.contains(path) && !answered.contains(path);
    let targets = targets.into_iter().filter(|path| !is_taken(path));
    let mut all: Vec<String> = targets.chain(answered.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

/// Gives each site the paths at which its apps take pushed messages. Sites that share an app
/// share them.
pub(crate) fn settle_message_targets(
    sites: &mut [SitePlan],
    path_of: impl Fn(&str) -> Option<String>,
) {
    let own: Vec<(Vec<String>, Vec<String>)> = sites
        .iter()
        .map(|site| {
            let paths = site.messages.iter().filter_map(|appid| path_of(appid));
            (paths.collect(), apps_of(site))
        })
        .collect();
    for site in sites {
        let apps = apps_of(site);
        let shared = own
            .iter()
            .filter(|(_, others)| others.iter().any(|other| apps.contains(other)));
        site.message_targets = shared.flat_map(|(paths, _)| paths.clone()).collect();
    }
}

/// The names of a site's apps, and the addresses of its proxies.
fn apps_of(site: &SitePlan) -> Vec<String> {
    let routes = site.routes.iter().map(|route| &route.target);
    let services = site.services.iter().map(|service| &service.target);
    let names = routes.chain(services).map(|target| match target {
        RouteTarget::App(name) => vec![name.clone()],
        RouteTarget::Proxy(list) => list.clone(),
        _ => Vec::new(),
    });
    names.flatten().collect()
}

/// Where `path` leads, at which phones ask for tunnels and business servers take callbacks.
fn tunnel_route(plan: &SitePlan, path: &str, rooms: &RoomRouter) -> SiteRoute {
    let others = route_of(&plan.routes, path);
    let app =
        others.filter(|route| matches!(route.target, RouteTarget::App(_) | RouteTarget::Proxy(_)));
    SiteRoute {
        path: format!("= {path}"),
        target: match app {
            Some(route) => RouteTarget::Shared {
                app: Box::new(route.target.clone()),
                router: rooms.router().clone(),
                app_first: plan.tunnel_issuer == TunnelIssuer::Auto,
            },
            None => RouteTarget::Router(rooms.clone()),
        },
        session: app.map_or(SessionRule::Pass, |route| route.session),
    }
}

/// The same site for weappd's own callbacks and messages: plain HTTP, sent nowhere else. The
/// inbox's paths are the app's here: this is how messages reach it. `callbacks` are paths
/// at which business servers take callbacks, which need no session: they are signed.
pub(crate) fn inside(site: &Site, callbacks: &[String]) -> Site {
    let mut site = site.clone();
    site.tls = None;
    site.redirect = None;
    let inbox = site.no_redirect.clone();
    site.routes.retain(|route| {
        let path = exact_path(&route.path).unwrap_or(&route.path);
        !inbox.iter().any(|own| own == path) || !matches!(route.target, RouteTarget::Router(_))
    });
    for path in callbacks {
        let exact = format!("= {path}");
        let Some(route) = route_of(&site.routes, path) else {
            continue;
        };
        let target = match &route.target {
            RouteTarget::Shared { app, .. } => (**app).clone(),
            app @ (RouteTarget::App(_) | RouteTarget::Proxy(_)) => app.clone(),
            _ => continue,
        };
        site.routes
            .retain(|route| exact_path(&route.path) != Some(path));
        site.routes.push(SiteRoute {
            path: exact,
            target,
            session: SessionRule::Pass,
        });
    }
    site
}

/// The paths at which business servers of our own sites take callbacks.
pub(crate) fn callback_paths(tunnel: &weappd_tunnel::Config) -> Vec<String> {
    let fixed = tunnel.businesses.iter().filter_map(|business| {
        let url: http::Uri = business.receive.as_ref()?.parse().ok()?;
        tunnel.own_sites.has(&url).then(|| url.path().to_owned())
    });
    let usual = [TUNNEL, TUNNEL1].map(str::to_owned);
    let mut paths: Vec<String> = usual.into_iter().chain(fixed).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// The path of a route for exactly one.
fn exact_path(route: &str) -> Option<&str> {
    route.trim().strip_prefix('=').map(str::trim)
}

#[cfg(test)]
mod tests {
    use axum::Router;

    use super::*;

    #[test]
    fn a_route_takes_over_what_it_covers_and_the_root_nothing() {
        assert!(takes_over("= /weapp/login", "/weapp/login"));
        assert!(takes_over("/weapp/login", "/weapp/login"));
        assert!(takes_over("/weapp", "/weapp/login"));
        assert!(takes_over("/weapp/", "/weapp/ws/"));
        assert!(!takes_over("/", "/weapp/login"));
        assert!(!takes_over("/we", "/weapp/login"));
        assert!(!takes_over("= /weapp", "/weapp/login"));
        assert!(!takes_over("/weapp/login/more", "/weapp/login"));
    }

    fn site() -> SitePlan {
        SitePlan {
            hosts: vec!["a.com".to_owned()],
            tls: None,
            redirect: None,
            appids: Vec::new(),
            wafer1: false,
            wafer2: true,
            messages: Vec::new(),
            push_paths: Vec::new(),
            message_targets: Vec::new(),
            routes: Vec::new(),
            services: Vec::new(),
            tunnel_business: None,
            tunnel_issuer: TunnelIssuer::Auto,
        }
    }

    #[test]
    fn paths_are_there_only_when_something_answers_them() {
        let plain = builtin_paths(&site());
        for path in ["/login", INBOX] {
            assert!(!plain.contains(&path.into()), "{path}");
        }
        let full = builtin_paths(&SitePlan {
            wafer1: true,
            messages: vec!["wx1".to_owned()],
            ..site()
        });
        for path in ["/login", INBOX] {
            assert!(full.contains(&path.into()), "{path}");
        }
        let neither = builtin_paths(&SitePlan {
            wafer2: false,
            ..site()
        });
        // The app logs its users in itself: its uploads are its own.
        let own = ["/weapp/session", "/weapp/files/", "/weapp/ws/"];
        assert_eq!(neither, own);
        let old = builtin_paths(&SitePlan {
            wafer1: true,
            wafer2: false,
            ..site()
        });
        assert!(old.contains(&"/weapp/upload".into()));
        assert!(!full.contains(&"/weapp/message/wx1".into()));
        let several = builtin_paths(&SitePlan {
            appids: ["wx1", "wx2", "wx3"].map(str::to_owned).to_vec(),
            messages: ["wx1", "wx3"].map(str::to_owned).to_vec(),
            ..site()
        });
        let inboxes = several.iter().filter(|path| path.starts_with(INBOX));
        let own = [INBOX, "/weapp/message/wx1", "/weapp/message/wx3"];
        assert_eq!(inboxes.collect::<Vec<_>>(), own);
    }

    fn with_tunnels(wafer1: bool, wafer2: bool) -> SitePlan {
        SitePlan {
            appids: vec!["wx1".to_owned()],
            wafer1,
            wafer2,
            tunnel_business: Some("a.com".to_owned()),
            ..site()
        }
    }

    fn to_app(path: &str) -> SiteRoute {
        SiteRoute {
            path: path.to_owned(),
            target: RouteTarget::App("app".to_owned()),
            session: SessionRule::Pass,
        }
    }

    #[test]
    fn tunnels_are_asked_for_in_the_dialects_that_are_spoken() {
        for (wafer1, wafer2, paths) in [
            (false, false, vec![]),
            (true, false, vec!["/tunnel"]),
            (false, true, vec!["/weapp/tunnel"]),
            (true, true, vec!["/weapp/tunnel", "/tunnel"]),
        ] {
            assert_eq!(tunnel_paths(&with_tunnels(wafer1, wafer2)), paths);
        }
        let app = SitePlan {
            tunnel_issuer: TunnelIssuer::App,
            ..with_tunnels(true, true)
        };
        assert!(tunnel_paths(&app).is_empty());
        let own = SitePlan {
            routes: vec![to_app("/"), to_app("/weapp")],
            ..with_tunnels(true, true)
        };
        assert_eq!(tunnel_paths(&own), ["/tunnel"]);
    }

    #[test]
    fn callbacks_are_the_apps_wherever_it_stands() {
        for route in ["/", "/*", "/weapp", "/weapp/*", "= /weapp/tunnel"] {
            let site = SitePlan {
                routes: vec![to_app(route)],
                ..with_tunnels(true, true)
            };
            assert_eq!(who_takes(&site, "/weapp/tunnel"), PathOwner::App, "{route}");
        }
        let site = SitePlan {
            routes: vec![
                SiteRoute {
                    target: RouteTarget::Static("html".into()),
                    ..to_app("/")
                },
                to_app("/api"),
            ],
            ..with_tunnels(true, true)
        };
        for (path, who) in [
            ("/weapp/tunnel", PathOwner::Files),
            ("/api/hook", PathOwner::App),
            ("/apis", PathOwner::Files),
            ("/weapp/login", PathOwner::Weappd),
            ("/weapp/files/x", PathOwner::Weappd),
        ] {
            assert_eq!(who_takes(&site, path), who, "{path}");
        }
        assert_eq!(
            who_takes(&with_tunnels(true, true), "/tunnel"),
            PathOwner::Nobody
        );
    }

    #[test]
    fn callbacks_need_no_session_and_the_room_takes_none() {
        let room = RouteTarget::Router(Router::new().into());
        let shared = RouteTarget::Shared {
            app: Box::new(RouteTarget::App("app".to_owned())),
            router: Router::new(),
            app_first: true,
        };
        let outside = Site {
            hosts: vec!["a.com".to_owned()],
            tls: None,
            redirect: Some(443),
            no_redirect: vec![INBOX.to_owned()],
            reserved: Vec::new(),
            appids: Vec::new(),
            routes: vec![
                SiteRoute {
                    session: SessionRule::Require,
                    ..to_app("/")
                },
                SiteRoute {
                    target: shared,
                    session: SessionRule::Require,
                    ..to_app("= /weapp/tunnel")
                },
                SiteRoute {
                    target: room,
                    ..to_app("= /weapp/message")
                },
            ],
            services: Vec::new(),
        };
        let paths = ["/hook", "/tunnel", "/weapp/tunnel"].map(str::to_owned);
        let site = inside(&outside, &paths);
        assert!(site.redirect.is_none());
        let rules: Vec<_> = (site.routes.iter())
            .map(|route| (route.path.as_str(), route.session))
            .collect();
        let pass = SessionRule::Pass;
        let all = [
            ("/", SessionRule::Require),
            ("= /hook", pass),
            ("= /tunnel", pass),
            ("= /weapp/tunnel", pass),
        ];
        assert_eq!(rules, all);
        let is_app = |route: &SiteRoute| matches!(route.target, RouteTarget::App(_));
        assert!(site.routes.iter().all(is_app));
    }
}
