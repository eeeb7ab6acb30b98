//! The `[edge]` section: threads, limits and deadlines of the front door.

use std::time::Duration;
use weappd_base::language::pick;
use weappd_base::words;

use serde::Deserialize;
use weappd_base::setting_problem::SettingProblem;

use crate::caller::ip_networks::IpNetworks;
use crate::conn::pace::LeastRate;

/// The `[edge]` section of weappd.toml.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How many threads serve connections; 0 means one for each processor core.
    pub threads: usize,
    /// How many connections one listening address holds at a time; further ones wait in
    /// the system's queue until one ends.
    pub max_connections: usize,
    /// Seconds a client has for its first byte, and then for a complete request head.
    pub head_timeout_secs: u64,
    /// Seconds a client has for the TLS handshake.
    pub handshake_timeout_secs: u64,
    /// Seconds a connection may stay open between two requests.
    pub keep_alive_secs: u64,
    /// Seconds without a byte after which an upload is given up.
    pub body_timeout_secs: u64,
    /// Bytes a second an upload must bring on average while weappd waits for it.
    pub min_upload_rate: u64,
    /// Seconds a client may refuse to take the answer's next bytes.
    pub send_timeout_secs: u64,
    /// Bytes a second a client must take of an answer on average while weappd waits for it.
    pub min_send_rate: u64,
    /// Requests one client's address may have under way at a time, WebSockets to business
    /// servers too; then 503. 0 means a quarter of the descriptors weappd may open.
    pub max_requests_per_client: usize,
    /// Bytes a request head may have; a longer one is answered 431.
    pub max_head_bytes: usize,
    /// Header lines a request may have; more are answered 431.
    pub max_headers: usize,
    /// Bytes a request target may have; a longer one is answered 414.
    pub max_uri_bytes: usize,
    /// Bytes a request body may have; a longer one is answered 413.
    pub max_body_bytes: u64,
    /// Milliseconds to wait for a connection to a business server.
    pub connect_timeout_ms: u64,
    /// Seconds to wait for the head of a business server's answer; then 504.
    pub answer_timeout_secs: u64,
    /// Seconds a business server may be silent in the middle of its answer; then the answer
    /// is broken off. Streams such as SSE must say something more often.
    pub read_timeout_secs: u64,
    /// Milliseconds a request is held while its app starts again, before 503.
    pub hold_ms: u64,
    /// Seconds an idle connection to a business server is kept for the next request. Keep
    /// it below the business server's own limit (5 in Node.js).
    pub upstream_idle_secs: u64,
    /// Seconds a business server of a list with several rests after a failure, before one
    /// request tries it; longer, up to eight times, while it goes on failing.
    pub upstream_rest_secs: u64,
    /// Idle connections kept to each business server by each thread.
    pub upstream_idle: usize,
    /// The environment's name, which apps are told in `X-WX-ENV` and `CBR_ENV_ID` as in
    /// WeChat's cloud hosting (微信云托管).
    pub env_id: String,
    /// Addresses of WeChat's own gateway (微信网关), such as `["203.0.113.0/24"]`. From them,
    /// and from nowhere else, `X-WX-*` headers and the client's address are believed.
    pub wechat_gateways: Vec<String>,
    /// Addresses of your own proxies in front, such as `["loopback", "10.0.0.0/8"]`. From
    /// them, and from nowhere else, the client's address, scheme and host are believed as
    /// `X-Forwarded-*`, `Forwarded` or `X-Real-IP` tell them.
    pub trusted_proxies: Vec<String>,
    /// Whether HTTP/2 is offered over TLS.
    pub http2: bool,
    /// Whether every request is logged in one line.
    pub access_log: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            threads: 0,
            max_connections: 200_000,
            head_timeout_secs: 10,
            handshake_timeout_secs: 10,
            keep_alive_secs: 75,
            body_timeout_secs: 30,
            min_upload_rate: 64,
            send_timeout_secs: 60,
            min_send_rate: 256,
            max_requests_per_client: 0,
            max_head_bytes: 32 * 1024,
            max_headers: 100,
            max_uri_bytes: 8 * 1024,
            max_body_bytes: 100 * 1024 * 1024,
            connect_timeout_ms: 3000,
            answer_timeout_secs: 60,
            read_timeout_secs: 60,
            hold_ms: 2000,
            upstream_idle_secs: 4,
            upstream_rest_secs: 10,
            upstream_idle: 64,
            env_id: "weappd".to_owned(),
            wechat_gateways: Vec::new(),
            trusted_proxies: Vec::new(),
            http2: true,
            access_log: true,
        }
    }
}

/// More than any machine has cores.
const MAX_THREADS: usize = 1024;

