//! Calls WeChat's server.
//!
//! Each thread that calls has connections of its own, which its own event loop serves: an
//! answer wakes nobody else. One deadline covers a whole call. A call is made twice in two
//! cases only: WeChat is busy (`errcode` -1), and so did not take the code; or the connection
//! was closed before any answer, as happens when WeChat ends an idle connection just then. If
//! the second try hears that the code was used, the first one used it up and the answer is
//! lost: that is told as what it was.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Empty;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use weappd_base::secret::{Secret, mask_json};
use weappd_base::tap::{TapPeer, TapReport, TrafficTap};
use weappd_outbound::{ClientSettings, OutboundClient, OutboundTrust};

use crate::config::{self, Config};
use crate::error::Error;
use crate::wire::{self, WechatLogin};

/// The most that is read of an answer.
const ANSWER_MAX_BYTES: usize = 1024 * 1024;
/// The longest code that is sent on; WeChat's have 32 characters.
const CODE_MAX_BYTES: usize = 512;
/// WeChat's word that a code was redeemed before.
const CODE_USED: i64 = 40163;
/// How long a busy WeChat is left alone before the second try.
const BUSY_RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Everything but RFC 3986's unreserved characters is encoded in a query.
const QUERY_ENCODING: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A mini program's name and password at WeChat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppCredential {
    /// The `AppID`.
    pub appid: String,
    /// The `AppSecret`.
    pub secret: Secret,
}

/// Calls WeChat's server. Cheap to clone; all clones on a thread share their connections.
#[derive(Clone, Debug)]
pub struct WechatClient(pub(crate) Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    endpoint: String,
    /// Whether the endpoint is reached over TLS.
    pub(crate) is_tls: bool,
    pub(crate) timeout_ms: u64,
    /// Its connections are kept over a reload, for each host.
    pub(crate) http: Arc<OutboundClient<Empty<Bytes>>>,
    pub(crate) tap: TrafficTap,
}

/// What of a question must not be told to anybody else.
type CallSecrets<'a> = [&'a str; 2];

impl WechatClient {
    /// Makes ready to call; nothing is connected yet.
    pub fn new(config: &Config, tap: TrafficTap) -> Result<Self, Error> {
        Self::build(config, tap, None)
    }

    /// The same with the connections of a client before it, if they are opened in the same way.
    pub(crate) fn build(
        config: &Config,
        tap: TrafficTap,
        before: Option<&Shared>,
    ) -> Result<Self, Error> {
        let (endpoint, is_tls) =
            config::parse_endpoint(&config.endpoint).map_err(Error::Endpoint)?;
        let timeout_ms = config.timeout_ms;
        let kept = before.filter(|it| (it.is_tls, it.timeout_ms) == (is_tls, timeout_ms));
        let http = match kept {
            Some(before) => Arc::clone(&before.http),
            None => Arc::new(connections(is_tls, timeout_ms)?),
        };
        Ok(Self(Arc::new(Shared {
            endpoint,
            is_tls,
            timeout_ms,
            http,
            tap,
        })))
    }

    /// Trades a `wx.login` code for who logged in (`GET /sns/jscode2session`). What is far
    /// too long for a code is refused here as WeChat would refuse it. The call ends when its
    /// caller does.
    pub async fn code_to_session(
        &self,
        credential: &AppCredential,
        code: &str,
    ) -> Result<WechatLogin, Error> {
        self.code_to_session_within(credential, code, self.timeout())
            .await
    }

    /// The same for a caller who has more time.
    pub async fn code_to_session_within(
        &self,
        credential: &AppCredential,
        code: &str,
        deadline: Duration,
    ) -> Result<WechatLogin, Error> {
        if code.len() > CODE_MAX_BYTES {
            return Err(Error::Refused {
                errcode: 40029,
                errmsg: "invalid code, too long to be one".to_owned(),
            });
        }
        self.0.code_to_session(credential, code, deadline).await
    }

    /// How long a call is waited for.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.0.timeout_ms)
    }

    /// The failure of a call that took longer, for a caller who goes on waiting himself.
    pub fn timed_out(&self) -> Error {
        self.0.timed_out(self.timeout())
    }
}

