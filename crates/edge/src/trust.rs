//! Whose word about a client is believed: the operator's own proxies, and WeChat's gateway.
//!
//! A request from one of their addresses is its client's: the address, scheme and host that
//! were told count everywhere, for the log, for limits, for weappd's own endpoints and for
//! apps. Everybody else's words are dropped, and apps are told what the door sees itself.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use weappd_base::log_limit::LogLimit;

use crate::claims::{Claim, is_doubtful};
use crate::client_share::ClientShares;
use crate::config::Config;
use crate::connection::Visit;
use crate::error::Error;
use crate::forwarded::{self, Told};
use crate::headers::{self, Road};
use crate::house::House;
use crate::nets::Nets;
use crate::{gateway, screen};

/// How often a proxy that nobody named is spoken of.
const INTERVAL: Duration = Duration::from_hours(1);

/// The addresses whose word is believed.
#[derive(Debug)]
pub(crate) struct Trust {
    proxies: Nets,
    gateways: Nets,
    /// Where a proxy may stand that nobody named.
    near: Nets,
    hints: LogLimit,
}

/// What the peer of a connection is believed in.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PeerRole {
    /// Where its clients are, how they came and whom they asked.
    pub(crate) proxy: bool,
    /// Who its clients are.
    pub(crate) gateway: bool,
    /// In nothing, but it may be a proxy that nobody named.
    near: bool,
}

/// What a request from a believed peer is, in place of what the connection is.
#[derive(Debug)]
pub(crate) struct Behind {
    pub(crate) visit: Visit,
    host: Option<String>,
}

impl Trust {
    pub(crate) fn of(config: &Config) -> Result<Self, Error> {
        let nets = |key, list: &[String]| {
            let wrong = |(_, (what, hint))| Error::Nets { key, what, hint };
            Nets::parse(list).map_err(wrong)
        };
        Ok(Self {
            proxies: nets("trusted_proxies", &config.trusted_proxies)?,
            gateways: nets("wechat_gateways", &config.wechat_gateways)?,
            near: Nets::near(),
            hints: LogLimit::new(INTERVAL, 1),
        })
    }

    pub(crate) fn role(&self, peer: IpAddr) -> PeerRole {
        let (proxy, gateway) = (self.proxies.hold(peer), self.gateways.hold(peer));
        PeerRole {
            proxy,
            gateway,
            near: !proxy && !gateway && self.near.hold(peer),
        }
    }

    /// The request as its client made it, if its peer is believed.
    pub(crate) fn look_behind(
        &self,
        visit: &Visit,
        headers: &HeaderMap,
        clients: &Arc<ClientShares>,
    ) -> Option<Behind> {
        let PeerRole { proxy, gateway, .. } = visit.role;
        let named = gateway.then(|| gateway::client(headers)).flatten();
        let ours = match (proxy, gateway) {
            (true, true) => &self.proxies.clone().and(&self.gateways),
            (true, false) => &self.proxies,
            (false, true) => &self.gateways,
            (false, false) => return None,
        };
        let Told {
            client,
            is_https,
            host,
        } = forwarded::read(headers, ours);
        // Who tells nothing is the client himself.
        let alone = SocketAddr::new(visit.peer.ip(), 0);
        let client = named.or(client).unwrap_or(alone);
        let is_https = is_https.filter(|_| proxy);
        Some(Behind {
            visit: visit.seen_from((client, clients.of_client(client.ip())), is_https),
            host: host.filter(|_| proxy),
        })
    }

    /// Says once in a while that a proxy seems to stand in front that nobody named.
    pub(crate) fn hint(&self, visit: &Visit, headers: &HeaderMap) {
        // A proxy says it from the first request on.
        if !visit.role.near || !visit.traffic.is_young() || !forwarded::is_told(headers) {
            return;
        }
        let peer = visit.peer.ip();
        if self.hints.permit("").is_some() {
            tracing::warn!(
                %peer,
                "requests with X-Forwarded-For or its like come from {peer}, which is not among \
                 [edge] trusted_proxies: what they say is dropped, and apps, limits and the log \
                 see this address and this connection's scheme ({}). If it is a proxy of yours, \
                 write {}",
                visit.proto,
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

impl Behind {
    /// Takes the host that the proxy was asked for, if it did not pass it on as `Host`: where
    /// `Host` is the proxy's own name for weappd. Gives the host that is asked for.
    pub(crate) fn host(&self, house: &House, head: &mut HeaderMap, host: String) -> String {
        let Some(told) = &self.host else { return host };
        let is_ours = house.knows(&host) || house.site(&host).is_some() && !is_inner_name(&host);
        let (Ok(name), Ok(value)) = (
            screen::host_name(told.as_bytes()),
            HeaderValue::from_str(told),
        ) else {
            return host;
        };
        if is_ours || house.site(&name).is_none() {
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

/// Whose words a request brings, and who reads them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    pub(crate) role: PeerRole,
    pub(crate) road: Road,
    /// The site's mini programs.
    pub(crate) appids: &'a [String],
    /// Some paths of the site want a session: nobody tells apps another path.
    pub(crate) is_guarded: bool,
}

impl Words<'_> {
    /// Leaves in `headers` what their writer may say.
    pub(crate) fn keep(self, headers: &mut HeaderMap) {
        let PeerRole { proxy, gateway, .. } = self.role;
        headers::drop_claims_but(headers, |name, claim| match claim {
            Claim::Identity => self.road.keeps(name) || gateway && gateway::may_say(name),
            Claim::Client => proxy && !is_doubtful(name),
            Claim::Path => proxy && !is_doubtful(name) && !self.is_guarded,
        });
        if gateway {
            gateway::keep_words(self.appids, headers, self.road);
        }
    }
}
