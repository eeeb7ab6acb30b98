//! The phone side: JSON over POST, and the users' pictures.

use std::collections::HashMap;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use http::header;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::avatar;
use crate::error::Error;
use crate::phone::Phone;
use crate::simulator::Simulator;
use crate::user_name::UserName;

/// What a phone may say about itself with any call.
#[derive(Debug, Default, Deserialize)]
struct PhoneCallBody {
    appid: Option<String>,
    allow: Option<bool>,
    risky: Option<bool>,
    template_id: Option<String>,
    accept: Option<bool>,
    times: Option<u32>,
    text: Option<String>,
    session_from: Option<String>,
    group: Option<String>,
}

/// Finds the phone; an empty body says nothing, and is fine.
fn phone(simulator: &Simulator, user: &str, body: &Bytes) -> Result<(Phone, PhoneCallBody), Error> {
    let said: PhoneCallBody = if body.trim_ascii().is_empty() {
        PhoneCallBody::default()
    } else {
        weappd_base::json::object(body).map_err(Error::Body)?
    };
    let phone = simulator.phone(user, said.appid.as_deref())?;
    Ok((phone, said))
}

pub(super) async fn profile(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<Response, Error> {
    let appid = query.get("appid").map(String::as_str);
    Ok(axum::Json(simulator.phone(&user, appid)?.profile()?).into_response())
}

pub(super) async fn login(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let code = phone(&simulator, &user, &body)?.0.login()?;
    Ok(axum::Json(json!({ "code": code })))
}

pub(super) async fn check_session(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let valid = phone(&simulator, &user, &body)?.0.check_session()?;
    Ok(axum::Json(json!({ "valid": valid })))
}

pub(super) async fn expire_session(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    phone(&simulator, &user, &body)?.0.expire_session()?;
    Ok(axum::Json(json!({})))
}

pub(super) async fn authorize(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let (phone, said) = phone(&simulator, &user, &body)?;
    phone.authorize(said.allow.ok_or(Error::AllowMissing)?)?;
    Ok(axum::Json(json!({})))
}

pub(super) async fn user_info(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let data = phone(&simulator, &user, &body)?.0.user_info()?;
    Ok(axum::Json(data).into_response())
}

pub(super) async fn phone_number(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<Response, Error> {
    let number = phone(&simulator, &user, &body)?.0.phone_number()?;
    Ok(axum::Json(number).into_response())
}

pub(super) async fn risky(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let (phone, said) = phone(&simulator, &user, &body)?;
    phone.set_risky(said.risky.ok_or(Error::Field("\"risky\": true or false"))?)?;
    Ok(axum::Json(json!({})))
}

pub(super) async fn subscribe(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let (phone, said) = phone(&simulator, &user, &body)?;
    let template_id = said.template_id.unwrap_or_default();
    let accept = said.accept.unwrap_or(true);
    let answer = phone.subscribe(&template_id, accept, said.times.unwrap_or(1))?;
    Ok(axum::Json(answer))
}

pub(super) async fn say(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let (phone, said) = phone(&simulator, &user, &body)?;
    Ok(axum::Json(phone.say(&said.text.unwrap_or_default())?))
}

pub(super) async fn enter_session(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let (phone, said) = phone(&simulator, &user, &body)?;
    let session_from = said.session_from.unwrap_or_default();
    Ok(axum::Json(phone.enter_session(&session_from)?))
}

pub(super) async fn we_run_data(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    Ok(axum::Json(
        phone(&simulator, &user, &body)?.0.we_run_data()?,
    ))
}

pub(super) async fn user_key(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    Ok(axum::Json(phone(&simulator, &user, &body)?.0.user_key()?))
}

pub(super) async fn group_info(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    body: Bytes,
) -> Result<axum::Json<Value>, Error> {
    let (phone, said) = phone(&simulator, &user, &body)?;
    let group = said.group.unwrap_or_else(|| "family".to_owned());
    Ok(axum::Json(phone.group_info(&group)?))
}

pub(super) async fn inbox(
    State(simulator): State<Simulator>,
    Path(user): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<axum::Json<Value>, Error> {
    let appid = query.get("appid").map(String::as_str);
    let messages = simulator.phone(&user, appid)?.inbox()?;
    Ok(axum::Json(json!({ "messages": messages })))
}

pub(super) async fn draw_avatar(Path(file): Path<String>) -> Result<Response, Error> {
    let user = UserName::parse(file.strip_suffix(".svg").ok_or(Error::UserName)?)?;
    let headers = [
        (header::CONTENT_TYPE, "image/svg+xml"),
        (header::CACHE_CONTROL, "public, max-age=3600"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'"),
    ];
    Ok((headers, avatar::draw(&user)).into_response())
}
