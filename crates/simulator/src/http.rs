//! The simulator's two faces on one port: WeChat's server, and the phones.
//!
//! WeChat's side answers like WeChat: HTTP 200 and `text/plain` whatever happened, no
//! CORS. The phone side answers pages on this machine only: other origins get 403.

use std::collections::HashMap;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::avatar;
use crate::error::Error;
use crate::faults::{Fault, Faults};
use crate::phone::Phone;
use crate::platform::{CodeToSession, Refusal};
use crate::simulator::Simulator;
use crate::user::UserName;

/// Bodies here are a few fields.
const MAX_BODY: usize = 16 * 1024;

/// Every path of the simulator.
pub fn router(simulator: Simulator) -> Router {
    let wechat = Router::new()
        .route("/sns/jscode2session", any(code_to_session))
        .layer(from_fn_with_state(simulator.clone(), misbehave));
    let phone = Router::new()
        .route("/phone/{user}", get(profile))
        .route("/phone/{user}/login", post(login))
        .route("/phone/{user}/check_session", post(check_session))
        .route("/phone/{user}/expire_session", post(expire_session))
        .route("/phone/{user}/authorize", post(authorize))
        .route("/phone/{user}/user_info", post(user_info))
        .route("/phone/{user}/phone_number", post(phone_number))
        .route("/avatar/{file}", get(draw_avatar))
        .layer(from_fn(share_with_this_machine));
    let operator = Router::new()
        .route("/faults", get(show_faults).post(set_faults))
        .layer(from_fn(keep_from_other_sites));
    Router::new()
        .merge(wechat)
        .merge(phone)
        .merge(operator)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(simulator)
}

// WeChat's side.

async fn code_to_session(
    State(simulator): State<Simulator>,
    method: Method,
    query: Result<Query<HashMap<String, String>>, QueryRejection>,
) -> Response {
    let mut query = query.map(|Query(fields)| fields).unwrap_or_default();
    let mut field = |name| query.remove(name).unwrap_or_default();
    let asked = CodeToSession {
        appid: field("appid"),
        secret: field("secret"),
        js_code: field("js_code"),
        grant_type: field("grant_type"),
    };
    let answer = if method == Method::GET {
        simulator.code_to_session(&asked)
    } else {
        Err(Refusal::NotGet)
    };
    wechat_answer(&answer.unwrap_or_else(|refusal| simulator.refuse(refusal)))
}

/// As WeChat labels its JSON.
fn wechat_answer(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], body.to_string()).into_response()
}