impl Shared {
    async fn code_to_session(
        &self,
        credential: &AppCredential,
        code: &str,
        deadline: Duration,
    ) -> Result<WechatLogin, Error> {
        let query = [
            ("appid", credential.appid.as_str()),
            ("secret", credential.secret.expose()),
            ("js_code", code),
            ("grant_type", "authorization_code"),
        ];
        let secrets = [credential.secret.expose(), code];
        let uri = self.uri("/sns/jscode2session", &query)?;
        let asked = tokio::time::timeout(deadline, self.log_in(&uri, &query, secrets));
        let login = if let Ok(login) = asked.await {
            login
        } else {
            Err(self.timed_out(deadline))
        };
        login.map_err(|error| match error {
            Error::Refused { errcode, errmsg } => Error::Refused {
                errcode,
                errmsg: without_secrets(&errmsg, secrets),
            },
            other => other,
        })
    }

    fn timed_out(&self, deadline: Duration) -> Error {
        let error = Error::Timeout {
            after_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
        };
        self.tell_failure(&error);
        error
    }

    async fn log_in(
        &self,
        uri: &Uri,
        query: &[(&str, &str)],
        secrets: CallSecrets<'_>,
    ) -> Result<WechatLogin, Error> {
        let first = self.login_once(uri, query, secrets).await;
        match &first {
            Err(Error::Refused { errcode: -1, .. }) => {
                tokio::time::sleep(BUSY_RETRY_INTERVAL).await;
            }
            Err(Error::Unreachable(cause)) if !cause.is_connect() => {}
            _ => return first,
        }
        match self.login_once(uri, query, secrets).await {
            Err(Error::Refused {
                errcode: CODE_USED, ..
            }) => first,
            second => second,
        }
    }

    async fn login_once(
        &self,
        uri: &Uri,
        query: &[(&str, &str)],
        secrets: CallSecrets<'_>,
    ) -> Result<WechatLogin, Error> {
        self.tell_request(query);
        let answer = match self.get(uri).await {
            Ok(answer) => answer,
            Err(error) => {
                self.tell_failure(&error);
                return Err(error);
            }
        };
        self.tell_answer(&answer, secrets);
        let status = answer.status().as_u16();
        wire::read_answer(status, answer.body()).and_then(|fields| wire::read_login(status, fields))
    }

    fn uri(&self, path: &str, query: &[(&str, &str)]) -> Result<Uri, Error> {
        let mut text = format!("{}{path}", self.endpoint);
        for (at, (name, value)) in query.iter().enumerate() {
            text.push(if at == 0 { '?' } else { '&' });
            text.push_str(name);
            text.push('=');
            text.extend(utf8_percent_encode(value, QUERY_ENCODING));
        }
        text.parse()
            .map_err(|_| Error::Endpoint("the address to call is too long"))
    }

    async fn get(&self, uri: &Uri) -> Result<Response<Bytes>, Error> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        let answer = self.http.exchange(request, ANSWER_MAX_BYTES).await;
        answer.map_err(Error::of_exchange)
    }

    fn tell_request(&self, query: &[(&str, &str)]) {
        self.tap.record(|| {
            let fields = query
                .iter()
                .map(|(name, value)| ((*name).to_owned(), Value::from(*value)))
                .collect();
            let mut query = Value::Object(fields);
            mask_json(&mut query);
            TapReport {
                from: TapPeer::Weappd,
                to: TapPeer::Wechat,
                name: "jscode2session".to_owned(),
                answer: false,
                who: None,
                detail: json!({"method": "GET", "path": "/sns/jscode2session", "query": query}),
            }
        });
    }

    fn tell_answer(&self, answer: &Response<Bytes>, secrets: CallSecrets<'_>) {
        self.tap.record(|| {
            let mut body = serde_json::from_slice(answer.body()).unwrap_or_else(|_| {
                // What is not JSON cannot be masked by name.
                json!(format!("{} bytes that are not JSON", answer.body().len()))
            });
            mask_json(&mut body);
            if let Some(Value::String(errmsg)) = body.get_mut("errmsg") {
                *errmsg = without_secrets(errmsg, secrets);
            }
            answered(
                body.get("openid").and_then(Value::as_str),
                json!({"status": answer.status().as_u16(), "body": body}),
            )
        });
    }

    fn tell_failure(&self, error: &Error) {
        self.tap
            .record(|| answered(None, json!({"error": error.to_string()})));
    }
}

