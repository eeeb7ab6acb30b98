//! Telling business servers: `connect`, then each `message`, then `close`, one after the
//! other for each tunnel, each answered or given up before the next.
//!
//! A lane is a task on the work runtime that lives while a tunnel has something to tell.
//! What may be sent again follows from what is known about the last try: never arrived (no
//! connection) is always safe; arrived perhaps (timeout, 5xx) is safe for `connect` and
//! `close`, which say the same twice, but not for a `message`, unless the business server
//! tells repeats apart.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, InvalidHeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::Instrument as _;
use weappd_base::causes::chain;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::request_id::REQUEST_ID;
use weappd_base::secret::{mask, mask_json};
use weappd_base::tap::{TapPeer, TapReport, TrafficTap};
use weappd_base::tasks::Stop;
use weappd_outbound::{JitterRange, OutboundClient, RetryBackoff, read_limited};

use crate::business::BusinessServer;
use crate::callback_request::CallbackRequest;
use crate::config::Config;
use crate::counters::{CallbackEnd, CallbackKind};
use crate::error::Error;
use crate::hub::{TunnelHub, add};
use crate::outgoing::callback_client;
use crate::retry::RetryNotice;
use crate::signature;
use crate::tunnel::{EventKind, Tunnel, TunnelEvent};
use crate::waker::WakeBatch;

const REQUEST_ID_HEADER: HeaderName = HeaderName::from_static(REQUEST_ID);
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const X_WEAPPD_SEQ: HeaderName = HeaderName::from_static("x-weappd-seq");
/// So many headers a callback has.
const HEADERS_MAX: usize = 8;

/// The most that is read of an answer.
const ANSWER_MAX_BYTES: usize = 64 * 1024;
/// The first back-off of one callback and the longest.
const RETRY_BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// The longest back-off of one that a business server had and did not take.
const REJECTED_BACKOFF_MAX: Duration = Duration::from_mins(5);
/// How long a connect or message may be late.
const DELIVERY_TIME: Duration = Duration::from_mins(1);
/// How long a close may be late: else a business server would keep tunnels that are gone.
const CLOSE_DELIVERY_TIME: Duration = Duration::from_hours(24);
/// How long a close may be late that the business server had and did not take.
const REJECTED_CLOSE_TIME: Duration = Duration::from_hours(1);
/// Most callbacks that wait to go again to one business server.
const LATE_MAX_COUNT: usize = 50_000;

/// Sends callbacks to business servers.
pub(crate) struct CallbackSender {
    line: ArcSwap<CallbackLine>,
    clock: Clock,
    random: RandomSource,
    stop: Stop,
    tap: TrafficTap,
    hub: Arc<TunnelHub>,
}

/// By what callbacks go.
pub(crate) struct CallbackLine {
    client: OutboundClient,
    timeout: Duration,
}

impl CallbackLine {
    /// As configured.
    pub(crate) fn build(config: &Config) -> Result<Self, Error> {
        Ok(Self {
            client: callback_client(config)?,
            timeout: Duration::from_millis(config.callback_timeout_ms),
        })
    }

    /// Whether what `before` has is built as `after` wants it.
    pub(crate) fn is_same(before: &Config, after: &Config) -> bool {
        let of = |config: &Config| {
            (
                config.callback_timeout_ms,
                config.callback_concurrency,
                config.allow_http_receive,
            )
        };
        of(before) == of(after)
    }
}

/// What a sender is made of.
pub(crate) struct SenderParts {
    pub(crate) clock: Clock,
    pub(crate) random: RandomSource,
    /// Forced: whatever waits is given up.
    pub(crate) stop: Stop,
    pub(crate) tap: TrafficTap,
    pub(crate) hub: Arc<TunnelHub>,
}

/// What came of one try.
#[derive(Debug, PartialEq, Eq)]
enum TryOutcome {
    /// The business server has it.
    Taken,
    /// It will never take it.
    Refused(String),
    /// It may or may not have it; `safe` if it surely has not.
    Lost { safe: bool, why: String },
}

impl TryOutcome {
    fn end(&self) -> CallbackEnd {
        match self {
            Self::Taken => CallbackEnd::Taken,
            Self::Refused(_) => CallbackEnd::Refused,
            Self::Lost { .. } => CallbackEnd::Lost,
        }
    }
}

/// weappd stops, and its time for that is over.
#[derive(Clone, Copy, Debug)]
struct SenderClosed;

