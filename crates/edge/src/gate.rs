//! The road of a request, on one screen.
//!
//! ```text
//! listener -> TLS -> screen -> site -> one spelling -> challenge or HTTPS redirect
//!   -> service or route -> claims dropped -> who is calling -> app | proxy | files | redirect | room
//! ```
//!
//! To add a step, write it as a function in a file of its own that takes only what it
//! needs and says [`Refusal`], and call it here, at its place in the order.

use std::sync::Arc;

use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use hyper::body::Incoming;
use weappd_base::tap::TapPeer::{App, Phone, Weappd};

use crate::access_log::Tally;
use crate::body::Body;
use crate::challenge;
use crate::connection::Visit;
use crate::house::{To, Way};
use crate::identity::Rule;
use crate::page::{self, Refusal};
use crate::proxy::{self, Errand};
use crate::shared_path::SharedPath;
use crate::site::SessionRule;
use crate::tap::{self, Ear};
use crate::trust::{Behind, Words};
use crate::upload::{Fate, UploadTerms};
use crate::worker::Worker;
use crate::{date, headers, identity, redirect, room, screen, services};

/// Answers one request.
pub(crate) async fn answer(
    worker: &Worker,
    visit: &Visit,
    request: Request<Incoming>,
) -> Response<Body> {
    let trust = worker.trust();
    let behind = trust.look_behind(visit, request.headers(), worker.clients());
    if !worker.inside() {
        trust.hint(visit, request.headers());
    }
    let visit = behind.as_ref().map_or(visit, |behind| &behind.visit);
    let mut tally = Tally::start(visit, &request, worker.ledger());
    let html = page::wants_html(request.headers());
    let is_head = request.method() == Method::HEAD;
    let response = match road(worker, visit, behind.as_ref(), request).await {
        Ok(response) => response,
        Err(refusal) => page::refuse(refusal, html, visit.http1),
    };
    let response = if is_head {
        without_body(response)
    } else {
        response
    };
    tally.answered(response.status().as_u16());
    let mut response = response.map(|body| body.tallied(tally));
    date::stamp(response.headers_mut(), worker.clock().unix_secs());
    response
}

/// The head alone, as HEAD is answered. Over HTTP/2 hyper would send the body.
fn without_body(mut response: Response<Body>) -> Response<Body> {
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
    response.map(|_| Body::full(""))
}

/// The steps in their order.
async fn road(
    worker: &Worker,
    visit: &Visit,
    behind: Option<&Behind>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    let (mut head, body) = request.into_parts();
    // Whoever says no from here on lets go of a body that is read to its end.
    let (body, fate) = Body::upload(body, || upload_terms(worker, visit, &head));
    let mut host = screen::check(&mut head, worker.config())?;
    if let Some(behind) = behind {
        host = behind.host(&worker.house(), &mut head.headers, host);
    }
    let (way, session, is_guarded) = match find_way(worker, visit, &mut head, &host)? {
        Found::Way(way, session, is_guarded) => (way, session, is_guarded),
        Found::Answer(response) => return Ok(*response),
    };
    let asks = session == SessionRule::Require || way.leads_to_app();
    let from_and_to = headers::Road {
        to_room: matches!(way.to, To::Room(_)),
        inside: worker.inside(),
    };
    let words = Words {
        role: visit.role,
        road: from_and_to,
        appids: &way.appids,
        is_guarded,
    };
    words.keep(&mut head.headers);
    headers::refuse_repeated(&mut head.headers)?;
    if asks {
        let rule = Rule {
            session,
            trusted: visit.role.gateway,
        };
        let (identify, herald) = (worker.identify(), worker.herald());
        identity::establish(identify, herald, &way.appids, rule, &mut head.headers).await?;
    }
    if worker.inside() {
        headers::drop_pass(&mut head.headers);
    }
    let share = if worker.inside() {
        None
    } else {
        let share = visit.load.take();
        Some(share.ok_or(Refusal::ClientBusy)?)
    };
    let ear = Ear::new(worker.tap(), worker.quiet_paths(), &head);
    let leg = Leg { head, body, fate };
    let response = match ear {
        None => go(worker, visit, &way.to, leg, None).await,
        Some(ear) => overheard(worker, visit, &way, leg, ear).await,
    }?;
    Ok(match share {
        None => response,
        Some(share) if response.status() != StatusCode::SWITCHING_PROTOCOLS => {
            response.map(|body| body.sharing(share))
        }
        Some(share) => {
            // A room's tunnel costs no more than its connection.
            if way.leads_to_app() {
                visit.traffic.keep(share);
            }
            response
        }
    })
}

fn upload_terms(worker: &Worker, visit: &Visit, head: &Parts) -> UploadTerms {
    let config = worker.config();
    UploadTerms {
        limit: config.max_body_bytes,
        // Over HTTP/1 the wire asks it.
        rate: (!visit.http1).then(|| config.upload_rate()),
        awaits_continue: visit.http1 && screen::awaits_continue(&head.headers),
        tasks: worker.tasks.clone(),
        stop: worker.stop.clone(),
    }
}

