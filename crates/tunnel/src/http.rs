//! The room's HTTP faces: `/get/wsurl` and `/ws/push` for business servers, the WebSocket
//! upgrade for phones.

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, SEC_WEBSOCKET_VERSION};
use http::{HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use weappd_base::json::{NamedFields, object};
use weappd_base::rate_limit::LogLimit;
use weappd_base::secret::mask;
use weappd_base::tap::{TapPeer, TapReport};

use crate::body;
use crate::business::BusinessServer;
use crate::business_settings::BusinessSettings;
use crate::error::Error;
use crate::handshake::{self, UpgradeError};
use crate::id::TunnelId;
use crate::lenient_list::LenientList;
use crate::push::{self, MissedTunnels, PushError, PushPacket};
use crate::signature;
use crate::socket::SocketTask;
use crate::stats::IssuedTunnel;
use crate::table::TunnelTable;
use crate::tunnels::{TunnelServer, WS_PATH};

/// What business servers call. Never for the public.
pub fn internal_router(tunnels: TunnelServer) -> Router {
    // Some SDKs end the server's address in a slash and add another.
    Router::new()
        .route("/get/wsurl", post(get_wsurl))
        .route("//get/wsurl", post(get_wsurl))
        .route("/ws/push", post(ws_push))
        .route("//ws/push", post(ws_push))
        .with_state(tunnels)
}

/// Where phones open their tunnels.
pub fn public_router(tunnels: TunnelServer) -> Router {
    Router::new()
        .route(&format!("{WS_PATH}/{{token}}"), get(upgrade))
        .with_state(tunnels)
}

/// Why a business server's request was refused. The wire has HTTP 200 and a number.
#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("the signature does not fit the data and the configured key")]
    Signature,
    #[error("the request cannot be read: {0}")]
    Unreadable(String),
    #[error("content must be the text of a JSON object")]
    Content,
    #[error(
        "content makes a frame of {bytes} bytes, more than [tunnel] max_queue_bytes = {most}: send less, or \
         raise it"
    )]
    TooLong { bytes: usize, most: usize },
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("callbacks may not go to `{0}`: its host is not the one this key belongs to")]
    ReceiveUrl(String),
    #[error("no business server with this tcId (md5 of serverHost) is configured")]
    UnknownBusiness,
    #[error("no further tunnels now")]
    Full,
    #[error("the body is longer than [tunnel] push_body_bytes = {0}")]
    BodyTooLong(usize),
    #[error("the request could not be carried out")]
    Internal(#[source] Error),
}

impl RequestError {
    /// The number on the wire.
    fn code(&self) -> i64 {
        match self {
            Self::Signature => 1,
            Self::Unreadable(_) | Self::Content | Self::TooLong { .. } => 2,
            Self::Missing(_) => 4,
            Self::ReceiveUrl(_) => 5,
            Self::UnknownBusiness => 6,
            Self::Full => 7,
            Self::BodyTooLong(_) => 8,
            Self::Internal(_) => 100,
        }
    }
}

impl From<PushError> for RequestError {
    fn from(why: PushError) -> Self {
        match why {
            PushError::Missing(field) => Self::Missing(field),
            PushError::Content => Self::Content,
            PushError::TooLong { bytes, most } => Self::TooLong { bytes, most },
        }
    }
}

impl From<Error> for RequestError {
    fn from(error: Error) -> Self {
        match error {
            Error::ReceiveNotAllowed(url) => Self::ReceiveUrl(url),
            Error::Full => Self::Full,
            Error::UnknownBusiness(_) => Self::UnknownBusiness,
            Error::Setting { .. } | Error::LoadTrust(_) => Self::Internal(error),
        }
    }
}

/// The envelope of both requests. Fields nobody knows are fine.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SignedEnvelope {
    data: Option<String>,
    data_encode: Option<String>,
    tc_id: Option<String>,
    tc_key: Option<String>,
    signature: Option<String>,
}

/// Whose request it is.
#[derive(Clone)]
struct BusinessCaller {
    business: Arc<BusinessServer>,
    /// As it was set when the request was believed.
    settings: Arc<BusinessSettings>,
}

