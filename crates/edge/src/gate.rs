//! The pipeline of a request, on one screen.
//!
//! ```text
//! listener -> TLS -> screen -> site -> one spelling -> challenge or HTTPS redirect
//!   -> service or route -> claims dropped -> who is calling
//!   -> app | proxy | files | redirect | router
//! ```
//!
//! To add a step, write it as a function in a file of its own that takes only what it
//! needs and returns [`EdgeRefusal`], and call it here, at its place in the order.

use futures_util::future::Either;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use tracing::Instrument as _;
use weappd_base::request_id::{REQUEST_ID, RequestId};
use weappd_base::tap::TapPeer::{App, Phone, Weappd};

use crate::body::EdgeBody;
use crate::caller::client_trust::{ForwardedRequest, HeaderFilter};
use crate::caller::headers;
use crate::caller::identity::{self, CallHeaders, CallerRule};
use crate::caller::peer_role::PeerRole;
use crate::conn::conn_info::ConnInfo;
use crate::conn::upload::{UploadProgress, UploadTerms};
use crate::date;
use crate::error_page::{self, RefusalReader};
use crate::log::access_log::RequestRecord;
use crate::log::request_tap::{self, RequestTap};
use crate::refusal::EdgeRefusal;
use crate::request_context::RequestContext;
use crate::route::app_handler::AppHandler;
use crate::route::challenge;
use crate::route::redirect;
use crate::route::request_screen;
use crate::route::route_entry::{RouteEntry, RouteHandler};
use crate::route::router_call;
use crate::route::shared_path::SharedPath;
use crate::site::SessionRule;
use crate::upstream::proxy::{self, UpstreamRequest};
use crate::worker::Worker;

/// Answers one request.
pub(crate) async fn answer(
    worker: &Worker,
    conn: &ConnInfo,
    request: Request<Incoming>,
) -> Response<EdgeBody> {
    // It goes by these to its end, whatever a reload brings meanwhile.
    let tables = worker.tables();
    let trust = &tables.trust;
    let role = trust.role_of(conn);
    let id = request_id(worker, role, request.headers());
    let forwarded = trust.original_request((conn, role), request.headers(), worker.clients());
    if !worker.inside() {
        trust.hint(conn, role, request.headers());
    }
    let conn = forwarded.as_ref().map_or(conn, |forwarded| &forwarded.conn);
    let reader = RefusalReader::of(request.headers());
    let context = RequestContext {
        worker,
        tables: &tables,
        conn,
        role,
        id: &id,
        reader,
    };
    let log_buffer = worker.log_buffer().filter(|_| tables.config.access_log);
    let mut record = RequestRecord::start(conn, (&request, &id), log_buffer);
    let is_head = request.method() == Method::HEAD;
    let span = tracing::debug_span!("request", request.id = %id, method = %request.method());
    let answered = if span.is_disabled() {
        run_pipeline(&context, forwarded.as_ref(), request).await
    } else {
        // Boxed: the future of every other request would be as large.
        let answering = Box::pin(run_pipeline(&context, forwarded.as_ref(), request));
        answering.instrument(span).await
    };
    let response = match answered {
        Ok(response) => response,
        Err(refusal) => refuse(&context, refusal),
    };
    let response = if is_head {
        without_body(response)
    } else {
        response
    };
    record.answered(response.status().as_u16());
    let mut response = response.map(|body| body.recorded(record));
    date::stamp(response.headers_mut(), worker.clock().unix_secs());
    response
}

/// What the request is called: as those call it who are trusted, or anew.
fn request_id(worker: &Worker, role: PeerRole, headers: &HeaderMap) -> RequestId {
    let told = if role.wechat_gateway {
        headers.get(identity::X_WX_CALL_ID)
    } else if role.proxy || worker.inside() {
        headers.get(REQUEST_ID)
    } else {
        None
    };
    told.and_then(|told| RequestId::taken(told.to_str().ok()?))
        .unwrap_or_else(RequestId::fresh)
}

fn refuse(context: &RequestContext<'_>, refusal: EdgeRefusal) -> Response<EdgeBody> {
    context.worker.counters.refused(&refusal);
    error_page::refuse(refusal, context.id, (context.reader, context.conn.http1))
}

/// The head alone, as HEAD is answered. Over HTTP/2 hyper would send the body.
fn without_body(mut response: Response<EdgeBody>) -> Response<EdgeBody> {
    if response.body().is_end_stream() {
        return response;
    }
    if let Some(length) = response.body().size_hint().exact() {
        let length = HeaderValue::from(length);
        response
            .headers_mut()
            .entry(header::CONTENT_LENGTH)
            .or_insert(length);
    }
    response.map(|_| EdgeBody::full(""))
}

