//! `[internal]`: where programs on this machine call weappd, and how they prove themselves.

use std::net::{IpAddr, SocketAddr};

use serde::Deserialize;
use weappd_base::local_host::LocalHosts;
use weappd_base::secret::Secret;

use crate::config::{address, checker::ConfigChecker};
use crate::plan::InternalAccess;

/// `[internal]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct InternalSection {
    /// Where business servers call weappd; on this machine only.
    pub(crate) listen: String,
    /// Names by which programs call it besides loopback addresses and `localhost`: containers
    /// and others that reach it through a forwarder, such as `["host.docker.internal"]`.
    pub(crate) hosts: Vec<String>,
    /// A bearer token for programs that weappd did not start, which ask for access tokens
    /// (`GET /token`) or sessions (`/v1/`). Apps find one of their own in `WEAPPD_TOKEN`.
    pub(crate) token: Option<Secret>,
    /// Where weappd stands in for `api.weixin.qq.com`, https and plain http, for apps that
    /// know no other address: `"127.0.0.1:8083"`, on this machine only. Apps under weappd's care are
    /// told to trust its certificate, and Node is led there. Not given: nowhere.
    pub(crate) wechat_https: Option<String>,
}

impl Default for InternalSection {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".to_owned(),
            hosts: Vec::new(),
            token: None,
            wechat_https: None,
        }
    }
}

/// Whoever guesses a token is given WeChat's.
const LEAST_TOKEN: usize = 16;

/// Who may call; what is wrong with it is noted.
pub(crate) fn access(checker: &ConfigChecker<'_>, internal: &InternalSection) -> InternalAccess {
    if let Some(token) = &internal.token {
        check_token(checker, token.expose());
    }
    for (at, host) in internal.hosts.iter().enumerate() {
        let is_address = host.parse::<IpAddr>().is_ok();
        let wrong = match address::host(host) {
            Ok(name) if name.starts_with('*') => "a page on the internet could have this name",
            Err(_) if !is_address => "is no name of a host",
            _ => continue,
        };
        checker.error(
            &["internal".into(), "hosts".into(), at.into()],
            format!("`{host}`: {wrong}"),
            "write the name alone, as in hosts = [\"host.docker.internal\", \"10.0.0.7\"]",
        );
    }
    InternalAccess {
        token: internal.token.clone(),
        hosts: LocalHosts::new(&internal.hosts),
    }
}

/// The address; what is wrong with it is noted.
pub(crate) fn listener(checker: &ConfigChecker<'_>, internal: &InternalSection) -> SocketAddr {
    let path = ["internal".into(), "listen".into()];
    match address::listen(&internal.listen) {
        Ok(address) if address.ip().is_loopback() => return address,
        Ok(_) => checker.error(
            &path,
            format!("`{}` can be reached from other machines", internal.listen),
            "the internal API is for business servers on this machine: write 127.0.0.1:8081",
        ),
        Err((message, hint)) => checker.error(&path, message, hint),
    }
    SocketAddr::from(([127, 0, 0, 1], 8081))
}

/// Where the stand-in for WeChat listens, if at all.
pub(crate) fn stand_in(
    checker: &ConfigChecker<'_>,
    internal: &InternalSection,
) -> Option<SocketAddr> {
    let written = internal.wechat_https.as_deref()?;
    let path = ["internal".into(), "wechat_https".into()];
    match address::listen(written) {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(_) => checker.error(
            &path,
            format!("`{written}` can be reached from other machines"),
            "whoever reaches it calls WeChat in your name: write 127.0.0.1:8083",
        ),
        Err((message, hint)) => checker.error(&path, message, hint),
    }
    None
}

fn check_token(checker: &ConfigChecker<'_>, token: &str) {
    let path = ["internal".into(), "token".into()];
    let hint = "make one with `openssl rand -hex 32`, or leave it out: apps of weappd need none";
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        checker.error(
            &path,
            "a header cannot carry blanks or letters beyond ASCII",
            hint,
        );
    } else if token.len() < LEAST_TOKEN {
        let message = format!("shorter than {LEAST_TOKEN} characters: it can be guessed");
        checker.error(&path, message, hint);
    }
}
