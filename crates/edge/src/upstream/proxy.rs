//! Requests on their way to business servers, and their answers on the way back.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, timeout, timeout_at};

use crate::body::EdgeBody;
use crate::caller::headers;
use crate::caller::identity;
use crate::conn::conn_info::ConnInfo;
use crate::conn::upload::UploadProgress;
use crate::log::throttled_log;
use crate::refusal::EdgeRefusal;
use crate::request_context::RequestContext;
use crate::upstream::address::UpstreamAddr;
use crate::upstream::answer_body::SilenceLimit;
use crate::upstream::group::UpstreamGroup;
use crate::upstream::health::UpstreamFailure;
use crate::upstream::pool::SendFailure;
use crate::upstream::upgrade;
use crate::worker::Worker;

/// Between two attempts to reach an app that is starting again.
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// A request ready to be forwarded.
#[derive(Debug)]
pub(crate) struct UpstreamRequest {
    /// Boxed: it is handed from function to function.
    request: Box<Request<EdgeBody>>,
    upload_progress: UploadProgress,
    /// The client's side of a WebSocket, once the business server says 101.
    upgrade: Option<OnUpgrade>,
}

impl UpstreamRequest {
    /// Rewrites a request for the next hop.
    pub(crate) fn new(
        mut head: Parts,
        body: EdgeBody,
        upload_progress: UploadProgress,
        conn: &ConnInfo,
    ) -> Self {
        let upgrade = upgrade::wants_websocket(&head)
            .then(|| head.extensions.remove::<OnUpgrade>())
            .flatten();
        head.extensions.clear();
        head.version = Version::HTTP_11;
        headers::drop_hop_by_hop(&mut head.headers);
        if !conn.http1 {
            headers::join_cookies(&mut head.headers);
        }
        headers::set_forwarded(&mut head.headers, &conn.peer_text, conn.proto);
        if upgrade.is_some() {
            upgrade::mark(&mut head.headers);
        } else if !body.is_end_stream() && !head.headers.contains_key(header::CONTENT_LENGTH) {
            // Without this header hyper would forward a GET without its body.
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        Self {
            request: Box::new(Request::from_parts(head, body)),
            upload_progress,
            upgrade,
        }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }
}

/// How an attempt ended.
enum AttemptOutcome {
    Answered(Response<EdgeBody>),
    /// Nothing was sent.
    Unreached(UpstreamRequest, io::Error),
    /// The business server went away when it got the request.
    Gone(UpstreamRequest, io::Error),
    /// The business server gave no proper answer.
    NoAnswer(EdgeRefusal),
    /// The client's own fault.
    Failed(EdgeRefusal),
}

impl AttemptOutcome {
    /// The same, counted if the business server failed.
    fn counted(self, worker: &Worker) -> Self {
        match &self {
            Self::Answered(_) | Self::Failed(_) => {}
            Self::Unreached(..) | Self::Gone(..) => worker.counters.upstream_unreached.inc(),
            Self::NoAnswer(_) => worker.counters.upstream_no_answer.inc(),
        }
        self
    }
}

/// To one of the listed business servers; the next one when one cannot be reached.
pub(crate) async fn to_group(
    context: &RequestContext<'_>,
    group: &UpstreamGroup,
    mut outgoing: UpstreamRequest,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let worker = context.worker;
    let health = worker.health();
    let mut unreached = None;
    for to in group.in_order(health) {
        let fails = |how| {
            let rests = group
                .is_several()
                .then(|| health.failed(to, how, std::time::Instant::now()));
            if let Some(rest) = rests.flatten() {
                worker.counters.upstream_rests.inc();
                throttled_log::log_rest(to, how, rest);
            }
        };
        match attempt(context, to, outgoing).await.counted(worker) {
            AttemptOutcome::Answered(response) => {
                if group.is_several() && health.answered(to) {
                    throttled_log::log_recovery(to);
                }
                return Ok(response);
            }
            AttemptOutcome::Failed(refusal) => return Err(refusal),
            AttemptOutcome::NoAnswer(refusal) => {
                fails(UpstreamFailure::NoAnswer);
                return Err(refusal);
            }
            AttemptOutcome::Unreached(unsent, error) | AttemptOutcome::Gone(unsent, error) => {
                fails(UpstreamFailure::Unreached);
                unreached = Some((to, error));
                outgoing = unsent;
            }
        }
    }
    if let Some((to, error)) = unreached {
        worker.throttled_log().log_unreached(to, &error);
    }
    Err(EdgeRefusal::BadGateway)
}

/// To a ready instance of an app. While there is none, or none can be reached, the
/// request is held for a short time: a restart is not the phone's business.
pub(crate) async fn to_app(
    context: &RequestContext<'_>,
    app: &str,
    mut outgoing: UpstreamRequest,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let worker = context.worker;
    let mut until = None;
    let mut refusal = EdgeRefusal::AppNotReady;
    loop {
        if let Some(to) = worker.pick(app) {
            match attempt(context, &to, outgoing).await.counted(worker) {
                AttemptOutcome::Answered(response) => return Ok(response),
                AttemptOutcome::Failed(refusal) | AttemptOutcome::NoAnswer(refusal) => {
                    return Err(refusal);
                }
                // Sent to the next process, it might end that one too.
                AttemptOutcome::Gone(_, error) => {
                    worker.throttled_log().log_unreached(&to, &error);
                    return Err(EdgeRefusal::BadGateway);
                }
                AttemptOutcome::Unreached(unsent, error) => {
                    worker.throttled_log().log_unreached(&to, &error);
                    outgoing = unsent;
                    refusal = EdgeRefusal::BadGateway;
                }
            }
        }
        let until = *until.get_or_insert_with(|| Instant::now() + context.tables.config.hold());
        if Instant::now() >= until {
            tracing::warn!(request.id = %context.id, app.name = app, "no instance could be reached");
            return Err(refusal);
        }
        wait_for_instances(worker, until).await;
    }
}

/// Waits for news of the apps' addresses, but not long: a refused connection may be
/// accepted again without any news.
async fn wait_for_instances(worker: &Worker, until: Instant) {
    let mut upstreams = worker.upstreams();
    upstreams.mark_unchanged();
    let soon = until.min(Instant::now() + RETRY_INTERVAL);
    if timeout_at(soon, upstreams.changed())
        .await
        .is_ok_and(|news| news.is_err())
    {
        // The supervisor is gone: there will be no news.
        tokio::time::sleep_until(soon).await;
    }
}

async fn attempt(
    context: &RequestContext<'_>,
    to: &UpstreamAddr,
    outgoing: UpstreamRequest,
) -> AttemptOutcome {
    if outgoing.upgrade.is_some() {
        return Box::pin(attempt_upgrade(context, to, outgoing)).await;
    }
    let UpstreamRequest {
        request,
        upload_progress,
        ..
    } = outgoing;
    let config = &context.tables.config;
    let call = identity::call_id(request.headers());
    let sending = context
        .worker
        .pool
        .send(to, request, &context.tables.pool_limits);
    tokio::pin!(sending);
    let limit = config.answer_timeout();
    let sent = loop {
        match timeout(limit, &mut sending).await {
            Ok(sent) => break sent,
            // A long upload is not a slow answer.
            Err(_) if upload_progress.took_bytes() => {}
            Err(_) => {
                tracing::warn!(request.id = %context.id, upstream = ?to, "no answer in time");
                return AttemptOutcome::NoAnswer(EdgeRefusal::GatewayTimeout);
            }
        }
    };
    match sent {
        Ok((response, pooled)) => {
            let mut response = response.map(|body| EdgeBody::upstream(body, Some(pooled)));
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                // The request did not ask for it.
                return AttemptOutcome::Failed(EdgeRefusal::BadGateway);
            }
            rewrite_answer(&mut response, call);
            AttemptOutcome::Answered(response.map(|body| limit_silence(context, to, body)))
        }
        Err(failed) => failed_attempt(context, to, failed, (upload_progress, None)),
    }
}

