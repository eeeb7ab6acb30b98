//! The way in: WeChat's message push at `/weapp/message`.
//!
//! The Wafer 2 contract is kept: a URL check is answered with its `echostr` or
//! `ERR_WHEN_CHECK_SIGNATURE`, a message with `success`. Where a site has several mini
//! programs, each also has a path of its own, `/weapp/message/{appid}`.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderMap, HeaderName, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::Instant;
use weappd_base::causes::chain;

use crate::deliver::PushedMessage;
use crate::error::Error;
use crate::gateway::GatewayService;
use crate::gateway_counters::PushEnd;
use crate::inbox::MessageInbox;
use crate::push::{PushQuery, PushReader, VerifiedPush, check_url, is_probe, open};
use crate::tap;
use crate::verdict::{NOT_DONE, SUCCESS};

/// What Wafer 2 answers to a URL check it does not believe.
const BAD_SIGNATURE: &str = "ERR_WHEN_CHECK_SIGNATURE";

/// One site's `/weapp/message`.
#[derive(Clone)]
struct PushState {
    gateway: GatewayService,
    appids: Arc<[String]>,
    /// The path of a further push configuration, if it is that one's state.
    further: Option<Arc<str>>,
}

/// `GET|POST /weapp/message` and `/weapp/message/{appid}` of a site with these mini
/// programs, with or without a slash at the end, and `further`, the paths of their further push
/// configurations. At the first a push that another of the gateway's mini programs has signed
/// is taken for that one; at the others only what a mini program of theirs has signed.
pub fn inbox_router(gateway: GatewayService, appids: &[String], further: &[String]) -> Router {
    let state = PushState {
        gateway,
        appids: appids.into(),
        further: None,
    };
    let mut router = Router::new();
    for path in ["/weapp/message", "/weapp/message/{appid}"] {
        router = router
            .route(path, get(check).post(take))
            .route(&format!("{path}/"), get(check).post(take));
    }
    let mut router = router.with_state(state.clone());
    for path in further {
        let state = PushState {
            further: Some(path.as_str().into()),
            ..state.clone()
        };
        let own = Router::new()
            .route(path, get(check).post(take))
            .route(&format!("{path}/"), get(check).post(take));
        router = router.merge(own.with_state(state));
    }
    router
}

impl PushState {
    /// Whose messages the path takes: the mini program that comes first, and whether it is
    /// the only one. `None` if the site has no such mini program.
    fn of(&self, named: Option<Path<String>>) -> Option<(&str, bool)> {
        let mut appids = self.appids.iter();
        let is_named = named.is_some();
        let appid = match named {
            Some(Path(name)) => appids.find(|appid| **appid == name)?,
            None => appids.next()?,
        };
        Some((appid, is_named))
    }

    /// Those who may read what comes in.
    fn readers<'a>(
        &'a self,
        inbox: &'a MessageInbox,
        appid: &'a str,
        only: bool,
    ) -> impl Iterator<Item = &'a PushReader> {
        let readers = inbox.readers(appid, self.further.as_deref());
        let is_further = self.further.is_some();
        readers.filter(move |reader| match (only, is_further) {
            (true, _) => reader.appid == appid,
            (false, true) => self.appids.contains(&reader.appid),
            (false, false) => true,
        })
    }
}

async fn check(
    State(state): State<PushState>,
    path: Option<Path<String>>,
    Query(stamp): Query<PushQuery>,
) -> Response {
    let shared = state.gateway.shared();
    let (Some(inbox), Some((appid, only))) = (shared.open_inbox(), state.of(path)) else {
        return no_inbox();
    };
    if let Some(reader) = check_url(state.readers(inbox, appid, only), &stamp) {
        tracing::info!(appid = reader.appid, "WeChat checked the message URL");
        return say(StatusCode::OK, stamp.echostr);
    }
    tracing::warn!(
        appid,
        "a check of the message URL has a wrong signature: compare the message Token here with \
         WeChat's console"
    );
    say(StatusCode::FORBIDDEN, BAD_SIGNATURE.to_owned())
}

