//! The built-in endpoints of a site, and which of them its own routes take over.

use std::borrow::Cow;

use axum::Router;
use weappd_edge::{Route, SessionRule, Site, Target};

use crate::plan::SitePlan;

/// Endpoints of every site with a mini program. A path that ends in `/` stands for
/// everything under it.
const ALWAYS: [&str; 3] = [SESSION, "/weapp/files/", "/weapp/ws/"];
/// An endpoint with others under it (`/profile`, `/decrypt`).
const SESSION: &str = "/weapp/session";
/// Of sites that speak Wafer 2.
const WAFER2: [&str; 4] = [
    "/weapp/login",
    "/weapp/user",
    "/weapp/tunnel",
    "/weapp/upload",
];
/// Of sites that speak Wafer 1.
const WAFER1: [&str; 3] = ["/login", "/user", "/tunnel"];

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
    let tunnel = site.tunnel_business.is_some();
    paths.retain(|path| tunnel || !path.ends_with("/tunnel"));
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
pub(crate) fn site(plan: SitePlan, rooms: Option<&Router>, pages: Vec<Route>) -> Site {
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
                    routes.push(Route {
                        path: format!("= {path}"),
                        target: Target::Room(rooms.clone()),
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
            routes.push(Route {
                path,
                target: Target::Room(rooms.clone()),
                session: SessionRule::Pass,
            });
        }
    }
    routes.extend(plan.routes);
    Site {
        hosts: plan.hosts,
        tls: plan.tls,
        redirect: plan.redirect,
        no_redirect,
        appids: plan.appids,
        routes,
        services: plan.services,
    }
}

#[cfg(test)]
mod tests {
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
            routes: Vec::new(),
            services: Vec::new(),
            tunnel_business: None,
        }
    }

    #[test]
    fn paths_are_there_only_when_something_answers_them() {
        let plain = builtin_paths(&site());
        for path in ["/login", "/tunnel", "/weapp/tunnel", INBOX] {
            assert!(!plain.contains(&path.into()), "{path}");
        }
        let full = builtin_paths(&SitePlan {
            wafer1: true,
            messages: vec!["wx1".to_owned()],
            tunnel_business: Some("a.com".to_owned()),
            ..site()
        });
        for path in ["/login", "/tunnel", "/weapp/tunnel", INBOX] {
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
}
