//! What the command line asks over the control socket: who is logged in, and to end it.

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;

use crate::dialect::native;
use crate::error::Error;
use crate::http::answer;
use crate::revoke::UserView;
use crate::sessions::SessionService;
use weappd_base::causes::chain;

/// `GET /sessions?openid=...[&appid=...]`, `DELETE` of the same, `DELETE /sessions/{session}`
/// and `DELETE /sessions?all=true`; `GET /users?openid=...[&appid=...]` and
/// `GET /sessions/{session}`. For the control socket only: it asks nobody who they
/// are.
pub fn control_router(sessions: SessionService) -> Router {
    Router::new()
        .route("/sessions", get(list).delete(end))
        .route("/sessions/{session}", get(show_one).delete(end_one))
        .route("/users", get(show))
        .with_state(sessions)
}

#[derive(Deserialize)]
struct SessionFilter {
    #[serde(default)]
    appid: Option<String>,
    #[serde(default)]
    openid: Option<String>,
    #[serde(default)]
    all: bool,
}

async fn list(
    State(sessions): State<SessionService>,
    Query(which): Query<SessionFilter>,
) -> Response {
    let Some(openid) = which.openid.filter(|openid| !openid.is_empty()) else {
        return bad("name a user: ?openid=...");
    };
    match sessions.list(which.appid.as_deref(), &openid).await {
        Ok(list) => {
            let body = json!({"sessions": list});
            answer::ok(body.to_string().into())
        }
        Err(err) => failed(&err),
    }
}

async fn show(
    State(sessions): State<SessionService>,
    Query(which): Query<SessionFilter>,
) -> Response {
    let Some(openid) = which.openid.filter(|openid| !openid.is_empty()) else {
        return bad("name a user: ?openid=...");
    };
    shown(sessions.show(which.appid.as_deref(), &openid).await)
}

async fn show_one(State(sessions): State<SessionService>, Path(session): Path<i64>) -> Response {
    let found = sessions.show_session(session).await;
    shown(found.map(|user| user.into_iter().collect()))
}

fn shown(outcome: Result<Vec<UserView>, Error>) -> Response {
    match outcome {
        Ok(users) => answer::ok(json!({"users": users}).to_string().into()),
        Err(err) => failed(&err),
    }
}

async fn end(
    State(sessions): State<SessionService>,
    Query(which): Query<SessionFilter>,
) -> Response {
    match (which.openid.as_deref().filter(|o| !o.is_empty()), which.all) {
        (Some(openid), false) => ended(sessions.revoke_user(which.appid.as_deref(), openid).await),
        (None, true) if which.appid.is_none() => ended(sessions.revoke_all().await),
        _ => bad("name a user, ?openid=..., or everybody, ?all=true"),
    }
}

async fn end_one(State(sessions): State<SessionService>, Path(session): Path<i64>) -> Response {
    ended(sessions.revoke_one(session).await)
}

fn ended(outcome: Result<u64, Error>) -> Response {
    match outcome {
        Ok(count) => {
            tracing::info!(count, "sessions were ended by command");
            answer::ok(json!({"ended": count}).to_string().into())
        }
        Err(err) => failed(&err),
    }
}

fn bad(why: &str) -> Response {
    answer::json(StatusCode::BAD_REQUEST, native::error("bad_request", why))
}

/// Whoever reaches the control socket runs this server, and is told the cause.
fn failed(err: &Error) -> Response {
    let why = chain(err);
    tracing::error!(error = why, "a command about sessions failed");
    let body = native::error("store_failed", &why);
    answer::json(StatusCode::SERVICE_UNAVAILABLE, body)
}
