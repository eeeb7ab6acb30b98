//! The business servers that may use tunnels, and where their callbacks may go.

use std::collections::HashMap;
use std::fmt;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use weappd_base::secret::Secret;

use crate::config::{Config, OwnSites};
use crate::error::Error;
use crate::retry::{LossLog, RetryGate};
use crate::signature;
use crate::stats::BusinessStats;

/// Most receive URLs remembered per business; further ones work but share no memory.
const MAX_ROUTES: usize = 64;

/// A business server, ready for use.
pub(crate) struct BusinessServer {
    pub(crate) host: String,
    pub(crate) key: Secret,
    /// Whether uncertain messages are sent again.
    pub(crate) dedupe: bool,
    /// Bounds the callbacks under way, first come first served.
    pub(crate) gate: Semaphore,
    /// When `close` callbacks that failed go again, and when others do.
    pub(crate) retries: [RetryGate; 2],
    pub(crate) losses: LossLog,
    pub(crate) counts: CallbackCounts,
    receive: Option<Uri>,
    receive_hosts: Vec<String>,
    public_base: Option<String>,
    own_sites: Arc<OwnSites>,
    allow_http: bool,
    routes: Mutex<HashMap<String, Arc<CallbackRoute>>>,
}

/// What became of a business server's callbacks since the start.
#[derive(Debug, Default)]
pub(crate) struct CallbackCounts {
    /// Those that failed and wait to go again, now.
    pub(crate) late: AtomicUsize,
    pub(crate) retries: AtomicU64,
    pub(crate) given_up: AtomicU64,
}

/// Where the callbacks of a tunnel go.
#[derive(Debug)]
pub(crate) struct CallbackRoute {
    pub(crate) business: Arc<BusinessServer>,
    pub(crate) url: Uri,
    /// The `Host` to name, where it is not the URL's own.
    pub(crate) host: Option<HeaderValue>,
}

impl BusinessServer {
    /// The route to the URL an SDK named, if callbacks may go there.
    pub(crate) fn route(self: &Arc<Self>, named: &str) -> Result<Arc<CallbackRoute>, Error> {
        let refused = || Error::ReceiveNotAllowed(named.chars().take(200).collect());
        if let Some(route) = self.routes.lock().get(named) {
            return Ok(Arc::clone(route));
        }
        let url = match &self.receive {
            Some(url) => url.clone(),
            None => self.allowed(named).ok_or_else(refused)?,
        };
        let (url, host) = self.near(url);
        let route = Arc::new(CallbackRoute {
            business: Arc::clone(self),
            url,
            host,
        });
        let mut routes = self.routes.lock();
        if routes.len() < MAX_ROUTES && named.len() <= 1024 {
            routes.insert(named.to_owned(), Arc::clone(&route));
        }
        Ok(route)
    }

    /// How it takes its callbacks.
    pub(crate) fn stats(&self) -> BusinessStats {
        let counts = &self.counts;
        BusinessStats {
            host: self.host.clone(),
            waiting: counts.late.load(Ordering::Relaxed) as u64,
            retries: counts.retries.load(Ordering::Relaxed),
            given_up: counts.given_up.load(Ordering::Relaxed),
            trouble: self.retries.iter().find_map(RetryGate::trouble),
        }
    }

    /// Tells of callbacks given up that nobody was told of.
    pub(crate) fn tell_losses(&self) {
        let lost = self.losses.rest();
        if lost > 0 {
            tracing::warn!(
                business = self.host,
                lost,
                "further callbacks not delivered"
            );
        }
    }

    /// The route of tunnels this server opens by itself, whose callbacks come to `path`.
    pub(crate) fn own_route(self: &Arc<Self>, path: &str) -> Result<Arc<CallbackRoute>, Error> {
        self.route(&format!("https://{}{path}", self.host))
    }

    /// Where phones reach the tunnels this business asks for.
    pub(crate) fn public_base(&self) -> String {
        let base = self.public_base.clone();
        base.unwrap_or_else(|| format!("wss://{}", self.host))
    }

    /// The shortest way to an allowed URL, and the `Host` to name on it.
    fn near(&self, url: Uri) -> (Uri, Option<HeaderValue>) {
        let near = self.own_sites.via.filter(|_| self.own_sites.has(&url));
        let near = near.and_then(|via| {
            let host = HeaderValue::from_str(url.authority()?.as_str()).ok()?;
            let path = url.path_and_query()?.as_str();
            Some((format!("http://{via}{path}").parse().ok()?, Some(host)))
        });
        near.unwrap_or((url, None))
    }