/// The steps in their order.
async fn run_pipeline(
    context: &RequestContext<'_>,
    forwarded: Option<&ForwardedRequest>,
    request: Request<Incoming>,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let RequestContext {
        worker,
        tables,
        conn,
        ..
    } = *context;
    let (mut head, body) = request.into_parts();
    // A refusal from here on drops the body, which is then read to its end.
    let (body, upload_progress) = EdgeBody::upload(body, || upload_terms(context, &head));
    let mut host = request_screen::check(&mut head, &tables.config)?;
    if let Some(forwarded) = forwarded {
        host = forwarded.host(&tables.sites, &mut head.headers, host);
    }
    let (entry, session, is_guarded) = match find_route(context, &mut head, &host)? {
        RouteChoice::Route(entry, session, is_guarded) => (entry, session, is_guarded),
        RouteChoice::Answer(response) => return Ok(*response),
    };
    let rules = (session, is_guarded);
    name_caller(context, entry, rules, &mut head.headers).await?;
    if worker.inside() {
        headers::drop_pass(&mut head.headers);
    }
    let share = if worker.inside() {
        None
    } else {
        let share = conn.load.take(tables.client_limit);
        Some(share.ok_or(EdgeRefusal::ClientBusy)?)
    };
    let tap = RequestTap::new(worker.tap(), &tables.quiet_paths, (&head, context.id));
    let screened = ScreenedRequest {
        head,
        body,
        upload_progress,
    };
    let response = match tap {
        None => forward(context, &entry.to, screened, None).await,
        Some(tap) => answer_traced(context, entry, screened, tap).await,
    }?;
    Ok(match share {
        None => response,
        Some(share) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
            response.map(|body| body.sharing(share))
        }
        Some(share) => {
            // A tunnel of weappd's own costs no more than its connection.
            if entry.leads_to_app() {
                conn.traffic.keep(share);
            }
            response
        }
    })
}

/// Drops what is only claimed, and writes who is calling into the headers.
async fn name_caller(
    context: &RequestContext<'_>,
    entry: &RouteEntry,
    (session, is_guarded): (SessionRule, bool),
    headers: &mut HeaderMap,
) -> Result<(), EdgeRefusal> {
    let RequestContext {
        worker,
        tables,
        role,
        id,
        reader,
        ..
    } = *context;
    let asks = session == SessionRule::Require || entry.leads_to_app();
    let scope = headers::HeaderScope {
        to_router: matches!(entry.to, RouteHandler::Router(_)),
        inside: worker.inside(),
    };
    let filter = HeaderFilter {
        role,
        scope,
        appids: &entry.appids,
        is_guarded,
    };
    filter.apply(headers);
    headers::refuse_repeated(headers)?;
    if asks {
        let id_value = header_value(id);
        let rule = CallerRule {
            session,
            trusted: role.wechat_gateway,
            language: reader.language(),
        };
        let call_headers = CallHeaders {
            id: &id_value,
            env: &tables.env,
        };
        identity::establish(
            &*tables.identify,
            (id, call_headers),
            &entry.appids,
            rule,
            headers,
        )
        .await?;
        if entry.leads_to_app() {
            headers.insert(REQUEST_ID, id_value);
        }
    }
    Ok(())
}

fn upload_terms(context: &RequestContext<'_>, head: &Parts) -> UploadTerms {
    let RequestContext { worker, conn, .. } = *context;
    let config = &context.tables.config;
    UploadTerms {
        limit: config.max_body_bytes,
        // Over HTTP/1 the wire asks it.
        rate: (!conn.http1).then(|| config.upload_rate()),
        awaits_continue: conn.http1 && request_screen::awaits_continue(&head.headers),
        tasks: worker.tasks.clone(),
        stop: worker.stop.clone(),
    }
}

/// A route, or an answer that needs none.
enum RouteChoice<'a> {
    /// The third: whether some paths of the site want a session.
    Route(&'a RouteEntry, SessionRule, bool),
    Answer(Box<Response<EdgeBody>>),
}

/// Site, spelling, challenge, redirect, route.
fn find_route<'a>(
    context: &RequestContext<'a>,
    head: &mut Parts,
    host: &str,
) -> Result<RouteChoice<'a>, EdgeRefusal> {
    let RequestContext { worker, conn, .. } = *context;
    let sites = &context.tables.sites;
    let Some(site) = sites.site(host) else {
        if host.is_empty() {
            return Err(request_screen::NO_HOST);
        }
        worker
            .throttled_log()
            .log_unknown_host(conn, host, || sites.names());
        return Err(EdgeRefusal::UnknownHost);
    };
    if conn.secure && !(site.has_tls && sites.may_ask(conn.sni.as_deref(), host)) {
        return Err(EdgeRefusal::WrongCertificate);
    }
    request_screen::respell(head)?;
    let path = head.uri.path();
    if let Some(response) = worker.challenges().answer(path) {
        return Ok(RouteChoice::Answer(Box::new(response)));
    }
    if let Some(port) = site.redirect
        && conn.proto != "https"
        // A request that names no host cannot be redirected to one.
        && !host.is_empty()
        && !path.starts_with(challenge::FOLDER)
        && !site.no_redirect.iter().any(|open| open == path)
    {
        let response = redirect::to_https(head, host, port)?;
        return Ok(RouteChoice::Answer(Box::new(response)));
    }
    let (entry, session) = site.select_route(path, &head.headers)?;
    if entry.leads_to_app() && !worker.inside() && site.reserved.holds(&head.method, path) {
        return Err(EdgeRefusal::Reserved);
    }
    let is_guarded = site.guards.any();
    Ok(RouteChoice::Route(entry, session, is_guarded))
}

