//! A small fake WeChat and a small fake app, and a gateway between them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};
use tower::ServiceExt as _;
use weappd_base::clock::{Clock, ManualClock};
use weappd_base::local_host::LocalHosts;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_wechat::AppCredential;
use weappd_wechat::message::{MessageCodec, MessageKey, PushSignature};

use crate::config::{AnswerWhen, Config, GatewayApp};
use crate::deliver::{AppAnswer, DeliverMessage, DeliveryError, PushedMessage};
use crate::gateway::{GatewayParts, GatewayService, GatewaySettings};
use crate::http::{api_router, inbox_router};
use crate::lease_store::LeaseStore;

pub(super) const APPID: &str = "wxba5fad812f8e6fb9";
pub(crate) const TOKEN: &str = "AAAAA";
pub(crate) const KEY: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Another mini program of the same site, where a test says so.
pub(super) const OTHER: &str = "wx2";
pub(super) const SECRET: &str = "the-app-secret-nobody-may-see";
pub(super) const BEARER: &str = "the-apps-own-token";

/// Serves a router on a free port for good; gives its address.
pub(super) fn serve(router: Router) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    Tasks::new().spawn(async move {
        axum::serve(listener, router).await.expect("it serves");
    });
    format!("http://{address}")
}

/// Waits until something is so, for a bounded time.
pub(super) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// What the fake WeChat saw, and how it behaves.
#[derive(Default)]
pub(super) struct Wechat {
    /// Questions for a token: path and body (or query).
    pub(super) asked: Mutex<Vec<(String, Value)>>,
    /// Calls: path with query, headers, body.
    pub(super) calls: Mutex<Vec<(String, HeaderMap, Bytes)>>,
    /// Answers to the next questions for a token; then `t1`, `t2` ... follow.
    pub(super) tokens: Mutex<VecDeque<Value>>,
    /// Tokens that calls are rejected with, and the number they are rejected with.
    pub(super) stale: Mutex<Vec<(String, i64)>>,
    /// How many questions for a token may be answered.
    pub(super) gate: Mutex<Option<Arc<Semaphore>>>,
}

impl Wechat {
    /// A new one, and where it is.
    pub(super) fn served() -> (Arc<Self>, String) {
        let wechat = Arc::new(Self::default());
        let router = Router::new().fallback(fake);
        let endpoint = serve(router.with_state(Arc::clone(&wechat)));
        (wechat, endpoint)
    }

    pub(super) fn rejects(&self, token: &str, errcode: i64) {
        self.stale.lock().push((token.to_owned(), errcode));
    }

    pub(super) fn next_token(&self, token: &str, expires_in: i64) {
        self.tokens
            .lock()
            .push_back(json!({"access_token": token, "expires_in": expires_in}));
    }

    /// The tokens of all calls, in their order.
    pub(super) fn used(&self) -> Vec<String> {
        let calls = self.calls.lock();
        calls.iter().map(|(path, ..)| token_of(path)).collect()
    }

    pub(super) fn questions(&self) -> usize {
        self.asked.lock().len()
    }
}

fn token_of(path: &str) -> String {
    let query = path.split_once('?').map_or("", |(_, query)| query);
    let mut pairs = query.split('&');
    let token = pairs.find_map(|pair| pair.strip_prefix("access_token="));
    token.unwrap_or_default().to_owned()
}

async fn fake(State(wechat): State<Arc<Wechat>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    let path = parts.uri.path().to_owned();
    if path.ends_with("/cgi-bin/token") || path.ends_with("/stable_token") {
        let gate = wechat.gate.lock().clone();
        if let Some(gate) = gate {
            gate.acquire().await.expect("open").forget();
        }
        let said = serde_json::from_slice(&body)
            .unwrap_or_else(|_| json!(parts.uri.query().unwrap_or_default()));
        wechat.asked.lock().push((path, said));
        let next = wechat.tokens.lock().pop_front();
        let number = wechat.questions();
        let answer =
            next.unwrap_or(json!({"access_token": format!("t{number}"), "expires_in": 7200}));
        return answer.to_string().into_response();
    }
    let target = parts.uri.to_string();
    let token = token_of(&target);
    wechat
        .calls
        .lock()
        .push((target, parts.headers, body.clone()));
    let stale = wechat.stale.lock().clone();
    if let Some((_, errcode)) = stale
        .iter()
        .find(|(stale, _)| *stale == token || stale == "*")
    {
        let refusal = json!({"errcode": errcode, "errmsg": "invalid credential rid: 1-2-3"});
        return ([("content-type", "text/plain")], refusal.to_string()).into_response();
    }
    let headers = [("x-kept", "yes"), ("connection", "x-gone"), ("x-gone", "1")];
    (
        headers,
        if body.is_empty() {
            Bytes::from("{\"errcode\":0}")
        } else {
            body
        },
    )
        .into_response()
}

