//! One call of an app to WeChat's API: the token added, both bodies streamed.
//!
//! The call runs on the work runtime under one deadline. Only the start of an answer is
//! read here, to see whether WeChat rejected the token; then the call is made once more
//! with another one, if its body was short enough to be kept. Never a third time.
//!
//! What few calls take is boxed: the future of every call would be as large.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::time::Instant;

use crate::allow;
use crate::api_client::{OutBody, whole};
use crate::body::{MeteredBody, read_start};
use crate::centre::TokenCentre;
use crate::gateway::Shared;
use crate::gateway_counters::CallEnd;
use crate::headers::{incoming, outgoing};
use crate::proxy_error::ProxyError;
use crate::query::CallQuery;
use crate::sealed::{ApiSealer, PlainCall};
use crate::spool::{SpoolResult, SpooledBody};
use crate::tap;
use crate::token::{AccessToken, errcode};

const X_WEAPPD_APPID: HeaderName = HeaderName::from_static("x-weappd-appid");
const X_WX_APPID: HeaderName = HeaderName::from_static("x-wx-appid");
const X_WX_FROM_APPID: HeaderName = HeaderName::from_static("x-wx-from-appid");

/// WeChat's words for a token that is wrong, old or over.
const STALE: [i64; 3] = [40001, 40014, 42001];
/// The longest answer that may be an error; WeChat's have a few hundred bytes.
const PEEK: usize = 4096;

/// A call, read as far as it takes to send it.
struct ProxyCall {
    method: Method,
    path: String,
    query: CallQuery,
    headers: HeaderMap,
    appid: Option<String>,
}

impl ProxyCall {
    /// Whether the gateway adds an access token: not where the call brings credentials of its
    /// own, the app's or those of another account.
    fn takes_token(&self) -> bool {
        allow::takes_token(&self.path) && !self.query.has_own_token()
    }
}

/// What is sent.
enum CallBody {
    /// Short enough to be sent twice.
    Kept(Bytes),
    /// The same, from a file.
    Spooled(SpooledBody),
    /// Sent once.
    Passing(MeteredBody<Body>),
}

/// An answer whose start was read.
pub(crate) struct ApiAnswer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    start: Bytes,
    rest: Option<Incoming>,
    length: Option<u64>,
    errcode: Option<i64>,
}

impl ApiAnswer {
    /// A short answer of our own making.
    pub(crate) fn whole(body: Bytes) -> Self {
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json; charset=utf-8");
        headers.insert(header::CONTENT_TYPE, json);
        Self {
            status: StatusCode::OK,
            headers,
            length: Some(body.len() as u64),
            start: body,
            rest: None,
            errcode: None,
        }
    }

    /// Whether WeChat answered with an errcode.
    pub(crate) fn is_refusal(&self) -> bool {
        self.errcode.is_some_and(|code| code != 0) || !self.status.is_success()
    }

    /// The answer for the app, whose body ends at `deadline`.
    pub(crate) fn into_response(mut self, limit: u64, deadline: Instant) -> Response<Body> {
        let (status, headers) = (self.status, std::mem::take(&mut self.headers));
        let mut response = Response::new(self.into_body(limit, deadline));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// The body for the app, which ends at `deadline`.
    pub(crate) fn into_body(self, limit: u64, deadline: Instant) -> Body {
        Body::new(MeteredBody::new(self.start, self.rest, limit, self.length).until(deadline))
    }

    /// The body, if all of it was read.
    fn read_whole(&self) -> Option<&[u8]> {
        self.rest.is_none().then_some(&*self.start)
    }
}

/// How a call ended, to be counted.
fn end_of(outcome: &Result<ApiAnswer, ProxyError>) -> CallEnd {
    match outcome {
        Ok(answer) if answer.is_refusal() => CallEnd::Refused,
        Ok(_) => CallEnd::Done,
        Err(ProxyError::TokenRefused { .. }) => CallEnd::Refused,
        Err(
            ProxyError::Unreachable
            | ProxyError::TooSlow { .. }
            | ProxyError::AnswerTooLong { .. }
            | ProxyError::TokenUnreadable
            | ProxyError::Unproven { .. },
        ) => CallEnd::Failed,
        Err(_) => CallEnd::NotMade,
    }
}

impl Shared {
    /// When a call that arrives now must be over.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + Duration::from_millis(self.config.timeout_ms)
    }