/// An envelope that was believed.
struct VerifiedRequest {
    caller: BusinessCaller,
    data: String,
    /// Whether the SDK wants `data` of the answer as text (Java and C#) or as it is.
    wants_text: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WsUrlParams {
    receive_url: Option<String>,
}

/// What an answer carries.
enum AnswerData {
    /// As text, signed.
    Text(String),
    /// As it is.
    Plain(Value),
}

async fn get_wsurl(State(tunnels): State<TunnelServer>, request: Request) -> Response {
    let mut caller = None;
    let answer = async {
        let verified = open(&tunnels, request).await?;
        caller = Some(verified.caller.clone());
        issue(&tunnels, &verified)
    }
    .await;
    let who = answer.as_ref().ok().map(|issued| issued.tunnel_id.clone());
    tunnels
        .tap()
        .record(|| report("get/wsurl", true, who, wsurl_detail(&answer)));
    let data = answer.map(|issued| {
        // Texts always have a JSON form.
        AnswerData::Text(serde_json::to_string(&issued).unwrap_or_default())
    });
    reply(data, caller.as_ref())
}

fn issue(tunnels: &TunnelServer, verified: &VerifiedRequest) -> Result<IssuedTunnel, RequestError> {
    let NamedFields(params): NamedFields<WsUrlParams> = read(&verified.data)?;
    let receive_url = params
        .receive_url
        .ok_or(RequestError::Missing("receiveUrl"))?;
    let business = &verified.caller.business;
    let route = business.route(&receive_url)?;
    // The scheme is this server's: `protocolType` asks for wss even where only ws is there.
    let configured = tunnels.table().config.public_url.clone();
    let base = match configured.as_str() {
        "" => business.public_base(),
        _ => configured,
    };
    let issued = tunnels.issue_on(route, &base);
    issued.map_err(RequestError::from)
}

async fn ws_push(State(tunnels): State<TunnelServer>, request: Request) -> Response {
    let mut caller = None;
    let answer = async {
        let verified = open(&tunnels, request).await?;
        caller = Some(verified.caller.clone());
        let LenientList(packets): LenientList<NamedFields<PushPacket<'_>>> = read(&verified.data)?;
        let packets: Vec<PushPacket<'_>> = packets
            .into_iter()
            .map(|NamedFields(packet)| packet)
            .collect();
        let missed = push::push(&tunnels, &verified.caller.business, &packets).await?;
        let data = missed_json(&missed);
        Ok(if verified.wants_text {
            AnswerData::Text(data.to_string())
        } else {
            AnswerData::Plain(data)
        })
    }
    .await;
    tunnels.tap().record(|| {
        let detail = match &answer {
            Ok(AnswerData::Text(text)) => json!({ "code": 0, "data": text }),
            Ok(AnswerData::Plain(data)) => json!({ "code": 0, "data": data }),
            Err(error) => error_json(error),
        };
        report("ws/push", true, None, detail)
    });
    reply(answer, caller.as_ref())
}

/// Reads and believes an envelope.
async fn open(tunnels: &TunnelServer, request: Request) -> Result<VerifiedRequest, RequestError> {
    let path = request.uri().path().trim_start_matches('/').to_owned();
    let encoding = request.headers().get(CONTENT_ENCODING).cloned();
    let most = tunnels.table().config.push_body_bytes;
    let body = collect(request.into_body(), most).await?;
    let envelope: SignedEnvelope = object(body::without_mark(&body)).map_err(|problem| {
        RequestError::Unreadable(match body::compression(encoding.as_ref(), &body) {
            Some(how) => format!("body: it is compressed ({how}), send it as plain JSON"),
            None => format!("body: {problem}"),
        })
    })?;
    drop(body);
    tunnels.tap().record(|| asked(&path, &envelope));
    let data = envelope.data.ok_or(RequestError::Missing("data"))?;
    let tc_id = envelope.tc_id.ok_or(RequestError::Missing("tcId"))?;
    let signed = envelope
        .signature
        .ok_or(RequestError::Missing("signature"))?;
    let table = tunnels.table();
    let business =
        (table.businesses.by_tc_id(&tc_id)).ok_or_else(|| unknown_business(&table, &tc_id))?;
    let settings = business.settings();
    let key_fits = envelope
        .tc_key
        .as_deref()
        .is_none_or(|key| settings.key.is(key));
    if !key_fits || !signature::check(&data, &settings.key, &signed) {
        tracing::warn!(
            business = business.host,
            "a request was signed with another key"
        );
        return Err(RequestError::Signature);
    }
    let wants_text = match envelope.data_encode.as_deref() {
        None | Some("") => false,
        Some("json") => true,
        Some(other) => {
            let other: String = other.chars().take(40).collect();
            return Err(RequestError::Unreadable(format!("dataEncode `{other}`")));
        }
    };
    Ok(VerifiedRequest {
        caller: BusinessCaller {
            business: Arc::clone(business),
            settings,
        },
        data,
        wants_text,
    })
}

/// The SDK shows its caller only a number: the log names what the host must be.
fn unknown_business(table: &TunnelTable, tc_id: &str) -> RequestError {
    /// Whoever reaches the internal API can cause it at will.
    static LIMIT: LazyLock<LogLimit> = LazyLock::new(|| LogLimit::new(Duration::from_secs(30), 16));
    let tc_id: String = tc_id.chars().take(40).collect();
    if let Some(untold) = LIMIT.permit(&tc_id) {
        let hosts = table.businesses.hosts();
        tracing::warn!(
            hosts,
            untold,
            "a tunnel request of an unknown business server (code 6): its serverHost must be one \
             of {hosts}, letter for letter, without scheme, and with a port only if it has one here"
        );
    }
    RequestError::UnknownBusiness
}

async fn collect(body: Body, most: usize) -> Result<Bytes, RequestError> {
    let collected = Limited::new(body, most).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|problem| {
            if problem.is::<LengthLimitError>() {
                RequestError::BodyTooLong(most)
            } else {
                RequestError::Unreadable("the body ended early".to_owned())
            }
        })
}

