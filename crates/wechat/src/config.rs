//! Where WeChat's server is, and how long to wait for it.

use http::Uri;
use serde::Deserialize;
use weappd_base::language::pick;
use weappd_base::setting_problem::SettingProblem;
use weappd_base::words;

/// The names of WeChat's server API: everywhere, for when that is out of reach, and in
/// Shanghai, Shenzhen and Hong Kong.
pub const API_HOSTS: [&str; 5] = [
    "api.weixin.qq.com",
    "api2.weixin.qq.com",
    "sh.api.weixin.qq.com",
    "sz.api.weixin.qq.com",
    "hk.api.weixin.qq.com",
];

/// Whether a host name, without port, is one of [`API_HOSTS`], in any case.
pub fn is_api_host(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    API_HOSTS.iter().any(|host| host.eq_ignore_ascii_case(name))
}

/// The `[wechat]` section: how weappd reaches WeChat's server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where WeChat's server API stands. Change it only to use a simulator or a relay of
    /// your own, for which `http://` is accepted, or another of WeChat's names.
    pub endpoint: String,
    /// How long one call to WeChat may take, from the first byte sent to the last byte
    /// read, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            endpoint: "https://api.weixin.qq.com".to_owned(),
            timeout_ms: 5000,
        }
    }
}

impl Config {
    /// What is wrong with the values.
    pub fn problems(&self) -> Vec<SettingProblem> {
        let mut problems = Vec::new();
        if let Err(reason) = parse_endpoint(&self.endpoint) {
            problems.push(SettingProblem::new(
                "endpoint",
                words!(
                    "{:?} is not an address to call: {reason}",
                    "{:?} 不是可以调用的地址：{reason}",
                    self.endpoint
                ),
                pick(
                    "write it like https://api.weixin.qq.com",
                    "写成 https://api.weixin.qq.com 这样",
                ),
            ));
        }
        if !(100..=60_000).contains(&self.timeout_ms) {
            problems.push(SettingProblem::new(
                "timeout_ms",
                words!("{} ms is out of range", "{} 毫秒超出范围", self.timeout_ms),
                pick(
                    "choose 100 to 60000; a mini program itself gives up after 60 seconds",
                    "请写 100 到 60000；小程序自己等待 60 秒就会放弃",
                ),
            ));
        }
        problems
    }
}

/// The endpoint without its closing slash, and whether it needs TLS.
pub(crate) fn parse_endpoint(endpoint: &str) -> Result<(String, bool), &'static str> {
    let uri: Uri = endpoint
        .parse()
        .map_err(|_| pick("it is not a URL", "它不是 URL"))?;
    let tls = match uri.scheme_str() {
        Some("https") => true,
        Some("http") => false,
        _ => {
            return Err(pick(
                "it must begin with https:// or http://",
                "必须以 https:// 或 http:// 开头",
            ));
        }
    };
    let authority = uri
        .authority()
        .ok_or(pick("it names no host", "没有写主机名"))?;
    if authority.host().is_empty() {
        return Err(pick("it names no host", "没有写主机名"));
    }
    if authority.as_str().contains('@') {
        return Err(pick(
            "it must not carry a user name or password",
            "不能带用户名或密码",
        ));
    }
    if uri.query().is_some() {
        return Err(pick("it must not carry a query", "不能带查询参数"));
    }
    Ok((endpoint.trim_end_matches('/').to_owned(), tls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_sound() {
        assert_eq!(Config::default().problems(), []);
    }

    #[test]
    fn wechats_names_are_known_and_no_others() {
        for name in API_HOSTS
            .into_iter()
            .chain(["API2.Weixin.qq.com", "hk.api.weixin.qq.com."])
        {
            assert!(is_api_host(name), "{name}");
        }
        for name in [
            "",
            ".",
            "weixin.qq.com",
            "mp.weixin.qq.com",
            "x.api.weixin.qq.com",
            "api.weixin.qq.com..",
        ] {
            assert!(!is_api_host(name), "{name}");
        }
    }

    #[test]
    fn every_problem_is_told_at_once() {
        let config = Config {
            endpoint: "api.weixin.qq.com".to_owned(),
            timeout_ms: 5,
        };
        let fields: Vec<_> = config.problems().into_iter().map(|p| p.field).collect();
        assert_eq!(fields, ["endpoint", "timeout_ms"]);
    }

    #[test]
    fn endpoints_keep_their_path_and_lose_their_closing_slash() {
        assert_eq!(
            parse_endpoint("http://127.0.0.1:8082/relay/"),
            Ok(("http://127.0.0.1:8082/relay".to_owned(), false))
        );
        assert!(parse_endpoint("https://user:pw@host").is_err());
        assert!(parse_endpoint("https://host/?a=b").is_err());
        assert!(parse_endpoint("ftp://host").is_err());
        assert!(parse_endpoint("").is_err());
    }
}
