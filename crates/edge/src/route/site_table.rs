//! Sites and routes made ready: looked up for every request, replaced whole by a reload.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use http::{Method, StatusCode};
use rustls::sign::CertifiedKey;

use crate::certs::{self, CertTable};
use crate::error::Error;
use crate::files::protected::ProtectedFiles;
use crate::files::static_files::StaticRoot;
use crate::route::path_guards::PathGuards;
use crate::route::route_table::{RoutePattern, RouteTable};
use crate::route::services::SiteServices;
use crate::route::shared_path::SharedPath;
use crate::site::{RouteTarget, SessionRule, Site, SiteRoute, SiteService};
use crate::upstream::group::UpstreamGroup;

/// All sites.
#[derive(Debug)]
pub(crate) struct SiteTable {
    exact: HashMap<String, Arc<CompiledSite>>,
    wild: HashMap<String, Arc<CompiledSite>>,
    any: Option<Arc<CompiledSite>>,
    pub(crate) certs: Arc<CertTable>,
    /// What all sites are called, in their order.
    names: Vec<String>,
}

/// One site made ready.
#[derive(Debug)]
pub(crate) struct CompiledSite {
    pub(crate) redirect: Option<u16>,
    pub(crate) no_redirect: Vec<String>,
    pub(crate) has_tls: bool,
    pub(crate) routes: RouteTable<Arc<RouteEntry>>,
    pub(crate) guards: PathGuards,
    pub(crate) reserved: ReservedPaths,
    pub(crate) services: SiteServices,
}

/// Paths that lead nobody but weappd itself to an app.
#[derive(Debug)]
pub(crate) struct ReservedPaths {
    paths: PathGuards,
    /// The site's root, if it is one.
    root: PathGuards,
}

impl ReservedPaths {
    fn new(host: &str, paths: &[String]) -> Result<Self, Error> {
        let patterns = paths.iter().filter(|path| *path != "/").map(|path| {
            RoutePattern::parse(path).map_err(|what| Error::Route {
                host: host.to_owned(),
                path: path.clone(),
                what: what.to_owned(),
            })
        });
        let patterns: Vec<RoutePattern> = patterns.collect::<Result<_, _>>()?;
        let root = paths.iter().any(|path| path == "/");
        let root = root.then(|| RoutePattern::parse("= /").ok()).flatten();
        Ok(Self {
            paths: PathGuards::new(patterns.iter().map(|pattern| (pattern, true))),
            root: PathGuards::new(root.iter().map(|pattern| (pattern, true))),
        })
    }

    /// Whether an app might take `path`, which is in its one spelling, for one of them.
    pub(crate) fn holds(&self, method: &Method, path: &str) -> bool {
        let asks = matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS);
        !asks && self.root.require_session(path) || self.paths.require_session(path)
    }
}

/// One route made ready.
#[derive(Debug)]
pub(crate) struct RouteEntry {
    /// The site's mini programs.
    pub(crate) appids: Arc<[String]>,
    pub(crate) session: SessionRule,
    pub(crate) to: RouteHandler,
}

impl RouteEntry {
    pub(crate) fn leads_to_app(&self) -> bool {
        matches!(
            self.to,
            RouteHandler::App(_) | RouteHandler::Proxy(_) | RouteHandler::Shared(_)
        )
    }

    /// Whether paths that lead here are read again by somebody who may read them otherwise.
    pub(crate) fn is_guarded(&self) -> bool {
        self.leads_to_app() || matches!(self.to, RouteHandler::Static(_))
    }
}

/// Where a route leads.
#[derive(Debug)]
pub(crate) enum RouteHandler {
    App(String),
    Proxy(UpstreamGroup),
    Static(StaticRoot),
    Redirect { to: String, code: StatusCode },
    Router(Router),
    Shared(Box<SharedPath>),
}

