//! The answer to a request that goes no further: a page for people, JSON for programs.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use memchr::memmem;
use weappd_base::language::Language;
use weappd_base::request_id::{REQUEST_ID, RequestId};

use crate::body::EdgeBody;
use crate::refusal::EdgeRefusal;

/// Who reads a refusal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusalReader {
    /// A person in front of a browser. `wx.request` is none: it sends `Accept: */*` or JSON, and
    /// its caller parses what comes.
    html: bool,
    language: Language,
}

impl RefusalReader {
    /// Whoever sent these headers.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accept = headers.get(header::ACCEPT).map(HeaderValue::as_bytes);
        let html = accept.is_some_and(|accept| memmem::find(accept, b"text/html").is_some());
        let language = headers.get(header::ACCEPT_LANGUAGE).map(preferred);
        Self {
            html,
            language: language.unwrap_or_default(),
        }
    }
}

impl RefusalReader {
    /// The language of what is refused.
    pub(crate) fn language(self) -> Language {
        self.language
    }
}

/// So many languages of an `Accept-Language` are looked at; people name a few.
const RANGES_MAX: usize = 32;

/// Which of the two languages an `Accept-Language` wants more (RFC 9110, 12.5.4); of equal ones
/// the first.
fn preferred(accepted: &HeaderValue) -> Language {
    // Every request is looked at, before anybody knows whether it is refused.
    match accepted.as_bytes() {
        // Phones in China: it comes first, and without a weight of its own.
        b"zh"
        | [b'z', b'h', b',', ..]
        | [b'z', b'h', b'-', _, _]
        | [b'z', b'h', b'-', _, _, b',', ..] => return Language::Chinese,
        text if memchr::memchr2(b'z', b'Z', text).is_none() => return Language::English,
        _ => {}
    }
    let is_tag = |tag: &str, wanted: &str| {
        let begins = tag.get(..wanted.len());
        begins.is_some_and(|begins| begins.eq_ignore_ascii_case(wanted))
    };
    let weight = |wanted: &str| {
        let ranges = accepted.to_str().unwrap_or_default().split(',');
        ranges.take(RANGES_MAX).enumerate().find_map(|(at, range)| {
            let (tag, weight) = range.split_once(';').unwrap_or((range, "q=1"));
            if !is_tag(tag.trim(), wanted) {
                return None;
            }
            let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
            let thousandths = (weight.parse::<f32>().unwrap_or(0.0) * 1000.0).round();
            Some((thousandths, at))
        })
    };
    match (weight("zh"), weight("en")) {
        (Some((zh, _)), _) if zh <= 0.0 => Language::English,
        (Some((zh, first)), Some((en, second))) if zh < en || zh <= en && second < first => {
            Language::English
        }
        (Some(_), _) => Language::Chinese,
        (None, _) => Language::English,
    }
}

/// The answer to a request that goes no further.
pub(crate) fn refuse(
    refusal: EdgeRefusal,
    id: &RequestId,
    (reader, http1): (RefusalReader, bool),
) -> Response<EdgeBody> {
    let ends = refusal.ends_connection();
    let (status, _) = refusal.code();
    let (english, chinese) = refusal.sentences();
    if let EdgeRefusal::Said(said) = refusal {
        let mut said = said.map(EdgeBody::from_router);
        name_request(said.headers_mut(), id);
        return said;
    }
    let (kind, text) = if reader.html {
        (
            "text/html; charset=utf-8",
            page(status, (english, chinese), Some(id)),
        )
    } else {
        (
            "application/json; charset=utf-8",
            refusal.json(id, reader.language),
        )
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
        let language = Language::English;
        let refuse = |refusal, html, http1| {
            let reader = RefusalReader { html, language };
            refuse(refusal, &id, (reader, http1))
        };
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

    #[test]
    fn programs_are_told_in_the_language_they_ask_for() {
        for (accepted, language) in [
            ("zh-CN,zh;q=0.9", Language::Chinese),
            ("zh", Language::Chinese),
            ("ZH-cn", Language::Chinese),
            ("en;q=0.5, zh;q=0.8", Language::Chinese),
            ("fr, zh;q=0.1", Language::Chinese),
            ("en-US,en;q=0.9,zh-CN;q=0.8", Language::English),
            ("en, zh", Language::English),
            ("zh, en", Language::Chinese),
            ("zh;q=0", Language::English),
            ("zh;q=no", Language::English),
            ("*", Language::English),
            ("", Language::English),
            ("信", Language::English),
        ] {
            let value = HeaderValue::from_bytes(accepted.as_bytes()).unwrap();
            assert_eq!(preferred(&value), language, "{accepted}");
        }
        // A list without end costs no more than a long one.
        let long = HeaderValue::from_str(&("zu,".repeat(RANGES_MAX) + "zh")).unwrap();
        assert_eq!(preferred(&long), Language::English);
        let refusal = EdgeRefusal::NotFound;
        let id = RequestId::fresh();
        let (english, chinese) = refusal.sentences();
        assert!(refusal.json(&id, Language::English).contains(english));
        assert!(refusal.json(&id, Language::Chinese).contains(chinese));
    }
}
