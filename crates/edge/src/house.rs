//! Sites and routes made ready: looked up for every request, replaced whole by a reload.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use http::StatusCode;
use rustls::sign::CertifiedKey;

use crate::certs::{self, CertTable};
use crate::error::Error;
use crate::proxy::Ring;
use crate::route::{Pattern, Table};
use crate::site::{Route, SessionRule, Site, Target};
use crate::static_files::Root;

/// All sites.
#[derive(Debug)]
pub(crate) struct House {
    exact: HashMap<String, Arc<Rooms>>,
    wild: HashMap<String, Arc<Rooms>>,
    any: Option<Arc<Rooms>>,
    pub(crate) certs: Arc<CertTable>,
}

/// One site made ready.
#[derive(Debug)]
pub(crate) struct Rooms {
    pub(crate) redirect: Option<u16>,
    pub(crate) has_tls: bool,
    pub(crate) routes: Table<Arc<Way>>,
}

/// One route made ready.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) session: SessionRule,
    pub(crate) to: To,
}

/// Where a route leads.
#[derive(Debug)]
pub(crate) enum To {
    App(String),
    Proxy(Ring),
    Static(Root),
    Redirect { to: String, code: StatusCode },
    Room(Router),
}

impl House {
    /// Reads the certificates and checks names and routes.
    pub(crate) fn build(sites: Vec<Site>, unix_secs: i64) -> Result<Self, Error> {
        let mut house = Self {
            exact: HashMap::new(),
            wild: HashMap::new(),
            any: None,
            certs: Arc::default(),
        };
        let mut certs = CertTable::default();
        for site in sites {
            let key = load_key(&site, unix_secs)?;
            let hosts: Vec<String> = site.hosts.iter().map(|h| h.to_ascii_lowercase()).collect();
            let first = hosts.first().cloned().unwrap_or_default();
            let rooms = Arc::new(Rooms {
                redirect: site.redirect,
                has_tls: key.is_some(),
                routes: build_routes(&first, site.routes)?,
            });
            for host in hosts {
                if let Some(key) = &key {
                    certs.add(&host, key);
                }
                house.claim(host, &rooms)?;
            }
        }
        house.certs = Arc::new(certs);
        Ok(house)
    }

    fn claim(&mut self, host: String, rooms: &Arc<Rooms>) -> Result<(), Error> {
        let rooms = Arc::clone(rooms);
        let name = host.strip_prefix("*.").unwrap_or(&host);
        if host != "*" && (name.is_empty() || !name.bytes().all(is_host_byte)) {
            return Err(Error::Host {
                host,
                what: "a host name is letters, digits, dots and hyphens, without scheme, port and path",
            });
        }
        let before = if host == "*" {
            self.any.replace(rooms)
        } else if name.len() < host.len() {
            self.wild.insert(name.to_owned(), rooms)
        } else {
            self.exact.insert(host.clone(), rooms)
        };
        match before {
            None => Ok(()),
            Some(_) => Err(Error::Host {
                host,
                what: "two sites have this name",
            }),
        }
    }

    /// The site of a host (lower case, without port).
    pub(crate) fn site(&self, host: &str) -> Option<&Arc<Rooms>> {
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

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']')
}

fn load_key(site: &Site, unix_secs: i64) -> Result<Option<Arc<CertifiedKey>>, Error> {
    let Some(files) = &site.tls else {
        return Ok(None);
    };
    let loaded = certs::load(files, &site.hosts, unix_secs)?;
    for warning in &loaded.warnings {
        tracing::warn!(file = %warning.path.display(), hint = warning.hint, "the certificate {}", warning.what);
    }
    Ok(Some(loaded.key))
}

fn build_routes(host: &str, routes: Vec<Route>) -> Result<Table<Arc<Way>>, Error> {
    let paths: Vec<String> = routes.iter().map(|route| route.path.clone()).collect();
    let fail = |path: &str, what: String| Error::Route {
        host: host.to_owned(),
        path: path.to_owned(),
        what,
    };
    let mut ready = Vec::with_capacity(routes.len());
    for route in routes {
        let pattern =
            Pattern::parse(&route.path).map_err(|what| fail(&route.path, what.to_owned()))?;
        let to = build_target(route.target).map_err(|what| fail(&route.path, what))?;
        let session = route.session;
        ready.push((pattern, Arc::new(Way { session, to })));
    }
    Table::new(ready).map_err(|at| {
        let path = paths.get(at).cloned().unwrap_or_default();
        fail(
            &path,
            "an earlier route of this site is the same".to_owned(),
        )
    })
}

fn build_target(target: Target) -> Result<To, String> {
    Ok(match target {
        Target::App(name) => To::App(name),
        Target::Proxy(list) => To::Proxy(Ring::parse(&list)?),
        Target::Static(dir) => To::Static(open_root(&dir)?),
        Target::Room(router) => To::Room(router),
        Target::Redirect { to, code } => {
            if !matches!(code, 301 | 302 | 303 | 307 | 308) {
                return Err(format!(
                    "{code} is no redirect; use 301, 302, 303, 307 or 308"
                ));
            }
            let code = StatusCode::from_u16(code).map_err(|_| "no such code".to_owned())?;
            To::Redirect { to, code }
        }
    })
}

fn open_root(dir: &Path) -> Result<Root, String> {
    Root::open(dir)
        .map_err(|error| format!("the directory {} cannot be used: {error}", dir.display()))
}
