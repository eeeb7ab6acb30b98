//! Calls that came encrypted and signed (API 安全), and answers that go back so.

use std::sync::Arc;

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, header};
use serde_json::Value;
use weappd_wechat::api_sign::{
    APPID_HEADER, FreshBytes, KeyTexts, SERIAL_HEADER, SIGNATURE_HEADER, SealedChannel,
    SignatureHeaders, TIMESTAMP_HEADER,
};

use crate::api::ApiCall;
use crate::app_seals::{AppSeal, SecuritySettings};
use crate::error::Error;
use crate::simulator::Simulator;
use crate::wechat_refusal::WechatRefusal;

impl Simulator {
    /// Sets the keys of a mini program; none turns API security off.
    pub fn set_api_security(
        &self,
        appid: Option<&str>,
        security: Option<SecuritySettings>,
    ) -> Result<(), Error> {
        let app = match appid {
            Some(appid) => self.mini_app(appid),
            None => self.first_mini_app(),
        };
        let appid = app.ok_or(Error::UnknownApp)?.credential.appid.clone();
        let Some(security) = security else {
            self.with_state(|state| state.seals.0.remove(&appid));
            return Ok(());
        };
        let keys = KeyTexts {
            appid: appid.clone(),
            symmetric_key: security.symmetric_key,
            symmetric_key_sn: security.symmetric_key_sn,
            private_key: security.private_key,
            private_key_sn: security.private_key_sn,
            their_key: security.public_key,
            their_key_sn: security.public_key_sn,
        };
        let channel = SealedChannel::new(&keys).map_err(|error| match error {
            weappd_wechat::Error::ApiKey(what) => Error::Setting(what),
            _ => Error::Setting("the keys cannot be used"),
        })?;
        let seal = Arc::new(AppSeal {
            channel,
            required: security.required,
        });
        self.with_state(|state| state.seals.0.insert(appid, seal));
        Ok(())
    }

    /// The mini programs with API security, and the paths they must seal.
    pub(crate) fn api_security_shown(&self) -> Value {
        self.with_state(|state| {
            let shown = state.seals.0.iter();
            let shown = shown.map(|(appid, seal)| (appid.clone(), seal.required.clone().into()));
            Value::Object(shown.collect())
        })
    }

    /// Opens a sealed call. Gives what its answer is sealed with.
    pub(crate) fn unseal(
        &self,
        call: &mut ApiCall,
        headers: &HeaderMap,
    ) -> Result<Option<Arc<AppSeal>>, WechatRefusal> {
        let text = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.unwrap_or_default()
        };
        if text(SIGNATURE_HEADER).is_empty() {
            let token = call.query.iter().find(|(name, _)| name == "access_token");
            let token = token.map_or("", |(_, token)| token.as_str());
            let now = self.now();
            let must = self.with_state(|state| {
                let appid = state.token_book.check(token, now).ok();
                let seal = appid.and_then(|appid| state.seals.0.get(appid));
                seal.is_some_and(|seal| seal.required.contains(&call.path))
            });
            return if must {
                Err(WechatRefusal::ApiSignature)
            } else {
                Ok(None)
            };
        }
        let appid = text(APPID_HEADER);
        let seal = self.with_state(|state| state.seals.0.get(appid).cloned());
        let seal = seal.ok_or(WechatRefusal::ApiSignature)?;
        let stamp = SignatureHeaders {
            appid,
            timestamp: text(TIMESTAMP_HEADER),
            signature: text(SIGNATURE_HEADER),
            ..SignatureHeaders::default()
        };
        let body = std::str::from_utf8(&call.body).map_err(|_| WechatRefusal::ApiSignature)?;
        let fields = seal.channel.open(&call.path, stamp, body, self.now());
        let fields = fields.map_err(|_| WechatRefusal::ApiSignature)?;
        // What stood in the address travels in the encrypted body.
        for (name, value) in &fields {
            if let Value::String(value) = value {
                call.query.push((name.clone(), value.clone()));
            }
        }
        call.body = Bytes::from(Value::Object(fields).to_string());
        Ok(Some(seal))
    }

    /// Seals an answer.
    pub(crate) fn seal(&self, seal: &AppSeal, path: &str, answer: &Value) -> Option<Response> {
        let fields = answer.as_object()?.clone();
        let fresh = FreshBytes {
            iv: self.random().bytes(),
            n: self.random().bytes(),
        };
        let sealed = seal.channel.seal(path, fields, self.now(), fresh).ok()?;
        let headers = [
            (header::CONTENT_TYPE.as_str(), "text/plain".to_owned()),
            (APPID_HEADER, sealed.appid),
            (TIMESTAMP_HEADER, sealed.timestamp.to_string()),
            (SERIAL_HEADER, sealed.serial),
            (SIGNATURE_HEADER, sealed.signature),
        ];
        Some((headers, sealed.body).into_response())
    }
}
