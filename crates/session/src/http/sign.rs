//! `POST /v1/sign`: what an app has signed with a user's session key.
//!
//! What is signed must be, byte for byte, what the app sends to WeChat or gives the phone. So
//! the text comes as a body of its own, or as one JSON text, and is never written anew.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use weappd_base::causes::chain;
use weappd_base::error_body::ErrorBody;

use crate::dialect::native;
use crate::http::answer::{self, log_denied};
use crate::http::body;
use crate::http::login_site::body_failed;
use crate::identity::AuthError;
use crate::key_owner::KeyOwner;
use crate::sessions::SessionService;
use crate::tap::{self, TapArrow};

/// The one construction there is.
const METHOD: &str = "hmac_sha256";

/// `POST /v1/sign`. For the internal listener, behind its token: it signs for any user.
pub fn sign_router(sessions: SessionService) -> Router {
    Router::new()
        .route("/v1/sign", post(sign))
        .with_state(sessions)
}

/// The JSON body; with a body of any other type the same in the query, but for the text.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignBody {
    text: Option<String>,
    method: Option<String>,
    openid: Option<String>,
    appid: Option<String>,
    #[serde(default)]
    check: bool,
}

/// What keeps a text from being signed.
type SignRefusal = (StatusCode, Bytes);

fn bad(message: &str, hint: &str) -> SignRefusal {
    let body = ErrorBody::new("bad_request", message).hint(hint);
    (StatusCode::BAD_REQUEST, body.to_string().into())
}

async fn sign(
    State(sessions): State<SessionService>,
    query: Result<Query<SignBody>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Response {
    let signed = match query {
        Ok(Query(named)) => answered(&sessions, named, request).await,
        Err(_) => Err(bad(
            "the query is not understood",
            "only openid, appid, method and check (true or false) may stand there",
        )),
    };
    match signed {
        Ok(body) => answer::ok(body.to_string().into()),
        Err((status, body)) => answer::json(status, body),
    }
}

async fn answered(
    sessions: &SessionService,
    named: SignBody,
    request: Request,
) -> Result<Value, SignRefusal> {
    let (parts, body) = request.into_parts();
    let body = body::read(body).await.map_err(body_failed)?;
    let (order, text) = read(&parts.headers, named, body)?;
    if order
        .method
        .as_deref()
        .is_some_and(|method| method != METHOD)
    {
        return Err(bad(
            "there is no such method",
            "leave method out: it is hmac_sha256, as all of WeChat's pages say",
        ));
    }
    if text.is_empty() {
        return Err(bad(
            "there is no text to sign",
            "the empty text is signed for checkSessionKey and resetUserSessionKey only, which \
             weappd does itself: GET /weapp/session/key, or \"check\": true here",
        ));
    }
    let owner = caller(sessions, &parts.headers, &order).await?;
    let who = Arc::clone(&owner.who);
    let tap = &sessions.shared().tap;
    let arrow = TapArrow::request("sign").of_app();
    tap::tell(
        tap,
        arrow,
        Some(&who.openid),
        || json!({"bytes": text.len()}),
    );
    let signed = sessions.sign_text(&owner, &text).await.map_err(|err| {
        tracing::error!(
            openid = who.openid,
            error = chain(&err),
            "a text could not be signed"
        );
        let body = native::error("store_failed", "the session store failed, try again");
        (StatusCode::SERVICE_UNAVAILABLE, body)
    })?;
    let signed = signed.ok_or_else(|| {
        let body = ErrorBody::new("no_session_key", "no session key of this user is kept")
            .hint("the phone must call wx.login and log in here with its code");
        (StatusCode::CONFLICT, Bytes::from(body.to_string()))
    })?;
    let age = signed
        .key_given_at
        .map(|at| sessions.shared().clock.unix_secs().since(at).as_secs());
    let mut told = json!({
        "signature": signed.signature,
        "method": METHOD,
        "appid": who.appid,
        "openid": who.openid,
        "session_key_given_at": signed.key_given_at,
        "session_key_age_secs": age,
    });
    if order.check {
        let valid = sessions.check_key(owner).await.map_err(|fault| {
            tracing::warn!(
                openid = who.openid,
                error = chain(&fault),
                "a session key could not be checked"
            );
            native::data_refused(&fault)
        })?;
        if let Some(fields) = told.as_object_mut() {
            fields.insert("session_key_valid".to_owned(), valid.into());
        }
    }
    Ok(told)
}

/// What is wanted, and the bytes to sign.
fn read(
    headers: &HeaderMap,
    named: SignBody,
    body: Bytes,
) -> Result<(SignBody, Bytes), SignRefusal> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default()
        .trim();
    if named.text.is_some() {
        return Err(bad(
            "the text stands in the query",
            "send it as the body: a query is written into logs, and may be encoded anew",
        ));
    }
    if !kind.eq_ignore_ascii_case("application/json") {
        return Ok((named, body));
    }
    let order: SignBody = weappd_base::json::object(&body).map_err(|_| {
        bad(
            "the body must be a JSON object: {\"text\", \"openid\"?, \"appid\"?, \"check\"?}",
            "to sign a body that is JSON itself, put it into \"text\" as one text, or send it as \
             text/plain with openid and appid in the query",
        )
    })?;
    let text = order.text.clone().unwrap_or_default();
    let order = SignBody {
        text: None,
        method: order.method.or(named.method),
        openid: order.openid.or(named.openid),
        appid: order.appid.or(named.appid),
        check: order.check || named.check,
    };
    Ok((order, text.into()))
}

/// Whose key is meant: the phone's that shows a session, or the user's whom the app names.
async fn caller(
    sessions: &SessionService,
    headers: &HeaderMap,
    order: &SignBody,
) -> Result<KeyOwner, SignRefusal> {
    let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let (openid, appid) = (some(&order.openid), some(&order.appid));
    // `Authorization` is the app's own here.
    if headers.contains_key("x-wx-skey") {
        let session = sessions.check(headers).await.map_err(|denied| {
            log_denied(&denied);
            denied_here(&denied)
        })?;
        let who = &session.identity;
        let other = openid.is_some_and(|openid| openid != who.openid)
            || appid.is_some_and(|appid| appid != who.appid);
        if other {
            return Err(bad(
                "the session is of another user than the openid or appid that is named",
                "send either the phone's X-WX-Skey, or openid and appid",
            ));
        }
        return Ok(KeyOwner::of(&session));
    }
    let Some(openid) = openid else {
        return Err(bad(
            "nobody is named to sign for",
            "send the phone's X-WX-Skey, or openid and appid",
        ));
    };
    let appids = sessions.shared().apps.named(appid.as_deref());
    let [appid] = appids.as_slice() else {
        return Err(bad(
            "several mini programs are configured, and none is named",
            "send appid too",
        ));
    };
    let found = sessions.key_owner(appid, &openid).await.map_err(|err| {
        tracing::error!(%openid, error = chain(&err), "a text could not be signed");
        denied_here(&AuthError::Failed(err))
    })?;
    found.ok_or_else(|| {
        let body = ErrorBody::new("no_user", "no user of this mini program has this openid")
            .hint("openids differ from one mini program to the next; did the phone log in here?");
        (StatusCode::NOT_FOUND, body.to_string().into())
    })
}

fn denied_here(denied: &AuthError) -> SignRefusal {
    match denied {
        AuthError::Failed(_) => native::denied(denied),
        _ => (
            StatusCode::UNAUTHORIZED,
            native::error("no_session", &denied.to_string()),
        ),
    }
}