/// The client becomes a tunnel only after the business server's 101.
async fn attempt_upgrade(
    context: &RequestContext<'_>,
    to: &UpstreamAddr,
    outgoing: UpstreamRequest,
) -> AttemptOutcome {
    let UpstreamRequest {
        request,
        upload_progress,
        upgrade: client,
    } = outgoing;
    let config = &context.tables.config;
    let call = identity::call_id(request.headers());
    let limit = config.answer_timeout();
    let mut response = match timeout(
        limit,
        context
            .worker
            .pool
            .send_upgrade(to, request, &context.tables.pool_limits),
    )
    .await
    {
        Err(_) => {
            tracing::warn!(request.id = %context.id, upstream = ?to, "no answer in time");
            return AttemptOutcome::NoAnswer(EdgeRefusal::GatewayTimeout);
        }
        Ok(Err(failed)) => return failed_attempt(context, to, failed, (upload_progress, client)),
        Ok(Ok(response)) => response,
    };
    let tunnels = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upstream = response.extensions_mut().remove::<OnUpgrade>();
    rewrite_answer(&mut response, call);
    let mut response =
        response.map(|body| limit_silence(context, to, EdgeBody::upstream(body, None)));
    if tunnels {
        let (Some(client), Some(upstream)) = (client, upstream) else {
            return AttemptOutcome::Failed(EdgeRefusal::BadGateway);
        };
        upgrade::mark(response.headers_mut());
        context.conn.traffic.becomes_tunnel();
        context
            .worker
            .tasks
            .spawn(upgrade::tunnel(client, upstream));
    }
    AttemptOutcome::Answered(response)
}