    fn allowed(&self, named: &str) -> Option<Uri> {
        let url: Uri = unbracket(named).parse().ok()?;
        let authority = url.authority()?.as_str();
        let scheme_fits = match url.scheme_str() {
            Some("https") => true,
            Some("http") => {
                self.allow_http || (self.own_sites.via.is_some() && self.own_sites.has(&url))
            }
            _ => false,
        };
        let host = url.host()?;
        let host_fits = std::iter::once(&self.host)
            .chain(&self.receive_hosts)
            .any(|ours| ours.eq_ignore_ascii_case(authority) || ours.eq_ignore_ascii_case(host));
        // `Uri` takes any text for a port; the call would go to another one than is named.
        let port_fits = match authority.strip_prefix(host) {
            Some("" | ":") => true,
            Some(rest) => rest.strip_prefix(':').is_some_and(is_port),
            None => false,
        };
        (scheme_fits && host_fits && port_fits).then_some(url)
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|c| c.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

/// `url.format` of Node, given a host with a port, writes `http://[127.0.0.1:8080]/`: the
/// old SDKs send that when `serverHost` has a port. What was meant is plain.
fn unbracket(url: &str) -> String {
    let meant = url.split_once("://[").and_then(|(scheme, rest)| {
        let (host, rest) = rest.split_once(']')?;
        let is_ipv6 = host.parse::<Ipv6Addr>().is_ok();
        (!is_ipv6).then(|| format!("{scheme}://{host}{rest}"))
    });
    meant.unwrap_or_else(|| url.to_owned())
}

impl fmt::Debug for BusinessServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusinessServer({})", self.host)
    }
}

/// All of them, by both their names.
#[derive(Debug)]
pub(crate) struct BusinessRegistry {
    by_tc_id: HashMap<String, Arc<BusinessServer>>,
    by_host: HashMap<String, Arc<BusinessServer>>,
}