fn connections(is_tls: bool, timeout_ms: u64) -> Result<OutboundClient<Empty<Bytes>>, Error> {
    // Without TLS no trusted certificates are asked of the machine: a simulated WeChat works
    // where none are installed.
    let trust = if is_tls {
        OutboundTrust::Machine
    } else {
        OutboundTrust::PlainOnly
    };
    OutboundClient::new(&ClientSettings {
        connect_timeout: Some(Duration::from_millis(timeout_ms)),
        http2: true,
        per_thread: true,
        ..ClientSettings::new(trust)
    })
    .map_err(Error::TrustRoots)
}

/// The arrow back from WeChat.
fn answered(who: Option<&str>, detail: Value) -> TapReport {
    TapReport {
        from: TapPeer::Wechat,
        to: TapPeer::Weappd,
        name: "jscode2session".to_owned(),
        answer: true,
        who: who.map(str::to_owned),
        detail,
    }
}

/// WeChat's text is not known to repeat what it was sent, but a relay's might.
pub(crate) fn without_secrets(text: &str, secrets: CallSecrets<'_>) -> String {
    let given = secrets.into_iter().filter(|secret| !secret.is_empty());
    given.fold(text.to_owned(), |text, secret| text.replace(secret, "***"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::extract::Query;
    use axum::routing::get;
    use http::StatusCode;
    use http::header::CONTENT_TYPE;
    use weappd_base::clock::Clock;
    use weappd_base::tasks::Tasks;

    use super::*;

    const GOOD: &str =
        r#"{"session_key":"tiihtNczf5v6AKRyjwEUhQ==","openid":"oGZUI0egBJY1zhBYw2KhdUfwVJJE"}"#;
    const SECRET: &str = "s+e c/r&e=t微";
    const CODE: &str = "0a3xVHkl2mQ&code";

    fn credential() -> AppCredential {
        AppCredential {
            appid: "wx4f4bc4dec97d474b".to_owned(),
            secret: Secret::new(SECRET),
        }
    }

    fn listener() -> std::net::TcpListener {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener");
        listener
    }

    fn client_to(endpoint: String, timeout_ms: u64, tap: TrafficTap) -> WechatClient {
        let config = Config {
            endpoint,
            timeout_ms,
        };
        WechatClient::new(&config, tap).expect("a client")
    }

    /// Serves `answers` for good and gives its address.
    fn serve(answers: Router) -> String {
        let listener = listener();
        let address = listener.local_addr().expect("an address");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        Tasks::new().spawn(async move {
            axum::serve(listener, answers).await.expect("it serves");
        });
        format!("http://{address}")
    }

    /// Serves the same text every time, counting.
    fn saying(text: String) -> (String, Arc<AtomicUsize>) {
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        let answer = move || {
            seen.fetch_add(1, Ordering::Relaxed);
            std::future::ready(text.clone())
        };
        (
            serve(Router::new().route("/sns/jscode2session", get(answer))),
            calls,
        )
    }

    async fn ask(endpoint: String) -> Result<WechatLogin, Error> {
        client_to(endpoint, 5000, TrafficTap::off())
            .code_to_session(&credential(), CODE)
            .await
    }

    #[tokio::test]
    async fn the_question_is_the_contracts() {
        let answer = |Query(asked): Query<HashMap<String, String>>| async move {
            let wanted = HashMap::from(
                [
                    ("appid", "wx4f4bc4dec97d474b"),
                    ("secret", SECRET),
                    ("js_code", CODE),
                    ("grant_type", "authorization_code"),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            if asked == wanted { GOOD } else { "{}" }
        };
        let endpoint = serve(Router::new().route("/relay/sns/jscode2session", get(answer)));
        let login = ask(format!("{endpoint}/relay/")).await.expect("a login");
        assert_eq!(login.openid, "oGZUI0egBJY1zhBYw2KhdUfwVJJE");
        assert!(login.session_key.is("tiihtNczf5v6AKRyjwEUhQ=="));
        assert_eq!((login.unionid, login.expires_in), (None, None));
    }

    #[tokio::test]
    async fn status_and_content_type_decide_nothing() {
        let answer = || async { (StatusCode::BAD_GATEWAY, [(CONTENT_TYPE, "text/html")], GOOD) };
        let endpoint = serve(Router::new().route("/sns/jscode2session", get(answer)));
        assert!(ask(endpoint).await.is_ok());
    }

    #[tokio::test]
    async fn a_busy_wechat_is_asked_once_more_and_no_oftener() {
        let (endpoint, calls) = saying(r#"{"errcode":-1,"errmsg":"system error"}"#.to_owned());
        let error = ask(endpoint).await.expect_err("busy");
        assert!(matches!(error, Error::Refused { errcode: -1, .. }));
        assert!(error.is_network());
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn a_refused_code_is_not_sent_again() {
        let (endpoint, calls) = saying(r#"{"errcode":40029,"errmsg":"invalid code"}"#.to_owned());
        let error = ask(endpoint).await.expect_err("refused");
        assert!(matches!(&error, Error::Refused { errcode: 40029, .. }));
        assert!(!error.is_network());
        assert!(error.hint().is_some_and(|hint| hint.contains("fresh")));
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }

    /// A WeChat that hangs up on the first caller and answers the others with `then`.
    async fn hanging_up_once(then: &'static str) -> (Result<WechatLogin, Error>, usize) {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let listener = tokio::net::TcpListener::from_std(listener()).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let calls = Arc::new(AtomicUsize::new(0));
        let seen = Arc::clone(&calls);
        Tasks::new().spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.expect("a caller");
                let mut question = [0; 2048];
                let read = socket.read(&mut question).await.expect("a question");
                assert!(question[..read].starts_with(b"GET /sns/jscode2session?"));
                if seen.fetch_add(1, Ordering::Relaxed) > 0 {
                    let head = "HTTP/1.1 200 OK\r\nconnection: close\r\n";
                    let answer = format!("{head}content-length: {}\r\n\r\n{then}", then.len());
                    socket.write_all(answer.as_bytes()).await.expect("heard");
                }
            }
        });
        let login = ask(format!("http://{address}")).await;
        (login, calls.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_connection_closed_before_the_answer_is_tried_once_more() {
        let (login, calls) = hanging_up_once(GOOD).await;
        assert!(login.is_ok());
        assert_eq!(calls, 2);
    }

    #[tokio::test]
    async fn a_lost_answer_is_not_told_as_a_used_code() {
        let used = r#"{"errcode":40163,"errmsg":"code been used"}"#;
        let (login, calls) = hanging_up_once(used).await;
        assert!(matches!(login, Err(Error::Unreachable(_))));
        assert_eq!(calls, 2);
    }

    #[tokio::test]
    async fn an_endless_code_is_refused_without_asking() {
        let (endpoint, calls) = saying(GOOD.to_owned());
        let client = client_to(endpoint, 5000, TrafficTap::off());
        let (credential, longest) = (credential(), "微".repeat(CODE_MAX_BYTES / 3));
        let refused = client
            .code_to_session(&credential, &"c".repeat(100_000))
            .await;
        assert!(matches!(
            refused,
            Err(Error::Refused { errcode: 40029, .. })
        ));
        assert_eq!(calls.load(Ordering::Relaxed), 0);
        assert!(client.code_to_session(&credential, &longest).await.is_ok());
    }

    #[tokio::test]
    async fn an_echoed_secret_stops_here() {
        let (endpoint, _) = saying(format!(
            r#"{{"errcode":40125,"errmsg":"bad {SECRET} for {CODE}"}}"#
        ));
        let tap = TrafficTap::on(Clock::manual(0).0);
        let mut heard = tap.subscribe().expect("a tap that is on");
        let client = client_to(endpoint, 5000, tap);
        let refused = client.code_to_session(&credential(), CODE).await;
        let told = refused.expect_err("refused").to_string();
        assert_eq!(told, "WeChat refused: 40125 bad *** for ***");
        drop(heard.recv().await.expect("the question"));
        let answer = heard.recv().await.expect("the answer");
        assert_eq!(answer.detail["body"]["errmsg"], "bad *** for ***");
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline() {
        // It listens and never accepts: the connection stands, the answer never comes.
        let silent = listener();
        let address = silent.local_addr().expect("an address");
        let client = client_to(format!("http://{address}"), 100, TrafficTap::off());
        let error = client.code_to_session(&credential(), CODE).await;
        assert!(matches!(error, Err(Error::Timeout { after_ms: 100 })));
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_and_named_without_secrets() {
        // Bound, but not listening: nobody else can take the port meanwhile.
        let closed = tokio::net::TcpSocket::new_v4().expect("a socket");
        closed
            .bind(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))
            .expect("a free port");
        let address = closed.local_addr().expect("an address");
        let error = ask(format!("http://{address}")).await.expect_err("closed");
        assert!(matches!(error, Error::Unreachable(_)) && error.is_network());
        let told = format!("{error:?} {error}");
        assert!(!told.contains("s%2B") && !told.contains(SECRET) && !told.contains(CODE));
    }

    #[tokio::test]
    async fn no_answer_is_read_without_end() {
        let (endpoint, _) = saying(" ".repeat(ANSWER_MAX_BYTES + 1));
        let error = ask(endpoint).await;
        assert!(matches!(
            error,
            Err(Error::TooLong {
                limit: ANSWER_MAX_BYTES
            })
        ));
        let (endpoint, _) = saying(format!(
            "{GOOD}{}",
            " ".repeat(ANSWER_MAX_BYTES - GOOD.len())
        ));
        assert!(ask(endpoint).await.is_ok());
    }

    #[tokio::test]
    async fn an_https_endpoint_hears_no_plain_secret() {
        use tokio::io::AsyncReadExt as _;
        let listener = tokio::net::TcpListener::from_std(listener()).expect("a listener");
        let address = listener.local_addr().expect("an address");
        let client = client_to(format!("https://{address}"), 5000, TrafficTap::off());
        let first = async {
            let (mut socket, _) = listener.accept().await.expect("a caller");
            socket.read_u8().await.expect("a byte")
        };
        let credential = credential();
        let (error, first) = tokio::join!(client.code_to_session(&credential, CODE), first);
        assert_eq!(first, 0x16, "a TLS handshake");
        assert!(matches!(error, Err(Error::Unreachable(_))));
    }

    #[tokio::test]
    async fn the_tap_hears_both_ways_with_secrets_masked() {
        let (endpoint, _) = saying(GOOD.to_owned());
        let tap = TrafficTap::on(Clock::manual(0).0);
        let mut heard = tap.subscribe().expect("a tap that is on");
        let client = client_to(endpoint, 5000, tap);
        let login = client.code_to_session(&credential(), CODE).await;
        let asked = heard.recv().await.expect("the question");
        let answered = heard.recv().await.expect("the answer");
        assert_eq!((asked.from, asked.to), (TapPeer::Weappd, TapPeer::Wechat));
        assert_eq!(
            (answered.from, answered.to),
            (TapPeer::Wechat, TapPeer::Weappd)
        );
        assert_eq!((asked.answer, answered.answer), (false, true));
        assert_eq!(asked.name, "jscode2session");
        assert_eq!(asked.detail["query"]["appid"], "wx4f4bc4dec97d474b");
        assert_eq!(answered.who, login.ok().map(|login| login.openid));
        let told = format!("{} {}", asked.detail, answered.detail);
        for secret in [SECRET, CODE, "tiihtNczf5v6AKRyjwEUhQ=="] {
            assert!(!told.contains(secret), "{told}");
        }
    }

    #[tokio::test]
    async fn the_tap_hears_failures_too() {
        let (endpoint, _) = saying("<html>".to_owned());
        let tap = TrafficTap::on(Clock::manual(0).0);
        let mut heard = tap.subscribe().expect("a tap that is on");
        let client = client_to(endpoint, 5000, tap.clone());
        let error = client.code_to_session(&credential(), CODE).await;
        assert!(matches!(error, Err(Error::Malformed { status: 200, .. })));
        drop(heard.recv().await.expect("the question"));
        let answer = heard.recv().await.expect("the answer");
        assert_eq!(answer.detail["body"], "6 bytes that are not JSON");

        let silent = listener();
        let address = silent.local_addr().expect("an address");
        let client = client_to(format!("http://{address}"), 100, tap);
        drop(client.code_to_session(&credential(), CODE).await);
        drop(heard.recv().await.expect("the question"));
        let failure = heard.recv().await.expect("the failure");
        assert_eq!(
            failure.detail["error"],
            "WeChat did not answer within 100 ms"
        );
    }
}
