//! How a business server is set, by one reading of weappd.toml: its key, and where its callbacks
//! may go.

use std::net::Ipv6Addr;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use weappd_base::secret::Secret;

use crate::config::{BusinessConfig, Config, OwnSites};

/// A business server's settings. A reload puts others in their place.
#[derive(Debug, PartialEq)]
pub(crate) struct BusinessSettings {
    pub(crate) key: Secret,
    /// Whether uncertain messages are sent again.
    pub(crate) dedupe: bool,
    /// Most callbacks under way.
    pub(crate) concurrency: usize,
    /// Where phones reach its site.
    pub(crate) public_base: Option<String>,
    host: String,
    receive: Option<Uri>,
    receive_hosts: Vec<String>,
    own_sites: Arc<OwnSites>,
    allow_http: bool,
}

impl BusinessSettings {
    /// Of `business`, as `config` has it.
    pub(crate) fn new(
        config: &Config,
        business: &BusinessConfig,
        own_sites: &Arc<OwnSites>,
    ) -> Self {
        Self {
            key: business.key.clone(),
            dedupe: business.dedupe,
            concurrency: config.callback_concurrency,
            public_base: business.public_base.clone(),
            host: business.host.clone(),
            receive: business.receive.as_ref().and_then(|url| url.parse().ok()),
            receive_hosts: business.receive_hosts.clone(),
            own_sites: Arc::clone(own_sites),
            allow_http: config.allow_http_receive,
        }
    }

    /// Where callbacks go if the SDK names this URL; `None` if they may not.
    pub(crate) fn receive_url(&self, named: &str) -> Option<Uri> {
        self.receive.clone().or_else(|| self.allowed(named))
    }

    /// The shortest way to an allowed URL, and the `Host` to name on it.
    pub(crate) fn near(&self, url: Uri) -> (Uri, Option<HeaderValue>) {
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