impl BusinessRegistry {
    /// Reads them from settings that have no problem.
    pub(crate) fn new(config: &Config) -> Self {
        let own_sites = Arc::new(config.own_sites.clone());
        let all: Vec<_> = config
            .businesses
            .iter()
            .map(|business| {
                Arc::new(BusinessServer {
                    host: business.host.clone(),
                    key: business.key.clone(),
                    dedupe: business.dedupe,
                    gate: Semaphore::new(config.callback_concurrency),
                    retries: [RetryGate::new(), RetryGate::new()],
                    losses: LossLog::default(),
                    counts: CallbackCounts::default(),
                    receive: business.receive.as_ref().and_then(|url| url.parse().ok()),
                    receive_hosts: business.receive_hosts.clone(),
                    public_base: business.public_base.clone(),
                    own_sites: Arc::clone(&own_sites),
                    allow_http: config.allow_http_receive,
                    routes: Mutex::default(),
                })
            })
            .collect();
        let named = |name: fn(&BusinessServer) -> String| {
            all.iter().map(|one| (name(one), Arc::clone(one))).collect()
        };
        Self {
            by_tc_id: named(|business| signature::tc_id(&business.host)),
            by_host: named(|business| business.host.clone()),
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<BusinessServer>> {
        self.by_host.values()
    }

    /// The one an SDK calls `tc_id`.
    pub(crate) fn by_tc_id(&self, tc_id: &str) -> Option<&Arc<BusinessServer>> {
        self.by_tc_id.get(tc_id)
    }

    /// Their hosts, for people.
    pub(crate) fn hosts(&self) -> String {
        let mut hosts: Vec<&str> = self.by_host.keys().map(String::as_str).collect();
        hosts.sort_unstable();
        if hosts.is_empty() {
            return "none (there is no [tunnel] key)".to_owned();
        }
        hosts.join(", ")
    }

    /// The one with this host.
    pub(crate) fn by_host(&self, host: &str) -> Option<&Arc<BusinessServer>> {
        self.by_host.get(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn business(change: impl FnOnce(&mut Config)) -> Arc<BusinessServer> {
        let mut config = Config {
            businesses: vec![config::BusinessConfig {
                host: "www.example.com".to_owned(),
                key: Secret::new("key"),
                ..config::BusinessConfig::default()
            }],
            ..Config::default()
        };
        change(&mut config);
        let host = config.businesses[0].host.clone();
        let all = BusinessRegistry::new(&config);
        Arc::clone(all.by_host(&host).expect("configured"))
    }

    fn routed(business: &Arc<BusinessServer>, url: &str) -> Option<String> {
        business.route(url).ok().map(|route| route.url.to_string())
    }

    #[test]
    fn a_site_of_this_weappd_is_reached_by_the_short_way() {
        let business = business(|config| {
            config.own_sites = own_sites(&["www.example.com"]);
        });
        for authority in [
            "https://www.example.com",
            "http://www.example.com",
            "https://www.example.com:443",
            "https://WWW.example.com:8443",
            "http://www.example.com:8080",
        ] {
            let route = business
                .route(&format!("{authority}/tunnel?x=1"))
                .expect("allowed");
            assert_eq!(route.url, "http://127.0.0.1:7/tunnel?x=1", "{authority}");
            let host = route.host.as_ref().expect("a Host to name");
            assert_eq!(
                Some(host.to_str().expect("text")),
                authority.split("//").nth(1)
            );
        }
        assert_eq!(routed(&business, "http://other.example.com/tunnel"), None);
    }

    fn own_sites(hosts: &[&str]) -> OwnSites {
        OwnSites {
            via: Some(([127, 0, 0, 1], 7).into()),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            http_ports: vec![8080],
            https_ports: vec![8443],
        }
    }

    #[test]
    fn another_port_of_a_sites_host_is_another_server() {
        let business = business(|config| {
            config.own_sites = own_sites(&["www.example.com"]);
            config.allow_http_receive = true;
        });
        for url in [
            "https://www.example.com:22705/tunnel",
            // The site's port, but for the other scheme.
            "https://www.example.com:8080/tunnel",
            "http://www.example.com:8443/tunnel",
            "http://www.example.com:443/tunnel",
        ] {
            assert_eq!(routed(&business, url).as_deref(), Some(url));
        }
    }

    #[test]
    fn a_site_of_many_names_is_reached_by_the_short_way_under_each() {
        for (hosts, near) in [
            (&["*.example.com"], true),
            (&["*"], true),
            (&["example.com"], false),
        ] {
            let business = business(|config| config.own_sites = own_sites(hosts));
            let route = business
                .route("https://www.example.com/t")
                .expect("allowed");
            assert_eq!(route.host.is_some(), near, "{hosts:?}");
        }
    }

    #[test]
    fn a_fixed_address_on_a_site_of_this_weappd_takes_the_short_way_too() {
        let business = business(|config| {
            config.own_sites = own_sites(&["www.example.com"]);
            config.businesses[0].receive = Some("https://www.example.com:8443/hook".to_owned());
        });
        let url = routed(&business, "https://anything/");
        assert_eq!(url.as_deref(), Some("http://127.0.0.1:7/hook"));
    }

    #[test]
    fn callbacks_go_to_the_business_alone() {
        let business = business(|_| {});
        let good = [
            "https://www.example.com/tunnel",
            "https://WWW.example.com/tunnel",
            "https://www.example.com:8443/tunnel?x=1",
        ];
        for url in good {
            assert!(routed(&business, url).is_some(), "{url}");
        }
        for url in [
            "http://www.example.com/tunnel",
            "https://evil.example.com/tunnel",
            "https://www.example.com@evil.example.com/",
            "https://user@www.example.com/",
            "https://www.example.com.evil.example.com/",
            "https://www.example.com:evil/",
            "https://www.example.com:99999/",
            "https://www.example.com:+80/",
            "ftp://www.example.com/",
            "/tunnel",
            "",
            "https://[www.example.com",
        ] {
            assert_eq!(routed(&business, url), None, "{url}");
        }
    }

    #[test]
    fn a_host_with_a_port_means_that_port() {
        let business = business(|config| {
            config.allow_http_receive = true;
            config.businesses[0].host = "127.0.0.1:8080".to_owned();
        });
        let url = "http://127.0.0.1:8080/tunnel";
        assert_eq!(routed(&business, url).as_deref(), Some(url));
        assert_eq!(
            routed(&business, "http://[127.0.0.1:8080]/tunnel").as_deref(),
            Some(url)
        );
        assert_eq!(routed(&business, "http://127.0.0.1:9/tunnel"), None);
    }

    #[test]
    fn settings_may_name_other_hosts_or_the_very_url() {
        let hosts = business(|config| {
            config.businesses[0].receive_hosts = vec!["hooks.example.com".to_owned()];
        });
        assert!(routed(&hosts, "https://hooks.example.com/a").is_some());
        let fixed = business(|config| {
            config.businesses[0].receive = Some("https://10.0.0.1/hook".to_owned());
        });
        assert_eq!(
            routed(&fixed, "http://anything/").as_deref(),
            Some("https://10.0.0.1/hook")
        );
        assert!(fixed.own_route("/tunnel").is_ok());
    }

    #[test]
    fn one_url_is_kept_once() {
        let business = business(|_| {});
        let url = "https://www.example.com/tunnel";
        let (a, b) = (business.route(url), business.route(url));
        assert!(matches!((a, b), (Ok(a), Ok(b)) if Arc::ptr_eq(&a, &b)));
        for at in 0..200 {
            assert!(business.route(&format!("{url}/{at}")).is_ok());
        }
        assert_eq!(business.routes.lock().len(), MAX_ROUTES);
    }
}
