//! The way out: WeChat's API without tokens, and the token centre.

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use tower::ServiceExt as _;
use weappd_base::request_id::RequestId;
use weappd_wechat::is_api_host;

use crate::allow;
use crate::gateway::{GatewayService, Shared};
use crate::proxy::told;
use crate::proxy_error::ProxyError;

/// Marks answers that went through the gateway, as in 微信云托管.
const SEQID: HeaderName = HeaderName::from_static("x-openapi-seqid");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The API proxy, at every path, and the token centre at `GET|POST /token`.
pub fn api_router(gateway: GatewayService) -> Router {
    Router::new()
        .route("/token", get(token).post(replace_token))
        .fallback(proxy)
        .layer(middleware::from_fn_with_state(
            gateway.clone(),
            for_programs,
        ))
        .with_state(gateway)
}

/// Whatever this router answers is for programs alone, and has a number.
async fn for_programs(
    State(gateway): State<GatewayService>,
    request: Request,
    next: Next,
) -> Response {
    let shared = gateway.shared();
    let mut response = match no_browsers(&shared, &request) {
        Ok(()) => next.run(request).await,
        Err(refusal) => refuse(&refusal),
    };
    // What the request is called in the log.
    let id = RequestId::current().unwrap_or_else(RequestId::fresh);
    if let Ok(seqid) = id.with_text(HeaderValue::from_str) {
        response.headers_mut().insert(SEQID, seqid);
    }
    response
}

/// Puts the API proxy and the token centre in front of the internal API: a request goes to
/// WeChat if its `Host` is one of WeChat's names, or its path begins like one of WeChat's.
/// The paths of WeChat's cloud hosting (`/_/…`) are refused here.
pub fn in_front_of(gateway: GatewayService, inner: Router) -> Router {
    let api = api_router(gateway);
    inner.layer(middleware::from_fn_with_state(api, divert))
}

async fn divert(State(api): State<Router>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let ours = path == "/token" || allow::is_clouds(path) || allow::is_wechats(path);
    if ours || host_of(&request).as_deref().is_some_and(is_api_host) {
        api.oneshot(request).await.into_response()
    } else {
        next.run(request).await
    }
}

async fn proxy(State(gateway): State<GatewayService>, request: Request) -> Response {
    let shared = gateway.shared();
    let deadline = shared.deadline();
    let answer = match allow::check_cloud(request.uri().path()) {
        Ok(()) => shared.call(request, &shared.config.allow, deadline).await,
        Err(refusal) => Err(refusal),
    };
    match answer {
        Ok(answer) => answer.into_response(shared.config.max_answer_bytes, deadline),
        Err(refusal) => refuse(&refusal),
    }
}

/// Which mini program's token.
#[derive(Deserialize)]
struct TokenQuery {
    appid: Option<String>,
}

/// A token that did not work.
#[derive(Deserialize)]
struct RejectedToken {
    appid: Option<String>,
    rejected: String,
}

async fn token(
    State(gateway): State<GatewayService>,
    Query(whose): Query<TokenQuery>,
    headers: HeaderMap,
) -> Response {
    let shared = gateway.shared();
    let asked = async {
        want_bearer(&shared, &headers)?;
        let centre = shared.centre(whose.appid.as_deref())?;
        let token = centre.get().await?;
        Ok((told(centre, &token), centre))
    };
    tell(asked.await.map(|(told, _)| told))
}

/// The passive refresh: somebody's token did not work.
async fn replace_token(
    State(gateway): State<GatewayService>,
    headers: HeaderMap,
    body: axum::body::Bytes,
) -> Response {
    let shared = gateway.shared();
    let asked = async {
        want_bearer(&shared, &headers)?;
        let asked: RejectedToken =
            weappd_base::json::object(&body).map_err(|_| ProxyError::BadRequest)?;
        let centre = shared.centre(asked.appid.as_deref())?;
        let token = centre.instead_of_text(&asked.rejected).await?;
        Ok(told(centre, &token))
    };
    tell(asked.await)
}

fn tell(told: Result<bytes::Bytes, ProxyError>) -> Response {
    match told {
        Ok(body) => {
            let json = (header::CONTENT_TYPE, "application/json; charset=utf-8");
            let private = (header::CACHE_CONTROL, "no-store");
            ([json, private], body).into_response()
        }
        Err(refusal) => refuse(&refusal),
    }
}

fn want_bearer(shared: &Shared, headers: &HeaderMap) -> Result<(), ProxyError> {
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim());
    let known = given.is_some_and(|given| {
        let mut callers = shared.callers.iter();
        callers.any(|known| !known.is_empty() && known.is(given))
    });
    if known {
        Ok(())
    } else {
        Err(ProxyError::NoBearer)
    }
}

/// A page somebody visits must not reach WeChat through their machine.
fn no_browsers(shared: &Shared, request: &Request) -> Result<(), ProxyError> {
    let headers = request.headers();
    let host = host_of(request);
    let from_page = headers.contains_key(header::ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    let is_ours = |host: String| is_api_host(&host) || shared.local_hosts.allow(&host);
    // Browsers always name a host.
    if from_page || !host.is_none_or(is_ours) {
        return Err(ProxyError::Browser);
    }
    Ok(())
}

fn host_of(request: &Request) -> Option<String> {
    let header = request.headers().get(header::HOST);
    let header = header.map(|host| host.to_str().unwrap_or_default());
    let host = request.uri().host().or(header)?;
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    Some(name.to_ascii_lowercase())
}

fn refuse(refusal: &ProxyError) -> Response {
    let body = json!({"errcode": refusal.errcode(), "errmsg": refusal.errmsg()});
    let status: StatusCode = refusal.status();
    (status, axum::Json(body)).into_response()
}
