//! What requests go by, and a reload replaces: settings, sites, certificates, trust.
//!
//! Each edge thread has the tables behind a pointer of its own, so that taking them for a
//! request touches no memory that another thread writes to. A request keeps the tables it
//! began with; what lives longer (a connection, an answer under way) copies what it needs.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use rustls::ServerConfig;
use rustls::server::ProducesTickets;
use weappd_base::unix_time::UnixSecs;

use crate::caller::client_share;
use crate::caller::client_trust::ClientTrust;
use crate::caller::identity::{self, Identify};
use crate::config::Config;
use crate::error::Error;
use crate::files::protected::ProtectedFiles;
use crate::route::site_table::SiteTable;
use crate::site::Site;
use crate::tls::cert_resolver::CertResolver;
use crate::tls::settings;
use crate::upstream::pool::UpstreamPoolLimits;

/// What tables are built from.
pub(crate) struct TableParts {
    pub(crate) config: Config,
    pub(crate) sites: Vec<Site>,
    pub(crate) protected: ProtectedFiles,
    pub(crate) identify: Arc<dyn Identify>,
    pub(crate) quiet_paths: Vec<String>,
}

/// What all edge threads go by.
pub(crate) struct EdgeTables {
    pub(crate) config: Config,
    pub(crate) sites: SiteTable,
    /// If any site has a certificate.
    pub(crate) tls: Option<Arc<ServerConfig>>,
    /// Which peers are trusted about their clients.
    pub(crate) trust: Arc<ClientTrust>,
    pub(crate) identify: Arc<dyn Identify>,
    /// Paths that are not shown to the tap.
    pub(crate) quiet_paths: Vec<String>,
    pub(crate) pool_limits: UpstreamPoolLimits,
    /// Requests that one client may have under way.
    pub(crate) client_limit: usize,
}

impl EdgeTables {
    /// Reads the certificates, checks sites and settings. What did not change since `before`
    /// stays the same value.
    pub(crate) fn build(
        parts: TableParts,
        ticketer: &Arc<dyn ProducesTickets>,
        before: Option<&Self>,
        now: UnixSecs,
    ) -> Result<Self, Error> {
        let config = parts.config;
        let sites = SiteTable::build(parts.sites, &parts.protected, now)?;
        let trust = match before.filter(|before| trusts_the_same(&before.config, &config)) {
            Some(before) => Arc::clone(&before.trust),
            None => Arc::new(ClientTrust::of(&config)?),
        };
        let resolver = || Arc::new(CertResolver::new(Arc::clone(&sites.certs)));
        let tls = (!sites.certs.is_empty())
            .then(|| settings::settings(resolver(), Arc::clone(ticketer), config.http2))
            .transpose()?;
        Ok(Self {
            tls,
            trust,
            identify: parts.identify,
            quiet_paths: parts.quiet_paths,
            pool_limits: UpstreamPoolLimits::of(&config),
            client_limit: client_share::limit_of(config.max_requests_per_client),
            sites,
            config,
        })
    }
}

fn trusts_the_same(one: &Config, other: &Config) -> bool {
    one.trusted_proxies == other.trusted_proxies && one.wechat_gateways == other.wechat_gateways
}

/// What one edge thread goes by. Aligned, so that the count of its users, which each request
/// writes, shares no cache line with another thread's.
#[repr(align(128))]
pub(crate) struct ThreadTables {
    edge: Arc<EdgeTables>,
    /// The environment's name, as apps are told it.
    pub(crate) env: HeaderValue,
}

impl ThreadTables {
    pub(crate) fn new(edge: Arc<EdgeTables>) -> Self {
        Self {
            // Not a copy: its count of users is this thread's own.
            env: identity::env_header(&edge.config.env_id),
            edge,
        }
    }
}

impl Deref for ThreadTables {
    type Target = EdgeTables;

    fn deref(&self) -> &EdgeTables {
        &self.edge
    }
}

/// Where a reload puts the tables of one edge thread.
pub(crate) type TableSlot = ArcSwap<ThreadTables>;
