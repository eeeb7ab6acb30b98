//! A running edge gets new settings, sites, certificates and listeners.
//!
//! [`EdgeControl::prepare`] reads and checks, and changes nothing that can be seen;
//! [`EdgeControl::commit`] cannot fail. A request under way ends as it began; connections,
//! and with them WebSockets, stay open, and their next request finds the new sites. What is
//! known of clients and business servers is kept.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::caller::identity::Identify;
use crate::config::Config;
use crate::conn::listener_changes::ListenerChanges;
use crate::conn::listener_registry::StagedListeners;
use crate::error::Error;
use crate::files::protected::ProtectedFiles;
use crate::log::access_sink::AccessLog;
use crate::site::Site;
use crate::tables::{EdgeTables, TableParts, ThreadTables};
use crate::thread_counters::ThreadCounters;
use crate::worker::Shared;

/// What a running edge is to go by.
pub struct EdgeReload {
    /// The `[edge]` section. Of what [`Config::restart_keys`] names, nothing changes.
    pub config: Config,
    /// All sites. Their certificates are read anew.
    pub sites: Vec<Site>,
    /// What no site serves.
    pub protected: ProtectedFiles,
    /// Paths that begin with one of these are not shown to the tap.
    pub quiet_paths: Vec<String>,
    /// Answers who is calling, if something else does from now on.
    pub identify: Option<Arc<dyn Identify>>,
    /// Where the access log goes, if elsewhere from now on. An edge that was built without
    /// an access log gets none.
    pub access: Option<AccessLog>,
    /// Which listeners begin and end.
    pub listeners: ListenerChanges,
}

/// A reload that was read and checked. Dropped, it leaves no trace.
pub struct StagedEdge {
    tables: Arc<EdgeTables>,
    /// One for each edge thread.
    threads: Vec<Arc<ThreadTables>>,
    access: Option<AccessLog>,
    listeners: StagedListeners,
}

/// Changes a running front door. Cheap to clone.
#[derive(Clone)]
pub struct EdgeControl {
    shared: Arc<Shared>,
}

impl EdgeControl {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// What each edge thread counts.
    pub(crate) fn counters(&self) -> Vec<Arc<ThreadCounters>> {
        self.shared.counters.clone()
    }

    /// Waits until the edge accepts connections, and can be changed. It may end before.
    pub async fn started(&self) {
        self.shared.listeners.wait_until_started().await;
    }