/// A screened request with its caller established.
struct ScreenedRequest {
    head: Parts,
    body: EdgeBody,
    upload_progress: UploadProgress,
}

/// To the target.
async fn forward(
    context: &RequestContext<'_>,
    to: &RouteHandler,
    screened: ScreenedRequest,
    tap: Option<&RequestTap>,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let language = context.reader.language();
    match to {
        RouteHandler::App(app) => {
            let outgoing = outgoing_request(context, screened, tap);
            send_to_app(context, app, outgoing).await
        }
        RouteHandler::Static(root) => root.answer(&screened.head).await,
        RouteHandler::Redirect { to, code } => redirect::to_address(&screened.head, to, *code),
        RouteHandler::Router(room) => {
            if screened.body.is_end_stream()
                && let Some(answer) = language.speak(|| room.instant_answer(&screened.head))
            {
                return Ok(answer.map(EdgeBody::full));
            }
            router_call::call_router(&room.router, context, screened.head, screened.body).await
        }
        RouteHandler::Shared(shared) if shared.is_for_router(&screened.head.method) => {
            router_call::call_router(&shared.router, context, screened.head, screened.body).await
        }
        RouteHandler::Shared(shared) => match shared.copy_for_router(&screened.head) {
            None => {
                let outgoing = outgoing_request(context, screened, tap);
                send_to_app(context, &shared.app, outgoing).await
            }
            // Boxed: the future of every other request would be as large.
            Some(again) => {
                let outgoing = outgoing_request(context, screened, tap);
                Box::pin(answer_app_first(context, shared, outgoing, again)).await
            }
        },
    }
}

/// The request for a business server, shown to the tap.
fn outgoing_request(
    context: &RequestContext<'_>,
    screened: ScreenedRequest,
    tap: Option<&RequestTap>,
) -> UpstreamRequest {
    let ScreenedRequest {
        head,
        body,
        upload_progress,
    } = screened;
    let outgoing = UpstreamRequest::new(head, body, upload_progress, context.conn);
    if let Some(tap) = tap {
        tap.request(Weappd, App, outgoing.headers(), None);
    }
    outgoing
}

fn header_value(id: &RequestId) -> HeaderValue {
    id.with_text(|text| HeaderValue::from_str(text).ok())
        .unwrap_or(HeaderValue::from_static("unknown"))
}

/// To a business server. No async fn: it would hold the request a second time.
fn send_to_app<'a>(
    context: &'a RequestContext<'a>,
    app: &'a AppHandler,
    outgoing: UpstreamRequest,
) -> impl Future<Output = Result<Response<EdgeBody>, EdgeRefusal>> + Send + use<'a> {
    match app {
        AppHandler::Managed(app) => Either::Left(proxy::to_app(context, app, outgoing)),
        AppHandler::Group(group) => Either::Right(proxy::to_group(context, group, outgoing)),
    }
}

/// The app is asked first; what it does not know the router answers.
async fn answer_app_first(
    context: &RequestContext<'_>,
    shared: &SharedPath,
    outgoing: UpstreamRequest,
    again: Parts,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    let answer = send_to_app(context, &shared.app, outgoing).await?;
    match SharedPath::is_unknown(answer).await? {
        (true, _) => {
            router_call::call_router(&shared.router, context, again, EdgeBody::full("")).await
        }
        (false, answer) => Ok(answer),
    }
}

/// The same, shown to the tap on the way.
async fn answer_traced(
    context: &RequestContext<'_>,
    entry: &RouteEntry,
    mut screened: ScreenedRequest,
    mut tap: RequestTap,
) -> Result<Response<EdgeBody>, EdgeRefusal> {
    tap.identify(&screened.head.headers);
    let broken = EdgeRefusal::BadRequest("The body could not be read.");
    let shown = request_tap::show(&screened.head.headers, screened.body).await;
    let (body, shown) = shown.map_err(|_| broken)?;
    screened.body = body;
    tap.request(Phone, Weappd, &screened.head.headers, shown.as_ref());
    // What is refused here the business server never said.
    let (response, proxied) =
        match Box::pin(forward(context, &entry.to, screened, Some(&tap))).await {
            Ok(response) => (response, entry.leads_to_app()),
            Err(refusal) => (refuse(context, refusal), false),
        };
    let (response, shown) = request_tap::show_answer(response)
        .await
        .map_err(|_| EdgeRefusal::BadGateway)?;
    let status = response.status().as_u16();
    if proxied {
        tap.answer(App, Weappd, status, response.headers(), shown.as_ref());
    }
    tap.answer(Weappd, Phone, status, response.headers(), shown.as_ref());
    Ok(response)
}
