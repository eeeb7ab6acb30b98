//! The step from the door into one of weappd's own rooms.

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;

use axum::Router;
use axum::extract::ConnectInfo;
use futures_util::FutureExt as _;
use http::request::Parts;
use http::uri::Scheme;
use http::{Request, Response, StatusCode};
use tower::ServiceExt as _;

use crate::body::Body;
use crate::connection::Visit;
use crate::page::Refusal;

/// Hands the request to the room. A room that panics answers 500; its neighbours on the
/// same thread do not notice.
pub(crate) async fn enter(
    router: &Router,
    visit: &Visit,
    mut head: Parts,
    body: Body,
) -> Result<Response<Body>, Refusal> {
    head.extensions
        .insert(ConnectInfo::<SocketAddr>(visit.peer));
    head.extensions.insert(if visit.proto == "https" {
        Scheme::HTTPS
    } else {
        Scheme::HTTP
    });
    let request = Request::from_parts(head, axum::body::Body::new(body));
    let answering = AssertUnwindSafe(router.clone().oneshot(request)).catch_unwind();
    let Ok(answer) = answering.await else {
        tracing::error!("a room panicked; the request is answered 500");
        return Err(Refusal::Internal);
    };
    let response = match answer {
        Ok(response) => response.map(Body::room),
        Err(never) => match never {},
    };
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        visit.traffic.becomes_tunnel();
    }
    Ok(response)
}