    /// The local addresses that are listened at.
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.shared.listeners.addresses()
    }

    /// Reads certificates, opens directories, checks sites, settings and listeners.
    pub fn prepare(&self, reload: EdgeReload) -> Result<StagedEdge, Error> {
        if let Some(problem) = reload.config.problems().into_iter().next() {
            return Err(Error::Setting {
                key: problem.field,
                what: problem.message,
                hint: problem.hint,
            });
        }
        let before = self.shared.tables();
        let listeners = self
            .shared
            .listeners
            .stage(reload.listeners, reload.config.max_connections)?;
        let parts = TableParts {
            identify: reload
                .identify
                .unwrap_or_else(|| Arc::clone(&before.identify)),
            config: reload.config,
            sites: reload.sites,
            protected: reload.protected,
            quiet_paths: reload.quiet_paths,
        };
        let now = self.shared.clock.unix_secs();
        let tables = EdgeTables::build(parts, &self.shared.ticketer, Some(&before), now)?;
        let tables = Arc::new(tables);
        let thread = |_| Arc::new(ThreadTables::new(Arc::clone(&tables)));
        Ok(StagedEdge {
            threads: (0..self.shared.slots.len()).map(thread).collect(),
            tables,
            access: reload.access,
            listeners,
        })
    }

    /// Puts what was prepared in force, for every request that begins from now on.
    pub fn commit(&self, staged: StagedEdge) {
        let StagedEdge {
            tables,
            threads,
            access,
            listeners,
        } = staged;
        let shared = &self.shared;
        // One at a time, so that all threads have the same.
        let _turn = shared.commits.lock();
        shared.health.set_first_rest(tables.config.upstream_rest());
        shared.log_switch.commit(tables.config.access_log, access);
        shared.tables.store(tables);
        for (slot, thread) in shared.slots.iter().zip(threads) {
            slot.store(thread);
        }
        shared.listeners.commit(listeners);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    use axum::Router;
    use futures_util::FutureExt as _;
    use futures_util::future::BoxFuture;
    use http::HeaderMap;
    use weappd_base::clock::Clock;
    use weappd_base::tap::TrafficTap;
    use weappd_certs::CertFiles;

    use super::*;
    use crate::caller::identity::Caller;
    use crate::server::{Edge, EdgeParts};
    use crate::site::{BoundListener, ListenerKind, RouteTarget, SessionRule, SiteRoute};
    use crate::upstream::app_upstreams::AppUpstreams;

    struct Nobody;

    impl Identify for Nobody {
        fn identify<'a>(&'a self, _: &'a [String], _: &'a HeaderMap) -> BoxFuture<'a, Caller> {
            Box::pin(async { Caller::Nobody })
        }
    }

    const GATEWAY: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 9));
    const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 9));

    type SettingChange = (&'static str, fn(&mut Config));

    /// Every setting, changed by itself to something that works.
    fn changes() -> Vec<SettingChange> {
        // Without `..`: a new setting must be thought of here.
        let Config {
            threads: _,
            max_connections: _,
            head_timeout_secs: _,
            handshake_timeout_secs: _,
            keep_alive_secs: _,
            body_timeout_secs: _,
            min_upload_rate: _,
            send_timeout_secs: _,
            min_send_rate: _,
            max_requests_per_client: _,
            max_head_bytes: _,
            max_headers: _,
            max_uri_bytes: _,
            max_body_bytes: _,
            connect_timeout_ms: _,
            answer_timeout_secs: _,
            read_timeout_secs: _,
            hold_ms: _,
            upstream_idle_secs: _,
            upstream_rest_secs: _,
            upstream_idle: _,
            env_id: _,
            wechat_gateways: _,
            trusted_proxies: _,
            http2: _,
            access_log: _,
        } = Config::default();
        vec![
            ("threads", |c| c.threads += 1),
            ("max_connections", |c| c.max_connections += 1),
            ("head_timeout_secs", |c| c.head_timeout_secs += 1),
            ("handshake_timeout_secs", |c| c.handshake_timeout_secs += 1),
            ("keep_alive_secs", |c| c.keep_alive_secs += 1),
            ("body_timeout_secs", |c| c.body_timeout_secs += 1),
            ("min_upload_rate", |c| c.min_upload_rate += 1),
            ("send_timeout_secs", |c| c.send_timeout_secs += 1),
            ("min_send_rate", |c| c.min_send_rate += 1),
            ("max_requests_per_client", |c| {
                c.max_requests_per_client = 77;
            }),
            ("max_head_bytes", |c| c.max_head_bytes += 1),
            ("max_headers", |c| c.max_headers += 1),
            ("max_uri_bytes", |c| c.max_uri_bytes += 1),
            ("max_body_bytes", |c| c.max_body_bytes += 1),
            ("connect_timeout_ms", |c| c.connect_timeout_ms += 1),
            ("answer_timeout_secs", |c| c.answer_timeout_secs += 1),
            ("read_timeout_secs", |c| c.read_timeout_secs += 1),
            ("hold_ms", |c| c.hold_ms += 1),
            ("upstream_idle_secs", |c| c.upstream_idle_secs += 1),
            ("upstream_rest_secs", |c| c.upstream_rest_secs += 1),
            ("upstream_idle", |c| c.upstream_idle += 1),
            ("env_id", |c| c.env_id = "other".to_owned()),
            ("wechat_gateways", |c| {
                c.wechat_gateways = vec![GATEWAY.to_string()];
            }),
            ("trusted_proxies", |c| {
                c.trusted_proxies = vec![PROXY.to_string()];
            }),
            ("http2", |c| c.http2 = !c.http2),
            ("access_log", |c| c.access_log = !c.access_log),
        ]
    }

    /// Each setting as what runs goes by it.
    fn in_force(shared: &Shared) -> Vec<(&'static str, String)> {
        let thread = shared.slots.first().expect("a thread").load_full();
        let config = &thread.config;
        let alpn = |tls: &Arc<rustls::ServerConfig>| tls.alpn_protocols.len();
        vec![
            ("threads", shared.slots.len().to_string()),
            (
                "max_connections",
                format!("{:?}", shared.listeners.limits()),
            ),
            ("head_timeout_secs", format!("{:?}", config.head_timeout())),
            (
                "handshake_timeout_secs",
                format!("{:?}", config.handshake_timeout()),
            ),
            ("keep_alive_secs", format!("{:?}", config.keep_alive())),
            (
                "body_timeout_secs",
                format!("{:?}", config.upload_rate().within),
            ),
            (
                "min_upload_rate",
                config.upload_rate().per_second.to_string(),
            ),
            (
                "send_timeout_secs",
                format!("{:?}", config.answer_rate().within),
            ),
            ("min_send_rate", config.answer_rate().per_second.to_string()),
            ("max_requests_per_client", thread.client_limit.to_string()),
            ("max_head_bytes", config.max_head_bytes.to_string()),
            ("max_headers", config.max_headers.to_string()),
            ("max_uri_bytes", config.max_uri_bytes.to_string()),
            ("max_body_bytes", config.max_body_bytes.to_string()),
            (
                "connect_timeout_ms",
                format!("{:?}", thread.pool_limits.connect_timeout),
            ),
            (
                "answer_timeout_secs",
                format!("{:?}", config.answer_timeout()),
            ),
            ("read_timeout_secs", format!("{:?}", config.read_timeout())),
            ("hold_ms", format!("{:?}", config.hold())),
            (
                "upstream_idle_secs",
                format!("{:?}", thread.pool_limits.max_idle),
            ),
            (
                "upstream_rest_secs",
                format!("{:?}", shared.health.first_rest()),
            ),
            ("upstream_idle", thread.pool_limits.keep.to_string()),
            ("env_id", format!("{:?}", thread.env)),
            (
                "wechat_gateways",
                thread.trust.role(GATEWAY).wechat_gateway.to_string(),
            ),
            (
                "trusted_proxies",
                thread.trust.role(PROXY).proxy.to_string(),
            ),
            ("http2", format!("{:?}", thread.tls.as_ref().map(alpn))),
            (
                "access_log",
                (config.access_log && shared.log_switch.is_on()).to_string(),
            ),
        ]
    }

    fn site(dir: &std::path::Path) -> Site {
        let files = CertFiles {
            cert: dir.join("cert"),
            key: dir.join("key"),
        };
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]);
        let made = made.expect("a certificate");
        std::fs::write(&files.cert, made.cert.pem()).expect("written");
        std::fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
        Site {
            hosts: vec!["a.example".to_owned()],
            tls: Some(files),
            redirect: None,
            no_redirect: Vec::new(),
            reserved: Vec::new(),
            appids: Vec::new(),
            routes: vec![SiteRoute {
                path: "/".to_owned(),
                target: RouteTarget::Router(Router::new().into()),
                session: SessionRule::Pass,
            }],
            services: Vec::new(),
        }
    }

    fn reload(config: Config, site: &Site) -> EdgeReload {
        EdgeReload {
            config,
            sites: vec![site.clone()],
            protected: ProtectedFiles::default(),
            quiet_paths: Vec::new(),
            identify: None,
            access: None,
            listeners: ListenerChanges::default(),
        }
    }

    #[tokio::test]
    async fn every_setting_counts_at_once_or_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let site = site(dir.path());
        let base = Config {
            threads: 1,
            max_requests_per_client: 7,
            ..Config::default()
        };
        let (_apps, upstreams) = tokio::sync::watch::channel(AppUpstreams::default());
        let edge = Edge::build(EdgeParts {
            config: base.clone(),
            sites: vec![site.clone()],
            protected: ProtectedFiles::default(),
            upstreams,
            identify: Arc::new(Nobody),
            clock: Clock::system(),
            tap: TrafficTap::off(),
            quiet_paths: Vec::new(),
            access: None,
            inside: false,
        });
        let control = edge.expect("sound").control();
        let shared = &control.shared;
        let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let kind = ListenerKind::Http;
        let first = vec![BoundListener { socket, kind }];
        // Before that, listeners could not be added: who waits is told when they can.
        assert!(control.started().now_or_never().is_none());
        let _opened = shared.listeners.start(first, base.max_connections);
        assert!(control.started().now_or_never().is_some());
        let apply = |config: Config| {
            let staged = control.prepare(reload(config, &site)).expect("it works");
            control.commit(staged);
        };
        let before = in_force(shared);
        for (name, change) in changes() {
            let mut config = base.clone();
            change(&mut config);
            let trust = Arc::clone(&shared.tables().trust);
            apply(config.clone());
            let after = in_force(shared);
            let differ = before
                .iter()
                .zip(&after)
                .filter(|(one, other)| one != other);
            let differ: Vec<_> = differ.map(|((name, _), _)| *name).collect();
            let restart = base.restart_keys(&config);
            let told: Vec<_> = differ.iter().chain(&restart).copied().collect();
            assert_eq!(
                told,
                [name],
                "in force: {differ:?}, by a restart: {restart:?}"
            );
            let is_about_trust = ["wechat_gateways", "trusted_proxies"].contains(&name);
            let is_same = Arc::ptr_eq(&trust, &shared.tables().trust);
            assert_ne!(is_same, is_about_trust, "{name}");
            apply(base.clone());
            assert_eq!(in_force(shared), before, "{name}");
        }
        assert!(base.restart_keys(&base.clone()).is_empty());
    }
}
