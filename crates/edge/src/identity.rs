//! Who is calling: asked of the session room, told to the app in `X-WX-*` headers.

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::page::Refusal;
use crate::site::SessionRule;

const X_WX_APPID: HeaderName = HeaderName::from_static("x-wx-appid");
const X_WX_OPENID: HeaderName = HeaderName::from_static("x-wx-openid");
const X_WX_SOURCE: HeaderName = HeaderName::from_static("x-wx-source");
const X_WX_UNIONID: HeaderName = HeaderName::from_static("x-wx-unionid");

/// Says who a request's headers speak for. The session room's answer, given by weappd.
pub trait Identify: Send + Sync {
    /// Looks at the session headers of one request.
    fn identify<'a>(&'a self, headers: &'a HeaderMap) -> BoxFuture<'a, Caller>;
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

/// Asks who is calling and writes it into `headers`, from which every claim of the client
/// was dropped before. The names are those of WeChat's own cloud hosting, so that apps
/// written for it find them.
pub(crate) async fn establish(
    identify: &dyn Identify,
    rule: SessionRule,
    headers: &mut HeaderMap,
) -> Result<(), Refusal> {
    match (identify.identify(headers).await, rule) {
        (
            Caller::Known {
                openid,
                unionid,
                appid,
            },
            _,
        ) => {
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
            headers.insert(X_WX_SOURCE, HeaderValue::from_static("wx_client"));
            Ok(())
        }
        (Caller::Nobody, SessionRule::Require) => Err(Refusal::LoginRequired),
        (Caller::Refused(answer), SessionRule::Require) => Err(Refusal::Said(Box::new(answer))),
        (Caller::Nobody | Caller::Refused(_), SessionRule::Pass) => Ok(()),
    }
}

/// The openid that [`establish`] wrote.
pub(crate) fn openid(headers: &HeaderMap) -> Option<&str> {
    headers.get(X_WX_OPENID)?.to_str().ok()
}