/// How the fake app behaves.
#[derive(Clone)]
pub(super) enum Mood {
    Away,
    Says(u16, &'static str),
    Hangs,
}

/// What the fake app got.
pub(super) struct App {
    pub(super) got: Mutex<Vec<PushedMessage>>,
    pub(super) mood: Mutex<Mood>,
    pub(super) tried: Mutex<usize>,
    release: Notify,
}

impl App {
    /// Lets those answer that hang now.
    pub(super) fn release(&self) {
        self.release.notify_waiters();
    }
}

impl DeliverMessage for App {
    fn deliver<'a>(
        &'a self,
        message: &'a PushedMessage,
    ) -> BoxFuture<'a, Result<AppAnswer, DeliveryError>> {
        async move {
            *self.tried.lock() += 1;
            let mood = self.mood.lock().clone();
            match mood {
                Mood::Away => return Err(DeliveryError("nobody listens".to_owned())),
                Mood::Hangs => self.release.notified().await,
                Mood::Says(..) => {}
            }
            let (status, body) = match mood {
                Mood::Says(status, body) => (status, body),
                _ => (200, ""),
            };
            if (200..300).contains(&status) {
                self.got.lock().push(message.clone());
            }
            Ok(AppAnswer {
                status: StatusCode::from_u16(status).expect("a status"),
                body: Bytes::from(body),
                is_whole: true,
            })
        }
        .boxed()
    }
}

/// A gateway with its surroundings.
pub(super) struct World {
    pub(super) wechat: Arc<Wechat>,
    pub(super) endpoint: String,
    pub(super) app: Arc<App>,
    pub(super) settings: GatewaySettings,
    pub(super) gateway: GatewayService,
    pub(super) hand: ManualClock,
    pub(super) tap: TrafficTap,
    pub(super) dir: Arc<TempDir>,
    pub(super) stop: Stop,
    pub(super) tasks: Tasks,
}

/// What a world may differ in.
pub(super) struct Setting {
    pub(super) config: Config,
    pub(super) mini_apps: Vec<GatewayApp>,
    pub(super) endpoint: Option<String>,
    pub(super) dir: Option<Arc<TempDir>>,
    pub(super) mood: Mood,
    pub(super) leases: Option<Arc<dyn LeaseStore>>,
    /// A WeChat that several worlds have, and where it is.
    pub(super) wechat: Option<(Arc<Wechat>, String)>,
}

pub(super) fn mini_app(appid: &str, token: Option<&str>, key: Option<&str>) -> GatewayApp {
    GatewayApp {
        credential: AppCredential {
            appid: appid.to_owned(),
            secret: Secret::new(SECRET),
        },
        token: token.map(Secret::new),
        encoding_aes_key: key.map(Secret::new),
        pushes: Vec::new(),
        answer: AnswerWhen::Acted,
        api_security: None,
    }
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            config: Config::default(),
            mini_apps: vec![mini_app(APPID, None, None)],
            endpoint: None,
            dir: None,
            mood: Mood::Says(200, ""),
            leases: None,
            wechat: None,
        }
    }
}

/// A fake app that behaves so.
pub(super) fn fake_app(mood: Mood) -> Arc<App> {
    Arc::new(App {
        got: Mutex::default(),
        mood: Mutex::new(mood),
        tried: Mutex::new(0),
        release: Notify::new(),
    })
}

impl World {
    pub(super) async fn new() -> Self {
        Self::of(Setting::default()).await
    }