fn read<'a, T: Deserialize<'a>>(data: &'a str) -> Result<T, RequestError> {
    serde_json::from_slice(body::without_mark(data.as_bytes()))
        .map_err(|problem| RequestError::Unreadable(format!("data: {problem}")))
}

fn missed_json(missed: &MissedTunnels) -> Value {
    let mut data = json!({ "invalidTunnelIds": missed.invalid });
    if !missed.undelivered.is_empty() {
        data["undeliveredTunnelIds"] = json!(missed.undelivered);
    }
    data
}

/// Answers in the envelope every SDK reads: HTTP 200 whatever happened.
fn reply(answer: Result<AnswerData, RequestError>, caller: Option<&BusinessCaller>) -> Response {
    let body = match answer {
        Ok(AnswerData::Plain(data)) => json!({ "code": 0, "message": "ok", "data": data }),
        Ok(AnswerData::Text(text)) => {
            let signed = caller.map(|caller| signature::sign(&text, &caller.settings.key));
            json!({ "code": 0, "message": "ok", "data": text, "signature": signed })
        }
        Err(error) => {
            log(&error, caller.map(|caller| &*caller.business));
            error_json(&error)
        }
    };
    let json = HeaderValue::from_static("application/json; charset=utf-8");
    ([(CONTENT_TYPE, json)], body.to_string()).into_response()
}

/// An SDK shows its caller only a number: the log says what is wrong.
fn log(error: &RequestError, business: Option<&BusinessServer>) {
    /// Whoever reaches the internal API can cause it at will.
    static LIMIT: LazyLock<LogLimit> = LazyLock::new(|| LogLimit::new(Duration::from_secs(30), 16));
    match error {
        RequestError::Internal(problem) => tracing::error!(%problem, "tunnel request failed"),
        // Told where they were found, or no fault of the business server's.
        RequestError::Signature | RequestError::UnknownBusiness | RequestError::Full => {}
        RequestError::Unreadable(_)
        | RequestError::Content
        | RequestError::TooLong { .. }
        | RequestError::Missing(_)
        | RequestError::ReceiveUrl(_)
        | RequestError::BodyTooLong(_) => {
            let host = business.map_or("unknown", |business| &business.host);
            let code = error.code();
            if let Some(untold) = LIMIT.permit(&format!("{host} {code}")) {
                // A parser quotes what it read, which may be a key.
                let why = error.to_string();
                let why = why.split('"').next().unwrap_or_default();
                tracing::warn!(
                    business = host,
                    code,
                    untold,
                    "a tunnel request was refused: {why}"
                );
            }
        }
    }
}

