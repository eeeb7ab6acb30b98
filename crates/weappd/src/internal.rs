//! The internal API: what business servers call, on loopback only.
//!
//! Old business servers call `POST /mina_auth/`, `/get/wsurl` and `/ws/push` with the
//! proofs those protocols have; everything under `/v1/` is weappd's own and wants the
//! token that apps find in `WEAPPD_TOKEN`, or `[internal] token`. No browser has business
//! here: requests that carry an `Origin`, or a `Host` that is a name on the internet, are
//! refused, so that a page somebody visits cannot reach it through their machine.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::json;
use weappd_base::error_body::ErrorBody;
use weappd_base::secret::{Secret, same_bytes};
use weappd_session::http::SiteChoice;
use weappd_session::{Denied, Sessions};
use weappd_tunnel::Tunnels;

/// The tokens that open `/v1/`.
pub(crate) type AppTokens = Arc<Vec<Secret>>;

#[derive(Clone)]
struct Parts {
    sessions: Sessions,
    tunnels: Tunnels,
    tokens: AppTokens,
}

/// Everything the internal listener answers. With mini programs, apps can ask who a phone
/// is at the sites' own paths (`/weapp/user`), with the phone's own headers.
pub(crate) fn router(
    sessions: &Sessions,
    tunnels: &Tunnels,
    appids: Vec<String>,
    tokens: AppTokens,
) -> Router {
    let session = (!appids.is_empty()).then(|| {
        let choice = SiteChoice {
            appids,
            wafer1: true,
            wafer2: true,
        };
        weappd_session::http::public_router(sessions.clone(), choice)
    });
    let parts = Parts {
        sessions: sessions.clone(),
        tunnels: tunnels.clone(),
        tokens,
    };
    let own = Router::new()
        .route("/v1/session", get(whoami))
        .route("/v1/tunnels", get(tunnels_now))
        .route_layer(middleware::from_fn_with_state(parts.clone(), want_token))
        .with_state(parts);
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .merge(own)
        .merge(session.unwrap_or_default())
        .merge(weappd_session::http::rpc_router(sessions.clone()))
        .merge(weappd_tunnel::http::internal_router(tunnels.clone()))
        .fallback(unknown)
        .layer(middleware::from_fn(no_browsers))
}

async fn unknown() -> Response {
    refuse(
        StatusCode::NOT_FOUND,
        "not_found",
        "the internal API has no such path; see docs/wire",
    )
}

/// Which mini program's users an app asks for.
#[derive(serde::Deserialize)]
struct Among {
    appid: Option<String>,
}

async fn whoami(
    State(parts): State<Parts>,
    Query(among): Query<Among>,
    headers: HeaderMap,
) -> Response {
    let caller = match parts.sessions.check_headers(&headers).await {
        Ok(who) if among.appid.is_some_and(|appid| appid != who.appid) => Err(Denied::Unknown),
        caller => caller,
    };
    match caller {
        Ok(who) => Json(json!({
            "appid": who.appid,
            "openid": who.openid,
            "unionid": who.unionid,
        }))
        .into_response(),
        Err(denied) => refuse(StatusCode::UNAUTHORIZED, "no_session", &denied.to_string()),
    }
}

async fn tunnels_now(State(parts): State<Parts>) -> Response {
    Json(json!({ "tunnels": parts.tunnels.list(1000), "stats": parts.tunnels.stats() }))
        .into_response()
}

async fn want_token(State(parts): State<Parts>, request: Request, next: Next) -> Response {
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
        )
    }
}

async fn no_browsers(request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .or_else(|| request.uri().host());
    if headers.contains_key(header::ORIGIN) || !host.is_none_or(is_local_name) {
        return refuse(
            StatusCode::FORBIDDEN,
            "not_for_browsers",
            "the internal API answers programs on this machine, by loopback address",
        );
    }
    next.run(request).await
}

/// Whether a `Host` is an address or a name that a browser cannot be lured to.
fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.parse::<IpAddr>().is_ok() || name.eq_ignore_ascii_case("localhost") || !name.contains('.')
}

fn refuse(status: StatusCode, code: &str, message: &str) -> Response {
    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (status, json, ErrorBody::new(code, message).to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_on_the_internet_are_not_local() {
        for host in [
            "127.0.0.1:8081",
            "[::1]:8081",
            "localhost",
            "weappd:8081",
            "10.0.0.7",
        ] {
            assert!(is_local_name(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8081",
            "127.0.0.1.evil.example",
        ] {
            assert!(!is_local_name(host), "{host}");
        }
    }
}