impl CallbackSender {
    pub(crate) fn new(config: &Config, parts: SenderParts) -> Result<Self, Error> {
        Ok(Self {
            line: ArcSwap::from_pointee(CallbackLine::build(config)?),
            clock: parts.clock,
            random: parts.random,
            stop: parts.stop,
            tap: parts.tap,
            hub: parts.hub,
        })
    }

    /// Has callbacks that begin from now on go by this line.
    pub(crate) fn set_line(&self, line: CallbackLine) {
        self.line.store(Arc::new(line));
    }

    /// Tells everything that waits on a tunnel, in order, until nothing does.
    pub(crate) async fn serve(&self, tunnel: &Tunnel) {
        loop {
            let event = {
                let mut wakes = WakeBatch::default();
                tunnel.next_event(&mut wakes)
            };
            let Some(event) = event else {
                return;
            };
            if let Err(SenderClosed) = self.deliver(tunnel, &event).await {
                return;
            }
        }
    }

    /// Tells one event, in a span that names it.
    async fn deliver(&self, tunnel: &Tunnel, event: &TunnelEvent) -> Result<(), SenderClosed> {
        let id = self.callback_id();
        let span = tracing::debug_span!(
            "callback",
            request.id = id,
            tunnel.id = %tunnel.id,
            business = tunnel.route.business.host,
            kind = event.kind.name(),
            seq = event.seq,
        );
        let telling = self.tell(tunnel, event, id);
        if span.is_disabled() {
            telling.await
        } else {
            // Boxed: the future of every other callback would be as large.
            Box::pin(telling).instrument(span).await
        }
    }

    /// Tells one event, as often as it is safe and worth it.
    async fn tell(
        &self,
        tunnel: &Tunnel,
        event: &TunnelEvent,
        id: String,
    ) -> Result<(), SenderClosed> {
        let business = &tunnel.route.business;
        let mut settings = business.settings();
        let mut callback = CallbackRequest::write(tunnel.id, event, &settings.key, id);
        let is_close = event.kind == EventKind::Close;
        let mut late = None;
        for tries in 0_u32.. {
            if tries > 0 {
                let set = business.settings();
                if set.key != settings.key {
                    callback = CallbackRequest::write(tunnel.id, event, &set.key, callback.id);
                }
                settings = set;
            }
            let repeatable = settings.dedupe || !matches!(event.kind, EventKind::Message(_));
            let outcome = tokio::select! {
                outcome = self.attempt(tunnel, &callback) => outcome,
                () = self.stop.forced() => return Err(self.give_up_at_stop(tunnel, &callback)),
            };
            add(&self.hub.counts.callbacks, 1);
            let end = (CallbackKind::of(&event.kind), outcome.end());
            self.hub.counters.callbacks.inc(end);
            let (safe, why) = match self.record_outcome(business, is_close, outcome) {
                TryOutcome::Taken => {
                    add(&self.hub.counts.callbacks_taken, 1);
                    return Ok(());
                }
                TryOutcome::Refused(why) => {
                    self.give_up(tunnel, &callback, &why);
                    return Ok(());
                }
                TryOutcome::Lost { safe, why } => (safe, why),
            };
            let budget = match (is_close, safe) {
                (true, true) => CLOSE_DELIVERY_TIME,
                (true, false) => REJECTED_CLOSE_TIME,
                (false, _) => DELIVERY_TIME,
            };
            let pause = self.pause(
                tries,
                if safe {
                    RETRY_BACKOFF.1
                } else {
                    REJECTED_BACKOFF_MAX
                },
            );
            if !(safe || repeatable) || event.at.elapsed() + pause > budget {
                self.give_up(tunnel, &callback, &why);
                return Ok(());
            }
            if late.is_none() {
                late = LateGuard::begin(business);
            }
            if late.is_none() {
                self.give_up(tunnel, &callback, "too many callbacks wait to go again");
                return Ok(());
            }
            add(&self.hub.counts.callback_retries, 1);
            add(&business.counts.retries, 1);
            tracing::debug!(tunnel.id = %tunnel.id, callback = callback.name, why, "callback goes again");
            let turn = async {
                tokio::time::sleep(pause).await;
                let in_time = budget.saturating_sub(event.at.elapsed());
                let turn = business.retries[usize::from(!is_close)].turn();
                tokio::time::timeout(in_time, turn).await.is_ok()
            };
            let goes = tokio::select! {
                goes = turn => goes,
                () = self.stop.forced() => return Err(self.give_up_at_stop(tunnel, &callback)),
            };
            if !goes {
                self.give_up(tunnel, &callback, &why);
                return Ok(());
            }
        }
        Ok(())
    }

