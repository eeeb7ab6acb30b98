//! The three questions a business server asks weappd.

use std::time::Duration;

use axum::body::Bytes;
use http::{HeaderMap, Request, header};
use http_body_util::Full;
use serde_json::Value;
use weappd_outbound::{ExchangeError, OutboundClient, SendError, read_limited};

use super::DemoEnv;
use super::wire::ChatPush;
use super::wire::{self, DemoTunnel};

/// How long weappd may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The largest answer; a push to a full room can bring back every tunnelId.
const MAX_ANSWER: usize = 1024 * 1024;

/// The headers that say who calls; the rest of a phone's request is nobody's business.
const IDENTITY: [&str; 3] = ["x-wx-skey", "x-wx-id", "authorization"];

/// Why an answer is missing.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// The setting does not make a URL.
    #[error("{0} is not a URL to ask")]
    Address(String),
    /// Nobody answers, or not like HTTP.
    #[error("weappd does not answer {path}")]
    Send {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        source: SendError,
    },
    /// The answer breaks off, or is too long.
    #[error("the answer to {path} cannot be read")]
    Read {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        source: ExchangeError,
    },
    /// The answer is not JSON.
    #[error("the answer to {path} is not JSON")]
    Understand {
        /// What was asked.
        path: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It takes too long.
    #[error("weappd takes too long to answer {0}")]
    Late(String),
    /// It answers something else.
    #[error("weappd answers {path} with code {code}: {message}")]
    Refused {
        /// What was asked.
        path: String,
        /// The code of the envelope; absent if there was no envelope.
        code: i64,
        /// Its words.
        message: String,
    },
}

/// weappd as this business server sees it.
pub(super) struct WeappdClient {
    env: DemoEnv,
    http: OutboundClient,
}

impl WeappdClient {
    pub(super) fn new(env: DemoEnv) -> Self {
        Self {
            env,
            http: OutboundClient::plain(),
        }
    }

    /// Who calls with these headers; `None` if the session is no longer good.
    pub(super) async fn user(&self, headers: &HeaderMap) -> Result<Option<Value>, AskError> {
        let path = "/weapp/user";
        let mut request = Request::get(self.url(path));
        for name in IDENTITY {
            if let Some(value) = headers.get(name) {
                request = request.header(name, value);
            }
        }
        let mut answer = self.ask(path, request, String::new()).await?;
        Ok(match answer.get("code").and_then(Value::as_i64) {
            Some(0) => Some(answer["data"].take()),
            _ => None,
        })
    }

    /// A new tunnel for a phone.
    pub(super) async fn open_tunnel(&self) -> Result<DemoTunnel, AskError> {
        let path = "/get/wsurl";
        let body = wire::wsurl_request(&self.env.server_host, &self.env.tunnel_key);
        let answer = self.post(path, body).await?;
        wire::read_issued(&answer, &self.env.tunnel_key).ok_or_else(|| AskError::Refused {
            path: path.to_owned(),
            code: 0,
            message: "no signed tunnel".to_owned(),
        })
    }

    /// Sends something into tunnels; the tunnels that are dead.
    pub(super) async fn push(&self, push: &ChatPush) -> Result<Vec<String>, AskError> {
        let body = wire::push_request(push, &self.env.server_host, &self.env.tunnel_key);
        let answer = self.post("/ws/push", body).await?;
        Ok(wire::read_gone(&answer))
    }

    async fn post(&self, path: &str, body: String) -> Result<Value, AskError> {
        let request =
            Request::post(self.url(path)).header(header::CONTENT_TYPE, "application/json");
        let answer = self.ask(path, request, body).await?;
        match answer.get("code").and_then(Value::as_i64) {
            Some(0) => Ok(answer),
            code => Err(AskError::Refused {
                path: path.to_owned(),
                code: code.unwrap_or(-1),
                message: answer["message"]
                    .as_str()
                    .unwrap_or("no envelope")
                    .to_owned(),
            }),
        }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.env.internal_url.trim_end_matches('/'))
    }

    async fn ask(
        &self,
        path: &str,
        request: http::request::Builder,
        body: String,
    ) -> Result<Value, AskError> {
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|_| AskError::Address(self.url(path)))?;
        let path = path.to_owned();
        match tokio::time::timeout(PATIENCE, self.send(path.clone(), request)).await {
            Ok(answer) => answer,
            Err(_) => Err(AskError::Late(path)),
        }
    }

    async fn send(&self, path: String, request: Request<Full<Bytes>>) -> Result<Value, AskError> {
        let answer = match self.http.send(request).await {
            Ok(answer) => answer.into_body(),
            Err(source) => return Err(AskError::Send { path, source }),
        };
        let body = match read_limited(answer, MAX_ANSWER).await {
            Ok(body) => body,
            Err(source) => return Err(AskError::Read { path, source }),
        };
        serde_json::from_slice(&body).map_err(|source| AskError::Understand { path, source })
    }
}
