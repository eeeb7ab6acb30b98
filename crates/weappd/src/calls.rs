//! Where two rooms meet: the session room asks WeChat about its users, the gateway holds the
//! `access_token` for it.

use axum::Router;
use axum::body::Body;
use futures_util::future::BoxFuture;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tower::ServiceExt as _;
use weappd_gateway::Gateway;
use weappd_session::{CallError, WechatCall, WechatCalls};

/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 * 1024;
/// The gateway's own refusals (docs/wire/gateway.md).
const NO_SUCH_APP: [i64; 2] = [-808_003, -808_004];
const UNREACHABLE: i64 = -808_006;
const TOO_SLOW: i64 = -808_007;
const NOT_UNDERSTOOD: [i64; 2] = [-808_008, -808_009];
const CLOSING: i64 = -808_013;

/// Calls WeChat as an app would: through the gateway, without a token.
#[derive(Clone)]
pub(crate) struct GatewayCalls(Router);

impl GatewayCalls {
    pub(crate) fn new(gateway: Gateway) -> Self {
        Self(weappd_gateway::http::api_router(gateway))
    }

    async fn make(&self, appid: &str, call: WechatCall) -> Result<Value, CallError> {
        let request = request(appid, call).ok_or(CallError::Malformed)?;
        let Ok(answer) = self.0.clone().oneshot(request).await;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect();
        let body = body.await.map_err(|_| CallError::Unreachable)?.to_bytes();
        read(status, &body)
    }
}

impl std::fmt::Debug for GatewayCalls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("GatewayCalls")
    }
}

impl WechatCalls for GatewayCalls {
    fn call<'a>(
        &'a self,
        appid: &'a str,
        call: WechatCall,
    ) -> BoxFuture<'a, Result<Value, CallError>> {
        Box::pin(self.make(appid, call))
    }
}

fn request(appid: &str, call: WechatCall) -> Option<Request<Body>> {
    let query = call.query.iter().map(|(name, value)| {
        let value = utf8_percent_encode(value, NON_ALPHANUMERIC);
        format!("{name}={value}")
    });
    let query: Vec<_> = query.collect();
    let mut request = Request::builder()
        .method(call.method)
        .uri(format!("{}?{}", call.path, query.join("&")))
        .header(header::HOST, "api.weixin.qq.com")
        .header("x-weappd-appid", appid);
    let body = match call.body {
        Some(body) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    request.body(body).ok()
}

/// An answer of the gateway: WeChat's, or a refusal of its own in the same shape.
fn read(status: StatusCode, body: &[u8]) -> Result<Value, CallError> {
    let answer: Value = serde_json::from_slice(body).map_err(|_| CallError::Malformed)?;
    let number = answer.get("errcode").filter(|number| !number.is_null());
    let errcode = match number {
        None if status.is_success() && answer.is_object() => return Ok(answer),
        None => return Err(CallError::Malformed),
        // WeChat writes it as text here and there.
        Some(Value::String(text)) => text.parse().map_err(|_| CallError::Malformed)?,
        Some(number) => number.as_i64().ok_or(CallError::Malformed)?,
    };
    match errcode {
        0 => Ok(answer),
        UNREACHABLE => Err(CallError::Unreachable),
        TOO_SLOW => Err(CallError::Timeout),
        CLOSING => Err(CallError::Closed),
        errcode if NO_SUCH_APP.contains(&errcode) => Err(CallError::NoToken),
        errcode if NOT_UNDERSTOOD.contains(&errcode) => Err(CallError::Malformed),
        errcode => Err(CallError::Refused {
            errcode,
            errmsg: answer["errmsg"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;
    use serde_json::json;

    #[test]
    fn a_call_names_its_mini_program_and_cannot_say_more_than_it_means() {
        let call = WechatCall {
            method: Method::GET,
            path: "/wxa/checksession",
            query: vec![
                ("openid", "o&from_appid=wx2".to_owned()),
                ("sig_method", "x".to_owned()),
            ],
            body: None,
        };
        let request = request("wx1", call).expect("a request");
        let uri = "/wxa/checksession?openid=o%26from%5Fappid%3Dwx2&sig_method=x";
        assert_eq!(request.uri(), uri);
        assert_eq!(request.headers()["x-weappd-appid"], "wx1");
        assert!(!request.headers().contains_key(header::CONTENT_TYPE));
    }

    #[test]
    fn each_answer_is_told_apart() {
        let ok = StatusCode::OK;
        let said = |errcode: i64| json!({"errcode": errcode, "errmsg": "words"}).to_string();
        assert!(read(ok, br#"{"phone_info":{}}"#).is_ok());
        assert!(read(ok, said(0).as_bytes()).is_ok());
        for (status, body, expected) in [
            (400, said(-808_003), CallError::NoToken),
            (502, said(-808_006), CallError::Unreachable),
            (504, said(-808_007), CallError::Timeout),
            (502, said(-808_009), CallError::Malformed),
            (503, said(-808_013), CallError::Closed),
            (200, "half an ans".to_owned(), CallError::Malformed),
            (200, "[]".to_owned(), CallError::Malformed),
            (500, "{}".to_owned(), CallError::Malformed),
            (200, r#"{"errcode":"x"}"#.to_owned(), CallError::Malformed),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(read(status, body.as_bytes()), Err(expected), "{body}");
        }
        let text = br#"{"errcode":"40029","errmsg":"invalid code, rid: 1-2-3"}"#;
        let refused = CallError::Refused {
            errcode: 40029,
            errmsg: "invalid code, rid: 1-2-3".to_owned(),
        };
        assert_eq!(read(ok, text), Err(refused));
    }
}
