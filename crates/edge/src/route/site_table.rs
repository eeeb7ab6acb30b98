//! Sites and routes made ready: looked up for every request, replaced whole by a reload.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use weappd_base::unix_time::UnixSecs;

use crate::error::Error;
use crate::files::protected::ProtectedFiles;
use crate::route::compiled_site::CompiledSite;
use crate::route::site_compiler;
use crate::site::Site;
use weappd_certs::CertTable;

/// All sites.
#[derive(Debug)]
pub(crate) struct SiteTable {
    /// Names are the configuration's: nobody chooses them to collide.
    exact: HashMap<String, Arc<CompiledSite>, RandomState>,
    wild: HashMap<String, Arc<CompiledSite>, RandomState>,
    any: Option<Arc<CompiledSite>>,
    pub(crate) certs: Arc<CertTable>,
    /// What all sites are called, in their order.
    names: Vec<String>,
}

impl SiteTable {
    /// Reads the certificates and checks names and routes.
    pub(crate) fn build(
        sites: Vec<Site>,
        protected: &ProtectedFiles,
        now: UnixSecs,
    ) -> Result<Self, Error> {
        let mut table = Self {
            exact: HashMap::default(),
            wild: HashMap::default(),
            any: None,
            certs: Arc::default(),
            names: Vec::new(),
        };
        let mut certs = CertTable::default();
        for site in sites {
            let hosts: Vec<String> = site.hosts.iter().map(|h| plain_host(h)).collect();
            let first = hosts.first().cloned().unwrap_or_default();
            let (compiled, key) = site_compiler::compile(site, &first, protected, now)?;
            let compiled = Arc::new(compiled);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{RouteTarget, SessionRule, SiteRoute};

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
        SiteTable::build(vec![site], &ProtectedFiles::default(), UnixSecs::default())
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
