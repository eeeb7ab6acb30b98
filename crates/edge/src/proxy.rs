//! Requests on their way to business servers, and their answers on the way back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;
use tokio::time::{Instant, timeout, timeout_at};

use crate::body::Body;
use crate::connection::Visit;
use crate::download::Patience;
use crate::headers;
use crate::health::Failure;
use crate::identity;
use crate::notices;
use crate::page::Refusal;
use crate::pool::{Failed, Upstream};
use crate::ring::Ring;
use crate::upgrade;
use crate::upload::Fate;
use crate::worker::Worker;

/// Between two attempts to reach an app that is starting again.
const BREATH: Duration = Duration::from_millis(20);

/// A request ready to be forwarded.
#[derive(Debug)]
pub(crate) struct Errand {
    request: Request<Body>,
    fate: Fate,
    /// The client's side of a WebSocket, once the business server says 101.
    upgrade: Option<OnUpgrade>,
}

impl Errand {
    /// Rewrites a request for the next hop.
    pub(crate) fn new(mut head: Parts, body: Body, fate: Fate, visit: &Visit) -> Self {
        let upgrade = upgrade::wants_websocket(&head)
            .then(|| head.extensions.remove::<OnUpgrade>())
            .flatten();
        head.extensions.clear();
        head.version = Version::HTTP_11;
        headers::drop_hop_by_hop(&mut head.headers);
        if !visit.http1 {
            headers::join_cookies(&mut head.headers);
        }
        headers::set_forwarded(&mut head.headers, &visit.peer_text, visit.proto);
        if upgrade.is_some() {
            upgrade::mark(&mut head.headers);
        } else if !body.is_end_stream() && !head.headers.contains_key(header::CONTENT_LENGTH) {
            // Without a word of it hyper would forward a GET without its body.
            let chunked = HeaderValue::from_static("chunked");
            head.headers.insert(header::TRANSFER_ENCODING, chunked);
        }
        Self {
            request: Request::from_parts(head, body),
            fate,
            upgrade,
        }
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.request.headers()
    }
}

/// How an attempt ended.
#[expect(
    clippy::large_enum_variant,
    reason = "the large variant is the ordinary one"
)]
enum Outcome {
    Answered(Response<Body>),
    /// Nothing was sent.
    Unreached(Box<Errand>, io::Error),
    /// The business server went away when it got the request.
    Gone(Box<Errand>, io::Error),
    /// The business server gave no proper answer.
    NoAnswer(Refusal),
    /// The client's own fault.
    Failed(Refusal),
}

/// To one of the listed business servers; the next one when one cannot be reached.
pub(crate) async fn to_ring(
    worker: &Worker,
    visit: &Visit,
    ring: &Ring,
    mut errand: Errand,
) -> Result<Response<Body>, Refusal> {
    let health = worker.health();
    let mut unreached = None;
    for to in ring.in_order(health) {
        let fails = |how| {
            let rests = ring
                .is_several()
                .then(|| health.failed(to, how, std::time::Instant::now()));
            if let Some(rest) = rests.flatten() {
                notices::rests(to, how, rest);
            }
        };
        match attempt(worker, visit, to, errand).await {
            Outcome::Answered(response) => {
                if ring.is_several() && health.answered(to) {
                    notices::is_back(to);
                }
                return Ok(response);
            }
            Outcome::Failed(refusal) => return Err(refusal),
            Outcome::NoAnswer(refusal) => {
                fails(Failure::NoAnswer);
                return Err(refusal);
            }
            Outcome::Unreached(unsent, error) | Outcome::Gone(unsent, error) => {
                fails(Failure::Unreached);
                unreached = Some((to, error));
                errand = *unsent;
            }
        }
    }
    if let Some((to, error)) = unreached {
        worker.notices().unreached(to, &error);
    }
    Err(Refusal::BadGateway)
}

/// To a ready instance of an app. While there is none, or none can be reached, the
/// request is held for a short time: a restart is not the phone's business.
pub(crate) async fn to_app(
    worker: &Worker,
    visit: &Visit,
    app: &str,
    mut errand: Errand,
) -> Result<Response<Body>, Refusal> {
    let mut until = None;
    let mut refusal = Refusal::AppNotReady;
    loop {
        if let Some(to) = worker.pick(app) {
            match attempt(worker, visit, &to, errand).await {
                Outcome::Answered(response) => return Ok(response),
                Outcome::Failed(refusal) | Outcome::NoAnswer(refusal) => return Err(refusal),
                // Sent to the next process, it might end that one too.
                Outcome::Gone(_, error) => {
                    worker.notices().unreached(&to, &error);
                    return Err(Refusal::BadGateway);
                }
                Outcome::Unreached(unsent, error) => {
                    worker.notices().unreached(&to, &error);
                    errand = *unsent;
                    refusal = Refusal::BadGateway;
                }
            }
        }
        let until = *until.get_or_insert_with(|| Instant::now() + worker.config().hold());
        if Instant::now() >= until {
            tracing::warn!(app.name = app, "no instance could be reached");
            return Err(refusal);
        }
        wait_for_change(worker, until).await;
    }
}