impl Config {
    /// What cannot work.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        if self.threads > MAX_THREADS {
            problems.push(SettingProblem::new(
                "threads",
                words!(
                    "must be at most {MAX_THREADS}, not {}",
                    "最多 {MAX_THREADS}，不能是 {}",
                    self.threads
                ),
                pick(
                    "leave it out for one a processor core",
                    "删掉这一行则每个 CPU 核心一个",
                ),
            ));
        }
        self.least_problems(&mut problems);
        let plain = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.');
        if !(1..=64).contains(&self.env_id.len()) || !self.env_id.bytes().all(plain) {
            problems.push(SettingProblem::new(
                "env_id",
                words!(
                    "{:?} is no name of an environment",
                    "{:?} 不能作为环境名",
                    self.env_id
                ),
                pick(
                    "1 to 64 letters, digits, - _ and dots; leave it out for weappd",
                    "1 到 64 个字母、数字、- _ 和点；删掉这一行则默认为 weappd",
                ),
            ));
        }
        self.network_problems(&mut problems);
        problems
    }

    fn least_problems(&self, problems: &mut Vec<SettingProblem>) {
        let whole = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let no_deadline = pick(
            "a deadline cannot be switched off: without one, silent clients fill the server",
            "超时不能关闭：没有超时，一直不发数据的客户端会占满服务器",
        );
        let default = |value: u32| words!("leave it out for {value}", "删掉这一行则默认为 {value}");
        let head = words!(
            "browsers send about 1000 bytes; {}",
            "浏览器大约发 1000 字节；{}",
            default(32768)
        );
        let headers = words!(
            "browsers send about 20; {}",
            "浏览器大约发 20 个；{}",
            default(100)
        );
        let mut least = vec![
            (
                "max_connections",
                whole(self.max_connections),
                1,
                default(200_000),
            ),
            (
                "connect_timeout_ms",
                self.connect_timeout_ms,
                1,
                default(3000),
            ),
            (
                "upstream_rest_secs",
                self.upstream_rest_secs,
                1,
                default(10),
            ),
            ("max_head_bytes", whole(self.max_head_bytes), 1024, head),
            ("max_headers", whole(self.max_headers), 16, headers),
            (
                "max_uri_bytes",
                whole(self.max_uri_bytes),
                128,
                default(8192),
            ),
        ];
        let deadlines = [
            ("head_timeout_secs", self.head_timeout_secs),
            ("handshake_timeout_secs", self.handshake_timeout_secs),
            ("keep_alive_secs", self.keep_alive_secs),
            ("body_timeout_secs", self.body_timeout_secs),
            ("send_timeout_secs", self.send_timeout_secs),
            ("answer_timeout_secs", self.answer_timeout_secs),
            ("read_timeout_secs", self.read_timeout_secs),
        ];
        least.extend(deadlines.map(|(field, secs)| (field, secs, 1, no_deadline.to_owned())));
        for (field, value, least, hint) in least.into_iter().filter(|it| it.1 < it.2) {
            let message = words!(
                "must be at least {least}, not {value}",
                "至少是 {least}，不能是 {value}"
            );
            problems.push(SettingProblem::new(field, message, hint));
        }
    }

    fn network_problems(&self, problems: &mut Vec<SettingProblem>) {
        for (key, list) in [
            ("wechat_gateways", &self.wechat_gateways),
            ("trusted_proxies", &self.trusted_proxies),
        ] {
            for (at, text) in list.iter().enumerate() {
                if let Err((what, hint)) = IpNetworks::entry(text) {
                    problems.push(SettingProblem::new(format!("{key}[{at}]"), what, hint));
                }
            }
        }
    }

    /// What counts only after a restart, of what `next` has otherwise: the names of the
    /// settings.
    pub fn restart_keys(&self, next: &Self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        if self.threads != next.threads {
            keys.push("threads");
        }
        keys
    }

    pub(crate) fn head_timeout(&self) -> Duration {
        secs(self.head_timeout_secs)
    }

    pub(crate) fn handshake_timeout(&self) -> Duration {
        secs(self.handshake_timeout_secs)
    }

    pub(crate) fn answer_timeout(&self) -> Duration {
        secs(self.answer_timeout_secs)
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms).min(LONGEST)
    }

    pub(crate) fn upstream_idle(&self) -> Duration {
        secs(self.upstream_idle_secs)
    }

    pub(crate) fn keep_alive(&self) -> Duration {
        secs(self.keep_alive_secs)
    }

    /// What is asked of a client that sends a body.
    pub(crate) fn upload_rate(&self) -> LeastRate {
        LeastRate {
            within: secs(self.body_timeout_secs),
            per_second: self.min_upload_rate,
        }
    }

    /// What is asked of a client that takes an answer.
    pub(crate) fn answer_rate(&self) -> LeastRate {
        LeastRate {
            within: secs(self.send_timeout_secs),
            per_second: self.min_send_rate,
        }
    }

    pub(crate) fn read_timeout(&self) -> Duration {
        secs(self.read_timeout_secs)
    }

    pub(crate) fn upstream_rest(&self) -> Duration {
        secs(self.upstream_rest_secs)
    }

    pub(crate) fn hold(&self) -> Duration {
        Duration::from_millis(self.hold_ms).min(LONGEST)
    }
}

/// Longer than anybody waits. What is added to the time of day must not be endless.
const LONGEST: Duration = Duration::from_hours(24 * 365);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert!(Config::default().problems().is_empty());
    }

    #[test]
    fn an_environment_has_a_plain_name() {
        for (env_id, wrong) in [("prod-1a2b3c", 0), ("", 1), ("a b", 1), ("a\nb", 1)] {
            let config = Config {
                env_id: env_id.to_owned(),
                ..Config::default()
            };
            assert_eq!(config.problems().len(), wrong, "{env_id:?}");
        }
    }

    #[test]
    fn a_gateway_is_a_network_of_its_own() {
        let config = Config {
            wechat_gateways: ["203.0.113.0/24", "0.0.0.0/0", "wx"]
                .map(str::to_owned)
                .to_vec(),
            trusted_proxies: ["loopback", "10.0.0.0/8", "locallost"]
                .map(str::to_owned)
                .to_vec(),
            ..Config::default()
        };
        let problems = config.problems();
        let fields: Vec<_> = problems.iter().map(|problem| &*problem.field).collect();
        let wrong = [
            "wechat_gateways[1]",
            "wechat_gateways[2]",
            "trusted_proxies[2]",
        ];
        assert_eq!(fields, wrong);
    }

    #[test]
    fn a_deadline_cannot_be_switched_off() {
        let config = Config {
            head_timeout_secs: 0,
            ..Config::default()
        };
        let problems = config.problems();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].field, "head_timeout_secs");
    }
}
