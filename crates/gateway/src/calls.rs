//! Calls that weappd itself makes: JSON in, JSON out, with the token and the second try of
//! every other call.

use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde_json::Value;
use tokio::time::Instant;
use weappd_wechat::{CallError, WechatCall, WechatCalls};

use crate::gateway::{GatewayService, Shared};
use crate::proxy_error::ProxyError;
use crate::query::encode;
use crate::token::number;

/// The most that is read of an answer.
const MAX_ANSWER: usize = 1024 * 1024;

impl From<ProxyError> for CallError {
    fn from(refusal: ProxyError) -> Self {
        match refusal {
            ProxyError::UnknownApp { .. } | ProxyError::WhichApp => Self::NoToken,
            ProxyError::Unreachable => Self::Unreachable,
            ProxyError::TooSlow { .. } => Self::Timeout,
            ProxyError::AnswerTooLong { .. }
            | ProxyError::TokenUnreadable
            | ProxyError::Unproven { .. } => Self::Malformed,
            ProxyError::Closing => Self::Closed,
            other => Self::Refused {
                errcode: other.errcode(),
                errmsg: other.errmsg(),
            },
        }
    }
}

impl WechatCalls for GatewayService {
    /// `gateway.allow` is for apps and does not bind weappd's own calls.
    fn call<'a>(
        &'a self,
        appid: &'a str,
        call: WechatCall,
    ) -> BoxFuture<'a, Result<Value, CallError>> {
        Box::pin(self.make(appid, call))
    }
}

impl GatewayService {
    async fn make(&self, appid: &str, call: WechatCall) -> Result<Value, CallError> {
        let shared = self.shared();
        // Also where WeChat would not be asked for a token.
        shared.centre(Some(appid))?;
        let deadline = shared.deadline();
        let request = request(appid, call).ok_or(ProxyError::BadRequest)?;
        let answer = shared.call(request, &[], deadline).await?;
        let status = answer.status;
        let body = Limited::new(
            answer.into_body(shared.config.max_answer_bytes, deadline),
            MAX_ANSWER,
        );
        let body = collect(&shared, body, deadline).await?;
        read(status, &body)
    }
}

/// Reads the rest of an answer where connections live.
async fn collect(
    shared: &Arc<Shared>,
    body: Limited<Body>,
    deadline: Instant,
) -> Result<Bytes, CallError> {
    let collected = shared.work.run(body.collect()).await;
    let collected = collected.map_err(|_| CallError::Closed)?;
    let told = collected.map_err(|err| {
        if err.is::<LengthLimitError>() {
            CallError::Malformed
        } else if Instant::now() >= deadline {
            CallError::Timeout
        } else {
            CallError::Unreachable
        }
    });
    Ok(told?.to_bytes())
}

fn request(appid: &str, call: WechatCall) -> Option<Request<Body>> {
    // Either would cut off what is appended.
    if call.path.contains(['?', '#']) {
        return None;
    }
    // The last `from_appid` counts, whatever the query says.
    let own = ("from_appid".to_owned(), appid.to_owned());
    let pairs = call.query.iter().chain([&own]);
    let pairs = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    let uri = format!("{}?{}", call.path, pairs.collect::<Vec<_>>().join("&"));
    let mut request = Request::builder().method(call.method).uri(uri);
    let body = match call.body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    request.body(body).ok()
}

pub(crate) fn read(status: StatusCode, body: &[u8]) -> Result<Value, CallError> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| CallError::Malformed)?;
    let errcode = match answer.get("errcode").filter(|given| !given.is_null()) {
        None if status.is_success() && answer.is_object() => 0,
        // WeChat writes it as text here and there.
        given => number(given).ok_or(CallError::Malformed)?,
    };
    if errcode == 0 {
        return Ok(answer);
    }
    Err(CallError::Refused {
        errcode,
        errmsg: answer["errmsg"].as_str().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use http::Method;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::query::CallQuery;

    #[test]
    fn answers_are_told_apart() {
        let ok = StatusCode::OK;
        assert!(read(ok, br#"{"phone_info":{}}"#).is_ok());
        assert!(read(ok, br#"{"errcode":0,"errmsg":"ok"}"#).is_ok());
        assert!(read(ok, br#"{"errcode":null}"#).is_ok());
        for bad in ["half an ans", "[]", "7", r#"{"errcode":"x"}"#] {
            assert_eq!(read(ok, bad.as_bytes()), Err(CallError::Malformed), "{bad}");
        }
        let failed = StatusCode::BAD_GATEWAY;
        assert_eq!(read(failed, b"{}"), Err(CallError::Malformed));
        let refused = CallError::Refused {
            errcode: 40029,
            errmsg: "invalid code, rid: 1-2-3".to_owned(),
        };
        let text = br#"{"errcode":"40029","errmsg":"invalid code, rid: 1-2-3"}"#;
        assert_eq!(read(ok, text), Err(refused));
    }

    #[test]
    fn no_path_cuts_the_mini_program_off() {
        for path in ["/wxa/x?a=1", "/wxa/x#", "/wxa/x y", ""] {
            let call = WechatCall {
                method: Method::GET,
                path: path.to_owned(),
                query: Vec::new(),
                body: None,
            };
            let made = request("wx1", call);
            let whole = made.is_some_and(|made| {
                let query = CallQuery::read(made.uri().query().unwrap_or_default());
                made.uri().path().starts_with('/') && query.from_appid.as_deref() == Some("wx1")
            });
            assert!(!whole || path.is_empty(), "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_call_says_what_it_means_and_for_whom(
            pairs in prop::collection::vec((".{1,8}", ".{0,12}"), 0..4),
        ) {
            let call = WechatCall {
                method: Method::POST,
                path: "/wxa/x".to_owned(),
                query: pairs.clone(),
                body: Some(json!({})),
            };
            let made = request("wx1", call).expect("a request");
            let query = CallQuery::read(made.uri().query().expect("a query"));
            prop_assert_eq!(query.from_appid.as_deref(), Some("wx1"));
            for (name, _) in &pairs {
                let first = pairs.iter().find(|(other, _)| other == name).expect("itself");
                if name != "from_appid" && name != "access_token" {
                    prop_assert_eq!(query.get(name), Some(first.1.clone()));
                }
            }
        }

        #[test]
        fn no_answer_panics(status in 100_u16..600, bytes: Vec<u8>) {
            let status = StatusCode::from_u16(status).expect("a status");
            drop(read(status, &bytes));
        }
    }
}
