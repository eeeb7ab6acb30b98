//! Message push: WeChat calls the server, as the mini program's console says.
//!
//! A push is signed, in safe mode encrypted as well, and waits 5 seconds for its answer;
//! without one WeChat cuts the connection and tries again, 3 times in all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use weappd_base::causes::chain;
use weappd_base::secret::Secret;
use weappd_wechat::message::{self, MessageKey};
use weappd_wechat::trust::{Connector, Trust};

use crate::calls::{Entry, Kind};
use crate::error::Error;
use crate::simulator::Simulator;

#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod letter;
mod reply;

/// How often a message is tried in all.
const TRIES: u32 = 3;
/// The most that is read of an answer.
const MAX_ANSWER: usize = 64 * 1024;
/// The most messages on their way at a time; beyond it new ones are not sent.
const MAX_UNDER_WAY: usize = 1000;

/// How much of a push is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 明文模式: nothing.
    Plain,
    /// 兼容模式: the message stands there both ways.
    Compatible,
    /// 安全模式: everything.
    Safe,
}

/// How a push is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// As JSON.
    #[default]
    Json,
    /// As XML.
    Xml,
}

/// What the console of a mini program says about message push, as `POST /push` sets it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PushSettings {
    /// The mini program; the first one, unless said.
    pub appid: Option<String>,
    /// Where messages go: `https://host/path`, or `http://`. None: nowhere.
    pub url: Option<String>,
    /// The certificates an https address may show, or who signed them, PEM; those this
    /// machine trusts, unless said.
    pub trust: Option<String>,
    /// The token that signs.
    #[serde(default = "Secret::default")]
    pub token: Secret,
    /// The 43 characters that encrypt.
    pub encoding_aes_key: Option<Secret>,
    /// Safe where there is a key, else plain, unless said.
    pub mode: Option<Mode>,
    /// JSON, unless said.
    #[serde(default)]
    pub format: Format,
    /// Whether the address must echo first, as in the console. It must, unless said.
    #[serde(default = "yes")]
    pub verify: bool,
}

fn yes() -> bool {
    true
}

/// Settings that can be used.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) appid: String,
    pub(crate) url: Uri,
    pub(crate) token: Secret,
    pub(crate) key: Option<MessageKey>,
    pub(crate) mode: Mode,
    pub(crate) format: Format,
    poster: Poster,
}

/// Where each mini program's messages go.
#[derive(Debug, Default)]
pub(crate) struct PushBook(HashMap<String, Arc<Target>>);

/// What came of a message.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Delivery {
    acknowledged: bool,
    attempts: Vec<Attempt>,
    /// The message as it was sent, before encryption.
    message: Value,
    /// What the server answered, decrypted, unless it only acknowledged.
    #[serde(skip_serializing_if = "Option::is_none")]
    reply: Option<Value>,
}

#[derive(Clone, Debug, Serialize)]
struct Attempt {
    status: u16,
    took_ms: u64,
    /// The answer, or what went wrong.
    answer: String,
}

/// Sends what WeChat pushes. Every push has a connection of its own.
#[derive(Clone, Debug)]
struct Poster(Client<Connector, Full<Bytes>>);

impl Poster {
    fn new(trust: Trust<'_>) -> Result<Self, Error> {
        let connector = trust.connector().map_err(|error| match error {
            weappd_wechat::Error::TrustCertificate => {
                Error::Push("trust must hold certificates in PEM")
            }
            _ => Error::Push("this machine trusts no certificates: name one with trust"),
        })?;
        let mut client = Client::builder(TokioExecutor::new());
        Ok(Self(client.pool_max_idle_per_host(0).build(connector)))
    }

    async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<(u16, String), String> {
        let exchange = async {
            let answer = self.0.request(request).await;
            let answer = answer.map_err(|error| format!("no answer: {}", chain(&error)))?;
            let status = answer.status().as_u16();
            let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
            let body = body.map_err(|error| format!("half an answer: {error}"))?;
            Ok((
                status,
                String::from_utf8_lossy(&body.to_bytes()).into_owned(),
            ))
        };
        let in_time = tokio::time::timeout(deadline, exchange).await;
        in_time.unwrap_or_else(|_| Err(format!("no answer in {} ms", deadline.as_millis())))
    }
}