    /// Makes a call of a path that `allow` covers, on the work runtime.
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: Request<Body>,
        allow: &[String],
        deadline: Instant,
    ) -> Result<ApiAnswer, ProxyError> {
        let begun = Instant::now();
        let outcome = self.call_uncounted(request, allow, deadline).await;
        self.counters.call_time.observe(begun.elapsed());
        self.counters.calls.inc(end_of(&outcome));
        outcome
    }

    async fn call_uncounted(
        self: &Arc<Self>,
        request: Request<Body>,
        allow: &[String],
        deadline: Instant,
    ) -> Result<ApiAnswer, ProxyError> {
        let (parts, body) = request.into_parts();
        let query = CallQuery::read(parts.uri.query().unwrap_or_default());
        let named = |name: HeaderName| {
            let value: Option<&HeaderValue> = parts.headers.get(name);
            value.and_then(|value| value.to_str().ok().map(str::to_owned))
        };
        let call = ProxyCall {
            appid: (query.from_appid.clone())
                .or_else(|| named(X_WEAPPD_APPID))
                .or_else(|| named(X_WX_FROM_APPID))
                .or_else(|| named(X_WX_APPID)),
            method: parts.method,
            path: parts.uri.path().to_owned(),
            query,
            headers: outgoing(parts.headers),
        };
        allow::check(&call.path, allow)?;
        let length = http_body::Body::size_hint(&body).exact();
        let limit = self.config.max_request_bytes;
        if length.is_some_and(|length| length > limit) {
            return Err(ProxyError::TooLong { limit });
        }
        let shared = Arc::clone(self);
        let after_ms = self.config.timeout_ms;
        let made = async move { shared.make(call, body, length).await };
        self.work
            .run(async move { tokio::time::timeout_at(deadline, made).await })
            .await
            .map_err(|_| ProxyError::Closing)?
            .unwrap_or(Err(ProxyError::TooSlow { after_ms }))
    }

    async fn make(
        self: &Arc<Self>,
        call: ProxyCall,
        body: Body,
        length: Option<u64>,
    ) -> Result<ApiAnswer, ProxyError> {
        let may_go_twice = call.takes_token();
        let mut load = self.load(body, length, may_go_twice).await?;
        self.tell_call(&call, &load);
        let answer = self.carry(&call, &mut load).await?;
        let body = answer.read_whole();
        tap::answered(&self.tap, false, &call.path, answer.status, body);
        Ok(answer)
    }

    /// Keeps a body that is not too long, so that it can be sent twice.
    async fn load(
        &self,
        body: Body,
        length: Option<u64>,
        may_go_twice: bool,
    ) -> Result<CallBody, ProxyError> {
        let (keep, limit) = (self.config.replay_bytes, self.config.max_request_bytes);
        if length.is_some_and(|length| length > keep as u64) {
            if may_go_twice {
                return Box::pin(self.spooled(Bytes::new(), body, length)).await;
            }
            let passing = MeteredBody::new(Bytes::new(), Some(body), limit, length);
            return Ok(CallBody::Passing(passing));
        }
        let start = read_start(body, keep, |_| false)
            .await
            .map_err(|_| ProxyError::BadRequest)?;
        if start.read.len() as u64 > limit {
            return Err(ProxyError::TooLong { limit });
        }
        match start.rest {
            None => Ok(CallBody::Kept(start.read)),
            Some(rest) if may_go_twice => Box::pin(self.spooled(start.read, rest, length)).await,
            rest => Ok(CallBody::Passing(MeteredBody::new(
                start.read, rest, limit, length,
            ))),
        }
    }

    /// Keeps a longer body in a file, within bounds.
    async fn spooled(
        &self,
        start: Bytes,
        rest: Body,
        length: Option<u64>,
    ) -> Result<CallBody, ProxyError> {
        let limit = self.config.max_request_bytes;
        let kept = self.spool.keep(start, rest, length).await;
        match kept.map_err(|_| ProxyError::BadRequest)? {
            SpoolResult::Whole(spooled) if spooled.length() > limit => {
                Err(ProxyError::TooLong { limit })
            }
            SpoolResult::Whole(spooled) => Ok(CallBody::Spooled(spooled)),
            SpoolResult::Once(body) => {
                let passing = MeteredBody::new(Bytes::new(), Some(body), limit, length);
                Ok(CallBody::Passing(passing))
            }
        }
    }

    async fn carry(
        self: &Arc<Self>,
        call: &ProxyCall,
        load: &mut CallBody,
    ) -> Result<ApiAnswer, ProxyError> {
        if !call.takes_token() {
            if let CallBody::Kept(body) = &*load
                && let Some(answer) = Box::pin(self.answer_token_call(call, body)).await?
            {
                return Ok(answer);
            }
            return self.send(call, load, None).await;
        }
        let centre = self.centre(call.appid.as_deref())?;
        let token = centre.get().await?;
        let first = self.send(call, load, Some(&token)).await?;
        let Some(code) = first.errcode.filter(|code| STALE.contains(code)) else {
            return Ok(first);
        };
        if centre.is_hopeless(&call.path) {
            return Ok(first);
        }
        if matches!(load, CallBody::Passing(_)) {
            // This answer goes back as it is; the next call finds a better token.
            let centre = Arc::clone(centre);
            let renewed = async move { drop(centre.instead_of(&token).await) };
            self.tasks.spawn_on(&self.work, renewed);
            return Ok(first);
        }
        Box::pin(self.again(call, load, (centre, &token), code))
            .await
            .unwrap_or(Ok(first))
    }

    /// The second and last try, if there is another token to try.
    async fn again(
        &self,
        call: &ProxyCall,
        load: &mut CallBody,
        (centre, rejected): (&Arc<TokenCentre>, &Arc<AccessToken>),
        code: i64,
    ) -> Option<Result<ApiAnswer, ProxyError>> {
        let appid = &centre.credential().appid;
        let fresh = match centre.instead_of(rejected).await {
            Ok(fresh) => fresh?,
            // Why there is no other token is what the app must hear: it can act on that.
            Err(refusal @ ProxyError::TokenRefused { .. }) => return Some(Err(refusal)),
            Err(_) => return None,
        };
        tracing::info!(
            appid,
            errcode = code,
            path = call.path,
            "the access_token was rejected; the call goes again with another"
        );
        let second = self.send(call, load, Some(&fresh)).await;
        if let Ok(ApiAnswer {
            errcode: Some(code),
            ..
        }) = &second
            && STALE.contains(code)
        {
            centre.note_hopeless(&call.path);
        }
        Some(second)
    }

    async fn send(
        &self,
        call: &ProxyCall,
        load: &mut CallBody,
        token: Option<&Arc<AccessToken>>,
    ) -> Result<ApiAnswer, ProxyError> {
        let text = token.map(|token| token.text.expose());
        // Calls that prove themselves go as they are.
        let sealer = token.and_then(|_| {
            self.sealer(
                call.appid.as_deref(),
                &call.method,
                &call.path,
                &call.headers,
            )
        });
        if let Some(sealer) = sealer {
            return Box::pin(self.send_sealed(&sealer, call, load, text)).await;
        }
        let target = call.query.on(&call.path, text);
        let uri = self.api.uri(target).ok_or(ProxyError::BadRequest)?;
        let mut alarm = None;
        let body: OutBody = match load {
            CallBody::Kept(body) => whole(body.clone()),
            CallBody::Spooled(spooled) => {
                let (body, length) = (self.spool.body(spooled), spooled.length());
                MeteredBody::new(Bytes::new(), Some(body), length, Some(length)).boxed_unsync()
            }
            CallBody::Passing(passing) => {
                let once =
                    std::mem::replace(passing, MeteredBody::new(Bytes::new(), None, 0, None));
                alarm = Some(once.alarm());
                once.boxed_unsync()
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = call.method.clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = call.headers.clone();
        self.tell_send(call, load, text);
        let response = self.api.send(request).await.map_err(|problem| {
            if alarm.is_some_and(|alarm| alarm.load(Ordering::Relaxed)) {
                return ProxyError::TooLong {
                    limit: self.config.max_request_bytes,
                };
            }
            tracing::warn!(%problem, path = call.path, "a call to WeChat failed");
            ProxyError::Unreachable
        })?;
        let answer = self
            .look_into(response, call.method == Method::HEAD)
            .await?;
        let body = answer.read_whole();
        tap::answered(&self.tap, true, &call.path, answer.status, body);
        Ok(answer)
    }

    /// The same for a call that is encrypted and signed.
    async fn send_sealed(
        &self,
        sealer: &ApiSealer,
        call: &ProxyCall,
        load: &mut CallBody,
        token: Option<&str>,
    ) -> Result<ApiAnswer, ProxyError> {
        self.tell_send(call, load, token);
        let CallBody::Kept(body) = &*load else {
            return Err(ProxyError::NotSealable);
        };
        let plain = PlainCall {
            path: &call.path,
            query: &call.query,
            headers: &call.headers,
            body,
            token,
        };
        let body = self.exchange_sealed(sealer, &plain).await?;
        let mut answer = ApiAnswer::whole(body);
        answer.errcode = answer.read_whole().and_then(errcode);
        let body = answer.read_whole();
        tap::answered(&self.tap, true, &call.path, answer.status, body);
        Ok(answer)
    }

    /// Reads the start of an answer, if it may be an error.
    async fn look_into(
        &self,
        response: http::Response<Incoming>,
        head: bool,
    ) -> Result<ApiAnswer, ProxyError> {
        let (parts, body) = response.into_parts();
        let length = http_body::Body::size_hint(&body).exact();
        let limit = self.config.max_answer_bytes;
        if length.is_some_and(|length| length > limit) {
            return Err(ProxyError::AnswerTooLong { limit });
        }
        let is_long = length.is_some_and(|length| length > PEEK as u64);
        let enough = |read: &[u8]| {
            let first = read.iter().find(|byte| !byte.is_ascii_whitespace());
            is_long || first.is_some_and(|first| *first != b'{')
        };
        let start = read_start(body, PEEK, enough)
            .await
            .map_err(|_| ProxyError::Unreachable)?;
        let whole = start.rest.is_none().then_some(&start.read);
        Ok(ApiAnswer {
            status: parts.status,
            headers: incoming(parts.headers, head),
            errcode: whole.and_then(|body| errcode(body)),
            start: start.read,
            rest: start.rest,
            length: length.filter(|_| !head),
        })
    }

    /// Old programs that fetch tokens themselves get the centre's, so that nobody's token
    /// ends theirs.
    async fn answer_token_call(
        &self,
        call: &ProxyCall,
        body: &[u8],
    ) -> Result<Option<ApiAnswer>, ProxyError> {
        let field = |fields: &serde_json::Value, name: &str| {
            let text = fields.get(name).and_then(serde_json::Value::as_str);
            text.map(str::to_owned)
        };
        let (appid, secret) = match call.path.as_str() {
            "/cgi-bin/token" => (call.query.get("appid"), call.query.get("secret")),
            "/cgi-bin/stable_token" => {
                let fields = serde_json::from_slice(body).unwrap_or_default();
                (field(&fields, "appid"), field(&fields, "secret"))
            }
            _ => return Ok(None),
        };
        let (Some(appid), Some(secret)) = (appid, secret) else {
            return Ok(None);
        };
        let Ok(centre) = self.centre(Some(&appid)) else {
            return Ok(None);
        };
        if !centre.credential().secret.is(&secret) {
            return Ok(None);
        }
        let token = centre.get().await?;
        Ok(Some(ApiAnswer::whole(told(centre, &token))))
    }

    fn tell_call(&self, call: &ProxyCall, load: &CallBody) {
        tap::called(&self.tap, false, &drawn(call, load), None);
    }

    fn tell_send(&self, call: &ProxyCall, load: &CallBody, token: Option<&str>) {
        tap::called(&self.tap, true, &drawn(call, load), token);
    }
}

/// A token as WeChat itself would tell it.
pub(crate) fn told(centre: &TokenCentre, token: &AccessToken) -> Bytes {
    let answer = serde_json::json!({
        "access_token": token.text.expose(),
        "expires_in": token.left_secs(centre.now()),
    });
    Bytes::from(answer.to_string())
}

fn drawn<'a>(call: &'a ProxyCall, load: &'a CallBody) -> tap::TappedCall<'a> {
    tap::TappedCall {
        method: &call.method,
        path: &call.path,
        query: &call.query,
        body: match load {
            CallBody::Kept(body) => Some(body),
            CallBody::Passing(_) | CallBody::Spooled(_) => None,
        },
    }
}
