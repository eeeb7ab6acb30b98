//! The phone number a user shows, and taking it back.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use weappd_base::language::pick;

use crate::dialect::input_words;
use crate::dialect::native;
use crate::http::answer::json;
use crate::http::body;
use crate::http::data::{entered, refused};
use crate::http::login_site::LoginSite;
use crate::login::ClientInfo;
use crate::tap::{self, TapArrow};

pub(crate) async fn put_phone(State(site): State<LoginSite>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (session, text) = match entered(&site, &parts.headers, body).await {
        Ok(entered) => entered,
        Err(response) => return response,
    };
    let who = Some(session.identity.openid.as_str());
    site.tell(TapArrow::request("phone number"), who, || tap::body(&text));
    let proof = body::object::<native::PhoneBody>(&text)
        .map_err(|_| {
            pick(
                "the body must be a JSON object: {\"code\"} or {\"encryptedData\", \"iv\"}",
                "请求内容必须是 JSON 对象：{\"code\"} 或 {\"encryptedData\", \"iv\"}",
            )
        })
        .and_then(native::PhoneBody::brought);
    let proof = match proof {
        Ok(proof) => proof,
        Err(why) => {
            let body = native::error("bad_request", input_words(why));
            return json(StatusCode::BAD_REQUEST, body);
        }
    };
    let address = ClientInfo::of(&parts.headers, &parts.extensions).address;
    match site.sessions.put_phone(&session, address, proof).await {
        Ok(phone) => {
            let body = native::shown(&session, Some(&phone));
            // A number is masked there by its name.
            site.tell(TapArrow::answer("phone number"), who, || tap::body(&body));
            json(StatusCode::OK, body)
        }
        Err(fault) => refused(&session, &fault),
    }
}

pub(crate) async fn forget_phone(State(site): State<LoginSite>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let session = match entered(&site, &parts.headers, body).await {
        Ok((session, _)) => session,
        Err(response) => return response,
    };
    match site.sessions.forget_phone(&session).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(err) => refused(&session, &err.into()),
    }
}
