//! The session key WeChat gave at the login: whether it still holds, and another one.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use crate::http::answer;
use crate::http::data::{entered, refused};
use crate::http::login_site::LoginSite;
use crate::key_owner::KeyOwner;
use crate::open_data_error::OpenDataError;
use crate::session::CachedSession;
use crate::tap::TapArrow;

pub(crate) async fn check_key(State(site): State<LoginSite>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let session = match entered(&site, &parts.headers, body).await {
        Ok((session, _)) => session,
        Err(response) => return response,
    };
    told(&site, &session, {
        let owner = KeyOwner::of(&session);
        site.sessions.check_key(owner).await
    })
}

pub(crate) async fn reset_key(State(site): State<LoginSite>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let session = match entered(&site, &parts.headers, body).await {
        Ok((session, _)) => session,
        Err(response) => return response,
    };
    let reset = site.sessions.reset_key(&session).await;
    told(&site, &session, reset.map(|()| true))
}

fn told(
    site: &LoginSite,
    session: &CachedSession,
    outcome: Result<bool, OpenDataError>,
) -> Response {
    match outcome {
        Ok(valid) => {
            let body = json!({"valid": valid});
            let who = Some(session.identity.openid.as_str());
            site.tell(TapArrow::answer("session key"), who, || body.clone());
            answer::json(StatusCode::OK, body.to_string().into())
        }
        Err(fault) => refused(session, &fault),
    }
}
