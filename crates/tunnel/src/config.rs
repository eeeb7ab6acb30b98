//! The `[tunnel]` section of weappd.toml.

use std::net::SocketAddr;
use weappd_base::language::pick;
use weappd_base::words;

use http::Uri;
use serde::Deserialize;
use weappd_base::secret::Secret;
use weappd_base::setting_problem::SettingProblem;

/// Live sockets between phones and business servers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often a phone pings, in seconds. A phone silent for 2.5 times as long is gone.
    pub heartbeat_secs: u32,
    /// How long a connect URL waits for its phone, in seconds.
    pub connect_ttl_secs: u32,
    /// The longest message a phone may send, in bytes. Business servers on Node refuse
    /// bodies over 100 kB, and quotes grow fourfold on the way.
    pub max_message_bytes: usize,
    /// What may wait for a phone that does not read, in bytes, before it is let go.
    pub max_queue_bytes: usize,
    /// The longest body of a push, in bytes. A push to 100,000 tunnels takes about 4 MB.
    pub push_body_bytes: usize,
    /// How many tunnels may be issued or open at a time.
    pub max_tunnels: usize,
    /// How long a business server may take to answer a callback, in milliseconds.
    pub callback_timeout_ms: u64,
    /// How many callbacks may be under way to one business server at a time.
    pub callback_concurrency: usize,
    /// Over how many seconds open tunnels are let go when weappd stops, so that phones do
    /// not come back all at once.
    pub drain_secs: u32,
    /// This node's number, 0 to 4095; it stands in every tunnelId. Only matters when
    /// several nodes run.
    pub node: u16,
    /// Where phones reach this server, `wss://host` or (in development) `ws://host:port`.
    /// Empty: `wss://` and the business server's host.
    pub public_url: String,
    /// Signs connect URLs, so that forged ones are told from expired ones. Empty: a random
    /// one at each start, which suits a single node.
    pub token_key: Secret,
    /// Whether callbacks may go over plain http. Only for development and for business
    /// servers on this machine.
    pub allow_http_receive: bool,
    /// The business servers that may use tunnels.
    pub businesses: Vec<BusinessConfig>,
    /// The sites of this very weappd, and how callbacks reach them.
    #[serde(skip)]
    pub own_sites: OwnSites,
}

/// The sites of this very weappd. Callbacks to one of their public addresses go over plain
/// HTTP to `via`, with the `Host` they name: no TLS, no redirect, no way around through the
/// internet. All other addresses are called as they are named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnSites {
    /// Where the sites are reached without leaving this machine; `None`: nowhere.
    pub via: Option<SocketAddr>,
    /// Their names, `*.example.com` and `*` among them.
    pub hosts: Vec<String>,
    /// The ports they have over HTTP, beside 80.
    pub http_ports: Vec<u16>,
    /// The ports they have over HTTPS, beside 443.
    pub https_ports: Vec<u16>,
}

impl OwnSites {
    /// Whether `url` is the public address of one of the sites.
    pub fn has(&self, url: &Uri) -> bool {
        let (default, ports) = match url.scheme_str() {
            Some("http") => (80, &self.http_ports),
            Some("https") => (443, &self.https_ports),
            _ => return false,
        };
        let is_ours = |port: u16| port == default || ports.contains(&port);
        let Some(authority) = url.authority() else {
            return false;
        };
        // A port that is none stands for no address.
        let port = match authority.as_str().strip_prefix(authority.host()) {
            Some("" | ":") => Some(default),
            _ => authority.port_u16(),
        };
        port.is_some_and(is_ours) && self.names(authority.host())
    }

    fn names(&self, host: &str) -> bool {
        self.hosts.iter().any(|ours| match ours.strip_prefix("*.") {
            Some(parent) => host
                .split_once('.')
                .is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(parent)),
            None => ours == "*" || ours.eq_ignore_ascii_case(host),
        })
    }
}

