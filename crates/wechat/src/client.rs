//! Calls WeChat's server.
//!
//! All calls run on the `Work` runtime and share one connection pool. One deadline covers
//! a whole call. A busy WeChat (`errcode` -1) is asked once more, because it did not take
//! the code; nothing else is repeated, because a code works once and a lost answer may
//! have used it up.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use weappd_base::secret::{Secret, mask_json};
use weappd_base::tasks::Work;
use weappd_base::wiretap::{Party, Report, Wiretap};

use crate::config::{self, Config};
use crate::error::Error;
use crate::wire::{self, Login};

/// The most that is read of an answer.
const MAX_ANSWER: usize = 1024 * 1024;
/// How long a busy WeChat is left alone before the second try.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Everything but RFC 3986's unreserved characters is encoded in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A mini program's name and password at WeChat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// The `AppID`.
    pub appid: String,
    /// The `AppSecret`.
    pub secret: Secret,
}

/// Calls WeChat's server. Cheap to clone; all clones share their connections.
#[derive(Clone, Debug)]
pub struct Client(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoint: String,
    timeout_ms: u64,
    road: Road,
    work: Work,
    wiretap: Wiretap,
}

/// How the endpoint is reached. Without TLS no trusted certificates are asked of the
/// machine: a simulated WeChat works where none are installed.
#[derive(Debug)]
enum Road {
    Plain(legacy::Client<HttpConnector, Empty<Bytes>>),
    Tls(legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>),
}

/// What came back, before anybody believes it.
struct Answer {
    status: StatusCode,
    body: Bytes,
}

impl Client {
    /// Makes ready to call; nothing is connected yet.
    pub fn new(config: &Config, work: Work, wiretap: Wiretap) -> Result<Self, Error> {
        let (endpoint, tls) = config::parse_endpoint(&config.endpoint).map_err(Error::Endpoint)?;
        Ok(Self(Arc::new(Shared {
            endpoint,
            timeout_ms: config.timeout_ms,
            road: Road::build(tls, Duration::from_millis(config.timeout_ms))?,
            work,
            wiretap,
        })))
    }

    /// Trades a `wx.login` code for who logged in (`GET /sns/jscode2session`).
    pub async fn code_to_session(
        &self,
        credential: &Credential,
        code: &str,
    ) -> Result<Login, Error> {
        let shared = Arc::clone(&self.0);
        let credential = credential.clone();
        let code = Secret::new(code);
        self.0
            .work
            .run(async move { shared.code_to_session(&credential, &code).await })
            .await
            .map_err(Error::GivenUp)?
    }
}

impl Shared {
    async fn code_to_session(
        &self,
        credential: &Credential,
        code: &Secret,
    ) -> Result<Login, Error> {
        let query = [
            ("appid", credential.appid.as_str()),
            ("secret", credential.secret.expose()),
            ("js_code", code.expose()),
            ("grant_type", "authorization_code"),
        ];
        let uri = self.uri("/sns/jscode2session", &query)?;
        let deadline = Duration::from_millis(self.timeout_ms);
        let asked = tokio::time::timeout(deadline, async {
            match self.login_once(&uri, &query).await {
                Err(Error::Refused { errcode: -1, .. }) => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                    self.login_once(&uri, &query).await
                }
                answer => answer,
            }
        });
        let login = if let Ok(login) = asked.await {
            login
        } else {
            let error = Error::Timeout {
                after_ms: self.timeout_ms,
            };
            self.tell_failure(&error);
            Err(error)
        };
        login.map_err(|error| without_secrets(error, [credential.secret.expose(), code.expose()]))
    }

    async fn login_once(&self, uri: &Uri, query: &[(&str, &str)]) -> Result<Login, Error> {
        self.tell_request(query);
        let answer = match self.get(uri).await {
            Ok(answer) => answer,
            Err(error) => {
                self.tell_failure(&error);
                return Err(error);
            }
        };
        self.tell_answer(&answer);
        let status = answer.status.as_u16();
        wire::read_answer(status, &answer.body).and_then(|fields| wire::read_login(status, fields))
    }

    fn uri(&self, path: &str, query: &[(&str, &str)]) -> Result<Uri, Error> {
        let mut text = format!("{}{path}", self.endpoint);
        for (at, (name, value)) in query.iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(value, QUERY));
        }
        text.parse()
            .map_err(|_| Error::Endpoint("the address to call is too long"))
    }

    async fn get(&self, uri: &Uri) -> Result<Answer, Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        let response = match &self.road {
            Road::Plain(client) => client.request(request).await,
            Road::Tls(client) => client.request(request).await,
        }
        .map_err(Error::Unreachable)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER)
            .collect()
            .await
            .map_err(|cause| {
                if cause.is::<LengthLimitError>() {
                    Error::TooLong { limit: MAX_ANSWER }
                } else {
                    Error::CutShort(cause)
                }
            })?
            .to_bytes();
        Ok(Answer { status, body })
    }

    fn tell_request(&self, query: &[(&str, &str)]) {
        self.wiretap.hop(|| {
            let fields = query
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
                .collect();
            let mut query = Value::Object(fields);
            mask_json(&mut query);
            Report {
                from: Party::Weappd,
                to: Party::Wechat,
                name: "jscode2session".to_owned(),
                answer: false,
                who: None,
                detail: json!({"method": "GET", "path": "/sns/jscode2session", "query": query}),
            }
        });
    }

    fn tell_answer(&self, answer: &Answer) {
        self.wiretap.hop(|| {
            let mut body = serde_json::from_slice(&answer.body).unwrap_or_else(|_| {
                // What is not JSON cannot be masked by name.
                json!(format!("{} bytes that are not JSON", answer.body.len()))
            });
            mask_json(&mut body);
            answered(
                body.get("openid").and_then(Value::as_str),
                json!({"status": answer.status.as_u16(), "body": body}),
            )
        });
    }

    fn tell_failure(&self, error: &Error) {
        self.wiretap
            .hop(|| answered(None, json!({"error": error.to_string()})));
    }
}

/// The arrow back from WeChat.
fn answered(who: Option<&str>, detail: Value) -> Report {
    Report {
        from: Party::Wechat,
        to: Party::Weappd,
        name: "jscode2session".to_owned(),
        answer: true,
        who: who.map(str::to_owned),
        detail,
    }
}

impl Road {
    fn build(tls: bool, timeout: Duration) -> Result<Self, Error> {
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(timeout));
        http.set_nodelay(true);
        http.enforce_http(!tls);
        let mut client = legacy::Client::builder(TokioExecutor::new());
        client.pool_timer(TokioTimer::new());
        if !tls {
            return Ok(Self::Plain(client.build(http)));
        }
        let https = HttpsConnectorBuilder::new()
            .with_provider_and_platform_verifier(rustls::crypto::aws_lc_rs::default_provider())
            .map_err(Error::TrustRoots)?
            .https_only()
            .enable_all_versions()
            .wrap_connector(http);
        Ok(Self::Tls(client.build(https)))
    }
}

/// WeChat's text is not known to repeat what it was sent, but a relay's might.
fn without_secrets(error: Error, secrets: [&str; 2]) -> Error {
    match error {
        Error::Refused {
            errcode,
            mut errmsg,
        } => {
            for secret in secrets.into_iter().filter(|secret| !secret.is_empty()) {
                if errmsg.contains(secret) {
                    errmsg = errmsg.replace(secret, "***");
                }
            }
            Error::Refused { errcode, errmsg }
        }
        other => other,
    }
}