/// Limits how long a business server may pause in its answer's body.
fn limit_silence(context: &RequestContext<'_>, to: &UpstreamAddr, body: EdgeBody) -> EdgeBody {
    let worker = context.worker;
    body.limit_silence(|| {
        let (stop, notices) = (worker.stop.clone(), Arc::clone(worker.throttled_log()));
        SilenceLimit::new(
            context.tables.config.read_timeout(),
            stop,
            to.clone(),
            notices,
        )
    })
}

/// Rewrites the head of an answer for the way back.
fn rewrite_answer<B>(response: &mut Response<B>, call: Option<HeaderValue>) {
    headers::drop_hop_by_hop(response.headers_mut());
    identity::echo_call_id(response.headers_mut(), call);
    *response.version_mut() = Version::HTTP_11;
}

fn failed_attempt(
    context: &RequestContext<'_>,
    to: &UpstreamAddr,
    failed: SendFailure<EdgeBody>,
    (upload_progress, upgrade): (UploadProgress, Option<OnUpgrade>),
) -> AttemptOutcome {
    let outgoing = |request| UpstreamRequest {
        request,
        upload_progress: upload_progress.clone(),
        upgrade,
    };
    match failed {
        SendFailure::Unsent(request, error) => AttemptOutcome::Unreached(outgoing(request), error),
        SendFailure::Gone(request, error) => AttemptOutcome::Gone(outgoing(request), error),
        SendFailure::Lost(_) if upload_progress.is_too_large() => {
            AttemptOutcome::Failed(EdgeRefusal::BodyTooLarge)
        }
        SendFailure::Lost(_) if upload_progress.is_too_slow() => {
            AttemptOutcome::Failed(EdgeRefusal::BodyTooSlow)
        }
        SendFailure::Lost(_) if upload_progress.is_broken() => {
            AttemptOutcome::Failed(EdgeRefusal::BadRequest("The body could not be read."))
        }
        SendFailure::Lost(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(request.id = %context.id, upstream = ?to, error, "no proper answer");
            AttemptOutcome::NoAnswer(EdgeRefusal::BadGateway)
        }
    }
}