/// Waits for news of the apps' addresses, but not long: a refused connection may be
/// accepted again without any news.
async fn wait_for_change(worker: &Worker, until: Instant) {
    let mut upstreams = worker.upstreams();
    upstreams.mark_unchanged();
    let soon = until.min(Instant::now() + BREATH);
    if timeout_at(soon, upstreams.changed())
        .await
        .is_ok_and(|news| news.is_err())
    {
        // The supervisor is gone: there will be no news.
        tokio::time::sleep_until(soon).await;
    }
}

async fn attempt(worker: &Worker, visit: &Visit, to: &Upstream, errand: Errand) -> Outcome {
    if errand.upgrade.is_some() {
        return attempt_upgrade(worker, visit, to, errand).await;
    }
    let Errand { request, fate, .. } = errand;
    let call = identity::call_id(request.headers());
    let sending = worker.pool.send(to, request);
    tokio::pin!(sending);
    let limit = Duration::from_secs(worker.config().answer_timeout_secs);
    let sent = loop {
        match timeout(limit, &mut sending).await {
            Ok(sent) => break sent,
            // A long upload is not a slow answer.
            Err(_) if fate.moved() => {}
            Err(_) => {
                tracing::warn!(upstream = ?to, "no answer in time");
                return Outcome::NoAnswer(Refusal::GatewayTimeout);
            }
        }
    };
    match sent {
        Ok(mut response) => {
            if response.status() == StatusCode::SWITCHING_PROTOCOLS {
                // Nobody asked for that.
                return Outcome::Failed(Refusal::BadGateway);
            }
            turn_home(&mut response, call);
            Outcome::Answered(response.map(|body| patient(worker, to, body)))
        }
        Err(failed) => unanswered(to, failed, (fate, None)),
    }
}

/// The client becomes a tunnel only after the business server's 101.
async fn attempt_upgrade(worker: &Worker, visit: &Visit, to: &Upstream, errand: Errand) -> Outcome {
    let Errand {
        request,
        fate,
        upgrade: client,
    } = errand;
    let call = identity::call_id(request.headers());
    let limit = Duration::from_secs(worker.config().answer_timeout_secs);
    let mut response = match timeout(limit, worker.pool.send_upgrade(to, request)).await {
        Err(_) => return Outcome::NoAnswer(Refusal::GatewayTimeout),
        Ok(Err(failed)) => return unanswered(to, failed, (fate, client)),
        Ok(Ok(response)) => response,
    };
    let tunnels = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    let upstream = response.extensions_mut().remove::<OnUpgrade>();
    turn_home(&mut response, call);
    let mut response = response.map(|body| patient(worker, to, Body::upstream(body, None)));
    if tunnels {
        let (Some(client), Some(upstream)) = (client, upstream) else {
            return Outcome::Failed(Refusal::BadGateway);
        };
        upgrade::mark(response.headers_mut());
        visit.traffic.becomes_tunnel();
        worker.tasks.spawn(upgrade::tunnel(client, upstream));
    }
    Outcome::Answered(response)
}

/// A business server may fall silent in its answer's body, but not for ever.
fn patient(worker: &Worker, to: &Upstream, body: Body) -> Body {
    body.patient(|| {
        let (stop, notices) = (worker.stop.clone(), Arc::clone(worker.notices()));
        Patience::new(worker.config().read_timeout(), stop, to.clone(), notices)
    })
}

/// Rewrites the head of an answer for the way back.
fn turn_home<B>(response: &mut Response<B>, call: Option<HeaderValue>) {
    headers::drop_hop_by_hop(response.headers_mut());
    identity::echo_call_id(response.headers_mut(), call);
    *response.version_mut() = Version::HTTP_11;
}

fn unanswered(
    to: &Upstream,
    failed: Failed,
    (fate, upgrade): (Fate, Option<OnUpgrade>),
) -> Outcome {
    let errand = |request: Box<Request<Body>>| {
        Box::new(Errand {
            request: *request,
            fate: fate.clone(),
            upgrade,
        })
    };
    match failed {
        Failed::Unsent(request, error) => Outcome::Unreached(errand(request), error),
        Failed::Gone(request, error) => Outcome::Gone(errand(request), error),
        Failed::Lost(_) if fate.is_too_large() => Outcome::Failed(Refusal::BodyTooLarge),
        Failed::Lost(_) if fate.is_too_slow() => Outcome::Failed(Refusal::BodyTooSlow),
        Failed::Lost(_) if fate.is_broken() => {
            Outcome::Failed(Refusal::BadRequest("The body could not be read."))
        }
        Failed::Lost(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(upstream = ?to, error, "no proper answer");
            Outcome::NoAnswer(Refusal::BadGateway)
        }
    }
}

/// The ready instances of an app, taken in turn.
pub(crate) fn pick(ready: &[SocketAddr], turn: usize) -> Option<Upstream> {
    let at = turn.checked_rem(ready.len())?;
    ready.get(at).copied().map(Upstream::Addr)
}