impl SiteTable {
    /// Reads the certificates and checks names and routes.
    pub(crate) fn build(
        sites: Vec<Site>,
        protected: &ProtectedFiles,
        unix_secs: i64,
    ) -> Result<Self, Error> {
        let mut table = Self {
            exact: HashMap::new(),
            wild: HashMap::new(),
            any: None,
            certs: Arc::default(),
            names: Vec::new(),
        };
        let mut certs = CertTable::default();
        for site in sites {
            let key = load_key(&site, unix_secs)?;
            let hosts: Vec<String> = site.hosts.iter().map(|h| plain_host(h)).collect();
            let first = hosts.first().cloned().unwrap_or_default();
            let appids: Arc<[String]> = site.appids.into();
            let routes = build_routes(&first, &appids, site.routes, protected)?;
            let compiled = Arc::new(CompiledSite {
                redirect: site.redirect,
                no_redirect: site.no_redirect.clone(),
                has_tls: key.is_some(),
                guards: guards(&routes),
                reserved: ReservedPaths::new(&first, &site.reserved)?,
                routes,
                services: build_services(&first, &appids, site.services, protected)?,
            });
            for host in hosts {
                if let Some(key) = &key {
                    certs.add(&host, key);
                }
                table.names.push(host.clone());
                table.claim(host, &compiled)?;
            }
        }
        table.certs = Arc::new(certs);
        Ok(table)
    }

    fn claim(&mut self, host: String, compiled: &Arc<CompiledSite>) -> Result<(), Error> {
        let compiled = Arc::clone(compiled);
        let name = host.strip_prefix("*.").unwrap_or(&host);
        if host != "*" && !is_host(name) {
            return Err(Error::Host {
                host,
                what: "a host name is letters, digits, dots and hyphens, without scheme, port and path",
            });
        }
        let before = if host == "*" {
            self.any.replace(compiled)
        } else if name.len() < host.len() {
            self.wild.insert(name.to_owned(), compiled)
        } else {
            self.exact.insert(host.clone(), compiled)
        };
        match before {
            None => Ok(()),
            Some(_) => Err(Error::Host {
                host,
                what: "two sites have this name",
            }),
        }
    }

    /// What the sites are called, for people.
    pub(crate) fn names(&self) -> String {
        const MOST: usize = 10;
        if self.names.is_empty() {
            return "none".to_owned();
        }
        let (first, more) = self.names.split_at(self.names.len().min(MOST));
        let first = first.join(", ");
        if more.is_empty() {
            return first;
        }
        format!("{first} and {} more", more.len())
    }

    /// Whether a site has this host by name.
    pub(crate) fn knows(&self, host: &str) -> bool {
        let folder = || host.split_once('.').map(|(_, rest)| rest);
        self.exact.contains_key(host) || folder().is_some_and(|rest| self.wild.contains_key(rest))
    }

    /// The site of a host (lower case, without port).
    pub(crate) fn site(&self, host: &str) -> Option<&Arc<CompiledSite>> {
        self.exact
            .get(host)
            .or_else(|| self.wild.get(host.split_once('.')?.1))
            .or(self.any.as_ref())
    }

    /// Whether a connection made for `sni` may ask for `host`: the same certificate
    /// stands for both. A client that named no host checked the certificate in its own way.
    pub(crate) fn may_ask(&self, sni: Option<&str>, host: &str) -> bool {
        let Some(sni) = sni.filter(|sni| *sni != host) else {
            return true;
        };
        match (self.certs.find(Some(sni)), self.certs.find(Some(host))) {
            (Some(shown), Some(wanted)) => Arc::ptr_eq(shown, wanted),
            _ => false,
        }
    }
}

fn is_host(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    name.parse::<Ipv6Addr>().is_ok() || (!name.is_empty() && name.bytes().all(plain))
}

/// As requests will be compared: lower case, an IPv6 address without brackets.
fn plain_host(host: &str) -> String {
    let inner = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    inner.unwrap_or(host).to_ascii_lowercase()
}