/// A business server that may open tunnels and push to them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BusinessConfig {
    /// Its host, exactly as its SDK is told (`serverHost`); a port only if the SDK has one.
    pub host: String,
    /// Its signature key (`tunnelSignatureKey`).
    pub key: Secret,
    /// Where callbacks go, whatever URL the SDK names. Empty: the URL the SDK names, if it
    /// lies on `host` or on one of `receive_hosts`.
    pub receive: Option<String>,
    /// Further hosts the SDK may name for callbacks.
    pub receive_hosts: Vec<String>,
    /// Where phones reach its site, if it is one of this weappd's: `wss://host:8443`. For
    /// tunnels it asks for; `public_url` goes before it.
    #[serde(skip)]
    pub public_base: Option<String>,
    /// Whether a message is sent again when nobody knows if it arrived (timeout, 5xx). Turn
    /// on if the business server tells repeats by their `webhook-id`.
    pub dedupe: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            heartbeat_secs: 15,
            connect_ttl_secs: 120,
            max_message_bytes: 32 * 1024,
            max_queue_bytes: 64 * 1024,
            push_body_bytes: 8 * 1024 * 1024,
            max_tunnels: 1_000_000,
            callback_timeout_ms: 10_000,
            callback_concurrency: 64,
            drain_secs: 5,
            node: 0,
            public_url: String::new(),
            token_key: Secret::default(),
            allow_http_receive: false,
            businesses: Vec::new(),
            own_sites: OwnSites::default(),
        }
    }
}

impl Config {
    /// The settings that differ in `next` and count only after a restart, as they are named in
    /// the section.
    pub fn restart_keys(&self, next: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        if self.node != next.node {
            keys.push("node");
        }
        keys
    }

    /// Everything in this section that cannot work.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        self.check_numbers(&mut problems);
        if !self.public_url.is_empty() && !is_ws_base(&self.public_url) {
            problems.push(SettingProblem::new(
                "public_url",
                words!(
                    "`{}` is not a WebSocket address",
                    "`{}` 不是 WebSocket 地址",
                    self.public_url
                ),
                pick(
                    "write wss://host, or ws://host:port in development",
                    "写 wss://域名；开发时可以写 ws://主机:端口",
                ),
            ));
        }
        for (at, business) in self.businesses.iter().enumerate() {
            self.check_business(at, business, &mut problems);
        }
        problems
    }

    fn check_numbers(&self, problems: &mut Vec<SettingProblem>) {
        let positive = [
            ("heartbeat_secs", self.heartbeat_secs as usize),
            ("connect_ttl_secs", self.connect_ttl_secs as usize),
            ("max_message_bytes", self.max_message_bytes),
            ("max_queue_bytes", self.max_queue_bytes),
            ("push_body_bytes", self.push_body_bytes),
            ("max_tunnels", self.max_tunnels),
            (
                "callback_timeout_ms",
                usize::try_from(self.callback_timeout_ms).unwrap_or(usize::MAX),
            ),
            ("callback_concurrency", self.callback_concurrency),
        ];
        for (field, _) in positive.into_iter().filter(|(_, value)| *value == 0) {
            problems.push(SettingProblem::new(
                field,
                pick("0 would let nothing through", "写 0 就什么都通不过"),
                pick("leave it out for the default", "删掉这一行则使用默认值"),
            ));
        }
        let bounded = [
            ("heartbeat_secs", self.heartbeat_secs as usize, 86_400),
            ("connect_ttl_secs", self.connect_ttl_secs as usize, 86_400),
            ("max_queue_bytes", self.max_queue_bytes, 1 << 26),
            ("max_message_bytes", self.max_message_bytes, 1 << 26),
            ("node", usize::from(self.node), 4095),
        ];
        for (field, value, most) in bounded {
            if value > most {
                problems.push(SettingProblem::new(
                    field,
                    words!("{value} is more than {most}", "{value} 大于 {most}"),
                    words!("choose at most {most}", "最多写 {most}"),
                ));
            }
        }
    }

    fn check_business(
        &self,
        at: usize,
        business: &BusinessConfig,
        problems: &mut Vec<SettingProblem>,
    ) {
        let mut wrong = |field: &str, message: String, hint: &str| {
            problems.push(SettingProblem::new(
                format!("businesses[{at}].{field}"),
                message,
                hint.to_owned(),
            ));
        };
        if !is_host(&business.host) {
            wrong(
                "host",
                words!("`{}` is not a host name", "`{}` 不是域名", business.host),
                pick(
                    "write the host alone, without https:// and path, as in www.example.com",
                    "只写域名，不带 https:// 和路径，例如 www.example.com",
                ),
            );
        }
        if business.key.is_empty() {
            wrong(
                "key",
                pick("the signature key is missing", "缺少签名密钥").to_owned(),
                pick(
                    "give the same text as the SDK's tunnelSignatureKey",
                    "请填写与 SDK 的 tunnelSignatureKey 相同的值",
                ),
            );
        }
        let twice = self.businesses.iter().take(at);
        if twice.clone().any(|other| other.host == business.host) {
            wrong(
                "host",
                words!(
                    "`{}` stands here twice",
                    "`{}` 在这里写了两次",
                    business.host
                ),
                pick("one entry per host", "每个域名只写一项"),
            );
        }
        match business.receive.as_deref().map(str::parse::<Uri>) {
            None => {}
            Some(Ok(url)) if url.scheme_str() == Some("https") && url.host().is_some() => {}
            Some(Ok(url)) if url.scheme_str() == Some("http") && url.host().is_some() => {
                let message = pick(
                    "callbacks over plain http are not allowed",
                    "不允许用明文 http 回调",
                )
                .to_owned();
                let hint = pick(
                    "use https, or set allow_http_receive for a server on this machine",
                    "用 https；服务器就在本机时，可以设置 allow_http_receive",
                );
                if self.allow_http_receive {
                    return;
                }
                wrong("receive", message, hint);
            }
            Some(_) => wrong(
                "receive",
                pick("not an http or https address", "不是 http 或 https 地址").to_owned(),
                pick(
                    "write the whole address, as in https://www.example.com/weapp/tunnel",
                    "写完整的地址，例如 https://www.example.com/weapp/tunnel",
                ),
            ),
        }
    }
}

