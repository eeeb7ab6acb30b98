//! A path that one of weappd's routers and an app share: `GET` may be the router's, all else
//! is the app's.

use axum::Router;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;

use crate::body::EdgeBody;
use crate::refusal::EdgeRefusal;
use crate::route::app_handler::AppHandler;

/// Longer answers of apps are passed on unread.
const ANSWER_MAX_BYTES: u64 = 16 * 1024;
/// What stands in an answer of the Wafer SDKs to a phone that wants a tunnel, also in a no.
const TUNNEL_WORDS: [&str; 5] = ["connectUrl", "\"url\"", "wss:", "\"error\"", "ERR_"];

/// A path that one of weappd's routers and an app share.
#[derive(Debug)]
pub(crate) struct SharedPath {
    /// The app, or a proxy.
    pub(crate) app: AppHandler,
    pub(crate) router: Router,
    /// Whether the router answers only what the app does not know.
    pub(crate) app_first: bool,
}

impl SharedPath {
    /// Whether the router answers without the app being asked.
    pub(crate) fn is_for_router(&self, method: &Method) -> bool {
        !self.app_first && method == Method::GET
    }

    /// The head for the router if the app does not know the path.
    pub(crate) fn copy_for_router(&self, head: &Parts) -> Option<Parts> {
        if !self.app_first || head.method != Method::GET {
            return None;
        }
        let (mut copy, ()) = Request::new(()).into_parts();
        copy.method = head.method.clone();
        copy.uri = head.uri.clone();
        copy.version = head.version;
        copy.headers = head.headers.clone();
        Some(copy)
    }

    /// Whether an app that answers so has nothing for `GET` at this path, and the answer.
    /// Some apps answer every path: with a page, or with words that are no tunnel's.
    pub(crate) async fn is_unknown(
        answer: Response<EdgeBody>,
    ) -> Result<(bool, Response<EdgeBody>), EdgeRefusal> {
        match answer.status() {
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => return Ok((true, answer)),
            StatusCode::OK => {}
            _ => return Ok((false, answer)),
        }
        let headers = answer.headers();
        let size = answer.body().size_hint().exact();
        if headers.contains_key(header::CONTENT_ENCODING)
            || size.is_none_or(|size| size > ANSWER_MAX_BYTES)
        {
            let kind = headers.get(header::CONTENT_TYPE);
            let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
            return Ok((is_page, answer));
        }
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(|_| EdgeRefusal::BadGateway)?;
        let body = body.to_bytes();
        let says = |word: &&str| memchr::memmem::find(&body, word.as_bytes()).is_some();
        let is_unknown = !TUNNEL_WORDS.iter().any(says);
        let answer = Response::from_parts(head, EdgeBody::full(body));
        Ok((is_unknown, answer))
    }
}
