//! The business servers that may use tunnels, found by their host: what they are set to changes
//! with a reload, what became of their callbacks stays.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use http::{HeaderValue, Uri};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::business_settings::BusinessSettings;
use crate::config::Config;
use crate::error::Error;
use crate::retry::{LossLog, RetryGate};
use crate::signature;
use crate::stats::BusinessStats;

/// Most receive URLs remembered per business; further ones work but share no memory.
const MAX_ROUTES: usize = 64;

/// A business server, for as long as weappd.toml names its host.
pub(crate) struct BusinessServer {
    pub(crate) host: String,
    /// When `close` callbacks that failed go again, and when others do.
    pub(crate) retries: [RetryGate; 2],
    pub(crate) losses: LossLog,
    pub(crate) counts: CallbackCounts,
    /// Bounds the callbacks under way, first come first served.
    gate: ArcSwap<Semaphore>,
    settings: ArcSwap<BusinessSettings>,
    routes: Mutex<HashMap<String, Arc<CallbackRoute>>>,
    is_removed: AtomicBool,
}

/// What became of a business server's callbacks since the start.
#[derive(Debug, Default)]
pub(crate) struct CallbackCounts {
    /// Those that failed and wait to go again, now.
    pub(crate) late: AtomicUsize,
    pub(crate) retries: AtomicU64,
    pub(crate) given_up: AtomicU64,
}

/// Where the callbacks of a tunnel go: the URL its SDK named, as the settings of the day read it.
#[derive(Debug)]
pub(crate) struct CallbackRoute {
    pub(crate) business: Arc<BusinessServer>,
    named: Box<str>,
    target: ArcSwap<CallbackTarget>,
}

/// Where callbacks of a route go under the settings of the day.
#[derive(Debug)]
pub(crate) struct CallbackTarget {
    /// What it is called.
    pub(crate) url: Uri,
    /// The `Host` to name, where it is not the URL's own.
    pub(crate) host: Option<HeaderValue>,
    /// The URL before the shortest way to it was looked for.
    public_url: Uri,
    pub(crate) settings: Arc<BusinessSettings>,
}

impl CallbackTarget {
    fn new(public_url: Uri, settings: Arc<BusinessSettings>) -> Self {
        let (url, host) = settings.near(public_url.clone());
        Self {
            url,
            host,
            public_url,
            settings,
        }
    }
}

impl CallbackRoute {
    /// Where callbacks go now. A tunnel that lives keeps its URL also where the settings of
    /// today would not let a new one have it.
    pub(crate) fn target(&self) -> Arc<CallbackTarget> {
        let (known, settings) = (self.target.load_full(), self.business.settings());
        if Arc::ptr_eq(&known.settings, &settings) {
            return known;
        }
        let url = settings.receive_url(&self.named);
        let url = url.unwrap_or_else(|| known.public_url.clone());
        let fresh = Arc::new(CallbackTarget::new(url, settings));
        self.target.store(Arc::clone(&fresh));
        fresh
    }
}

impl BusinessServer {
    /// One that nothing is known about.
    pub(crate) fn new(host: &str, settings: BusinessSettings) -> Self {
        Self {
            host: host.to_owned(),
            retries: [RetryGate::new(), RetryGate::new()],
            losses: LossLog::default(),
            counts: CallbackCounts::default(),
            gate: ArcSwap::from_pointee(Semaphore::new(settings.concurrency)),
            settings: ArcSwap::from_pointee(settings),
            routes: Mutex::default(),
            is_removed: AtomicBool::new(false),
        }
    }

    /// How it is set now.
    pub(crate) fn settings(&self) -> Arc<BusinessSettings> {
        self.settings.load_full()
    }

    /// Sets it anew, if something differs. Callbacks under way end as they began.
    pub(crate) fn set(&self, settings: BusinessSettings) {
        let before = self.settings.load_full();
        if *before == settings {
            return;
        }
        if before.concurrency != settings.concurrency {
            self.gate
                .store(Arc::new(Semaphore::new(settings.concurrency)));
        }
        self.settings.store(Arc::new(settings));
    }

    /// What callbacks pass one by one.
    pub(crate) fn gate(&self) -> Arc<Semaphore> {
        self.gate.load_full()
    }

    /// weappd.toml no longer names it: it gets no further tunnel.
    pub(crate) fn remove(&self) {
        self.is_removed.store(true, Ordering::SeqCst);
        // They hold this server, and it held them.
        self.routes.lock().clear();
    }

    /// Whether weappd.toml no longer names it.
    pub(crate) fn is_removed(&self) -> bool {
        self.is_removed.load(Ordering::SeqCst)
    }

    /// The route to the URL an SDK named, if callbacks may go there.
    pub(crate) fn route(self: &Arc<Self>, named: &str) -> Result<Arc<CallbackRoute>, Error> {
        let known = self.routes.lock().get(named).map(Arc::clone);
        let settings = self.settings();
        if let Some(route) = &known
            && Arc::ptr_eq(&route.target.load().settings, &settings)
        {
            return Ok(Arc::clone(route));
        }
        let refused = || Error::ReceiveNotAllowed(named.chars().take(200).collect());
        let url = settings.receive_url(named).ok_or_else(refused)?;
        let target = CallbackTarget::new(url, settings);
        if let Some(route) = known {
            route.target.store(Arc::new(target));
            return Ok(route);
        }
        let route = Arc::new(CallbackRoute {
            business: Arc::clone(self),
            named: named.into(),
            target: ArcSwap::from_pointee(target),
        });
        let mut routes = self.routes.lock();
        if routes.len() < MAX_ROUTES && named.len() <= 1024 && !self.is_removed() {
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
        let base = self.settings.load().public_base.clone();
        base.unwrap_or_else(|| format!("wss://{}", self.host))
    }
}

impl fmt::Debug for BusinessServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BusinessServer({})", self.host)
    }
}

/// All of them, by both their names.
#[derive(Debug, Default)]
pub(crate) struct BusinessRegistry {
    by_tc_id: HashMap<String, Arc<BusinessServer>>,
    by_host: HashMap<String, Arc<BusinessServer>>,
}

impl BusinessRegistry {
    /// Those of settings that have no problem. Who stands in `former` under the same host is
    /// the same server, and is set anew.
    pub(crate) fn new(config: &Config, former: &Self) -> Self {
        let own_sites = Arc::new(config.own_sites.clone());
        let all: Vec<_> = config
            .businesses
            .iter()
            .map(|business| {
                let settings = BusinessSettings::new(config, business, &own_sites);
                match former.by_host(&business.host) {
                    Some(same) => {
                        same.set(settings);
                        Arc::clone(same)
                    }
                    None => Arc::new(BusinessServer::new(&business.host, settings)),
                }
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
    use weappd_base::secret::Secret;

    use super::*;
    use crate::config::{self, OwnSites};

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
        let all = BusinessRegistry::new(&config, &BusinessRegistry::default());
        Arc::clone(all.by_host(&host).expect("configured"))
    }

    fn routed(business: &Arc<BusinessServer>, url: &str) -> Option<String> {
        let route = business.route(url).ok()?;
        Some(route.target().url.to_string())
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
            let target = route.target();
            assert_eq!(target.url, "http://127.0.0.1:7/tunnel?x=1", "{authority}");
            let host = target.host.as_ref().expect("a Host to name");
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
            assert_eq!(route.target().host.is_some(), near, "{hosts:?}");
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
