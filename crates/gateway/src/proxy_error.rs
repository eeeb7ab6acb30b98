//! What the gateway itself says no to, in the shape of WeChat's own refusals.
//!
//! Numbers from -808001 down are ours and none of WeChat's, so that an app can tell who
//! refused; where WeChat refused us a token, its own number is passed on.

use http::StatusCode;
use weappd_wechat::errcode;

/// Why a call was not made, or its answer not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProxyError {
    /// The path is none of those apps may call.
    NotAllowed { path: String },
    /// The path has parts such as `..` that would lead elsewhere.
    BadPath,
    /// The mini program is not one of ours.
    UnknownApp { appid: String },
    /// There are several and none was chosen.
    WhichApp,
    /// The request body is too long.
    TooLong { limit: u64 },
    /// WeChat could not be reached, or broke off.
    Unreachable,
    /// It took too long.
    TooSlow { after_ms: u64 },
    /// The answer is too long.
    AnswerTooLong { limit: u64 },
    /// No token, because WeChat said no.
    TokenRefused { errcode: i64, errmsg: String },
    /// No token, because the answer was none.
    TokenUnreadable,
    /// A browser asked.
    Browser,
    /// The caller of the token centre is not known.
    NoBearer,
    /// The request could not be read.
    BadRequest,
    /// weappd is closing.
    Closing,
    /// The path is one of 微信云托管's own, which only its cloud can answer.
    CloudOnly { instead: &'static str },
    /// The call cannot be encrypted and signed.
    NotSealable,
    /// An answer to a sealed call that is not proven to be WeChat's.
    Unproven { problem: String },
}

impl ProxyError {
    /// The number apps see.
    pub(crate) fn errcode(&self) -> i64 {
        match self {
            Self::NotAllowed { .. } => -808_001,
            Self::BadPath => -808_002,
            Self::UnknownApp { .. } => -808_003,
            Self::WhichApp => -808_004,
            Self::TooLong { .. } => -808_005,
            Self::Unreachable => -808_006,
            Self::TooSlow { .. } => -808_007,
            Self::AnswerTooLong { .. } => -808_008,
            Self::TokenRefused { errcode, .. } => *errcode,
            Self::TokenUnreadable => -808_009,
            Self::Browser => -808_010,
            Self::NoBearer => -808_011,
            Self::BadRequest => -808_012,
            Self::Closing => -808_013,
            Self::CloudOnly { .. } => -808_014,
            Self::NotSealable => -808_020,
            Self::Unproven { .. } => -808_021,
        }
    }

    /// The status it goes with.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::NotAllowed { .. } | Self::Browser => StatusCode::FORBIDDEN,
            Self::BadPath
            | Self::UnknownApp { .. }
            | Self::WhichApp
            | Self::BadRequest
            | Self::NotSealable => StatusCode::BAD_REQUEST,
            Self::TooLong { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Unreachable
            | Self::AnswerTooLong { .. }
            | Self::TokenUnreadable
            | Self::Unproven { .. } => StatusCode::BAD_GATEWAY,
            // WeChat says no with status 200, and its SDKs look at the number.
            Self::TokenRefused { .. } => StatusCode::OK,
            Self::TooSlow { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::NoBearer => StatusCode::UNAUTHORIZED,
            Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
            Self::CloudOnly { .. } => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// What happened, and what to do.
    pub(crate) fn errmsg(&self) -> String {
        match self {
            Self::NotAllowed { path } => format!(
                "weappd: apps may not call {path}; add a prefix of it to gateway.allow in weappd.toml"
            ),
            Self::BadPath => {
                "weappd: the path has empty, dot or encoded parts; send the API's plain path"
                    .to_owned()
            }
            Self::UnknownApp { appid } => format!(
                "weappd: no mini program {appid} is configured; see [miniapp] in weappd.toml"
            ),
            Self::WhichApp => {
                "weappd: there are several mini programs; name one with ?from_appid= or the header \
                 X-Weappd-Appid"
                    .to_owned()
            }
            Self::TooLong { limit } => format!(
                "weappd: the request body is longer than {limit} bytes (gateway.max_request_bytes)"
            ),
            Self::Unreachable => {
                "weappd: WeChat could not be reached or broke off; check DNS, firewall and proxy"
                    .to_owned()
            }
            Self::TooSlow { after_ms } => {
                format!("weappd: the call was not done in {after_ms} ms (gateway.timeout_ms)")
            }
            Self::AnswerTooLong { limit } => format!(
                "weappd: the answer is longer than {limit} bytes (gateway.max_answer_bytes)"
            ),
            Self::TokenRefused { errcode, errmsg } => {
                let advice = errcode::explain(*errcode).map_or("see WeChat's page", |e| e.advice);
                format!("{errmsg} (weappd asked for an access_token; what to do: {advice})")
            }
            Self::TokenUnreadable => {
                "weappd: WeChat's answer to the question for an access_token was unreadable; \
                 check wechat.endpoint"
                    .to_owned()
            }
            Self::Browser => "weappd: this is for programs, not for web pages".to_owned(),
            Self::NoBearer => {
                "weappd: send `Authorization: Bearer` with WEAPPD_TOKEN, which weappd gives its \
                 apps, or with [internal] token of weappd.toml"
                    .to_owned()
            }
            Self::BadRequest => "weappd: the request could not be read".to_owned(),
            Self::Closing => "weappd: closing; try again in a moment".to_owned(),
            Self::CloudOnly { instead } => {
                format!("weappd: only WeChat's cloud hosting answers this path; {instead}")
            }
            Self::NotSealable => {
                "weappd: this call goes out encrypted and signed (api_security), which takes a \
                 JSON object of at most gateway.replay_bytes"
                    .to_owned()
            }
            Self::Unproven { problem } => {
                format!("weappd: WeChat's answer could not be proven and is withheld: {problem}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_refusal_has_a_number_of_its_own() {
        let all = [
            ProxyError::NotAllowed {
                path: "/".to_owned(),
            },
            ProxyError::BadPath,
            ProxyError::UnknownApp {
                appid: "wx".to_owned(),
            },
            ProxyError::WhichApp,
            ProxyError::TooLong { limit: 1 },
            ProxyError::Unreachable,
            ProxyError::TooSlow { after_ms: 1 },
            ProxyError::AnswerTooLong { limit: 1 },
            ProxyError::TokenUnreadable,
            ProxyError::Browser,
            ProxyError::NoBearer,
            ProxyError::BadRequest,
            ProxyError::Closing,
            ProxyError::CloudOnly { instead: "" },
            ProxyError::NotSealable,
            ProxyError::Unproven {
                problem: String::new(),
            },
        ];
        let numbers: HashSet<i64> = all.iter().map(ProxyError::errcode).collect();
        assert_eq!(numbers.len(), all.len());
        assert!(all.iter().all(|refusal| !refusal.status().is_success()));
        assert!(numbers.iter().all(|code| errcode::explain(*code).is_none()));
    }

    #[test]
    fn wechats_own_number_comes_with_advice() {
        let refusal = ProxyError::TokenRefused {
            errcode: 40164,
            errmsg: "invalid ip 1.2.3.4 rid: 1-2-3".to_owned(),
        };
        assert_eq!(refusal.errcode(), 40164);
        let text = refusal.errmsg();
        assert!(
            text.contains("1.2.3.4") && text.contains("console"),
            "{text}"
        );
    }
}
