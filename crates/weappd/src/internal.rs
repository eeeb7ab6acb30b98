//! The internal API: what business servers call, on loopback only.
//!
//! Old business servers call `POST /mina_auth/`, `/get/wsurl` and `/ws/push` with the
//! proofs those protocols have; everything under `/v1/` is weappd's own and wants the
//! token that apps find in `WEAPPD_TOKEN`, or `[internal] token`. `/healthz` and `/metrics` tell
//! everybody who reaches it, and hold neither secrets nor users. No browser has business
//! here: requests that carry an `Origin` or a `Sec-Fetch-Site`, or a `Host` that is neither
//! loopback nor one of `[internal] hosts`, are refused, so that a page somebody visits cannot
//! reach it through their machine.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;
use weappd_base::error_body::ErrorBody;
use weappd_base::local_host::LocalHosts;
use weappd_base::rate_limit::LogLimit;
use weappd_base::secret::{Secret, mask_tokens, same_bytes};
use weappd_session::http::SiteChoice;
use weappd_session::{AuthError, SessionService};
use weappd_tunnel::TunnelServer;

/// The tokens that open `/v1/`.
pub(crate) type AppTokens = Arc<Vec<Secret>>;

#[derive(Clone)]
struct InternalState {
    sessions: SessionService,
    tunnels: TunnelServer,
    tokens: AppTokens,
}

/// Everything the internal listener answers. With mini programs, apps can ask who a phone
/// is at the sites' own paths (`/weapp/user`), with the phone's own headers.
pub(crate) fn router(
    sessions: &SessionService,
    tunnels: &TunnelServer,
    appids: Vec<String>,
    (tokens, hosts): (AppTokens, LocalHosts),
    metrics: Router,
) -> Router {
    let session = (!appids.is_empty()).then(|| {
        let choice = SiteChoice {
            appids,
            wafer1: true,
            wafer2: true,
        };
        weappd_session::http::public_router(sessions.clone(), choice)
    });
    let parts = InternalState {
        sessions: sessions.clone(),
        tunnels: tunnels.clone(),
        tokens,
    };
    let own = Router::new()
        .route("/v1/session", get(whoami))
        .route("/v1/tunnels", get(tunnels_now))
        .with_state(parts.clone())
        .merge(weappd_session::http::sign_router(sessions.clone()))
        .route_layer(middleware::from_fn_with_state(parts, want_token));
    let limit = Arc::new(LogLimit::new(Duration::from_mins(1), 16));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(metrics)
        .merge(own)
        .merge(session.unwrap_or_default())
        .merge(weappd_session::http::rpc_router(sessions.clone()))
        .merge(weappd_tunnel::http::internal_router(tunnels.clone()))
        .fallback(move |request: Request| async move { unknown(&limit, &request) })
        .layer(middleware::from_fn_with_state(hosts, no_browsers))
}

/// What old SDKs append to the address they are given, and the key of `sdk.config` for it.
const OLD_PATHS: [(&str, &str); 3] = [
    ("/get/wsurl", "tunnelServerUrl"),
    ("/ws/push", "tunnelServerUrl"),
    ("/mina_auth", "authServerUrl"),
];

/// A path that is not there. An old SDK shows its caller no more than that something went
/// wrong, so the log says what, and the address that is right.
fn unknown(limit: &LogLimit, request: &Request) -> Response {
    let path: String = mask_tokens(request.uri().path())
        .chars()
        .take(200)
        .collect();
    let mut old = OLD_PATHS.iter();
    let old = old.find_map(|(known, key)| Some((path.find(known)?, known, key)));
    let Some((at, known, key)) = old else {
        let message = "the internal API has no such path; see docs/wire";
        if let Some(untold) = limit.permit(&path) {
            tracing::warn!(method = %request.method(), path, untold, "the internal API has no such path");
        }
        return refuse(StatusCode::NOT_FOUND, "not_found", message, None);
    };
    let host = request.headers().get(header::HOST);
    let host = host
        .and_then(|host| host.to_str().ok())
        .unwrap_or("127.0.0.1:8081");
    let right = match *key {
        "authServerUrl" => format!("http://{host}/mina_auth/"),
        _ => format!("http://{host}"),
    };
    let wrong = path
        .get(..at)
        .filter(|before| !before.trim_matches('/').is_empty());
    let hint = match wrong {
        Some(before) => format!("leave out {before}: the SDK's {key} is {right}"),
        None => format!("the SDK's {key} is {right}"),
    };
    if let Some(untold) = limit.permit(&path) {
        tracing::warn!(
            method = %request.method(), path, untold,
            "a business server asks for a path that the internal API does not have ({known} is \
             what it means): {hint}"
        );
    }
    refuse(
        StatusCode::NOT_FOUND,
        "not_found",
        "the internal API has no such path; see docs/wire",
        Some(&hint),
    )
}

/// Which mini program's users an app asks for.
#[derive(serde::Deserialize)]
struct AppidQuery {
    appid: Option<String>,
}

async fn whoami(
    State(parts): State<InternalState>,
    Query(among): Query<AppidQuery>,
    headers: HeaderMap,
) -> Response {
    let caller = match parts.sessions.check_headers(&headers).await {
        Ok(who) if among.appid.is_some_and(|appid| appid != who.appid) => Err(AuthError::Unknown),
        caller => caller,
    };
    match caller {
        Ok(who) => Json(json!({
            "appid": who.appid,
            "openid": who.openid,
            "unionid": who.unionid,
        }))
        .into_response(),
        Err(denied) => {
            let (status, code) = match &denied {
                // The session may be good: nobody is to be logged out for it.
                AuthError::Failed(_) => (StatusCode::SERVICE_UNAVAILABLE, "store_failed"),
                _ => (StatusCode::UNAUTHORIZED, "no_session"),
            };
            refuse(status, code, &denied.to_string(), None)
        }
    }
}

async fn tunnels_now(State(parts): State<InternalState>) -> Response {
    Json(json!({ "tunnels": parts.tunnels.list(1000), "stats": parts.tunnels.stats() }))
        .into_response()
}

async fn want_token(State(parts): State<InternalState>, request: Request, next: Next) -> Response {
    let given = request
        .headers()
        .get(header::AUTHORIZATION)
        .and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let known = given.is_some_and(|given| {
        parts
            .tokens
            .iter()
            .any(|token| same_bytes(token.expose().as_bytes(), given))
    });
    if known {
        next.run(request).await
    } else {
        refuse(
            StatusCode::UNAUTHORIZED,
            "no_token",
            "send `Authorization: Bearer` with WEAPPD_TOKEN, which weappd gives its apps, or with \
             [internal] token of weappd.toml; the phone's session then goes into X-WX-Skey",
            None,
        )
    }
}

async fn no_browsers(State(hosts): State<LocalHosts>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| request.uri().host());
    if headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site") {
        return refuse(
            StatusCode::FORBIDDEN,
            "not_for_browsers",
            "the internal API answers programs on this machine, not web pages",
            None,
        );
    }
    if !host.is_none_or(|host| hosts.allow(host)) {
        return refuse(
            StatusCode::FORBIDDEN,
            "not_for_browsers",
            "the internal API answers programs on this machine, by loopback address",
            Some(
                "call 127.0.0.1 or localhost; a program that has another name for this machine: \
                 add that to [internal] hosts in weappd.toml",
            ),
        );
    }
    next.run(request).await
}

fn refuse(status: StatusCode, code: &str, message: &str, hint: Option<&str>) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    let mut body = ErrorBody::new(code, message);
    if let Some(hint) = hint {
        body = body.hint(hint);
    }
    (status, json, body.to_string()).into_response()
}
