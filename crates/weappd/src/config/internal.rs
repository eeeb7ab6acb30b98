//! `[internal]`: where programs on this machine call weappd, and how they prove themselves.

use std::net::{IpAddr, SocketAddr};
use weappd_base::language::pick;
use weappd_base::words;

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
            Ok(name) if name.starts_with('*') => pick(
                "a page on the internet could have this name",
                "互联网上的网页也可能用这个名字",
            ),
            Err(_) if !is_address => pick("is no name of a host", "不是主机名"),
            _ => continue,
        };
        checker.error(
            &["internal".into(), "hosts".into(), at.into()],
            words!("`{host}`: {wrong}", "`{host}`：{wrong}"),
            pick(
                "write the name alone, as in hosts = [\"host.docker.internal\", \"10.0.0.7\"]",
                "只写名字，例如 hosts = [\"host.docker.internal\", \"10.0.0.7\"]",
            ),
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
            words!(
                "`{}` can be reached from other machines",
                "`{}` 可以从其他机器访问",
                internal.listen
            ),
            pick(
                "the internal API is for business servers on this machine: write 127.0.0.1:8081",
                "内部接口只供本机的业务服务器使用：请写 127.0.0.1:8081",
            ),
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
            words!(
                "`{written}` can be reached from other machines",
                "`{written}` 可以从其他机器访问"
            ),
            pick(
                "whoever reaches it calls WeChat in your name: write 127.0.0.1:8083",
                "能访问它的人就能以你的名义调用微信：请写 127.0.0.1:8083",
            ),
        ),
        Err((message, hint)) => checker.error(&path, message, hint),
    }
    None
}

fn check_token(checker: &ConfigChecker<'_>, token: &str) {
    let path = ["internal".into(), "token".into()];
    let hint = pick(
        "make one with `openssl rand -hex 32`, or leave it out: apps of weappd need none",
        "用 `openssl rand -hex 32` 生成一个，或删掉这一行：weappd 启动的应用不需要它",
    );
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        checker.error(
            &path,
            pick(
                "a header cannot carry blanks or letters beyond ASCII",
                "请求头里不能有空格和非 ASCII 字符",
            ),
            hint,
        );
    } else if token.len() < LEAST_TOKEN {
        let message = words!(
            "shorter than {LEAST_TOKEN} characters: it can be guessed",
            "不到 {LEAST_TOKEN} 个字符，容易被猜到"
        );
        checker.error(&path, message, hint);
    }
}
