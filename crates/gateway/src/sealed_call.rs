//! One call that is sealed on its way out, and its answer opened.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde_json::{Map, Value, json};
use weappd_wechat::api_sign::{self, FreshBytes, SignatureHeaders};

use crate::api_client::{OutBody, whole};
use crate::body::read_start;
use crate::gateway::Shared;
use crate::proxy_error::ProxyError;
use crate::query::CallQuery;
use crate::sealed::{ApiSealer, PlainCall};
use crate::token::errcode;

/// The longest sealed answer; WeChat's have some kilobytes.
const MAX_ANSWER: usize = 1024 * 1024;

impl Shared {
    /// Who seals this call, if anybody does. A call that an app signed itself goes as it is.
    pub(crate) fn sealer(
        &self,
        appid: Option<&str>,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Option<Arc<ApiSealer>> {
        if method != Method::POST || headers.contains_key(api_sign::SIGNATURE_HEADER) {
            return None;
        }
        let appid = match appid {
            Some(appid) => appid,
            None => &self.centre(None).ok()?.credential().appid,
        };
        let sealer = self.sealers.by_appid.get(appid)?;
        sealer.seals(path).then(|| Arc::clone(sealer))
    }

    /// Sends a call sealed; gives the answer in plain.
    pub(crate) async fn exchange_sealed(
        &self,
        sealer: &ApiSealer,
        plain: &PlainCall<'_>,
    ) -> Result<Bytes, ProxyError> {
        let request = self.seal(sealer, plain)?;
        let response = self.api.send(request).await.map_err(|problem| {
            tracing::warn!(%problem, path = plain.path, "a sealed call to WeChat failed");
            ProxyError::Unreachable
        })?;
        let (parts, body) = response.into_parts();
        let start = read_start(body, MAX_ANSWER, |_| false).await;
        let start = start.map_err(|_| ProxyError::Unreachable)?;
        if start.rest.is_some() {
            let limit = MAX_ANSWER as u64;
            return Err(ProxyError::AnswerTooLong { limit });
        }
        self.unseal(
            sealer,
            plain.path,
            (parts.status, &parts.headers),
            &start.read,
        )
    }

    fn seal(
        &self,
        sealer: &ApiSealer,
        plain: &PlainCall<'_>,
    ) -> Result<Request<OutBody>, ProxyError> {
        let mut fields: Map<String, Value> = plain.query.texts().collect();
        if !plain.body.trim_ascii().is_empty() {
            let body: Map<String, Value> =
                serde_json::from_slice(plain.body).map_err(|_| ProxyError::NotSealable)?;
            fields.extend(body);
        }
        let own = plain.query.get("access_token");
        let token = plain.token.or(own.as_deref());
        let fresh = FreshBytes {
            iv: self.sealers.tokens.bytes(),
            n: self.sealers.tokens.bytes(),
        };
        let now = self.sealers.clock.unix_secs();
        let letter = sealer
            .channel
            .seal(plain.path, fields, now, fresh)
            .map_err(|problem| {
                tracing::error!(%problem, path = plain.path, "a call could not be sealed");
                ProxyError::NotSealable
            })?;
        let target = CallQuery::default().on(plain.path, token);
        let mut request = Request::new(whole(Bytes::from(letter.body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.api.uri(target).ok_or(ProxyError::BadRequest)?;
        let headers = request.headers_mut();
        *headers = plain.headers.clone();
        headers.remove(header::CONTENT_ENCODING);
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        for (name, value) in [
            (api_sign::APPID_HEADER, letter.appid),
            (api_sign::TIMESTAMP_HEADER, letter.timestamp.to_string()),
            (api_sign::SIGNATURE_HEADER, letter.signature),
        ] {
            let value = HeaderValue::try_from(value).map_err(|_| ProxyError::NotSealable)?;
            headers.insert(HeaderName::from_static(name), value);
        }
        Ok(request)
    }

    /// A refusal comes in plain, before WeChat looks into the letter; only its number and
    /// text are passed on. Everything else must be signed.
    fn unseal(
        &self,
        sealer: &ApiSealer,
        path: &str,
        (status, headers): (StatusCode, &HeaderMap),
        body: &Bytes,
    ) -> Result<Bytes, ProxyError> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let bad = |problem: String| {
            tracing::warn!(
                problem,
                path,
                status = status.as_u16(),
                "an answer of WeChat's could not be proven; it is not passed on"
            );
            ProxyError::Unproven { problem }
        };
        let Some(signature) = text(api_sign::SIGNATURE_HEADER) else {
            let refused = errcode(body).filter(|code| *code != 0);
            let code = refused.ok_or_else(|| bad("it is not signed".to_owned()))?;
            let said: Value = serde_json::from_slice(body).unwrap_or_default();
            let told = json!({"errcode": code, "errmsg": said["errmsg"].as_str()});
            return Ok(Bytes::from(told.to_string()));
        };
        let stamp = SignatureHeaders {
            appid: text(api_sign::APPID_HEADER).unwrap_or_default(),
            timestamp: text(api_sign::TIMESTAMP_HEADER).unwrap_or_default(),
            signature,
            serial: Some(text(api_sign::SERIAL_HEADER).unwrap_or_default()),
            old: text(api_sign::OLD_SERIAL_HEADER).zip(text(api_sign::OLD_SIGNATURE_HEADER)),
        };
        let body = std::str::from_utf8(body).map_err(|_| bad("it is not text".to_owned()))?;
        let now = self.sealers.clock.unix_secs();
        let fields = sealer.channel.open(path, stamp, body, now);
        let fields = fields.map_err(|error| {
            let hint = error.hint().map(|hint| format!("; {hint}"));
            bad(format!("{error}{}", hint.unwrap_or_default()))
        })?;
        Ok(Bytes::from(Value::Object(fields).to_string()))
    }
}
