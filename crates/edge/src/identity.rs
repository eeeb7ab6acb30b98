//! Who is calling: asked of the session room, told to the app in `X-WX-*` headers.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use weappd_base::token::Tokens;

use crate::house::Way;
use crate::page::Refusal;
use crate::site::SessionRule;

const X_WX_APPID: HeaderName = HeaderName::from_static("x-wx-appid");
const X_WX_CALL_ID: HeaderName = HeaderName::from_static("x-wx-call-id");
const X_WX_ENV: HeaderName = HeaderName::from_static("x-wx-env");
const X_WX_OPENID: HeaderName = HeaderName::from_static("x-wx-openid");
const X_WX_SOURCE: HeaderName = HeaderName::from_static("x-wx-source");
const X_WX_UNIONID: HeaderName = HeaderName::from_static("x-wx-unionid");

/// Says who a request's headers speak for. The session room's answer, given by weappd.
pub trait Identify: Send + Sync {
    /// Looks at the session headers of one request to a site of the mini programs `appids`
    /// (none: of any); users of others are nobody there.
    fn identify<'a>(
        &'a self,
        appids: &'a [String],
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Caller>;
}

/// Who is calling.
#[derive(Debug)]
pub enum Caller {
    /// A user with a valid session.
    Known {
        /// The user's openid.
        openid: String,
        /// The user's unionid, where WeChat told it.
        unionid: Option<String>,
        /// The mini program.
        appid: String,
    },
    /// The request carries no session.
    Nobody,
    /// The request's session is not valid; the answer for a route that demands one.
    Refused(Response),
}

/// What apps are told of a call beside who makes it. One for each edge thread.
#[derive(Debug)]
pub(crate) struct Herald {
    env: HeaderValue,
    /// Drawn at random, so that two threads or two starts never give the same id.
    thread: u64,
    calls: AtomicU64,
}

impl Herald {
    /// `env` is the name of the environment, as the configuration has it.
    pub(crate) fn new(env: &str) -> Self {
        Self {
            env: HeaderValue::try_from(env).unwrap_or(HeaderValue::from_static("weappd")),
            thread: u64::from_be_bytes(Tokens::system().bytes()),
            calls: AtomicU64::new(0),
        }
    }

    fn next_call(&self) -> String {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{call:016x}", self.thread)
    }
}

/// Asks who is calling and writes it into `headers`, from which every claim of the client
/// was dropped before. The names are those of WeChat's own cloud hosting, so that apps
/// written for it find them.
pub(crate) async fn establish(
    identify: &dyn Identify,
    herald: &Herald,
    way: &Way,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    let caller = identify.identify(&way.appids, headers).await;
    match (caller, way.session) {
        (
            Caller::Known {
                openid,
                unionid,
                appid,
            },
            _,
        ) => {
            let source = source(headers);
            let mut set = |name, text: String| {
                if let Ok(value) = HeaderValue::try_from(text) {
                    headers.insert(name, value);
                }
            };
            set(X_WX_OPENID, openid);
            set(X_WX_APPID, appid);
            if let Some(unionid) = unionid {
                set(X_WX_UNIONID, unionid);
            }
            set(X_WX_CALL_ID, herald.next_call());
            headers.insert(X_WX_ENV, herald.env.clone());
            headers.insert(X_WX_SOURCE, HeaderValue::from_static(source));
            Ok(())
        }
        (Caller::Nobody, SessionRule::Require) => Err(Refusal::LoginRequired),
        (Caller::Refused(answer), SessionRule::Require) => Err(Refusal::Said(Box::new(answer))),
        (Caller::Nobody | Caller::Refused(_), SessionRule::Pass) => Ok(()),
    }
}

/// Where the mini program runs. Its runtime sets the Referer, `https://servicewechat.com/`,
/// AppID, version, `/page-frame.html`; in the developer tools the version is `devtools`.
fn source(headers: &HeaderMap) -> &'static str {
    let referer = headers.get(header::REFERER).map(HeaderValue::as_bytes);
    let pages = referer.and_then(|text| text.strip_prefix(b"https://servicewechat.com/"));
    match pages.and_then(|rest| rest.split(|byte| *byte == b'/').nth(1)) {
        Some(b"devtools") => "wx_devtools",
        _ => "wx_client",
    }
}

/// The id that [`establish`] gave the call.
pub(crate) fn call_id(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(X_WX_CALL_ID).cloned()
}

/// Tells the client the id of its call, whatever the app said.
pub(crate) fn echo_call_id(headers: &mut HeaderMap, id: Option<HeaderValue>) {
    if let Some(id) = id {
        headers.insert(X_WX_CALL_ID, id);
    }
}

/// The openid that [`establish`] wrote.
pub(crate) fn openid(headers: &HeaderMap) -> Option<&str> {
    headers.get(X_WX_OPENID)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_developer_tools_are_known_by_the_referer() {
        for (referer, from) in [
            (
                "https://servicewechat.com/wx1/devtools/page-frame.html",
                "wx_devtools",
            ),
            (
                "https://servicewechat.com/wx1/12/page-frame.html",
                "wx_client",
            ),
            ("https://servicewechat.com/devtools", "wx_client"),
            (
                "https://example.com/wx1/devtools/page-frame.html",
                "wx_client",
            ),
            ("", "wx_client"),
        ] {
            let headers =
                HeaderMap::from_iter([(header::REFERER, HeaderValue::from_static(referer))]);
            assert_eq!(source(&headers), from, "{referer}");
        }
        assert_eq!(source(&HeaderMap::new()), "wx_client");
    }

    #[test]
    fn no_two_calls_share_an_id() {
        let (one, two) = (Herald::new("a"), Herald::new("a"));
        let ids = [one.next_call(), one.next_call(), two.next_call()];
        assert!(ids.iter().all(|id| id.len() == 32));
        assert!(
            ids[0] != ids[1] && ids[0] != ids[2] && ids[1] != ids[2],
            "{ids:?}"
        );
        assert_eq!(Herald::new("line\nbreak").env, "weappd");
    }
}
