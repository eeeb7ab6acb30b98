//! What the operator asks over the control socket: what waits, dead letters, replay.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use serde::Deserialize;
use serde_json::json;
use weappd_base::error_body::ErrorBody;

use crate::error::Error;
use crate::gateway::GatewayService;
use crate::inbox::ReplayScope;

/// How many dead letters are listed unless more are asked for.
const LISTED: u32 = 100;
/// How many are listed at most.
const MOST: u32 = 10_000;

/// `GET /inbox`, `GET /inbox/dead?most=`, `POST /inbox/replay?id=` (without an id: all).
pub fn control_router(gateway: GatewayService) -> Router {
    Router::new()
        .route("/inbox", get(waiting))
        .route("/inbox/dead", get(dead))
        .route("/inbox/replay", post(replay))
        .with_state(gateway)
}

#[derive(Deserialize)]
struct DeadLetterQuery {
    most: Option<u32>,
}

#[derive(Deserialize)]
struct ReplayQuery {
    id: Option<i64>,
}

async fn waiting(State(gateway): State<GatewayService>) -> Response {
    match gateway.waiting().await {
        Ok(waiting) => Json(waiting).into_response(),
        Err(error) => failed(&error),
    }
}

async fn dead(
    State(gateway): State<GatewayService>,
    Query(many): Query<DeadLetterQuery>,
) -> Response {
    let most = many.most.unwrap_or(LISTED).min(MOST);
    match gateway.dead_letters(most).await {
        Ok(letters) => Json(letters).into_response(),
        Err(error) => failed(&error),
    }
}

async fn replay(
    State(gateway): State<GatewayService>,
    Query(which): Query<ReplayQuery>,
) -> Response {
    let which = which.id.map_or(ReplayScope::All, ReplayScope::One);
    match gateway.replay(which).await {
        Ok(replayed) => Json(json!({"replayed": replayed})).into_response(),
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Response {
    let body = ErrorBody::new("inbox_failed", &error.to_string()).hint(error.hint());
    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    (StatusCode::SERVICE_UNAVAILABLE, json, body.to_string()).into_response()
}