/// A route, or an answer that needs none.
enum Found {
    /// The third: whether some paths of the site want a session.
    Way(Arc<Way>, SessionRule, bool),
    Answer(Box<Response<Body>>),
}

/// Site, spelling, challenge, redirect, route.
fn find_way(
    worker: &Worker,
    visit: &Visit,
    head: &mut Parts,
    host: &str,
) -> Result<Found, Refusal> {
    let house = worker.house();
    let Some(site) = house.site(host) else {
        if host.is_empty() {
            return Err(screen::NO_HOST);
        }
        worker.notices().unknown_host(visit, host, &house);
        return Err(Refusal::UnknownHost);
    };
    if visit.secure && !(site.has_tls && house.may_ask(visit.sni.as_deref(), host)) {
        return Err(Refusal::WrongCertificate);
    }
    screen::respell(head)?;
    let path = head.uri.path();
    if let Some(response) = worker.challenges().answer(path) {
        return Ok(Found::Answer(Box::new(response)));
    }
    if let Some(port) = site.redirect
        && visit.proto != "https"
        // Who names no host cannot be sent to one.
        && !host.is_empty()
        && !path.starts_with(challenge::FOLDER)
        && !site.no_redirect.iter().any(|open| open == path)
    {
        let response = redirect::to_https(head, host, port)?;
        return Ok(Found::Answer(Box::new(response)));
    }
    let (way, session) = services::lead(site, path, &head.headers)?;
    if way.leads_to_app() && !worker.inside() && site.reserved.holds(&head.method, path) {
        return Err(Refusal::Reserved);
    }
    let is_guarded = site.guards.any();
    Ok(Found::Way(Arc::clone(way), session, is_guarded))
}

/// A screened request with its caller established.
struct Leg {
    head: Parts,
    body: Body,
    fate: Fate,
}

/// To the target.
async fn go(
    worker: &Worker,
    visit: &Visit,
    to: &To,
    leg: Leg,
    ear: Option<&Ear>,
) -> Result<Response<Body>, Refusal> {
    let Leg { head, body, fate } = leg;
    match to {
        To::App(app) => {
            let errand = Errand::new(head, body, fate, visit);
            tell_app(ear, &errand);
            proxy::to_app(worker, visit, app, errand).await
        }
        To::Proxy(ring) => {
            let errand = Errand::new(head, body, fate, visit);
            tell_app(ear, &errand);
            proxy::to_ring(worker, visit, ring, errand).await
        }
        To::Static(root) => root.answer(&head).await,
        To::Redirect { to, code } => redirect::to_address(&head, to, *code),
        To::Room(router) => room::enter(router, visit, head, body).await,
        To::Shared(shared) if shared.is_rooms(&head.method) => {
            room::enter(&shared.room, visit, head, body).await
        }
        To::Shared(shared) => {
            let again = shared.copy_for_room(&head);
            let leg = Leg { head, body, fate };
            let answer = Box::pin(go(worker, visit, &shared.app, leg, ear)).await?;
            let Some(head) = again else {
                return Ok(answer);
            };
            match SharedPath::is_unknown(answer).await {
                (true, _) => room::enter(&shared.room, visit, head, Body::full("")).await,
                (false, answer) => Ok(answer),
            }
        }
    }
}

fn tell_app(ear: Option<&Ear>, errand: &Errand) {
    if let Some(ear) = ear {
        ear.request(Weappd, App, errand.headers(), None);
    }
}

/// The same, told to the tap on the way.
async fn overheard(
    worker: &Worker,
    visit: &Visit,
    way: &Way,
    mut leg: Leg,
    mut ear: Ear,
) -> Result<Response<Body>, Refusal> {
    ear.identify(&leg.head.headers);
    let broken = Refusal::BadRequest("The body could not be read.");
    let shown = tap::show(&leg.head.headers, leg.body).await;
    let (body, shown) = shown.map_err(|_| broken)?;
    leg.body = body;
    ear.request(Phone, Weappd, &leg.head.headers, shown.as_ref());
    let proxied = way.leads_to_app();
    let html = page::wants_html(&leg.head.headers);
    let response = match Box::pin(go(worker, visit, &way.to, leg, Some(&ear))).await {
        Ok(response) => response,
        Err(refusal) => page::refuse(refusal, html, visit.http1),
    };
    let (response, shown) = tap::show_answer(response)
        .await
        .map_err(|_| Refusal::BadGateway)?;
    let status = response.status().as_u16();
    if proxied {
        ear.answer(App, Weappd, status, response.headers(), shown.as_ref());
    }
    ear.answer(Weappd, Phone, status, response.headers(), shown.as_ref());
    Ok(response)
}
