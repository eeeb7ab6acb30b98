//! What the edge itself answers when a request goes no further: one line for each reason.

use axum::response::Response as Said;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use weappd_base::error_body::ErrorBody;

use crate::body::EdgeBody;

/// Why a request goes no further.
#[derive(Debug)]
pub(crate) enum EdgeRefusal {
    BadRequest(&'static str),
    UnknownHost,
    WrongCertificate,
    NotFound,
    UnknownService,
    MethodNotAllowed,
    UriTooLong,
    TooManyHeaders,
    HeadTooLarge,
    BodyTooLarge,
    BodyTooSlow,
    Expectation,
    LoginRequired,
    Reserved,
    AppNotReady,
    ClientBusy,
    BadGateway,
    GatewayTimeout,
    Internal,
    /// Somebody else's words.
    Said(Box<Said>),
}

impl EdgeRefusal {
    /// The status, and a name for programs.
    fn code(&self) -> (StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::BadRequest(_) => (S::BAD_REQUEST, "bad_request"),
            Self::UnknownHost => (S::MISDIRECTED_REQUEST, "unknown_host"),
            Self::WrongCertificate => (S::MISDIRECTED_REQUEST, "wrong_certificate"),
            Self::NotFound => (S::NOT_FOUND, "not_found"),
            Self::UnknownService => (S::NOT_FOUND, "service_not_found"),
            Self::MethodNotAllowed => (S::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::UriTooLong => (S::URI_TOO_LONG, "uri_too_long"),
            Self::TooManyHeaders => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_many_headers"),
            Self::HeadTooLarge => (S::REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large"),
            Self::BodyTooLarge => (S::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::BodyTooSlow => (S::REQUEST_TIMEOUT, "body_too_slow"),
            Self::Expectation => (S::EXPECTATION_FAILED, "expectation_failed"),
            Self::LoginRequired => (S::UNAUTHORIZED, "login_required"),
            Self::Reserved => (S::FORBIDDEN, "reserved_path"),
            Self::AppNotReady => (S::SERVICE_UNAVAILABLE, "app_not_ready"),
            Self::ClientBusy => (S::SERVICE_UNAVAILABLE, "too_many_requests_at_a_time"),
            Self::BadGateway => (S::BAD_GATEWAY, "bad_gateway"),
            Self::GatewayTimeout => (S::GATEWAY_TIMEOUT, "gateway_timeout"),
            Self::Internal | Self::Said(_) => (S::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// A sentence for people, in English and in Chinese.
    fn words(&self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest(what) => (what, "请求格式不正确。"),
            Self::UnknownHost => (
                "No site with this name lives here.",
                "这里没有该域名的站点。",
            ),
            Self::WrongCertificate => (
                "This connection was made for another name; connect again.",
                "该连接属于另一个域名，请重新连接。",
            ),
            Self::NotFound => ("There is nothing at this address.", "该地址不存在。"),
            Self::UnknownService => (
                "X-WX-SERVICE names no service of this site.",
                "X-WX-SERVICE 指定的服务不存在。",
            ),
            Self::MethodNotAllowed => (
                "This address does not take that method.",
                "该地址不支持此请求方法。",
            ),
            Self::UriTooLong => ("The address is too long.", "地址过长。"),
            Self::TooManyHeaders => ("The request has too many header lines.", "请求头过多。"),
            Self::HeadTooLarge => (
                "The request's head is too large: its header lines, or its cookies.",
                "请求头过大（例如 Cookie 过多）。",
            ),
            Self::BodyTooLarge => (
                "What was sent is larger than this server takes.",
                "上传内容超过服务器限制。",
            ),
            Self::BodyTooSlow => ("What was sent came too slowly.", "上传速度过慢，已中止。"),
            Self::Expectation => (
                "The only expectation known here is 100-continue.",
                "不支持该 Expect 请求头。",
            ),
            Self::LoginRequired => ("Log in first.", "请先登录。"),
            Self::Reserved => (
                "Only messages that WeChat pushes, and weappd has checked, come to this path.",
                "该路径只接收经 weappd 校验的微信推送。",
            ),
            Self::AppNotReady => (
                "The service is starting. Try again in a moment.",
                "服务正在启动，请稍后再试。",
            ),
            Self::ClientBusy => (
                "Your address has too many requests under way. Try again when some are done.",
                "同一地址的并发请求过多，请稍后再试。",
            ),
            Self::BadGateway => (
                "The service behind this address does not answer properly.",
                "后端服务没有正常应答。",
            ),
            Self::GatewayTimeout => (
                "The service behind this address took too long.",
                "后端服务应答超时。",
            ),
            Self::Internal | Self::Said(_) => (
                "Something went wrong here; it was noted.",
                "服务器内部错误，已记录。",
            ),
        }
    }

    /// Whether what the client sends next cannot be trusted or is not worth reading.
    fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::UriTooLong
                | Self::TooManyHeaders
                | Self::HeadTooLarge
                | Self::BodyTooLarge
                | Self::BodyTooSlow
        )
    }
}

/// Whether the client is a person in front of a browser. `wx.request` is not: it sends
/// `Accept: */*` or JSON, and its caller parses what comes.
pub(crate) fn wants_html(headers: &HeaderMap) -> bool {
    headers
        .get(header::ACCEPT)
        .is_some_and(|accept| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some())
}

/// A refusal's words for programs.
pub(crate) fn json(refusal: &EdgeRefusal) -> String {
    ErrorBody::new(refusal.code().1, refusal.words().0).to_string()
}

/// The answer to a request that goes no further.
pub(crate) fn refuse(refusal: EdgeRefusal, html: bool, http1: bool) -> Response<EdgeBody> {
    let ends = refusal.ends_connection();
    let (status, name) = refusal.code();
    let (english, chinese) = refusal.words();
    if let EdgeRefusal::Said(said) = refusal {
        return said.map(EdgeBody::from_router);
    }
    let (kind, text) = if html {
        ("text/html; charset=utf-8", page(status, english, chinese))
    } else {
        let json = ErrorBody::new(name, english).to_string();
        ("application/json; charset=utf-8", json)
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
    response
}

pub(crate) fn page(status: StatusCode, english: &str, chinese: &str) -> String {
    format!(
        "<!doctype html><html lang=\"zh\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{code} {reason}</title>\
         <style>body{{margin:0;min-height:100vh;display:grid;place-content:center;gap:.5em;\
         text-align:center;padding:1em;background:#ededed;color:#191919;\
         font:17px/1.6 system-ui,sans-serif}}b{{font-size:56px;font-weight:300;color:#07c160}}\
         p{{margin:0}}p+p{{color:#767676;font-size:15px}}\
         @media(prefers-color-scheme:dark){{body{{background:#111;color:#d5d5d5}}}}</style>\
         <b>{code}</b><p lang=\"zh\">{chinese}</p><p lang=\"en\">{english}</p></html>",
        code = status.as_u16(),
        reason = status.canonical_reason().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_a_page_and_programs_json() {
        let page = refuse(EdgeRefusal::BadGateway, true, true);
        assert_eq!(
            page.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        let json = refuse(EdgeRefusal::AppNotReady, false, true);
        assert_eq!(json.status(), 503);
        assert_eq!(json.headers()[header::RETRY_AFTER], "2");
        assert!(!json.headers().contains_key(header::CONNECTION));
        let bad = refuse(EdgeRefusal::BadRequest("no"), false, true);
        assert_eq!(bad.headers()[header::CONNECTION], "close");
        let bad = refuse(EdgeRefusal::BadRequest("no"), false, false);
        assert!(!bad.headers().contains_key(header::CONNECTION));
    }

    #[test]
    fn every_code_is_in_the_document() {
        let document = include_str!("../../../docs/wire/errors.md");
        for refusal in [
            EdgeRefusal::BadRequest("no"),
            EdgeRefusal::UnknownHost,
            EdgeRefusal::WrongCertificate,
            EdgeRefusal::NotFound,
            EdgeRefusal::UnknownService,
            EdgeRefusal::MethodNotAllowed,
            EdgeRefusal::UriTooLong,
            EdgeRefusal::TooManyHeaders,
            EdgeRefusal::HeadTooLarge,
            EdgeRefusal::BodyTooLarge,
            EdgeRefusal::BodyTooSlow,
            EdgeRefusal::Expectation,
            EdgeRefusal::LoginRequired,
            EdgeRefusal::Reserved,
            EdgeRefusal::AppNotReady,
            EdgeRefusal::ClientBusy,
            EdgeRefusal::BadGateway,
            EdgeRefusal::GatewayTimeout,
            EdgeRefusal::Internal,
        ] {
            let (status, code) = refusal.code();
            let row = format!("| {} | `{code}` |", status.as_u16());
            assert!(document.contains(&row), "{row}");
        }
    }
}
