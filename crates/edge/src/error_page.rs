//! The answer to a request that goes no further: a page for people, JSON for programs.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use weappd_base::request_id::{REQUEST_ID, RequestId};

use crate::body::EdgeBody;
use crate::refusal::EdgeRefusal;

/// Whether the client is a person in front of a browser. `wx.request` is not: it sends
/// `Accept: */*` or JSON, and its caller parses what comes.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
}

/// The answer to a request that goes no further.
pub(crate) fn refuse(
    refusal: EdgeRefusal,
    id: &RequestId,
    (html, http1): (bool, bool),
) -> Response<EdgeBody> {
    let ends = refusal.ends_connection();
    let (status, _) = refusal.code();
    let (english, chinese) = refusal.sentences();
    if let EdgeRefusal::Said(said) = refusal {
        let mut said = said.map(EdgeBody::from_router);
        name_request(said.headers_mut(), id);
        return said;
    }
    let (kind, text) = if html {
        (
            "text/html; charset=utf-8",
            page(status, (english, chinese), Some(id)),
        )
    } else {
        ("application/json; charset=utf-8", refusal.json(id))
    };
    let mut response = Response::new(EdgeBody::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
    }
    if ends && http1 {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    name_request(headers, id);
    response
}

/// Tells the client what its request is called in the log.
pub(crate) fn name_request(headers: &mut HeaderMap, id: &RequestId) {
    if let Ok(value) = id.with_text(HeaderValue::from_str) {
        headers.insert(REQUEST_ID, value);
    }
}

pub(crate) fn page(
    status: StatusCode,
    (english, chinese): (&str, &str),
    id: Option<&RequestId>,
) -> String {
    let id = id.map_or_else(String::new, |id| {
        format!("<p>请求编号 (request ID) {id}</p>")
    });
    format!(
        "<!doctype html><html lang=\"zh\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{code} {reason}</title>\
         <style>body{{margin:0;box-sizing:border-box;min-height:100vh;display:grid;place-content:center;gap:.5em;\
         text-align:center;padding:1em;background:#ededed;color:#191919;\
         font:17px/1.6 system-ui,sans-serif}}b{{font-size:56px;font-weight:300;color:#07c160}}\
         p{{margin:0}}p+p{{color:#767676;font-size:15px}}\
         @media(prefers-color-scheme:dark){{body{{background:#111;color:#d5d5d5}}}}</style>\
         <b>{code}</b><p lang=\"zh\">{chinese}</p><p lang=\"en\">{english}</p>{id}</html>",
        code = status.as_u16(),
        reason = status.canonical_reason().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_a_page_and_programs_json() {
        let id = RequestId::fresh();
        let refuse = |refusal, html, http1| refuse(refusal, &id, (html, http1));
        let page = refuse(EdgeRefusal::BadGateway, true, true);
        assert_eq!(
            page.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        let json = refuse(EdgeRefusal::AppNotReady, false, true);
        assert_eq!(json.status(), 503);
        assert_eq!(json.headers()[REQUEST_ID], id.to_string());
        assert_eq!(json.headers()[header::RETRY_AFTER], "2");
        assert!(!json.headers().contains_key(header::CONNECTION));
        let bad = refuse(EdgeRefusal::BadRequest("no"), false, true);
        assert_eq!(bad.headers()[header::CONNECTION], "close");
        let bad = refuse(EdgeRefusal::BadRequest("no"), false, false);
        assert!(!bad.headers().contains_key(header::CONNECTION));
    }
}