impl Target {
    fn new(appid: String, url: &str, settings: PushSettings) -> Result<Self, Error> {
        let url: Uri = url.parse().map_err(|_| Error::Push("the url is none"))?;
        let trust = match (url.scheme_str(), &settings.trust) {
            (Some("https"), Some(pem)) => Trust::Only(pem),
            (Some("https"), None) => Trust::Machine,
            (Some("http"), None) => Trust::Nobody,
            (Some("http"), Some(_)) => {
                return Err(Error::Push("trust is for an url that begins with https://"));
            }
            _ => return Err(Error::Push("the url must begin with http:// or https://")),
        };
        if url.host().is_none() {
            return Err(Error::Push("the url has no host"));
        }
        let poster = Poster::new(trust)?;
        let key = settings.encoding_aes_key.as_ref().map(MessageKey::parse);
        let key = key
            .transpose()
            .map_err(|_| Error::Push("the encoding_aes_key must be the console's 43 characters"))?;
        let mode = settings.mode.unwrap_or(match key {
            Some(_) => Mode::Safe,
            None => Mode::Plain,
        });
        if mode != Mode::Plain && key.is_none() {
            return Err(Error::Push("this mode needs an encoding_aes_key"));
        }
        if settings.token.is_empty() {
            return Err(Error::Push("a token is needed"));
        }
        Ok(Self {
            appid,
            url,
            token: settings.token,
            key,
            mode,
            format: settings.format,
            poster,
        })
    }

    /// The address with what WeChat adds to its query.
    fn address(&self, query: &str) -> String {
        let joint = if self.url.query().is_some() { '&' } else { '?' };
        format!("{}{joint}{query}", self.url)
    }
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

    fn push_target(&self, settings: PushSettings) -> Result<(String, Option<Target>), Error> {
        let mini_app = match &settings.appid {
            Some(appid) => self.mini_app(appid),
            None => self.first_mini_app(),
        };
        let appid = mini_app.ok_or(Error::UnknownApp)?.credential.appid.clone();
        let Some(url) = settings.url.clone() else {
            return Ok((appid, None));
        };
        let target = Target::new(appid.clone(), &url, settings)?;
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

    fn target(&self, appid: &str) -> Option<Arc<Target>> {
        self.with_state(|state| state.push.0.get(appid).cloned())
    }

    /// Asks the address of a mini program to echo.
    pub(crate) async fn verify_push(&self, appid: &str) -> Result<(), Error> {
        let target = self.target(appid).ok_or(Error::NoPush)?;
        self.verify(&target).await
    }

    async fn verify(&self, target: &Target) -> Result<(), Error> {
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
    ) -> Result<Delivery, Error> {
        let target = self.target(appid).ok_or(Error::NoPush)?;
        let message = self.whole(appid, openid, message)?;
        let mut delivery = Delivery {
            acknowledged: false,
            attempts: Vec::new(),
            message,
            reply: None,
        };
        for _ in 0..TRIES {
            let stamp = letter::Stamp {
                openid,
                timestamp: self.now(),
                nonce: &self.nonce(),
                random: self.tokens().bytes(),
                forged,
            };
            let letter = letter::write(&target, &delivery.message, &stamp);
            let request = Request::post(target.address(&letter.query))
                .header(header::CONTENT_TYPE, letter.content_type)
                .body(Full::from(letter.body));
            let request = request.map_err(|_| Error::Push("the url is too long"))?;
            let started = Instant::now();
            let (status, answer) = self
                .attempt(&target, request, delivery.message.clone())
                .await;
            delivery.acknowledged = status == 200;
            if delivery.acknowledged {
                delivery.reply = reply::read(&target, &answer);
            }
            delivery.attempts.push(Attempt {
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
        target: &Target,
        request: Request<Full<Bytes>>,
        asked: Value,
    ) -> (u16, String) {
        let deadline = Duration::from_millis(self.settings().push_deadline_ms);
        let method = request.method().to_string();
        let started = Instant::now();
        let at = self.now_millis();
        let got = target.poster.send(request, deadline).await;
        let note = got.as_ref().err().cloned();
        let (status, answer) = got.unwrap_or_else(|error| (0, error));
        self.log(Entry {
            seq: 0,
            at,
            kind: Kind::Push,
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
            "ToUserName": letter::original_id(appid),
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
        u32::from_be_bytes(self.tokens().bytes()).to_string()
    }
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
