//! Which peers are trusted about their clients: the operator's own proxies, and WeChat's gateway.
//!
//! A request from one of their addresses is its client's: the address, scheme and host in its
//! headers count everywhere, for the log, for limits, for weappd's own endpoints and for apps.
//! From all other peers such headers are dropped, and apps get what the edge sees itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use weappd_base::rate_limit::LogLimit;

use crate::caller::client_share::ClientShares;
use crate::caller::forwarded::{self, ForwardedInfo};
use crate::caller::header_claims::{HeaderClaim, is_doubtful};
use crate::caller::headers::{self, HeaderScope};
use crate::caller::ip_networks::IpNetworks;
use crate::caller::peer_role::PeerRole;
use crate::caller::wechat_gateway;
use crate::config::Config;
use crate::conn::conn_info::ConnInfo;
use crate::error::Error;
use crate::route::request_screen;
use crate::route::site_table::SiteTable;

/// How often the log hints at a proxy that is missing in `trusted_proxies`.
const HINT_INTERVAL: Duration = Duration::from_hours(1);

/// The number of the next table.
static TABLES: AtomicU64 = AtomicU64::new(1);

/// The addresses of trusted peers.
#[derive(Debug)]
pub(crate) struct ClientTrust {
    /// No other table of this process has it.
    number: u64,
    proxies: IpNetworks,
    gateways: IpNetworks,
    /// Where a proxy may stand that is missing in `trusted_proxies`.
    near: IpNetworks,
    hints: LogLimit,
}

/// A request from a trusted peer, as the client made it.
#[derive(Debug)]
pub(crate) struct ForwardedRequest {
    pub(crate) conn: ConnInfo,
    host: Option<String>,
}

impl ClientTrust {
    pub(crate) fn of(config: &Config) -> Result<Self, Error> {
        let nets = |key, list: &[String]| {
            let wrong = |(_, (what, hint))| Error::Nets { key, what, hint };
            IpNetworks::parse(list).map_err(wrong)
        };
        Ok(Self {
            number: TABLES.fetch_add(1, Ordering::Relaxed),
            proxies: nets("trusted_proxies", &config.trusted_proxies)?,
            gateways: nets("wechat_gateways", &config.wechat_gateways)?,
            near: IpNetworks::local(),
            hints: LogLimit::new(HINT_INTERVAL, 1),
        })
    }

    /// What is believed of the peer of a connection now. Its role was looked up when it
    /// connected, and is again only after a reload has changed the networks.
    pub(crate) fn role_of(&self, conn: &ConnInfo) -> PeerRole {
        if conn.role.table == self.number {
            conn.role
        } else {
            self.role(conn.peer.ip())
        }
    }

    pub(crate) fn role(&self, peer: IpAddr) -> PeerRole {
        let (proxy, wechat_gateway) = (self.proxies.contains(peer), self.gateways.contains(peer));
        PeerRole {
            proxy,
            wechat_gateway,
            near: !proxy && !wechat_gateway && self.near.contains(peer),
            table: self.number,
        }
    }

    /// The request as its client made it, if its peer is trusted.
    pub(crate) fn original_request(
        &self,
        (conn, role): (&ConnInfo, PeerRole),
        headers: &HeaderMap,
        clients: &Arc<ClientShares>,
    ) -> Option<ForwardedRequest> {
        let PeerRole {
            proxy,
            wechat_gateway,
            ..
        } = role;
        let named = wechat_gateway
            .then(|| wechat_gateway::client(headers))
            .flatten();
        let ours = match (proxy, wechat_gateway) {
            (true, true) => &self.proxies.clone().and(&self.gateways),
            (true, false) => &self.proxies,
            (false, true) => &self.gateways,
            (false, false) => return None,
        };
        let ForwardedInfo {
            client,
            is_https,
            host,
        } = forwarded::read(headers, ours);
        // A peer that names no client is the client.
        let alone = SocketAddr::new(conn.peer.ip(), 0);
        let client = named.or(client).unwrap_or(alone);
        let is_https = is_https.filter(|_| proxy);
        Some(ForwardedRequest {
            conn: conn.as_client((client, clients.of_client(client.ip())), is_https),
            host: host.filter(|_| proxy),
        })
    }

    /// Logs once in a while that a proxy seems to be missing in `trusted_proxies`.
    pub(crate) fn hint(&self, conn: &ConnInfo, role: PeerRole, headers: &HeaderMap) {
        // A proxy sets its headers from the first request on.
        if !role.near || !conn.traffic.is_young() || !forwarded::has_proxy_headers(headers) {
            return;
        }
        let peer = conn.peer.ip();
        if self.hints.permit("").is_some() {
            tracing::warn!(
                %peer,
                "requests with X-Forwarded-For or its like come from {peer}, which is not among \
                 [edge] trusted_proxies: what they say is dropped, and apps, limits and the log \
                 see this address and this connection's scheme ({}). If it is a proxy of yours, \
                 write {}",
                conn.proto,
                suggestion(peer),
            );
        }
    }
}

/// What the operator would write.
fn suggestion(peer: IpAddr) -> String {
    if peer.is_loopback() {
        "trusted_proxies = [\"loopback\"]".to_owned()
    } else {
        format!("trusted_proxies = [\"{peer}\"]")
    }
}

impl ForwardedRequest {
    /// Takes the host that the proxy was asked for, if it did not pass it on as `Host`: where
    /// `Host` is the proxy's own name for weappd. Gives the host that is asked for.
    pub(crate) fn host(&self, sites: &SiteTable, head: &mut HeaderMap, host: String) -> String {
        let Some(told) = &self.host else { return host };
        let is_ours = sites.knows(&host) || sites.site(&host).is_some() && !is_inner_name(&host);
        let (Ok(name), Ok(value)) = (
            request_screen::host_name(told.as_bytes()),
            HeaderValue::from_str(told),
        ) else {
            return host;
        };
        if is_ours || sites.site(&name).is_none() {
            return host;
        }
        head.insert(header::HOST, value);
        name
    }
}

/// An address or a name of one label: what a server is called by its proxy.
fn is_inner_name(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok() || !host.contains('.')
}

/// By what the headers of a request are filtered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderFilter<'a> {
    pub(crate) role: PeerRole,
    pub(crate) scope: HeaderScope,
    /// The site's mini programs.
    pub(crate) appids: &'a [String],
    /// Some paths of the site want a session: no header may tell apps another path.
    pub(crate) is_guarded: bool,
}

impl HeaderFilter<'_> {
    /// Leaves in `headers` what their sender may set.
    pub(crate) fn apply(self, headers: &mut HeaderMap) {
        let PeerRole {
            proxy,
            wechat_gateway,
            ..
        } = self.role;
        headers::drop_claims_but(headers, |name, claim| match claim {
            HeaderClaim::Identity => {
                self.scope.keeps(name) || wechat_gateway && wechat_gateway::may_say(name)
            }
            HeaderClaim::Client => proxy && !is_doubtful(name),
            HeaderClaim::Path => proxy && !is_doubtful(name) && !self.is_guarded,
        });
        if wechat_gateway {
            wechat_gateway::filter_claims(self.appids, headers, self.scope);
        }
    }
}