    /// What an outcome says about the business server, for all its callbacks.
    fn record_outcome(
        &self,
        business: &BusinessServer,
        is_close: bool,
        outcome: TryOutcome,
    ) -> TryOutcome {
        let gate = &business.retries[usize::from(!is_close)];
        let telling = match &outcome {
            TryOutcome::Taken | TryOutcome::Refused(_) => gate.succeeded(),
            TryOutcome::Lost { why, .. } => gate.failed(why, &self.random),
        };
        let callbacks = if is_close {
            "close"
        } else {
            "connect, message"
        };
        let host = &business.host;
        match (telling, &outcome) {
            (RetryNotice::Trouble, TryOutcome::Lost { why, .. }) => {
                let late = business.counts.late.load(Ordering::Relaxed);
                tracing::warn!(
                    business = host,
                    callbacks,
                    why,
                    waiting = late,
                    "the business server does not take callbacks; they go again, ever more seldom"
                );
            }
            (RetryNotice::Better, _) => {
                tracing::info!(business = host, callbacks, "callbacks are taken again");
            }
            _ => {}
        }
        outcome
    }

    fn give_up_at_stop(&self, tunnel: &Tunnel, callback: &CallbackRequest) -> SenderClosed {
        self.give_up(tunnel, callback, "weappd ended");
        SenderClosed
    }

    fn give_up(&self, tunnel: &Tunnel, callback: &CallbackRequest, why: &str) {
        let business = &tunnel.route.business;
        add(&self.hub.counts.callback_failures, 1);
        add(&business.counts.given_up, 1);
        let Some(lost) = business.losses.add() else {
            return;
        };
        tracing::warn!(
            tunnel.id = %tunnel.id,
            business = business.host,
            callback = callback.name,
            seq = callback.seq,
            why,
            lost,
            "callback not delivered"
        );
    }

    /// One try, at most `timeout` long, once it is its turn.
    async fn attempt(&self, tunnel: &Tunnel, callback: &CallbackRequest) -> TryOutcome {
        // The gate is never closed; were it, the callback would go unbounded, not be lost.
        let gate = tunnel.route.business.gate();
        let _turn = gate.acquire().await.ok();
        let line = self.line.load_full();
        let started = Instant::now();
        self.tap.record(|| sent(tunnel, callback));
        let request = match self.request(tunnel, callback) {
            Ok(request) => request,
            Err(problem) => return TryOutcome::Refused(problem.to_string()),
        };
        let outcome =
            tokio::time::timeout(line.timeout, self.post(&line, tunnel, callback, request))
                .await
                .unwrap_or_else(|_| TryOutcome::Lost {
                    safe: false,
                    why: "no answer in time".to_owned(),
                });
        let took = started.elapsed();
        self.hub.counters.callback_time.observe(took);
        tracing::debug!(
            tunnel.id = %tunnel.id,
            callback = callback.name,
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            ?outcome,
            "callback"
        );
        outcome
    }

    async fn post(
        &self,
        line: &CallbackLine,
        tunnel: &Tunnel,
        callback: &CallbackRequest,
        request: Request<Full<Bytes>>,
    ) -> TryOutcome {
        let answer = match line.client.send(request).await {
            Ok(answer) => answer,
            Err(problem) => {
                return TryOutcome::Lost {
                    safe: problem.is_connect(),
                    why: chain(&problem),
                };
            }
        };
        let status = answer.status();
        // The status tells enough; a body that long is no envelope.
        let body = read_limited(answer.into_body(), ANSWER_MAX_BYTES).await;
        let body = body.unwrap_or_default();
        self.tap
            .record(|| answered(tunnel, callback, status, &body));
        outcome_of(status, &body)
    }

