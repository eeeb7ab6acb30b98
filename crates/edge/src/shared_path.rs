//! A path that a room and an app share: `GET` may be the room's, all else is the app's.

use axum::Router;
use http::request::Parts;
use http::{Method, Request, Response, StatusCode, header};

use crate::house::To;

/// A path that a room and an app share.
#[derive(Debug)]
pub(crate) struct SharedPath {
    /// The app, or a proxy.
    pub(crate) app: To,
    pub(crate) room: Router,
    /// Whether the room answers only what the app does not know.
    pub(crate) app_first: bool,
}

impl SharedPath {
    /// Whether the room answers without the app being asked.
    pub(crate) fn is_rooms(&self, method: &Method) -> bool {
        !self.app_first && method == Method::GET
    }

    /// The head to show the room if the app does not know the path.
    pub(crate) fn copy_for_room(&self, head: &Parts) -> Option<Parts> {
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

    /// Whether an app that answers so has nothing for `GET` at this path. A page is what an
    /// app sends for every path that it does not know otherwise.
    pub(crate) fn is_unknown<B>(answer: &Response<B>) -> bool {
        let kind = answer.headers().get(header::CONTENT_TYPE);
        let is_page = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/html"));
        is_page && answer.status() == StatusCode::OK
            || matches!(
                answer.status(),
                StatusCode::NOT_FOUND
                    | StatusCode::METHOD_NOT_ALLOWED
                    | StatusCode::NOT_IMPLEMENTED
            )
    }
}
