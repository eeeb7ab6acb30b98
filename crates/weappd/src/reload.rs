//! A changed weappd.toml takes effect while weappd runs: `weappd reload`, or SIGHUP.
//!
//! One reload at a time: the file is read and checked as `weappd check` does, every room
//! prepares itself, and only if all of them can, all commit (`apply`). A file that cannot be
//! served changes nothing, and whoever asked hears why.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::apply::RunningServer;
use crate::config::WrittenKeys;
use crate::exit::ExitFailure;
use crate::logging;
use crate::metrics::ReloadEnd;
use crate::plan_source::PlanSource;

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ReloadReport {
    /// Keys of weappd.toml that were added, removed or set otherwise.
    pub(crate) changed: Vec<String>,
    /// What becomes of apps, by name: `starts`, `restarts`, `changes` or `stops`.
    pub(crate) apps: BTreeMap<String, &'static str>,
    /// Settings that count only after a restart.
    pub(crate) restart: Vec<String>,
    /// Warnings, as `weappd check` shows them.
    pub(crate) warnings: String,
}

impl ReloadReport {
    /// In a sentence or two.
    pub(crate) fn words(&self) -> String {
        let mut words = if self.changed.is_empty() {
            "weappd.toml is as it was; certificates and secret files were read anew".to_owned()
        } else {
            format!("changed: {}", self.changed.join(", "))
        };
        for (app, what) in &self.apps {
            let _ = write!(words, "; app {app} {what}");
        }
        if !self.restart.is_empty() {
            let _ = write!(
                words,
                "; counts after a restart of weappd: {}",
                self.restart.join(", ")
            );
        }
        words
    }
}

/// Who asked waits here for what became of it.
type ReloadReply = oneshot::Sender<Result<ReloadReport, ExitFailure>>;

/// Asks for reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ReloadRequests {
    sender: mpsc::Sender<Option<ReloadReply>>,
    /// The file that is read again.
    file: Arc<Path>,
}

/// The other end.
pub(crate) type ReloadQueue = mpsc::Receiver<Option<ReloadReply>>;

impl ReloadRequests {
    /// Both ends, for a plan that is read from `file`.
    pub(crate) fn channel(file: &Path) -> (Self, ReloadQueue) {
        let (sender, queue) = mpsc::channel(8);
        // Whoever asks stands in another directory.
        let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
        let file = Arc::from(file);
        (Self { sender, file }, queue)
    }

    /// Asks; what becomes of it is in the log. One that waits already will do.
    pub(crate) fn ask(&self) {
        drop(self.sender.try_send(None));
    }

    async fn ask_and_wait(&self) -> Result<ReloadReport, ExitFailure> {
        let (reply, answer) = oneshot::channel();
        let ends = || ExitFailure::say("weappd is stopping: nothing was changed", "");
        (self.sender.send(Some(reply)).await).map_err(|_| ends())?;
        answer.await.map_err(|_| ends())?
    }
}

/// Does what is asked for, one after the other, until nobody can ask any more.
pub(crate) async fn serve(
    server: Arc<RunningServer>,
    source: Arc<dyn PlanSource>,
    mut keys: WrittenKeys,
    mut queue: ReloadQueue,
) {
    while let Some(reply) = queue.recv().await {
        let done = reload(&server, &source, &mut keys).await;
        let end = match &done {
            Ok(_) => ReloadEnd::Taken,
            Err(_) => ReloadEnd::Refused,
        };
        server.reloads.count(end, &server.rooms.context.clock);
        match &done {
            Ok(report) => {
                if !report.warnings.is_empty() {
                    tracing::warn!("weappd.toml has warnings:\n{}", report.warnings.trim_end());
                }
                tracing::info!("reloaded; {}", report.words());
            }
            Err(failure) => tracing::error!(
                "weappd.toml was not taken, and nothing changed:\n{}",
                failure.words().trim_end()
            ),
        }
        if let Some(reply) = reply {
            drop(reply.send(done));
        }
    }
}

async fn reload(
    server: &RunningServer,
    source: &Arc<dyn PlanSource>,
    keys: &mut WrittenKeys,
) -> Result<ReloadReport, ExitFailure> {
    let source = Arc::clone(source);
    // Files are read, and names looked up.
    let read = tokio::task::spawn_blocking(move || source.read()).await;
    let read = read.map_err(|error| ExitFailure::new(&error, ""))??;
    let level = logging::LogFilter::parse(&read.log_level)?;
    let restart = server.restart_keys(&read);
    let staged = server.prepare(read.plan, &read.listen).await?;
    let apps = staged.app_changes();
    server.commit(staged);
    level.apply();
    let changed = keys.changes(&read.keys);
    *keys = read.keys;
    Ok(ReloadReport {
        changed,
        apps,
        restart,
        warnings: read.warnings,
    })
}

/// `POST /reload`.
pub(crate) fn control_router(requests: Option<ReloadRequests>) -> Router {
    Router::new()
        .route("/reload", post(ask_reload))
        .with_state(requests)
}

async fn ask_reload(State(requests): State<Option<ReloadRequests>>) -> Response {
    let Some(requests) = requests else {
        let message = "`weappd dev` has no weappd.toml to read again; end it and start it anew";
        let error = json!({ "error": { "exit_code": 1, "message": message } });
        return (StatusCode::CONFLICT, Json(error)).into_response();
    };
    match requests.ask_and_wait().await {
        Ok(report) => {
            let words = report.words();
            Json(json!({ "words": words, "report": report, "file": requests.file })).into_response()
        }
        Err(failure) => {
            let error = json!({ "exit_code": failure.code(), "message": failure.words() });
            let told = json!({ "error": error, "file": requests.file });
            (StatusCode::UNPROCESSABLE_ENTITY, Json(told)).into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_changed_and_what_waits_for_a_restart() {
        let mut report = ReloadReport::default();
        assert!(report.words().contains("as it was"), "{}", report.words());
        report.changed = vec!["edge.threads".to_owned(), "log.level".to_owned()];
        report.restart = vec!["edge.threads".to_owned()];
        report.apps = BTreeMap::from([("shop".to_owned(), "restarts")]);
        assert_eq!(
            report.words(),
            "changed: edge.threads, log.level; app shop restarts; counts after a restart of weappd: edge.threads"
        );
    }
}
