//! Small edges for loopback listeners: the internal API, the simulated WeChat, the loopback listener.
//! They have the front door's deadlines and limits, one thread each, and no access log.

use std::sync::Arc;

use axum::Router;
use tokio::sync::watch;
use weappd_base::tap::TrafficTap;
use weappd_certs::CertFiles;
use weappd_edge::{
    Edge, EdgeParts, EdgeReload, ListenerChanges, ProtectedFiles, RouteTarget, SessionRule, Site,
    SiteRoute,
};

use crate::builtin::NobodyKnown;
use crate::exit::ExitFailure;
use crate::server_context::ServerContext;

/// One thread, no log.
pub(crate) fn small_config() -> weappd_edge::Config {
    weappd_edge::Config {
        threads: 1,
        access_log: false,
        ..weappd_edge::Config::default()
    }
}

/// One thread that serves one router to everybody who reaches it: for loopback listeners.
pub(crate) fn small_edge(context: &ServerContext, router: Router) -> Result<Edge, ExitFailure> {
    edge_of(context, vec!["*".to_owned()], None, router)
}

/// The same over TLS as well, for callers who want one of `hosts`.
pub(crate) fn secure_edge(
    context: &ServerContext,
    hosts: Vec<String>,
    cert: CertFiles,
    router: Router,
) -> Result<Edge, ExitFailure> {
    edge_of(context, hosts, Some(cert), router)
}

fn edge_of(
    context: &ServerContext,
    hosts: Vec<String>,
    tls: Option<CertFiles>,
    router: Router,
) -> Result<Edge, ExitFailure> {
    let hint = match &tls {
        Some(files) => format!(
            "remove {} and {}: the next start makes new ones",
            files.cert.display(),
            files.key.display()
        ),
        None => String::new(),
    };
    Edge::build(EdgeParts {
        config: small_config(),
        sites: vec![one_site(hosts, tls, router)],
        protected: weappd_edge::ProtectedFiles::default(),
        upstreams: watch::channel(Arc::default()).1,
        identify: Arc::new(NobodyKnown),
        clock: context.clock.clone(),
        tap: TrafficTap::off(),
        quiet_paths: Vec::new(),
        access: None,
        // Apps name their mini program in X-Weappd-Appid.
        inside: true,
    })
    .map_err(|error| ExitFailure::new(&error, &hint))
}

/// A site of one router, whoever asks for whichever name.
pub(crate) fn everything(router: Router) -> Site {
    one_site(vec!["*".to_owned()], None, router)
}

fn one_site(hosts: Vec<String>, tls: Option<CertFiles>, router: Router) -> Site {
    Site {
        no_redirect: Vec::new(),
        reserved: Vec::new(),
        hosts,
        tls,
        redirect: None,
        appids: Vec::new(),
        routes: vec![SiteRoute {
            path: "/".to_owned(),
            target: RouteTarget::Router(router.into()),
            session: SessionRule::Pass,
        }],
        services: Vec::new(),
    }
}

/// Other sites for a small edge; everything else of it stays.
pub(crate) fn small_reload(sites: Vec<Site>) -> EdgeReload {
    EdgeReload {
        config: small_config(),
        sites,
        protected: ProtectedFiles::default(),
        quiet_paths: Vec::new(),
        identify: None,
        access: None,
        listeners: ListenerChanges::default(),
    }
}