    fn request(
        &self,
        tunnel: &Tunnel,
        callback: &CallbackRequest,
    ) -> Result<Request<Full<Bytes>>, InvalidHeaderValue> {
        let timestamp = self.clock.unix_secs();
        let target = tunnel.route.target();
        let key = &target.settings.key;
        let signed = signature::webhook(&callback.id, timestamp, &callback.body, key);
        let id = HeaderValue::try_from(&callback.id)?;
        let mut request = Request::new(Full::new(callback.body.clone()));
        *request.method_mut() = Method::POST;
        request.uri_mut().clone_from(&target.url);
        let headers = request.headers_mut();
        // hyper adds two.
        headers.reserve(HEADERS_MAX + 2);
        if let Some(host) = &target.host {
            headers.insert(HOST, host.clone());
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(USER_AGENT, HeaderValue::from_static("weappd"));
        headers.insert(REQUEST_ID_HEADER, id.clone());
        headers.insert(WEBHOOK_ID, id);
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(timestamp.get()));
        headers.insert(WEBHOOK_SIGNATURE, HeaderValue::try_from(signed)?);
        headers.insert(X_WEAPPD_SEQ, HeaderValue::from(callback.seq));
        Ok(request)
    }

    /// An id that stays the same over repeats and sorts by time.
    fn callback_id(&self) -> String {
        let millis = u64::try_from(self.clock.unix_millis().get()).unwrap_or(0);
        let chance: [u8; 10] = self.random.bytes();
        uuid::Builder::from_unix_timestamp_millis(millis, &chance)
            .into_uuid()
            .to_string()
    }

    /// A random pause that may grow with each try, up to `longest`.
    fn pause(&self, tries: u32, longest: Duration) -> Duration {
        let backoff = RetryBackoff {
            first: RETRY_BACKOFF.0,
            longest,
            jitter: JitterRange::Whole,
        };
        backoff.pause(tries, &self.random)
    }
}

/// A callback that waits to go again, counted while it does.
struct LateGuard<'a>(&'a BusinessServer);

impl<'a> LateGuard<'a> {
    /// One more, unless too many wait.
    fn begin(business: &'a BusinessServer) -> Option<Self> {
        let late = Self(business);
        let before = business.counts.late.fetch_add(1, Ordering::Relaxed);
        (before < LATE_MAX_COUNT).then_some(late)
    }
}

impl Drop for LateGuard<'_> {
    fn drop(&mut self) {
        self.0.counts.late.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for CallbackSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackSender")
    }
}

/// What an answer means: 2xx and `code` 0 or none is heard.
fn outcome_of(status: StatusCode, body: &[u8]) -> TryOutcome {
    if status.is_success() {
        let code = serde_json::from_slice::<Value>(body)
            .ok()
            .and_then(|body| body.get("code").and_then(Value::as_i64));
        return match code {
            None | Some(0) => TryOutcome::Taken,
            Some(9003) => {
                TryOutcome::Refused("code 9003: the signature keys on both sides differ".to_owned())
            }
            Some(code) => TryOutcome::Refused(format!("code {code}")),
        };
    }
    let why = format!("status {}", status.as_u16());
    let again = status.is_server_error()
        || matches!(
            status,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS
        );
    if again {
        TryOutcome::Lost { safe: false, why }
    } else {
        TryOutcome::Refused(why)
    }
}

fn sent(tunnel: &Tunnel, callback: &CallbackRequest) -> TapReport {
    let mut body = serde_json::from_slice(&callback.body).unwrap_or(Value::Null);
    if let Some(Value::String(signature)) = body.get_mut("signature") {
        *signature = mask(signature);
    }
    TapReport {
        from: TapPeer::Weappd,
        to: TapPeer::App,
        name: callback.name.to_owned(),
        answer: false,
        who: Some(tunnel.id.to_string()),
        detail: json!({
            "url": tunnel.route.target().url.to_string(),
            "webhookId": callback.id,
            "seq": callback.seq,
            "body": body,
        }),
    }
}

fn answered(
    tunnel: &Tunnel,
    callback: &CallbackRequest,
    status: StatusCode,
    body: &[u8],
) -> TapReport {
    let mut body = serde_json::from_slice(body).unwrap_or_else(|_| {
        Value::String(String::from_utf8_lossy(body).chars().take(1000).collect())
    });
    mask_json(&mut body);
    TapReport {
        from: TapPeer::App,
        to: TapPeer::Weappd,
        name: callback.name.to_owned(),
        answer: true,
        who: Some(tunnel.id.to_string()),
        detail: json!({ "status": status.as_u16(), "body": body }),
    }
}

#[cfg(test)]
#[path = "callback_tests.rs"]
mod tests;
