//! Why a request goes no further, and in which words: one line for each reason.

use axum::response::Response;
use http::StatusCode;
use weappd_base::error_body::ErrorBody;
use weappd_base::language::Language;
use weappd_base::request_id::RequestId;

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
    /// The answer that the session service gave.
    Said(Box<Response>),
}

/// A limit that a request went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedLimit {
    ClientRequests,
    BodyBytes,
    BodyRate,
    UriBytes,
    Headers,
    HeadBytes,
}

impl RefusedLimit {
    /// The code of each one's refusal.
    pub(crate) const CODES: [&str; 6] = [
        "too_many_requests_at_a_time",
        "body_too_large",
        "body_too_slow",
        "uri_too_long",
        "too_many_headers",
        "head_too_large",
    ];
}

impl EdgeRefusal {
    /// The status, and a name for programs.
    pub(crate) fn code(&self) -> (StatusCode, &'static str) {
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
    pub(crate) fn sentences(&self) -> (&'static str, &'static str) {
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
                "发送的内容超过服务器限制。",
            ),
            Self::BodyTooSlow => ("What was sent came too slowly.", "发送速度过慢，已中止。"),
            Self::Expectation => (
                "The only expectation known here is 100-continue.",
                "Expect 请求头只支持 100-continue。",
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
                "后端服务没有正常响应。",
            ),
            Self::GatewayTimeout => (
                "The service behind this address took too long.",
                "后端服务响应超时。",
            ),
            Self::Internal | Self::Said(_) => (
                "Something went wrong here; it was noted.",
                "服务器内部错误，已记录。",
            ),
        }
    }

    /// The limit that the request went over, if that is why.
    pub(crate) fn limit(&self) -> Option<RefusedLimit> {
        match self {
            Self::ClientBusy => Some(RefusedLimit::ClientRequests),
            Self::BodyTooLarge => Some(RefusedLimit::BodyBytes),
            Self::BodyTooSlow => Some(RefusedLimit::BodyRate),
            Self::UriTooLong => Some(RefusedLimit::UriBytes),
            Self::TooManyHeaders => Some(RefusedLimit::Headers),
            Self::HeadTooLarge => Some(RefusedLimit::HeadBytes),
            _ => None,
        }
    }

    /// Whether what the client sends next cannot be trusted or is not worth reading.
    pub(crate) fn ends_connection(&self) -> bool {
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

    /// The body for programs.
    pub(crate) fn json(&self, id: &RequestId, language: Language) -> String {
        let (english, chinese) = self.sentences();
        let sentence = match language {
            Language::English => english,
            Language::Chinese => chinese,
        };
        ErrorBody::new(self.code().1, sentence)
            .request_id(id)
            .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
