//! The apps over the control socket, for the command line and the console.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use weappd_base::error_body::ErrorBody;

use crate::app::AppView;
use crate::error::Error;
use crate::logs::LogStream;
use crate::supervisor::AppSupervisor;

/// `GET /apps`, `GET /apps/{name}`, `POST /apps/{name}/start|stop|restart`,
/// `GET /apps/{name}/logs?lines=100&follow=1`.
pub fn control_router(apps: AppSupervisor) -> Router {
    Router::new()
        .route("/apps", get(list))
        .route("/apps/{name}", get(describe))
        .route("/apps/{name}/start", post(start))
        .route("/apps/{name}/stop", post(stop))
        .route("/apps/{name}/restart", post(restart))
        .route("/apps/{name}/logs", get(logs))
        .with_state(apps)
}

async fn list(State(apps): State<AppSupervisor>) -> Json<Vec<AppView>> {
    Json(apps.list().await)
}

async fn describe(
    State(apps): State<AppSupervisor>,
    Path(name): Path<String>,
) -> Result<Json<AppView>, ControlRejection> {
    Ok(Json(apps.describe(&name).await?))
}

async fn start(
    State(apps): State<AppSupervisor>,
    Path(name): Path<String>,
) -> Result<Json<AppView>, ControlRejection> {
    apps.start(&name).await?;
    Ok(Json(apps.describe(&name).await?))
}

async fn restart(
    State(apps): State<AppSupervisor>,
    Path(name): Path<String>,
) -> Result<Json<AppView>, ControlRejection> {
    apps.restart(&name).await?;
    Ok(Json(apps.describe(&name).await?))
}

#[derive(Deserialize)]
struct StopQuery {
    grace_ms: Option<u64>,
}

async fn stop(
    State(apps): State<AppSupervisor>,
    Path(name): Path<String>,
    Query(query): Query<StopQuery>,
) -> Result<Json<AppView>, ControlRejection> {
    let grace = query.grace_ms.map(Duration::from_millis);
    apps.stop(&name, grace).await?;
    Ok(Json(apps.describe(&name).await?))
}

#[derive(Deserialize)]
#[serde(default)]
struct LogsQuery {
    lines: usize,
    follow: u8,
}

impl Default for LogsQuery {
    fn default() -> Self {
        Self {
            lines: 100,
            follow: 0,
        }
    }
}

async fn logs(
    State(apps): State<AppSupervisor>,
    Path(name): Path<String>,
    Query(query): Query<LogsQuery>,
) -> Result<Response, ControlRejection> {
    let log = apps.logs(&name, query.lines, query.follow != 0).await?;
    let chunks = futures_util::stream::unfold(log, |mut log: LogStream| async {
        let chunk: Bytes = log.next().await?;
        Some((Ok::<_, std::convert::Infallible>(chunk), log))
    });
    let text = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    Ok((text, Body::from_stream(chunks)).into_response())
}

/// A request that is not answered.
struct ControlRejection(Error);

impl From<Error> for ControlRejection {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for ControlRejection {
    fn into_response(self) -> Response {
        let (status, code) = match &self.0 {
            Error::UnknownApp { .. } => (StatusCode::NOT_FOUND, "app_not_found"),
            Error::Closed => (StatusCode::SERVICE_UNAVAILABLE, "closing"),
            Error::ReadLog { .. }
            | Error::Config { .. }
            | Error::MakeDirectory { .. }
            | Error::DataDirInUse { .. }
            | Error::LockDataDir { .. }
            | Error::OpenLog { .. }
            | Error::MakeSpawner(_) => {
                tracing::error!(
                    error = &self.0 as &dyn std::error::Error,
                    "control request failed"
                );
                (StatusCode::INTERNAL_SERVER_ERROR, "internal")
            }
        };
        let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
        let body = ErrorBody::new(code, &self.0.to_string()).to_string();
        (status, json, body).into_response()
    }
}
