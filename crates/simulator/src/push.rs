//! Message push: WeChat calls the server, as the mini program's console says.
//!
//! A push is signed, in safe mode encrypted as well, and waits 5 seconds for its answer;
//! without one WeChat cuts the connection and tries again, 3 times in all.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{Request, header};
use http_body_util::Full;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::Instant;
use weappd_wechat::message;

use crate::call_log::{CallKind, CallRecord};
use crate::error::Error;
use crate::push_target::{PushSettings, PushTarget};
use crate::simulator::Simulator;

#[cfg(any(test, fuzzing))]
#[path = "../../../fuzz/rooms/simulator/push.rs"]
pub(crate) mod fuzzing;
mod reply;
mod signed_push;

/// How often a message is tried in all.
const PUSH_TRIES: u32 = 3;
/// The most messages on their way at a time; beyond it new ones are not sent.
const MAX_UNDER_WAY: usize = 1000;

/// What came of a message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PushDelivery {
    acknowledged: bool,
    attempts: Vec<PushAttempt>,
    /// The message as it was sent, before encryption.
    message: Value,
    /// What the server answered, decrypted, unless it only acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Value>,
}

#[derive(Clone, Debug, Serialize)]
struct PushAttempt {
    status: u16,
    took_ms: u64,
    /// The answer, or what went wrong.
    answer: String,
}

impl Simulator {
    /// Sets where a mini program's messages go, without asking the address.
    pub fn set_push(&self, settings: PushSettings) -> Result<(), Error> {
        let (appid, target) = self.push_target(settings)?;
        self.with_state(|state| match target {
            Some(target) => state.push.0.insert(appid, Arc::new(target)),
            None => state.push.0.remove(&appid),
        });
        Ok(())
    }

    /// The same, as the console does it: the address must echo first.
    pub(crate) async fn set_verified_push(&self, settings: PushSettings) -> Result<(), Error> {
        if settings.verify
            && let (_, Some(target)) = self.push_target(settings.clone())?
        {
            self.verify(&target).await?;
        }
        self.set_push(settings)
    }

    fn push_target(&self, settings: PushSettings) -> Result<(String, Option<PushTarget>), Error> {
        let mini_app = match &settings.appid {
            Some(appid) => self.mini_app(appid),
            None => self.first_mini_app(),
        };
        let appid = mini_app.ok_or(Error::UnknownApp)?.credential.appid.clone();
        let Some(url) = settings.url.clone() else {
            return Ok((appid, None));
        };
        let target = PushTarget::new(appid.clone(), &url, settings)?;
        Ok((appid, Some(target)))
    }

    /// The settings without their secrets.
    pub(crate) fn push_shown(&self) -> Vec<Value> {
        let targets: Vec<_> = self.with_state(|state| state.push.0.values().cloned().collect());
        let shown = targets.iter().map(|target| {
            json!({
                "appid": target.appid,
                "url": target.url.to_string(),
                "mode": target.mode,
                "format": target.format,
            })
        });
        shown.collect()
    }

    fn target(&self, appid: &str) -> Option<Arc<PushTarget>> {
        self.with_state(|state| state.push.0.get(appid).cloned())
    }

    /// Asks the address of a mini program to echo.
    pub(crate) async fn verify_push(&self, appid: &str) -> Result<(), Error> {
        let target = self.target(appid).ok_or(Error::NoPush)?;
        self.verify(&target).await
    }

    async fn verify(&self, target: &PushTarget) -> Result<(), Error> {
        let echo = self.message_id().to_string();
        let (timestamp, nonce) = (self.now().to_string(), self.nonce());
        let signature = message::signature(&target.token, &timestamp, &nonce);
        let address = target.address(&format!(
            "signature={signature}&echostr={echo}&timestamp={timestamp}&nonce={nonce}"
        ));
        let request = Request::get(address).body(Full::default());
        let request = request.map_err(|error| Error::NotVerified(error.to_string()))?;
        let asked = json!({ "echostr": echo });
        let (status, answer) = self.attempt(target, request, asked).await;
        if status == 200 && answer == echo {
            return Ok(());
        }
        Err(Error::NotVerified(format!(
            "it must answer 200 and the echostr, and answered {status} {}",
            answer.chars().take(200).collect::<String>()
        )))
    }