/// Whether `text` is a host with an optional port and nothing else.
fn is_host(text: &str) -> bool {
    text.parse::<http::uri::Authority>()
        .is_ok_and(|authority| !authority.host().is_empty() && !text.contains('@'))
}

/// Whether `text` is `ws://` or `wss://` with a host.
fn is_ws_base(text: &str) -> bool {
    text.parse::<Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("ws" | "wss"))
            && url.host().is_some()
            && url.query().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn business(host: &str) -> BusinessConfig {
        BusinessConfig {
            host: host.to_owned(),
            key: Secret::new("0123456789abcdef"),
            ..BusinessConfig::default()
        }
    }

    #[test]
    fn the_default_has_no_problem() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn every_problem_is_told_at_once_with_its_place() {
        let config = Config {
            heartbeat_secs: 0,
            node: 5000,
            public_url: "https://www.example.com".to_owned(),
            businesses: vec![
                business("www.example.com"),
                business("www.example.com"),
                BusinessConfig {
                    receive: Some("http://127.0.0.1/tunnel".to_owned()),
                    ..business("https://other.example.com/")
                },
                BusinessConfig {
                    key: Secret::default(),
                    receive: Some("nowhere".to_owned()),
                    ..business("third.example.com")
                },
            ],
            ..Config::default()
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(
            fields,
            [
                "heartbeat_secs",
                "node",
                "public_url",
                "businesses[1].host",
                "businesses[2].host",
                "businesses[2].receive",
                "businesses[3].key",
                "businesses[3].receive",
            ]
        );
    }

    #[test]
    fn an_unknown_key_is_an_error() {
        let read = serde_json::from_str::<Config>(r#"{"heartbeat": 3}"#);
        assert!(read.is_err());
        let read = serde_json::from_str::<Config>(
            r#"{"heartbeat_secs": 3, "businesses": [{"host": "a", "key": "k"}]}"#,
        );
        assert_eq!(read.map(|c| c.heartbeat_secs).ok(), Some(3));
    }
}
