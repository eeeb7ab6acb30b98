//! Where a mini program's messages go, as its console says, and how they are sent there.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http::{Request, Uri};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use weappd_base::causes::chain;
use weappd_base::secret::Secret;
use weappd_outbound::{
    ClientSettings, ExchangeError, OutboundClient, OutboundTrust, TrustRootsError,
};
use weappd_wechat::message::MessageKey;

use crate::error::Error;

/// The most that is read of an answer.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// How much of a push is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PushEncryption {
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
pub enum PushBodyFormat {
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
    pub mode: Option<PushEncryption>,
    /// JSON, unless said.
    #[serde(default)]
    pub format: PushBodyFormat,
    /// Whether the address must echo first, as in the console. It must, unless said.
    #[serde(default = "yes")]
    pub verify: bool,
}

fn yes() -> bool {
    true
}

/// Settings that can be used.
#[derive(Debug)]
pub(crate) struct PushTarget {
    pub(crate) appid: String,
    pub(crate) url: Uri,
    pub(crate) token: Secret,
    pub(crate) key: Option<MessageKey>,
    pub(crate) mode: PushEncryption,
    pub(crate) format: PushBodyFormat,
    pub(crate) client: PushClient,
}

/// Where each mini program's messages go.
#[derive(Debug, Default)]
pub(crate) struct PushBook(pub(crate) HashMap<String, Arc<PushTarget>>);

/// Sends what WeChat pushes. Every push has a connection of its own.
#[derive(Debug)]
pub(crate) struct PushClient(OutboundClient);

impl PushClient {
    pub(crate) fn new(trust: OutboundTrust<'_>) -> Result<Self, Error> {
        let client = OutboundClient::new(&ClientSettings {
            max_idle_per_host: 0,
            ..ClientSettings::new(trust)
        });
        client.map(Self).map_err(|error| match error {
            TrustRootsError::PinnedCertificate => {
                Error::Push("trust must hold certificates in PEM")
            }
            TrustRootsError::MachineRoots(_) => {
                Error::Push("this machine trusts no certificates: name one with trust")
            }
        })
    }

    /// Status and text of the answer, or what went wrong.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        deadline: Duration,
    ) -> Result<(u16, String), String> {
        let exchange = self.0.exchange_within(request, MAX_ANSWER_BYTES, deadline);
        let answer = exchange.await.map_err(|error| match error {
            ExchangeError::Unreachable(cause) => format!("no answer: {}", chain(&cause)),
            ExchangeError::CutShort(cause) => format!("half an answer: {cause}"),
            ExchangeError::TooLong { .. } => "half an answer: length limit exceeded".to_owned(),
            ExchangeError::Timeout { after_ms } => format!("no answer in {after_ms} ms"),
        })?;
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        Ok((answer.status().as_u16(), text))
    }
}

impl PushTarget {
    pub(crate) fn new(appid: String, url: &str, settings: PushSettings) -> Result<Self, Error> {
        let url: Uri = url.parse().map_err(|_| Error::Push("the url is none"))?;
        let trust = match (url.scheme_str(), &settings.trust) {
            (Some("https"), Some(pem)) => OutboundTrust::PinnedOrPlain(pem),
            (Some("https"), None) => OutboundTrust::Machine,
            (Some("http"), None) => OutboundTrust::PlainOnly,
            (Some("http"), Some(_)) => {
                return Err(Error::Push("trust is for an url that begins with https://"));
            }
            _ => return Err(Error::Push("the url must begin with http:// or https://")),
        };
        if url.host().is_none() {
            return Err(Error::Push("the url has no host"));
        }
        let client = PushClient::new(trust)?;
        let key = settings.encoding_aes_key.as_ref().map(MessageKey::parse);
        let key = key
            .transpose()
            .map_err(|_| Error::Push("the encoding_aes_key must be the console's 43 characters"))?;
        let mode = settings.mode.unwrap_or(match key {
            Some(_) => PushEncryption::Safe,
            None => PushEncryption::Plain,
        });
        if mode != PushEncryption::Plain && key.is_none() {
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
            client,
        })
    }

    /// The address with what WeChat adds to its query.
    pub(crate) fn address(&self, query: &str) -> String {
        let joint = if self.url.query().is_some() { '&' } else { '?' };
        format!("{}{joint}{query}", self.url)
    }
}
