//! Calls one of weappd's own routers.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::ConnectInfo;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use tower::Service as _;

use crate::body::EdgeBody;
use crate::error_page;
use crate::refusal::EdgeRefusal;
use crate::request_context::RequestContext;

/// Hands the request to a router. One that panics answers 500; other requests on the
/// same thread do not notice.
pub(crate) async fn call_router(
    router: &Router,
    context: &RequestContext<'_>,
    mut head: Parts,
    body: EdgeBody,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let RequestContext {
        conn, id, reader, ..
    } = *context;
    head.extensions.insert(ConnectInfo::<SocketAddr>(conn.peer));
    head.extensions.insert(if conn.proto == "https" {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    let body = if body.is_end_stream() {
        axum::body::Body::empty()
    } else {
        axum::body::Body::new(body)
    };
    // A router is always ready.
    let answering = router.clone().call(Request::from_parts(head, body));
    // Rooms tell failures in the language of whoever reads them.
    let answering = reader.language().scope(answering);
    let answering = AssertUnwindSafe(answering).catch_unwind();
    let Ok(answer) = id.clone().scope(answering).await else {
        tracing::error!(request.id = %id, "a room panicked; the request is answered 500");
        return Err(EdgeRefusal::Internal);
    };
    let mut response = match answer {
        Ok(response) => response.map(EdgeBody::from_router),
        Err(never) => match never {},
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        conn.traffic.becomes_tunnel();
    }
    if response.status().as_u16() >= 400 {
        error_page::name_request(response.headers_mut(), id);
    }
    Ok(response)
}