fn error_json(error: &RequestError) -> Value {
    json!({ "code": error.code(), "message": error.to_string() })
}

/// Opens a phone's WebSocket. A genuine token is never refused, however late it comes.
async fn upgrade(
    State(tunnels): State<TunnelServer>,
    Path(token): Path<String>,
    mut request: Request,
) -> Response {
    let Some(id) = token_of(&tunnels, &token) else {
        return (StatusCode::NOT_FOUND, "no such tunnel\n").into_response();
    };
    let headers = match handshake::accept(request.headers()) {
        Ok(headers) => headers,
        Err(why) => return no_upgrade(why),
    };
    tunnels.tap().record(|| TapReport {
        from: TapPeer::Phone,
        to: TapPeer::Weappd,
        name: "wx.connectSocket".to_owned(),
        answer: false,
        who: Some(id.to_string()),
        detail: json!({ "url": format!("{WS_PATH}/{}", mask(&token)) }),
    });
    let upgrade = hyper::upgrade::on(&mut request);
    tunnels
        .tasks()
        .spawn(SocketTask::new(tunnels.clone(), id, upgrade));
    (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response()
}

/// The tunnel that a token opens.
fn token_of(tunnels: &TunnelServer, token: &str) -> Option<TunnelId> {
    let lives = |id| tunnels.hub().find(id).is_some();
    tunnels.table().tokens.check(token, lives)
}

fn no_upgrade(why: UpgradeError) -> Response {
    let version = [(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))];
    match why {
        UpgradeError::NotAsked | UpgradeError::Version => (
            StatusCode::UPGRADE_REQUIRED,
            version,
            "open this as a WebSocket, version 13\n",
        )
            .into_response(),
        UpgradeError::Key => (StatusCode::BAD_REQUEST, "bad Sec-WebSocket-Key\n").into_response(),
    }
}

fn report(name: &str, answer: bool, who: Option<String>, detail: Value) -> TapReport {
    let (from, to) = if answer {
        (TapPeer::Weappd, TapPeer::App)
    } else {
        (TapPeer::App, TapPeer::Weappd)
    };
    TapReport {
        from,
        to,
        name: name.to_owned(),
        answer,
        who,
        detail,
    }
}

/// A request as the sequence diagram shows it.
fn asked(path: &str, envelope: &SignedEnvelope) -> TapReport {
    let data = envelope.data.as_deref().unwrap_or_default();
    let parsed: Value = serde_json::from_str(data).unwrap_or(Value::Null);
    // A push to one tunnel belongs to its diagram.
    let who = match parsed[0]["tunnelIds"].as_array().map(Vec::as_slice) {
        Some([Value::String(id)]) => Some(id.clone()),
        _ => None,
    };
    let detail = json!({
        "data": data,
        "dataEncode": envelope.data_encode,
        "tcId": envelope.tc_id,
        "tcKey": envelope.tc_key.as_deref().map(mask),
        "signature": envelope.signature.as_deref().map(mask),
    });
    report(path, false, who, detail)
}

fn wsurl_detail(answer: &Result<IssuedTunnel, RequestError>) -> Value {
    match answer {
        Ok(issued) => {
            let url = &issued.connect_url;
            let (road, token) = url.rsplit_once('/').unwrap_or((url, ""));
            json!({
                "code": 0,
                "data": {
                    "tunnelId": issued.tunnel_id,
                    "connectUrl": format!("{road}/{}", mask(token)),
                },
            })
        }
        Err(error) => error_json(error),
    }
}