    pub(super) async fn of(setting: Setting) -> Self {
        let (wechat, served) = setting.wechat.unwrap_or_else(Wechat::served);
        let endpoint = setting.endpoint.unwrap_or(served);
        let app = fake_app(setting.mood);
        let dir = setting
            .dir
            .unwrap_or_else(|| Arc::new(TempDir::new().expect("a directory")));
        let (clock, hand) = Clock::manual(1_714_112_445);
        let tap = TrafficTap::on(clock.clone());
        let (stop, tasks) = (Stop::new(), Tasks::new());
        let settings = GatewaySettings {
            config: setting.config,
            mini_apps: setting.mini_apps,
            wechat_endpoint: endpoint.clone(),
            local_hosts: LocalHosts::default(),
            callers: Arc::new(vec![Secret::new(BEARER)]),
            deliver: Arc::clone(&app) as Arc<dyn DeliverMessage>,
        };
        let gateway = GatewayService::build(GatewayParts {
            settings: settings.clone(),
            data_dir: dir.path().to_owned(),
            lease_store: setting.leases,
            clock,
            tokens: RandomSource::system(),
            work: Work::current(),
            tasks: tasks.clone(),
            stop: stop.clone(),
            tap: tap.clone(),
        })
        .await
        .expect("a gateway");
        Self {
            wechat,
            endpoint,
            app,
            settings,
            gateway,
            hand,
            tap,
            dir,
            stop,
            tasks,
        }
    }

    /// Goes on with other settings.
    pub(super) async fn reload(&mut self, settings: GatewaySettings) {
        self.settings = settings;
        let staged = self.gateway.prepare(self.settings.clone()).await;
        self.gateway.commit(staged.expect("good"));
    }

    /// An app's call.
    pub(super) async fn call(&self, path: &str) -> Said {
        self.send(Request::get(path).body(Body::empty()).expect("a request"))
            .await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Body>) -> Said {
        self.send(Request::post(path).body(body.into()).expect("a request"))
            .await
    }

    pub(super) async fn send(&self, mut request: Request) -> Said {
        let here = HeaderValue::from_static("127.0.0.1:8081");
        request.headers_mut().entry(header::HOST).or_insert(here);
        Said::read(api_router(self.gateway.clone()).oneshot(request)).await
    }

    /// The inbox of a site with two mini programs.
    fn inbox(&self) -> Router {
        let appids = [APPID, OTHER].map(str::to_owned);
        let apps = self.settings.mini_apps.iter();
        let pushes = apps.flat_map(|app| app.pushes.iter().map(|push| push.path.clone()));
        let further: Vec<String> = pushes.collect();
        inbox_router(self.gateway.clone(), &appids, &further)
    }

    /// What WeChat sends to `/weapp/message`.
    pub(super) async fn push(&self, query: &str, body: impl Into<Body>) -> Said {
        self.push_at("/weapp/message", query, body).await
    }

    pub(super) async fn push_at(&self, path: &str, query: &str, body: impl Into<Body>) -> Said {
        let uri = format!("{path}?{query}");
        let request = Request::post(uri).body(body.into()).expect("a request");
        Said::read(self.inbox().oneshot(request)).await
    }

    pub(super) async fn check_url(&self, query: &str) -> Said {
        let uri = format!("/weapp/message?{query}");
        let request = Request::get(uri).body(Body::empty()).expect("a request");
        Said::read(self.inbox().oneshot(request)).await
    }
}

/// An answer, read.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Said {
    pub(super) async fn read(
        answer: impl Future<Output = Result<Response, std::convert::Infallible>>,
    ) -> Self {
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(never) => match never {},
        };
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            text: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    pub(super) fn errcode(&self) -> i64 {
        let body: Value = serde_json::from_str(&self.text).expect(&self.text);
        body["errcode"].as_i64().expect(&self.text)
    }
}

/// What an encrypted answer holds, whose fields are `fields` and whose text is `said`.
pub(crate) fn opened(fields: &Value, said: &str) -> Option<String> {
    let field = |name: &str| match &fields[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let (timestamp, nonce, signature) = (field("TimeStamp"), field("Nonce"), field("MsgSignature"));
    let mailbox = MessageCodec {
        appid: APPID.to_owned(),
        token: Secret::new(TOKEN),
        key: MessageKey::parse(&Secret::new(KEY)).expect("a key"),
    };
    let stamp = PushSignature {
        timestamp: &timestamp,
        nonce: &nonce,
        msg_signature: &signature,
    };
    mailbox.open(stamp, said).ok()
}
