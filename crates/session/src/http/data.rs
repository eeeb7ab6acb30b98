//! What a phone with a session brings later: its user's name and picture, and data that
//! WeChat encrypted for the server.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;

use crate::decryption::SealedText;
use crate::dialect::native;
use crate::http::answer::{json, log_denied};
use crate::http::body;
use crate::http::login_site::{LoginSite, body_failed};
use crate::login::ClientInfo;
use crate::open_data_error::OpenDataError;
use crate::profile::ProfileUpdate;
use crate::session::CachedSession;
use crate::tap::{self, TapArrow};
use weappd_base::causes::chain;
use weappd_base::language::pick;

pub(crate) async fn put_profile(State(site): State<LoginSite>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (session, text) = match entered(&site, &parts.headers, body).await {
        Ok(entered) => entered,
        Err(response) => return response,
    };
    let outcome = match ProfileUpdate::read(&text) {
        Ok(profile) => {
            let who = (&session, &parts.headers);
            site.sessions.change_profile(who, profile).await
        }
        Err(fault) => Err(fault),
    };
    if let Err(fault) = outcome {
        return refused(&session, &fault);
    }
    // The store's word, not ours: a neighbour may have written too.
    match site.check(&parts.headers).await {
        Ok(session) => {
            let body = native::shown(&session, site.sessions.phone(&session).as_ref());
            let who = Some(session.identity.openid.as_str());
            site.tell(TapArrow::answer("profile"), who, || tap::body(&body));
            json(StatusCode::OK, body)
        }
        Err(denied) => {
            log_denied(&denied);
            let (status, body) = native::denied(&denied);
            json(status, body)
        }
    }
}

pub(crate) async fn decrypt(State(site): State<LoginSite>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (session, text) = match entered(&site, &parts.headers, body).await {
        Ok(entered) => entered,
        Err(response) => return response,
    };
    let Ok(body) = body::object::<native::DecryptBody>(&text) else {
        let why = pick(
            "the body must be a JSON object: {\"encryptedData\", \"iv\", \"kind\"?}",
            "请求内容必须是 JSON 对象：{\"encryptedData\", \"iv\", \"kind\"?}",
        );
        return json(StatusCode::BAD_REQUEST, native::error("bad_request", why));
    };
    let address = ClientInfo::of(&parts.headers, &parts.extensions).address;
    let sealed = SealedText {
        encrypted: &body.encrypted_data,
        iv: Some(&body.iv),
    };
    let opened = site.sessions.open_data(&session, address, sealed).await;
    let opened = opened.and_then(|opened| match (body.kind, opened.kind) {
        (Some(wanted), found) if wanted != found => Err(OpenDataError::Kind { found, wanted }),
        (_, kind) => Ok((kind, opened.data)),
    });
    match opened {
        Ok((kind, data)) => {
            let who = Some(session.identity.openid.as_str());
            // What was encrypted is nobody's business but the phone's.
            site.tell(TapArrow::answer("open data"), who, || {
                let names = data
                    .as_object()
                    .map(|fields| fields.keys().collect::<Vec<_>>());
                serde_json::json!({"kind": kind, "fields": names})
            });
            let body = serde_json::json!({"kind": kind, "data": data}).to_string();
            json(StatusCode::OK, body.into())
        }
        Err(fault) => refused(&session, &fault),
    }
}

/// The session of a request, and its body; or the answer that ends it here.
pub(crate) async fn entered(
    site: &LoginSite,
    headers: &axum::http::HeaderMap,
    body: axum::body::Body,
) -> Result<(Arc<CachedSession>, Bytes), Response> {
    let session = site.check(headers).await.map_err(|denied| {
        log_denied(&denied);
        let (status, body) = native::denied(&denied);
        json(status, body)
    })?;
    let text = body::read(body).await.map_err(|fault| {
        let (status, body) = body_failed(fault);
        json(status, body)
    })?;
    Ok((session, text))
}

pub(crate) fn refused(session: &CachedSession, fault: &OpenDataError) -> Response {
    let openid = &session.identity.openid;
    match fault {
        OpenDataError::Internal(err) => {
            tracing::error!(%openid, error = chain(err), "user data could not be handled");
        }
        fault => tracing::warn!(%openid, error = chain(fault), "user data was refused"),
    }
    let (status, body) = native::data_refused(fault);
    let mut response = json(status, body);
    if let OpenDataError::TooMany { retry_secs } | OpenDataError::TooManyFailures { retry_secs } =
        fault
    {
        let headers = response.headers_mut();
        headers.insert(header::RETRY_AFTER, HeaderValue::from(*retry_secs));
    }
    response
}