fn load_key(site: &Site, unix_secs: i64) -> Result<Option<Arc<CertifiedKey>>, Error> {
    let Some(files) = &site.tls else {
        return Ok(None);
    };
    // Its warnings were told where the file was named (`weappd check`, and at the start); those
    // that weappd makes for itself are good for who is told to trust them.
    let loaded = certs::load(files, &site.hosts, unix_secs)?;
    Ok(Some(loaded.key))
}

fn guards(routes: &RouteTable<Arc<RouteEntry>>) -> PathGuards {
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
) -> Result<RouteTable<Arc<RouteEntry>>, Error> {
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
        ready.push((pattern, Arc::new(entry)));
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
        if ready.insert(name.clone(), Arc::new(entry)).is_some() {
            return Err(fail("two services have this name".to_owned()));
        }
    }
    Ok(SiteServices(ready))
}

fn build_target(target: RouteTarget, protected: &ProtectedFiles) -> Result<RouteHandler, String> {
    Ok(match target {
        RouteTarget::App(name) => RouteHandler::App(name),
        RouteTarget::Proxy(list) => RouteHandler::Proxy(UpstreamGroup::parse(&list)?),
        RouteTarget::Static(dir) => RouteHandler::Static(open_root(&dir, protected)?),
        RouteTarget::Router(router) => RouteHandler::Router(router),
        RouteTarget::Shared {
            app,
            router,
            app_first,
        } => match build_target(*app, protected)? {
            app @ (RouteHandler::App(_) | RouteHandler::Proxy(_)) => {
                RouteHandler::Shared(Box::new(SharedPath {
                    app,
                    router,
                    app_first,
                }))
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn build(hosts: &[&str], routes: &[(&str, RouteTarget)]) -> Result<SiteTable, Error> {
        let routes = routes.iter().map(|(path, target)| SiteRoute {
            path: (*path).to_owned(),
            target: target.clone(),
            session: SessionRule::Pass,
        });
        let site = Site {
            hosts: hosts.iter().map(|h| (*h).to_owned()).collect(),
            tls: None,
            redirect: None,
            no_redirect: Vec::new(),
            reserved: Vec::new(),
            appids: Vec::new(),
            routes: routes.collect(),
            services: Vec::new(),
        };
        SiteTable::build(vec![site], &ProtectedFiles::default(), 0)
    }

    #[test]
    fn hosts_are_found_as_requests_name_them() {
        let table = build(&["A.example", "*.b.example", "[::1]"], &[]).expect("built");
        for host in ["a.example", "x.b.example", "::1"] {
            assert!(table.site(host).is_some(), "{host}");
        }
        for host in ["b.example", "x.y.b.example", "c.example", ""] {
            assert!(table.site(host).is_none(), "{host}");
        }
    }

    #[test]
    fn what_cannot_work_is_told() {
        for bad in ["", "a b", "https://a", "a.example:80", "a/b", "*."] {
            assert!(build(&[bad], &[]).is_err(), "{bad:?}");
        }
        assert!(build(&["a.example", "A.EXAMPLE"], &[]).is_err());
        let app = || RouteTarget::App("chat".to_owned());
        for (routes, what) in [
            (vec![("api", app())], "begins with /"),
            (vec![("/a", app()), ("/b/../a", app())], "the same"),
            (vec![("/", RouteTarget::Proxy(Vec::new()))], "empty"),
            (
                vec![("/", RouteTarget::Static("/no/such/folder".into()))],
                "/no/such/folder",
            ),
            (
                vec![(
                    "/",
                    RouteTarget::Redirect {
                        to: "/x".to_owned(),
                        code: 200,
                    },
                )],
                "200",
            ),
        ] {
            let error = build(&["a.example"], &routes).expect_err(what).to_string();
            assert!(
                error.contains(what) && error.contains("a.example"),
                "{error}"
            );
        }
    }
}