async fn take(
    State(state): State<PushState>,
    path: Option<Path<String>>,
    Query(stamp): Query<PushQuery>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let shared = state.gateway.shared();
    let (Some(inbox), Some((appid, only))) = (shared.open_inbox(), state.of(path)) else {
        return no_inbox();
    };
    let came = Instant::now();
    let body = match read(inbox, body, inbox.deadline(came)).await {
        Ok(body) => body,
        Err((status, words)) => {
            shared.counters.pushes.inc(PushEnd::Refused);
            return say(status, words.to_owned());
        }
    };
    if is_probe(&body) {
        return say(StatusCode::OK, SUCCESS.to_owned());
    }
    let push = match open(
        state.readers(inbox, appid, only),
        &stamp,
        &body,
        inbox.stamp_range(),
    ) {
        Ok(push) => push,
        Err(fake) => {
            shared.counters.pushes.inc(PushEnd::Refused);
            tracing::warn!(appid, why = %fake, "a pushed message was refused");
            return say(StatusCode::FORBIDDEN, fake.to_string());
        }
    };
    tap::pushed(&shared.tap, &drawn(&push), &headers, push.mailbox.is_some());
    let (status, words) = match inbox.take(&push, came).await {
        Ok(word) => {
            shared.counters.pushes.inc(PushEnd::Taken);
            tap::push_answered(&shared.tap, push.openid.as_deref(), &word.text);
            let word = inbox.sealed(&push, word);
            return say(word.status, word.text);
        }
        Err(error) => {
            shared.counters.pushes.inc(PushEnd::Failed);
            tracing::error!(
                error = chain(&error),
                hint = error.hint(),
                "a pushed message was not taken"
            );
            // WeChat pushes again what is not acknowledged.
            let status = match error {
                Error::QueueFull | Error::Closed => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            (status, NOT_DONE.to_owned())
        }
    };
    tap::push_answered(&shared.tap, push.openid.as_deref(), &words);
    say(status, words)
}

async fn read(
    inbox: &MessageInbox,
    body: Body,
    deadline: Instant,
) -> Result<String, (StatusCode, &'static str)> {
    let too_long = (StatusCode::PAYLOAD_TOO_LARGE, "the message is too long");
    let body = Limited::new(body, inbox.config.max_message_bytes).collect();
    let body = tokio::time::timeout_at(deadline, body)
        .await
        .map_err(|_| (StatusCode::REQUEST_TIMEOUT, "the message came too slowly"))?
        .map_err(|problem| {
            if problem.is::<http_body_util::LengthLimitError>() {
                too_long
            } else {
                (StatusCode::BAD_REQUEST, "the message broke off")
            }
        })?;
    String::from_utf8(body.to_bytes().to_vec())
        .map_err(|_| (StatusCode::BAD_REQUEST, "the message is not UTF-8"))
}

fn drawn(push: &VerifiedPush) -> PushedMessage {
    PushedMessage {
        id: push.key.clone(),
        appid: push.appid.clone(),
        openid: push.openid.clone(),
        kind: push.kind.clone(),
        body: push.body.clone(),
        tries: 0,
    }
}

fn no_inbox() -> Response {
    say(
        StatusCode::NOT_FOUND,
        "no mini program here has a message token".to_owned(),
    )
}

/// Plain text, whatever it begins with: an `echostr` must not become a page.
fn say(status: StatusCode, words: String) -> Response {
    let kind = if words.starts_with('{') {
        "application/json; charset=utf-8"
    } else if words.starts_with("<xml>") {
        "text/xml; charset=utf-8"
    } else {
        "text/plain; charset=utf-8"
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (HeaderName::from_static("x-content-type-options"), "nosniff"),
    ];
    (status, headers, words).into_response()
}