    /// Pushes an event after `delay_ms`, if messages go anywhere.
    pub(crate) fn push_later(&self, appid: &str, openid: &str, message: Value, delay_ms: u64) {
        if self.target(appid).is_none() || self.tasks().len() >= MAX_UNDER_WAY {
            return;
        }
        let simulator = self.clone();
        let (appid, openid) = (appid.to_owned(), openid.to_owned());
        self.tasks().spawn(async move {
            tokio::time::sleep(Duration::from_millis(delay_ms)).await;
            // What comes of it stands in the call log.
            drop(simulator.push(&appid, &openid, &message, false).await);
        });
    }

    /// Pushes a message of `openid` and waits for what comes of it. A forged one is signed
    /// with a token that is not the right one.
    pub(crate) async fn push(
        &self,
        appid: &str,
        openid: &str,
        message: &Value,
        forged: bool,
    ) -> Result<PushDelivery, Error> {
        let target = self.target(appid).ok_or(Error::NoPush)?;
        let message = self.whole(appid, openid, message)?;
        let mut delivery = PushDelivery {
            acknowledged: false,
            attempts: Vec::new(),
            message,
            reply: None,
        };
        for _ in 0..PUSH_TRIES {
            let stamp = signed_push::PushStamp {
                openid,
                timestamp: self.now(),
                nonce: &self.nonce(),
                random: self.random().bytes(),
                forged,
            };
            let signed = signed_push::write(&target, &delivery.message, &stamp);
            let request = Request::post(target.address(&signed.query))
                .header(header::CONTENT_TYPE, signed.content_type)
                .body(Full::from(signed.body));
            let request = request.map_err(|_| Error::Push("the url is too long"))?;
            let started = Instant::now();
            let (status, answer) = self
                .attempt(&target, request, delivery.message.clone())
                .await;
            delivery.acknowledged = status == 200;
            if delivery.acknowledged {
                delivery.reply = reply::read(&target, &answer);
            }
            delivery.attempts.push(PushAttempt {
                status,
                took_ms: millis(started),
                answer,
            });
            if delivery.acknowledged {
                break;
            }
        }
        Ok(delivery)
    }

    /// One exchange with the server, written into the call log. Status 0: no answer.
    async fn attempt(
        &self,
        target: &PushTarget,
        request: Request<Full<Bytes>>,
        asked: Value,
    ) -> (u16, String) {
        let deadline = Duration::from_millis(self.settings().push_deadline_ms);
        let method = request.method().to_string();
        let started = Instant::now();
        let at = self.now_millis();
        let got = target.client.send(request, deadline).await;
        let note = got.as_ref().err().cloned();
        let (status, answer) = got.unwrap_or_else(|error| (0, error));
        self.log(CallRecord {
            seq: 0,
            at,
            kind: CallKind::Push,
            method,
            path: target.url.path().to_owned(),
            appid: Some(target.appid.clone()),
            asked,
            status,
            errcode: 0,
            answer: Value::String(answer.clone()),
            note,
            took_ms: millis(started),
        });
        (status, answer)
    }

    /// The message with what every message has.
    fn whole(&self, appid: &str, openid: &str, message: &Value) -> Result<Value, Error> {
        let fields = message.as_object().filter(|fields| {
            let kind = fields.get("MsgType").and_then(Value::as_str);
            kind.is_some_and(|kind| !kind.is_empty())
        });
        let fields = fields.ok_or(Error::Field("\"message\", an object with a MsgType"))?;
        let mut whole = json!({
            "ToUserName": signed_push::original_id(appid),
            "FromUserName": openid,
            "CreateTime": self.now(),
        });
        for (name, value) in fields {
            whole[name.as_str()] = value.clone();
        }
        if fields["MsgType"] != "event" && !fields.contains_key("MsgId") {
            whole["MsgId"] = self.message_id().into();
        }
        Ok(whole)
    }

    fn nonce(&self) -> String {
        u32::from_be_bytes(self.random().bytes()).to_string()
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
