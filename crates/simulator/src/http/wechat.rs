//! WeChat's side: HTTP 200 and `text/plain`, whatever
//! happened, and faults where they are asked for.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{ApiCall, ApiOutcome, ApiReply};
use crate::call_log::{CallKind, CallRecord, body_json, query_json};
use crate::faults::SimulatedFault;
use crate::simulator::Simulator;
use crate::wechat_refusal::WechatRefusal;

/// The longest body: what WeChat's own proxy takes.
const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;

/// Answers every path that is not a phone's or the operator's.
pub(super) async fn answer(State(simulator): State<Simulator>, request: Request) -> Response {
    let started = Instant::now();
    let (head, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MAX_BODY_BYTES).await else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let query = Query::<Vec<(String, String)>>::try_from_uri(&head.uri);
    let mut call = ApiCall {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: query.map(|Query(pairs)| pairs).unwrap_or_default(),
        body,
    };
    let seal = simulator.unseal(&mut call, &head.headers);
    let (latency_ms, fault) = simulator.with_state(|state| state.faults.take(&call.path));
    if latency_ms > 0 {
        tokio::time::sleep(Duration::from_millis(latency_ms)).await;
    }
    let refused = |refusal| ApiOutcome {
        said: Err(refusal),
        appid: None,
        note: None,
    };
    let outcome = match (fault, &seal) {
        (Some(SimulatedFault::Errcode(errcode)), _) => refused(WechatRefusal::Simulated(errcode)),
        (_, Err(refusal)) => refused(refusal.clone()),
        _ => simulator.answer(&call),
    };
    let (mut response, told) = shape(&simulator, &outcome.said);
    if let Ok(Some(seal)) = &seal
        && !outcome
            .said
            .as_ref()
            .is_err_and(WechatRefusal::is_before_decryption)
        && let Some(sealed) = simulator.seal(seal, &call.path, &told)
    {
        response = sealed;
    }
    let note = match fault {
        Some(SimulatedFault::Errcode(errcode)) => Some(format!("fault: errcode {errcode}")),
        Some(fault) => Some(format!("fault: {}", json!(fault)).replace('"', "")),
        None => outcome.note.map(ToOwned::to_owned),
    };
    simulator.log(CallRecord {
        seq: 0,
        at: simulator.now_millis(),
        kind: CallKind::Api,
        method: call.method.to_string(),
        path: call.path.clone(),
        appid: outcome.appid,
        asked: asked(&call, &head.headers),
        status: response.status().as_u16(),
        errcode: told.get("errcode").and_then(Value::as_i64).unwrap_or(0),
        answer: told,
        note,
        took_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    });
    misbehave(fault, response).await
}

fn asked(call: &ApiCall, headers: &HeaderMap) -> Value {
    let content_type = headers.get(header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok());
    json!({
        "query": query_json(&call.query),
        "body": body_json(&call.body, content_type),
    })
}

/// The answer as it is sent, and as it is told.
fn shape(simulator: &Simulator, said: &Result<ApiReply, WechatRefusal>) -> (Response, Value) {
    match said {
        Ok(ApiReply::Json(json)) => (wechat_answer(json), json.clone()),
        Ok(ApiReply::Picture { png, used }) => {
            let kind = [(header::CONTENT_TYPE, "image/png")];
            let mut response = (kind, png.clone()).into_response();
            if let Some(used) = used {
                let headers = response.headers_mut();
                headers.insert("num-used", HeaderValue::from(*used));
            }
            let told = format!("{} bytes of image/png", png.len());
            (response, Value::String(told))
        }
        Err(refusal) => {
            let json = simulator.refuse(refusal);
            let mut response = wechat_answer(&json);
            if *refusal == WechatRefusal::UnknownPath {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            (response, json)
        }
    }
}

/// As WeChat labels its JSON.
fn wechat_answer(body: &Value) -> Response {
    ([(header::CONTENT_TYPE, "text/plain")], body.to_string()).into_response()
}

/// Breaks the answer on its way.
async fn misbehave(fault: Option<SimulatedFault>, answer: Response) -> Response {
    match fault {
        None | Some(SimulatedFault::Errcode(_)) => answer,
        // An error before the first byte: the server closes without sending the head.
        Some(SimulatedFault::Reset) => {
            Body::from_stream(stream::iter([Err::<Bytes, _>(cut())])).into_response()
        }
        Some(SimulatedFault::Half) => halve(answer).await,
        Some(SimulatedFault::WrongJson) => {
            let page = "<html><body><h1>502 Bad Gateway</h1></body></html>";
            ([(header::CONTENT_TYPE, "text/html")], page).into_response()
        }
    }
}

/// Sends the first half of the answer and breaks the connection then.
async fn halve(answer: Response) -> Response {
    let (mut parts, body) = answer.into_parts();
    let whole = axum::body::to_bytes(body, usize::MAX)
        .await
        .unwrap_or_default();
    parts
        .headers
        .insert(header::CONTENT_LENGTH, HeaderValue::from(whole.len()));
    let half = whole.slice(..whole.len() / 2);
    let broken = stream::unfold(Some(half), |left| async move {
        let half = left?;
        if half.is_empty() {
            // Lets the server send what it has: an error at once would discard it.
            tokio::task::yield_now().await;
            return Some((Err(cut()), None));
        }
        Some((Ok(half), Some(Bytes::new())))
    });
    Response::from_parts(parts, Body::from_stream(broken))
}

fn cut() -> std::io::Error {
    std::io::Error::from(std::io::ErrorKind::ConnectionReset)
}
