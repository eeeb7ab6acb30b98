//! What the sequence diagram is told of this room's requests and answers, secrets masked.

use axum::http::{HeaderMap, Method, Uri};
use serde_json::{Map, Value, json};
use weappd_base::secret::{is_secret_name, mask, mask_json};
use weappd_base::tap::{TapPeer, TapReport, TrafficTap};

/// Between whom, which way, and under what name.
#[derive(Clone, Copy)]
pub(crate) struct TapArrow {
    other: TapPeer,
    name: &'static str,
    answer: bool,
}

impl TapArrow {
    /// A phone asks.
    pub(crate) fn request(name: &'static str) -> Self {
        Self {
            other: TapPeer::Phone,
            name,
            answer: false,
        }
    }

    /// A phone is answered.
    pub(crate) fn answer(name: &'static str) -> Self {
        Self {
            answer: true,
            ..Self::request(name)
        }
    }

    /// The other side is a business server.
    pub(crate) fn of_app(self) -> Self {
        Self {
            other: TapPeer::App,
            ..self
        }
    }
}

/// Draws an arrow, if somebody looks.
pub(crate) fn tell(
    tap: &TrafficTap,
    arrow: TapArrow,
    who: Option<&str>,
    detail: impl FnOnce() -> Value,
) {
    tap.record(|| {
        let ends = (arrow.other, TapPeer::Weappd);
        let (from, to) = if arrow.answer { (ends.1, ends.0) } else { ends };
        TapReport {
            from,
            to,
            name: arrow.name.to_owned(),
            answer: arrow.answer,
            who: who.map(str::to_owned),
            detail: detail(),
        }
    });
}

/// A request by its method, path and the headers of the dialects.
pub(crate) fn request(method: &Method, uri: &Uri, headers: &HeaderMap) -> Value {
    let mut shown = Map::new();
    for (name, value) in headers {
        let name = name.as_str();
        // `weappd dev` knows its phones by their Referer.
        if name.starts_with("x-wx-") || name == "authorization" || name == "referer" {
            let value = String::from_utf8_lossy(value.as_bytes());
            let value = if is_secret_name(name) {
                mask(&value)
            } else {
                value.into_owned()
            };
            shown.insert(name.to_owned(), value.into());
        }
    }
    json!({"method": method.as_str(), "path": uri.path(), "headers": shown})
}

/// A JSON body.
pub(crate) fn body(text: &[u8]) -> Value {
    let mut body = serde_json::from_slice(text)
        // What is not JSON cannot be masked by name.
        .unwrap_or_else(|_| json!(format!("{} bytes that are not JSON", text.len())));
    mask_json(&mut body);
    body
}