/// The step before and after WeChat's answers that makes them late, wrong or broken.
async fn misbehave(State(simulator): State<Simulator>, request: Request, next: Next) -> Response {
    let (latency_ms, fault) = simulator.with_state(|state| state.faults.take());
    if latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
    }
    match fault {
        None => next.run(request).await,
        Some(Fault::Errcode(errcode)) => {
            wechat_answer(&simulator.refuse(Refusal::Simulated(errcode)))
        }
        Some(Fault::Reset) => cut_after(next.run(request).await, |_| 0).await,
        Some(Fault::Half) => cut_after(next.run(request).await, |whole| whole / 2).await,
        Some(Fault::WrongJson) => {
            drop(next.run(request).await);
            let page = "<html><body><h1>502 Bad Gateway</h1></body></html>";
            ([(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
    }
}

/// Sends as many bytes of the answer as `keep` says and breaks the connection then.
async fn cut_after(answer: Response, keep: fn(usize) -> usize) -> Response {
    let (mut parts, body) = answer.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let kept = whole.slice(..keep(whole.len()));
    let cut = stream::unfold(Some(kept), |left| async move {
        let kept = left?;
        if kept.is_empty() {
            // Lets the server send what it has; an error at once would discard it.
            tokio::task::yield_now().await;
            let cut = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
            return Some((Err(cut), None));
        }
        Some((Ok(kept), Some(Bytes::new())))
    });
    Response::from_parts(parts, Body::from_stream(cut))
}

// The phone side.

/// What a phone may say about itself with any call.
#[derive(Debug, Default, Deserialize)]
struct Said {
    appid: Option<String>,
    allow: Option<bool>,
}

/// Finds the phone; an empty body says nothing, and is fine.
fn phone(simulator: &Simulator, user: &str, body: &Bytes) -> Result<(Phone, Said), Error> {
    let said: Said = if body.trim_ascii().is_empty() {
        Said::default()
    } else {
        serde_json::from_slice(body).map_err(Error::Body)?
    };
    let phone = simulator.phone(user, said.appid.as_deref())?;
    Ok((phone, said))
}

async fn profile(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Error> {
    let appid = query.get("appid").map(String::as_str);
    Ok(axum::Json(simulator.phone(&user, appid)?.profile()?).into_response())
}

async fn login(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let code = phone(&simulator, &user, &body)?.0.login()?;
    Ok(axum::Json(json!({ "code": code })))
}

async fn check_session(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let valid = phone(&simulator, &user, &body)?.0.check_session()?;
    Ok(axum::Json(json!({ "valid": valid })))
}

async fn expire_session(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    phone(&simulator, &user, &body)?.0.expire_session()?;
    Ok(axum::Json(json!({})))
}

async fn authorize(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let (phone, said) = phone(&simulator, &user, &body)?;
    phone.authorize(said.allow.ok_or(Error::AllowMissing)?)?;
    Ok(axum::Json(json!({})))
}

async fn user_info(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let data = phone(&simulator, &user, &body)?.0.user_info()?;
    Ok(axum::Json(data).into_response())
}

async fn phone_number(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let number = phone(&simulator, &user, &body)?.0.phone_number()?;
    Ok(axum::Json(number).into_response())
}

async fn draw_avatar(Path(file): Path<String>) -> Result<Response, Error> {
    let user = UserName::parse(file.strip_suffix(".svg").ok_or(Error::UserName)?)?;
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    Ok((headers, avatar::draw(&user)).into_response())
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            // A phone hears these as the `fail` of its call, not as a broken network.
            Self::Denied { .. } | Self::NotLoggedIn { .. } => StatusCode::OK,
            Self::UserName | Self::UnknownApp | Self::Body(_) | Self::AllowMissing => {
                StatusCode::BAD_REQUEST
            }
            Self::TooManyUsers { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Self::NoMiniApp | Self::Encrypt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(
                error = &self as &dyn std::error::Error,
                "a phone's call failed"
            );
        }
        (status, axum::Json(json!({ "errMsg": self.to_string() }))).into_response()
    }
}

// Faults.

async fn show_faults(State(simulator): State<Simulator>) -> axum::Json<Faults> {
    axum::Json(simulator.faults())
}

async fn set_faults(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<axum::Json<Faults>, Error> {
    let faults = serde_json::from_slice(&body).map_err(Error::Body)?;
    simulator.set_faults(faults);
    Ok(axum::Json(simulator.faults()))
}

// Who may ask.

/// Answers pages of this machine, from whatever port they came, and no others.
async fn share_with_this_machine(request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    if !is_loopback(&origin) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut response = if request.method() == Method::OPTIONS {
        (StatusCode::NO_CONTENT, preflight()).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn preflight() -> [(HeaderName, &'static str); 3] {
    [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ]
}

/// A page elsewhere must not switch this machine's faults.
async fn keep_from_other_sites(headers: HeaderMap, request: Request, next: Next) -> Response {
    match headers.get(header::ORIGIN) {
        Some(origin) if !is_loopback(origin) => StatusCode::FORBIDDEN.into_response(),
        _ => next.run(request).await,
    }
}

/// Whether an `Origin` is a page of this machine.
fn is_loopback(origin: &HeaderValue) -> bool {
    let Some(uri) = origin.to_str().ok().and_then(|o| o.parse::<Uri>().ok()) else {
        return false;
    };
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    web && uri.host().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_pages_of_this_machine_are_loopback() {
        for near in [
            "http://127.0.0.1:8080",
            "https://localhost:8443",
            "http://[::1]:8080",
            "http://127.0.0.2",
        ] {
            assert!(is_loopback(&HeaderValue::from_static(near)), "{near}");
        }
        for far in [
            "null",
            "http://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
            "file://localhost",
        ] {
            assert!(!is_loopback(&HeaderValue::from_static(far)), "{far}");
        }
    }
}
