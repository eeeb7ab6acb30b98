//! The operator's side: faults, settings, time, calls, push, for tests and for the operator's page.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use weappd_base::json::object;
use weappd_base::unix_time::UnixSecs;

use crate::app_seals::SecuritySettings;
use crate::call_log::CallRecord;
use crate::error::Error;
use crate::faults::FaultSettings;
use crate::push::PushDelivery;
use crate::push_target::PushSettings;
use crate::settings::SimulatorSettings;
use crate::simulator::Simulator;

pub(super) async fn show_state(State(simulator): State<Simulator>) -> Json<Value> {
    Json(simulator.overview())
}

pub(super) async fn show_faults(State(simulator): State<Simulator>) -> Json<FaultSettings> {
    Json(simulator.faults())
}

pub(super) async fn set_faults(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<FaultSettings>, Error> {
    simulator.set_faults(object(&body).map_err(Error::Body)?);
    Ok(Json(simulator.faults()))
}

pub(super) async fn show_settings(State(simulator): State<Simulator>) -> Json<SimulatorSettings> {
    Json(simulator.settings())
}

pub(super) async fn set_settings(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<SimulatorSettings>, Error> {
    simulator.set_settings(simulator.settings().changed(&body)?);
    Ok(Json(simulator.settings()))
}

/// The simulator's time.
#[derive(Debug, Serialize)]
pub(super) struct ClockView {
    now: UnixSecs,
    offset_secs: i64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockMove {
    advance_secs: i64,
}

pub(super) async fn show_clock(State(simulator): State<Simulator>) -> Json<ClockView> {
    Json(ClockView {
        now: simulator.now(),
        offset_secs: simulator.offset_secs(),
    })
}

pub(super) async fn move_clock(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<ClockView>, Error> {
    let by: ClockMove = object(&body).map_err(Error::Body)?;
    simulator.advance(by.advance_secs)?;
    Ok(show_clock(State(simulator)).await)
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallLogQuery {
    after: u64,
    path: Option<String>,
}

/// The calls, oldest first.
#[derive(Debug, Serialize)]
pub(super) struct CallLogView {
    last: u64,
    calls: Vec<CallRecord>,
}

pub(super) async fn show_calls(
    State(simulator): State<Simulator>,
    Query(which): Query<CallLogQuery>,
) -> Json<CallLogView> {
    Json(simulator.with_state(|state| CallLogView {
        last: state.calls.last(),
        calls: state.calls.after(which.after, which.path.as_deref()),
    }))
}

pub(super) async fn clear_calls(State(simulator): State<Simulator>) -> Json<Value> {
    simulator.with_state(|state| state.calls.clear());
    Json(json!({}))
}

pub(super) async fn show_push(State(simulator): State<Simulator>) -> Json<Value> {
    Json(json!({ "push": simulator.push_shown() }))
}

pub(super) async fn set_push(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, Error> {
    let settings: PushSettings = object(&body).map_err(Error::Body)?;
    simulator.set_verified_push(settings).await?;
    Ok(show_push(State(simulator)).await)
}

pub(super) async fn show_api_security(State(simulator): State<Simulator>) -> Json<Value> {
    Json(simulator.api_security_shown())
}

pub(super) async fn set_api_security(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, Error> {
    let value: serde_json::Map<String, Value> = object(&body).map_err(Error::Body)?;
    let appid = value.get("appid").and_then(Value::as_str);
    let security: Option<SecuritySettings> = match value.get("symmetric_key") {
        Some(_) => Some(serde_json::from_value(Value::Object(value.clone())).map_err(Error::Body)?),
        None => None,
    };
    simulator.set_api_security(appid, security)?;
    Ok(show_api_security(State(simulator.clone())).await)
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct VerifyQuery {
    appid: Option<String>,
}

pub(super) async fn verify_push(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<Value>, Error> {
    let whose: VerifyQuery = if body.trim_ascii().is_empty() {
        VerifyQuery::default()
    } else {
        object(&body).map_err(Error::Body)?
    };
    let first = || simulator.first_mini_app();
    let app = whose
        .appid
        .map_or_else(first, |appid| simulator.mini_app(&appid));
    let appid = app.ok_or(Error::UnknownApp)?.credential.appid.clone();
    simulator.verify_push(&appid).await?;
    Ok(Json(json!({ "verified": true })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SendPush {
    user: String,
    appid: Option<String>,
    message: Value,
    #[serde(default)]
    forged: bool,
}

pub(super) async fn send_push(
    State(simulator): State<Simulator>,
    body: Bytes,
) -> Result<Json<PushDelivery>, Error> {
    let send: SendPush = object(&body).map_err(Error::Body)?;
    let phone = simulator.phone(&send.user, send.appid.as_deref())?;
    // The user appears, as with every call that names one.
    phone.profile()?;
    let (appid, openid) = (phone.appid(), phone.openid());
    let delivery = simulator.push(appid, &openid, &send.message, send.forged);
    Ok(Json(delivery.await?))
}
