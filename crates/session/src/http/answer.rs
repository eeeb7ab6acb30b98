//! Answers as HTTP responses.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use crate::dialect::{wafer1, wafer2};
use crate::identity::AuthError;
use weappd_base::causes::chain;

/// After how many seconds to try again what weappd could not do just now.
const RETRY_SECS: HeaderValue = HeaderValue::from_static("2");

/// A JSON answer that nobody on the way may keep.
pub(crate) fn json(status: StatusCode, body: Bytes) -> Response {
    json_bytes(status, body).map(Body::from)
}

/// The same, its body not yet boxed.
pub(crate) fn json_bytes(status: StatusCode, body: Bytes) -> Response<Bytes> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json; charset=utf-8"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, RETRY_SECS);
    }
    response
}

/// A JSON answer with status 200: the Wafer dialects say everything in the body.
pub(crate) fn ok(body: Bytes) -> Response {
    json(StatusCode::OK, body)
}

/// The answer to a request that needs a session and shows none that holds, in the words
/// of the dialect the request speaks: Wafer 1 if it carries `X-WX-Id`, else Wafer 2 with
/// status 401.
pub fn refusal(headers: &HeaderMap, denied: &AuthError) -> Response {
    log_denied(denied);
    if headers.contains_key("x-wx-id") {
        return ok(wafer1::denied(denied));
    }
    let status = match denied {
        AuthError::Missing | AuthError::Unknown | AuthError::Expired => StatusCode::UNAUTHORIZED,
        AuthError::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    json(status, wafer2::denied(denied))
}

/// Logs a check that failed; a session that does not hold is no failure.
pub(crate) fn log_denied(denied: &AuthError) {
    if let AuthError::Failed(err) = denied {
        tracing::error!(error = chain(err), "a session could not be checked");
    }
}
