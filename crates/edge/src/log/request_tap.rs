//! Shows the traffic tap what clients sent and what went on to the apps.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use weappd_base::request_id::RequestId;
use weappd_base::secret::{is_secret_name, mask, mask_json};
use weappd_base::tap::{TapPeer, TapReport, TrafficTap};

use crate::body::EdgeBody;
use crate::caller::identity::openid;
use crate::log::log_format::mask_target;

/// Bodies longer than this are not shown.
const SHOWN_MAX_BYTES: u64 = 8 * 1024;

/// One request as the tap sees it, from its head to its answer.
#[derive(Debug)]
pub(crate) struct RequestTap {
    tap: TrafficTap,
    /// By which an answer is known to be the request's.
    id: RequestId,
    name: String,
    method: Method,
    target: String,
    who: Option<String>,
}

impl RequestTap {
    /// Follows one request, if the tap is watched.
    pub(crate) fn new(
        tap: &TrafficTap,
        quiet: &[String],
        (head, id): (&http::request::Parts, &RequestId),
    ) -> Option<Self> {
        let path = head.uri.path();
        if !tap.is_watched() || is_quiet(quiet, path) {
            return None;
        }
        Some(Self {
            tap: tap.clone(),
            id: id.clone(),
            name: mask_target(path).into_owned(),
            method: head.method.clone(),
            target: mask_target(head.uri.path_and_query().map_or("/", |p| p.as_str())).into_owned(),
            who: None,
        })
    }

    /// The caller is known now.
    pub(crate) fn identify(&mut self, headers: &HeaderMap) {
        self.who = openid(headers).map(str::to_owned);
    }

    /// The request went over the wire.
    pub(crate) fn request(
        &self,
        from: TapPeer,
        to: TapPeer,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) {
        self.report(from, to, false, || {
            let mut detail = Map::new();
            drop(detail.insert("method".to_owned(), json!(self.method.as_str())));
            drop(detail.insert("path".to_owned(), json!(self.target)));
            drop(detail.insert("id".to_owned(), json!(self.id.to_string())));
            drop(detail.insert("headers".to_owned(), shown(headers)));
            if let Some(body) = body {
                drop(detail.insert("body".to_owned(), body.clone()));
            }
            Value::Object(detail)
        });
    }

    /// The answer went over the wire.
    pub(crate) fn answer(
        &self,
        from: TapPeer,
        to: TapPeer,
        status: u16,
        headers: &HeaderMap,
        body: Option<&Value>,
    ) {
        self.report(from, to, true, || {
            let mut detail = Map::new();
            drop(detail.insert("status".to_owned(), json!(status)));
            drop(detail.insert("id".to_owned(), json!(self.id.to_string())));
            drop(detail.insert("headers".to_owned(), shown(headers)));
            if let Some(body) = body {
                drop(detail.insert("body".to_owned(), body.clone()));
            }
            Value::Object(detail)
        });
    }

    fn report(&self, from: TapPeer, to: TapPeer, answer: bool, detail: impl FnOnce() -> Value) {
        self.tap.record(|| TapReport {
            from,
            to,
            name: self.name.clone(),
            answer,
            who: self.who.clone(),
            detail: detail(),
        });
    }
}

/// Reads a small JSON body to show it, and gives an equal one back.
pub(crate) async fn show(
    headers: &HeaderMap,
    body: EdgeBody,
) -> Result<(EdgeBody, Option<Value>), EdgeBody> {
    if !is_small_json(headers, body.size_hint().exact()) {
        return Ok((body, None));
    }
    // An empty body stands for one that could not be read.
    let Ok(read) = body.collect().await else {
        return Err(EdgeBody::default());
    };
    let bytes: Bytes = read.to_bytes();
    let shown = serde_json::from_slice(&bytes).ok().map(|mut json: Value| {
        mask_json(&mut json);
        json
    });
    Ok((EdgeBody::full(bytes), shown))
}

/// Shows an answer's body in the same way.
pub(crate) async fn show_answer(
    response: Response<EdgeBody>,
) -> Result<(Response<EdgeBody>, Option<Value>), EdgeBody> {
    let (head, body) = response.into_parts();
    let (body, shown) = show(&head.headers, body).await?;
    Ok((Response::from_parts(head, body), shown))
}

/// `known` is the length of a body that is whole already, such as a refusal's.
fn is_small_json(headers: &HeaderMap, known: Option<u64>) -> bool {
    let text = |name| headers.get(name).and_then(|v| v.to_str().ok());
    let small = text(&header::CONTENT_LENGTH)
        .and_then(|length| length.parse::<u64>().ok())
        .or(known)
        .is_some_and(|length| length > 0 && length <= SHOWN_MAX_BYTES);
    small
        && text(&header::CONTENT_TYPE).is_some_and(|kind| kind.contains("json"))
        && !headers.contains_key(header::CONTENT_ENCODING)
}

fn is_quiet(quiet: &[String], path: &str) -> bool {
    quiet.iter().any(|prefix| path.starts_with(prefix.as_str()))
}

/// The headers worth seeing, secrets masked.
fn shown(headers: &HeaderMap) -> Value {
    let worth = |name: &HeaderName| {
        name.as_str().starts_with("x-")
            || matches!(
                *name,
                header::HOST
                    | header::CONTENT_TYPE
                    | header::CONTENT_LENGTH
                    | header::AUTHORIZATION
                    | header::COOKIE
                    | header::SET_COOKIE
                    | header::LOCATION
                    | header::RETRY_AFTER
                    | header::UPGRADE
                    | header::REFERER
            )
    };
    let lines = headers.iter().filter(|(name, _)| worth(name));
    let shown = lines.map(|(name, value)| {
        let text = String::from_utf8_lossy(value.as_bytes());
        let secret = is_secret_name(name.as_str())
            || *name == header::SET_COOKIE
            || name.as_str().contains("token")
            || name.as_str().contains("encrypted");
        let text = if secret {
            mask(&text)
        } else {
            text.into_owned()
        };
        (name.as_str().to_owned(), Value::String(text))
    });
    Value::Object(shown.collect())
}
