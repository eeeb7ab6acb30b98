//! Where two rooms meet at one endpoint: who is calling, told to the edge; the built-in
//! tunnel endpoint, which needs a session and gives a tunnel.

use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{self, HeaderMap, HeaderValue, Uri, header, uri::Scheme};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use axum::{Extension, Router};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::json;
use weappd_edge::{Caller, Identify, InstantAnswer};
use weappd_session::http::InstantUser;
use weappd_session::{AuthError, SessionService, UserIdentity};
use weappd_tunnel::TunnelServer;

use crate::site_rooms::{TUNNEL, TUNNEL1};

/// Tells the edge who is calling, from the session room.
#[derive(Debug)]
pub(crate) struct SessionIdentify(pub(crate) SessionService);

impl SessionIdentify {
    fn known(who: &UserIdentity) -> Caller {
        Caller::Known {
            openid: who.openid.clone(),
            unionid: who.unionid.clone(),
            appid: who.appid.clone(),
        }
    }
}

impl Identify for SessionIdentify {
    fn identify<'a>(
        &'a self,
        appids: &'a [String],
        headers: &'a HeaderMap,
    ) -> BoxFuture<'a, Caller> {
        Box::pin(async move {
            let caller = match self.0.check_headers(headers).await {
                Ok(who) if !appids.is_empty() && !appids.contains(&who.appid) => {
                    Err(AuthError::Unknown)
                }
                caller => caller,
            };
            match caller {
                Ok(who) => Self::known(&who),
                // A person in front of a browser gets the door's page instead.
                Err(AuthError::Missing) if wants_page(headers) => Caller::Nobody,
                Err(denied) => Caller::Refused(weappd_session::http::refusal(headers, &denied)),
            }
        })
    }

    fn identify_in_memory(&self, appids: &[String], headers: &HeaderMap) -> Option<Caller> {
        match self.0.check_headers_in_cache(headers)? {
            Ok(who) if appids.is_empty() || appids.contains(&who.appid) => Some(Self::known(&who)),
            // A check that failed is logged where it is asked for.
            Err(AuthError::Failed(_)) => None,
            Ok(_) | Err(_) => Some(Caller::Nobody),
        }
    }
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
    accept.is_some_and(|accept| accept.windows(9).any(|word| word == b"text/html"))
}

/// Tells phones who they are, from the session room's memory.
pub(crate) struct UserFromMemory(pub(crate) InstantUser);

impl InstantAnswer for UserFromMemory {
    fn instant_answer(&self, head: &Parts) -> Option<http::Response<Bytes>> {
        self.0.answer(head)
    }
}

/// Tells the edge that nobody is known: for listeners without sessions.
#[derive(Debug)]
pub(crate) struct NobodyKnown;

impl Identify for NobodyKnown {
    fn identify<'a>(&'a self, _: &'a [String], _: &'a HeaderMap) -> BoxFuture<'a, Caller> {
        Box::pin(std::future::ready(Caller::Nobody))
    }
}

/// Whether a request came over TLS, as the edge noted.
pub(crate) fn is_https(parts: &axum::http::request::Parts) -> bool {
    parts.extensions.get::<Scheme>() == Some(&Scheme::HTTPS)
}

#[derive(Clone)]
struct TunnelState {
    tunnels: TunnelServer,
    business: Arc<str>,
}

/// `GET /weapp/tunnel` (Wafer 2) and `GET /tunnel` (Wafer 1) for sites whose business
/// server only wants the callbacks, at the same path. The wiring demands a session for it.
pub(crate) fn tunnel_router(tunnels: TunnelServer, business: &str) -> Router {
    let checker = TunnelState {
        tunnels,
        business: business.into(),
    };
    Router::new()
        .route(TUNNEL, get(open_wafer2))
        .route(TUNNEL1, get(open_wafer1))
        .with_state(checker)
}

async fn open_wafer2(
    State(checker): State<TunnelState>,
    who: Extension<Arc<UserIdentity>>,
    scheme: Option<Extension<Scheme>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match open(&checker, TUNNEL, &who, scheme, &uri, &headers) {
        Ok((tunnel_id, connect_url)) => Json(json!({
            "code": 0,
            "data": { "tunnelId": tunnel_id, "connectUrl": connect_url },
        })),
        Err(words) => Json(json!({ "code": -1, "error": words })),
    }
    .into_response()
}

async fn open_wafer1(
    State(checker): State<TunnelState>,
    who: Extension<Arc<UserIdentity>>,
    scheme: Option<Extension<Scheme>>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    match open(&checker, TUNNEL1, &who, scheme, &uri, &headers) {
        Ok((_, connect_url)) => Json(json!({ "url": connect_url })),
        Err(words) => Json(json!({ "error": words })),
    }
    .into_response()
}

fn open(
    checker: &TunnelState,
    path: &str,
    who: &UserIdentity,
    scheme: Option<Extension<Scheme>>,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<(String, String), String> {
    let host = uri
        .authority()
        .map(axum::http::uri::Authority::as_str)
        .or_else(|| headers.get(header::HOST)?.to_str().ok())
        .ok_or("the request names no host")?;
    let plain = scheme.is_some_and(|Extension(scheme)| scheme == Scheme::HTTP);
    let base = format!("{}://{host}", if plain { "ws" } else { "wss" });
    tracing::debug!(openid = &*who.openid, "a tunnel is asked for");
    let issued = checker
        .tunnels
        .issue(&checker.business, path, &base)
        .map_err(|error| error.to_string())?;
    Ok((issued.tunnel_id, issued.connect_url))
}
