//! The built-in endpoints of a site, and which of them its own routes take over.

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

/// Where WeChat pushes messages, on sites of a mini program that has a message Token.
pub(crate) const INBOX: &str = "/weapp/message";

/// The route to the message inbox, if the site's own routes leave it.
pub(crate) fn inbox(own: &[Route], room: &Router) -> Option<Route> {
    let taken = own.iter().any(|route| takes_over(&route.path, INBOX));
    (!taken).then(|| Route {
        path: format!("= {INBOX}"),
        target: Target::Room(room.clone()),
        session: SessionRule::Pass,
    })
}

/// The paths weappd itself answers on a site, before its routes take any over.
pub(crate) fn builtin_paths(wafer1: bool, wafer2: bool, tunnel: bool) -> Vec<&'static str> {
    let mut paths = ALWAYS.to_vec();
    if wafer2 {
        paths.extend(WAFER2);
    } else {
        paths.push("/weapp/upload");
    }
    if wafer1 {
        paths.extend(WAFER1);
    }
    paths.retain(|path| tunnel || !path.ends_with("/tunnel"));
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
    if let Some(rooms) = rooms {
        let paths = builtin_paths(plan.wafer1, plan.wafer2, plan.tunnel_business.is_some());
        for path in paths {
            if plan.routes.iter().any(|own| takes_over(&own.path, path)) {
                continue;
            }
            let path = if path.ends_with('/') || path == SESSION {
                path.to_owned()
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
        appid: plan.appid,
        routes,
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

    #[test]
    fn wafer1_paths_are_there_only_when_asked_for() {
        assert!(!builtin_paths(false, true, true).contains(&"/login"));
        assert!(builtin_paths(true, true, true).contains(&"/tunnel"));
        assert!(!builtin_paths(true, true, false).contains(&"/tunnel"));
        assert!(builtin_paths(false, false, false).contains(&"/weapp/upload"));
    }
}
