//! `[internal]`: where programs on this machine call weappd, and how they prove themselves.

use std::net::SocketAddr;

use serde::Deserialize;
use weappd_base::secret::Secret;

use crate::config::{address, desk::Desk};

/// `[internal]`.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Internal {
    /// Where business servers call weappd; on this machine only.
    pub(crate) listen: String,
    /// A bearer token for programs that weappd did not start, which ask for access tokens
    /// (`GET /token`) or sessions (`/v1/`). Apps find one of their own in `WEAPPD_TOKEN`.
    pub(crate) token: Option<Secret>,
    /// Where weappd stands in for `https://api.weixin.qq.com`, for apps whose SDK knows no
    /// other address: `"127.0.0.1:8083"`, on this machine only. Apps under weappd's care are
    /// told to trust its certificate, and Node is led there. Not given: nowhere.
    pub(crate) wechat_https: Option<String>,
}

impl Default for Internal {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8081".to_owned(),
            token: None,
            wechat_https: None,
        }
    }
}

/// Whoever guesses a token is given WeChat's.
const LEAST_TOKEN: usize = 16;

/// The address; what is wrong with the section is noted.
pub(crate) fn listener(desk: &Desk<'_>, internal: &Internal) -> SocketAddr {
    if let Some(token) = &internal.token {
        check_token(desk, token.expose());
    }
    let path = ["internal".into(), "listen".into()];
    match address::listen(&internal.listen) {
        Ok(address) if address.ip().is_loopback() => return address,
        Ok(_) => desk.error(
            &path,
            format!("`{}` can be reached from other machines", internal.listen),
            "the internal API is for business servers on this machine: write 127.0.0.1:8081",
        ),
        Err((message, hint)) => desk.error(&path, message, hint),
    }
    SocketAddr::from(([127, 0, 0, 1], 8081))
}

/// Where the stand-in for WeChat listens, if at all.
pub(crate) fn stand_in(desk: &Desk<'_>, internal: &Internal) -> Option<SocketAddr> {
    let written = internal.wechat_https.as_deref()?;
    let path = ["internal".into(), "wechat_https".into()];
    match address::listen(written) {
        Ok(address) if address.ip().is_loopback() => return Some(address),
        Ok(_) => desk.error(
            &path,
            format!("`{written}` can be reached from other machines"),
            "whoever reaches it calls WeChat in your name: write 127.0.0.1:8083",
        ),
        Err((message, hint)) => desk.error(&path, message, hint),
    }
    None
}

fn check_token(desk: &Desk<'_>, token: &str) {
    let path = ["internal".into(), "token".into()];
    let hint = "make one with `openssl rand -hex 32`, or leave it out: apps of weappd need none";
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        desk.error(
            &path,
            "a header cannot carry blanks or letters beyond ASCII",
            hint,
        );
    } else if token.len() < LEAST_TOKEN {
        let message = format!("shorter than {LEAST_TOKEN} characters: it can be guessed");
        desk.error(&path, message, hint);
    }
}
