//! Who is calling: asked of the session room, told to the app in `X-WX-*` headers.

use axum::response::Response;
use futures_util::future::BoxFuture;
use http::HeaderMap;

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
