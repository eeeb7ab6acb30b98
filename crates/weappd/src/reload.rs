//! A changed weappd.toml takes effect while weappd runs: `weappd reload`, or SIGHUP.
//!
//! One reload at a time: the file is read and checked as `weappd check` does, every room
//! prepares itself, and only if all of them can, all commit (`apply`). A file that cannot be
//! served changes nothing, and whoever asked hears why.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};
use weappd_base::language::{Language, pick};
use weappd_base::words;

use crate::apply::RunningServer;
use crate::config::WrittenKeys;
use crate::exit::ExitFailure;
use crate::logging;
use crate::metrics::ReloadEnd;
use crate::plan_source::{PlanSource, ReadPlan};

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
            pick(
                "weappd.toml is as it was; certificates and secret files were read anew",
                "weappd.toml 没有变化；已重新读取证书和密钥文件",
            )
            .to_owned()
        } else {
            words!("changed: {}", "已更改：{}", self.changed.join(", "))
        };
        for (app, what) in &self.apps {
            let chinese = match *what {
                "starts" => "启动",
                "restarts" => "重启",
                "changes" => "改变",
                "stops" => "停止",
                other => other,
            };
            words += &words!("; app {app} {what}", "；应用 {app} {chinese}");
        }
        if !self.restart.is_empty() {
            words += &words!(
                "; counts after a restart of weappd: {}",
                "；重启 weappd 之后才生效：{}",
                self.restart.join(", ")
            );
        }
        words
    }
}

/// Who asked waits here for what became of it, in a language of theirs.
#[derive(Debug)]
pub(crate) struct ReloadReply {
    language: Language,
    sender: oneshot::Sender<Result<ReloadReport, ExitFailure>>,
}

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

    async fn ask_and_wait(&self, language: Language) -> Result<ReloadReport, ExitFailure> {
        let (sender, answer) = oneshot::channel();
        let reply = ReloadReply { language, sender };
        let ends = || {
            ExitFailure::say(
                pick(
                    "weappd is stopping: nothing was changed",
                    "weappd 正在停止：什么都没有改变",
                ),
                "",
            )
        };
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
        // The log is English.
        let language = reply
            .as_ref()
            .map_or(Language::English, |reply| reply.language);
        let reloading = reload(&server, &source, &mut keys);
        let done = language.scope(reloading).await;
        let end = match &done {
            Ok(_) => ReloadEnd::Taken,
            Err(_) => ReloadEnd::Refused,
        };
        server.reloads.count(end, &server.rooms.context.clock);
        let english = match language {
            Language::English => None,
            Language::Chinese => Some(read(&source, Language::English).await),
        };
        match &done {
            Ok(report) => {
                let warnings = match &english {
                    Some(Ok(english)) => &english.warnings,
                    _ => &report.warnings,
                };
                if !warnings.is_empty() {
                    tracing::warn!("weappd.toml has warnings:\n{}", warnings.trim_end());
                }
                let words = Language::English.speak(|| report.words());
                tracing::info!("reloaded; {words}");
            }
            Err(failure) => {
                let failure = match &english {
                    Some(Err(english)) => english,
                    _ => failure,
                };
                tracing::error!(
                    "weappd.toml was not taken, and nothing changed:\n{}",
                    failure.words().trim_end()
                );
            }
        }
        if let Some(reply) = reply {
            drop(reply.sender.send(done));
        }
    }
}

async fn reload(
    server: &RunningServer,
    source: &Arc<dyn PlanSource>,
    keys: &mut WrittenKeys,
) -> Result<ReloadReport, ExitFailure> {
    let read = read(source, Language::current()).await?;
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

/// Reads the file; its problems and warnings are told in `language`.
async fn read(source: &Arc<dyn PlanSource>, language: Language) -> Result<ReadPlan, ExitFailure> {
    let source = Arc::clone(source);
    // Files are read, and names looked up.
    let reading = move || language.speak(|| source.read());
    let read = tokio::task::spawn_blocking(reading).await;
    read.map_err(|error| ExitFailure::new(&error, ""))?
}

/// `POST /reload`, answered in the language of `Accept-Language`.
pub(crate) fn control_router(requests: Option<ReloadRequests>) -> Router {
    Router::new()
        .route("/reload", post(ask_reload))
        .with_state(requests)
}

async fn ask_reload(
    State(requests): State<Option<ReloadRequests>>,
    headers: HeaderMap,
) -> Response {
    // The command line names one and no more.
    let said = headers.get(header::ACCEPT_LANGUAGE);
    let language = Language::ALL
        .into_iter()
        .find(|language| said.is_some_and(|said| said == language.tag()))
        .unwrap_or_default();
    language.scope(answer_reload(requests, language)).await
}

async fn answer_reload(requests: Option<ReloadRequests>, language: Language) -> Response {
    let Some(requests) = requests else {
        let message = pick(
            "`weappd dev` has no weappd.toml to read again; end it and start it anew",
            "`weappd dev` 没有可以重新读取的 weappd.toml；请停止它，再重新启动",
        );
        let error = json!({ "error": { "exit_code": 1, "message": message } });
        return (StatusCode::CONFLICT, Json(error)).into_response();
    };
    match requests.ask_and_wait(language).await {
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
