//! Makes a site ready: reads its certificate, checks its routes, opens its directories.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use http::StatusCode;
use rustls::sign::CertifiedKey;
use weappd_base::unix_time::UnixSecs;

use crate::error::Error;
use crate::files::protected::ProtectedFiles;
use crate::files::static_files::StaticRoot;
use crate::route::app_handler::AppHandler;
use crate::route::compiled_site::CompiledSite;
use crate::route::path_guards::PathGuards;
use crate::route::reserved_paths::ReservedPaths;
use crate::route::route_entry::{RouteEntry, RouteHandler};
use crate::route::route_table::{RoutePattern, RouteTable};
use crate::route::services::SiteServices;
use crate::route::shared_path::SharedPath;
use crate::site::{RouteTarget, SessionRule, Site, SiteRoute, SiteService};
use crate::upstream::group::UpstreamGroup;

/// A site made ready, and the certificate that its names are answered with.
pub(crate) fn compile(
    site: Site,
    host: &str,
    protected: &ProtectedFiles,
    now: UnixSecs,
) -> Result<(CompiledSite, Option<Arc<CertifiedKey>>), Error> {
    let key = load_key(&site, now)?;
    let appids: Arc<[String]> = site.appids.into();
    let routes = build_routes(host, &appids, site.routes, protected)?;
    let compiled = CompiledSite {
        redirect: site.redirect,
        no_redirect: site.no_redirect,
        has_tls: key.is_some(),
        guards: guards(&routes),
        reserved: ReservedPaths::new(host, &site.reserved)?,
        routes,
        services: build_services(host, &appids, site.services, protected)?,
    };
    Ok((compiled, key))
}

fn load_key(site: &Site, now: UnixSecs) -> Result<Option<Arc<CertifiedKey>>, Error> {
    let Some(files) = &site.tls else {
        return Ok(None);
    };
    // `weappd check` and the start have shown its warnings. Certificates that weappd makes for
    // itself are for clients that were set up to trust them.
    let loaded = weappd_certs::load(files, &site.hosts, now)?;
    Ok(Some(loaded.key))
}

fn guards(routes: &RouteTable<RouteEntry>) -> PathGuards {
    let guarded = routes.iter().filter(|(_, entry)| entry.is_guarded());
    PathGuards::new(
        guarded.map(|(pattern, entry)| (pattern, entry.session == SessionRule::Require)),
    )
}

fn build_routes(
    host: &str,
    appids: &Arc<[String]>,
    routes: Vec<SiteRoute>,
    protected: &ProtectedFiles,
) -> Result<RouteTable<RouteEntry>, Error> {
    let paths: Vec<String> = routes.iter().map(|route| route.path.clone()).collect();
    let fail = |path: &str, what: String| Error::Route {
        host: host.to_owned(),
        path: path.to_owned(),
        what,
    };
    let mut ready = Vec::with_capacity(routes.len());
    for route in routes {
        let pattern =
            RoutePattern::parse(&route.path).map_err(|what| fail(&route.path, what.to_owned()))?;
        let to = build_target(route.target, protected).map_err(|what| fail(&route.path, what))?;
        let session = route.session;
        let appids = Arc::clone(appids);
        let entry = RouteEntry {
            appids,
            session,
            to,
        };
        ready.push((pattern, entry));
    }
    RouteTable::new(ready).map_err(|at| {
        let path = paths.get(at).cloned().unwrap_or_default();
        fail(
            &path,
            "an earlier route of this site is the same".to_owned(),
        )
    })
}

fn build_services(
    host: &str,
    appids: &Arc<[String]>,
    services: Vec<SiteService>,
    protected: &ProtectedFiles,
) -> Result<SiteServices, Error> {
    let mut ready = HashMap::with_capacity(services.len());
    for service in services {
        let SiteService {
            name,
            target,
            session,
        } = service;
        let fail = |what: String| Error::Service {
            host: host.to_owned(),
            name: name.clone(),
            what,
        };
        if !matches!(target, RouteTarget::App(_) | RouteTarget::Proxy(_)) {
            return Err(fail("it must lead to an app or a proxy".to_owned()));
        }
        let to = build_target(target, protected).map_err(fail)?;
        let appids = Arc::clone(appids);
        let entry = RouteEntry {
            appids,
            session,
            to,
        };
        if ready.insert(name.clone(), entry).is_some() {
            return Err(fail("two services have this name".to_owned()));
        }
    }
    Ok(SiteServices::new(ready))
}

fn build_target(target: RouteTarget, protected: &ProtectedFiles) -> Result<RouteHandler, String> {
    Ok(match target {
        RouteTarget::App(name) => RouteHandler::App(AppHandler::Managed(name)),
        RouteTarget::Proxy(list) => {
            RouteHandler::App(AppHandler::Group(UpstreamGroup::parse(&list)?))
        }
        RouteTarget::Static(dir) => RouteHandler::Static(open_root(&dir, protected)?),
        RouteTarget::Router(router) => RouteHandler::Router(router),
        RouteTarget::Shared {
            app,
            router,
            app_first,
        } => match build_target(*app, protected)? {
            RouteHandler::App(app) => RouteHandler::Shared(Box::new(SharedPath {
                app,
                router,
                app_first,
            })),
            _ => return Err("only an app or a proxy can share a path with a room".to_owned()),
        },
        RouteTarget::Redirect { to, code } => {
            if !matches!(code, 301 | 302 | 303 | 307 | 308) {
                return Err(format!(
                    "{code} is no redirect; use 301, 302, 303, 307 or 308"
                ));
            }
            let code = StatusCode::from_u16(code).map_err(|_| "no such code".to_owned())?;
            RouteHandler::Redirect { to, code }
        }
    })
}

fn open_root(dir: &Path, protected: &ProtectedFiles) -> Result<StaticRoot, String> {
    StaticRoot::open(dir, protected.clone())
        .map_err(|error| format!("the directory {} cannot be used: {error}", dir.display()))
}
