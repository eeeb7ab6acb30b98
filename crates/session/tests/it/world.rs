//! A world for one test: a fake WeChat, a clock moved by hand, a database in a directory
//! of its own, and phones.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;
use weappd_base::clock::{Clock, ManualClock};
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Tasks, Work};
use weappd_session::http::{SiteChoice, control_router, public_router, rpc_router, sign_router};
use weappd_session::{Config, Error, MiniApp, SessionParts, SessionReload, SessionService};
use weappd_wechat::WechatCalls;
use weappd_wechat::WechatClient;

use crate::backend::Backend;
use crate::platform::Platform;
use crate::wechat::{FakeWechat, user_data};

pub(crate) const APP: &str = "wx0000000000000001";
pub(crate) const OTHER_APP: &str = "wx0000000000000002";

pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) wechat: FakeWechat,
    pub(crate) hand: ManualClock,
    pub(crate) sessions: SessionService,
    pub(crate) tap: TrafficTap,
    client: WechatClient,
    clock: Clock,
    config: Config,
    mini_apps: Vec<MiniApp>,
    calls: Option<Arc<dyn WechatCalls>>,
    _tasks: Tasks,
    backend: Backend,
}

/// A response, read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) json: Value,
}

/// The way a phone shows its session.
pub(crate) type Headers<'a> = &'a [(&'a str, &'a str)];

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::built(config, 30_000, |_, _| None).await
    }

    /// A world whose WeChat, but for the codes of logins that tests hand out, is the
    /// simulated one.
    pub(crate) async fn simulated(config: Config) -> (Self, Platform) {
        let mut platform = None;
        let world = Self::built(config, 30_000, |tasks, clock| {
            let platform = platform.insert(Platform::start(tasks, clock));
            Some((platform.url().to_owned(), platform.calls()))
        })
        .await;
        (world, platform.expect("a platform"))
    }

    /// A world that calls WeChat's API as `calls` does.
    pub(crate) async fn calling(config: Config, calls: Arc<dyn WechatCalls>) -> Self {
        let mut world = Self::with(config).await;
        world.calls = Some(calls);
        world.restart().await;
        world
    }

    /// A world that waits only 300 ms for its WeChat.
    pub(crate) async fn impatient() -> Self {
        Self::built(Config::default(), 300, |_, _| None).await
    }

    async fn built(
        mut config: Config,
        timeout_ms: u64,
        elsewhere: impl FnOnce(&Tasks, &Clock) -> Option<(String, Arc<dyn WechatCalls>)>,
    ) -> Self {
        let backend = Backend::new();
        if config.store == Config::default().store {
            config.store = backend.store();
        }
        let dir = TempDir::new().expect("a directory");
        let tasks = Tasks::new();
        let wechat = FakeWechat::start(&tasks);
        let (clock, hand) = Clock::manual(1_800_000_000);
        let tap = TrafficTap::on(clock.clone());
        let (url, calls) = elsewhere(&tasks, &clock).unzip();
        let endpoint = weappd_wechat::Config {
            endpoint: url.unwrap_or_else(|| wechat.url().to_owned()),
            timeout_ms,
        };
        let client = WechatClient::new(&endpoint, tap.clone()).expect("a client");
        let mini_apps = [APP, OTHER_APP].map(|appid| MiniApp::new(appid, Secret::new("secret")));
        let from = (&config, &mini_apps[..]);
        let sessions = open(dir.path(), from, &client, &clock, (&tap, &calls))
            .await
            .expect("opens");
        Self {
            dir,
            wechat,
            hand,
            sessions,
            tap,
            client,
            clock,
            config,
            mini_apps: mini_apps.into(),
            calls,
            _tasks: tasks,
            backend,
        }
    }

    /// Opens the sessions of a directory, beside those that are open.
    pub(crate) async fn open_at(&self, dir: &Path) -> Result<SessionService, Error> {
        open(
            dir,
            (&self.config, &self.mini_apps),
            &self.client,
            &self.clock,
            (&self.tap, &self.calls),
        )
        .await
    }

    /// Opens the sessions of another store.
    #[allow(dead_code, reason = "stores differ for some tests only")]
    pub(crate) async fn open_with(&self, store: &str) -> Result<SessionService, Error> {
        let config = Config {
            store: store.to_owned(),
            ..self.config.clone()
        };
        let (client, clock) = (&self.client, &self.clock);
        open(
            self.dir.path(),
            (&config, &self.mini_apps),
            client,
            clock,
            (&self.tap, &self.calls),
        )
        .await
    }

    /// Closes and opens again: memory is empty, the store is not.
    pub(crate) async fn restart(&mut self) {
        self.sessions.close().await.expect("closes");
        self.sessions = self.open_at(self.dir.path()).await.expect("opens again");
    }

    /// The same with other mini programs.
    pub(crate) async fn restart_with(&mut self, mini_apps: Vec<MiniApp>) {
        self.mini_apps = mini_apps;
        self.restart().await;
    }

    /// Other mini programs and settings while all goes on.
    pub(crate) fn reload(&self, config: Config, mini_apps: &[MiniApp]) {
        let next = SessionReload {
            config,
            mini_apps: mini_apps.to_vec(),
            wechat: self.client.clone(),
        };
        let staged = self.sessions.prepare(next).expect("good");
        self.sessions.commit(staged);
    }

    /// The settings the world began with.
    pub(crate) fn config(&self) -> Config {
        self.config.clone()
    }

    pub(crate) async fn get(&self, path: &str, headers: Headers<'_>) -> Answer {
        self.call("GET", path, headers, Body::empty()).await
    }

    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        headers: Headers<'_>,
        body: Body,
    ) -> Answer {
        send(self.router(APP), method, path, headers, body).await
    }

    /// The last visits of all sessions as they are written, the oldest session first.
    pub(crate) async fn last_visits(&self) -> Vec<i64> {
        self.backend.last_visits(self.dir.path()).await
    }

    /// The public routes of a site, and the internal ones.
    pub(crate) fn router(&self, appid: &str) -> Router {
        let choice = SiteChoice {
            appids: vec![appid.to_owned()],
            wafer1: true,
            wafer2: true,
        };
        public_router(self.sessions.clone(), choice)
            .merge(rpc_router(self.sessions.clone()))
            .merge(control_router(self.sessions.clone()))
            .merge(sign_router(self.sessions.clone()))
    }

    /// Logs a user in by Wafer 2, with user data; gives the skey.
    pub(crate) async fn log_in(&self, code: &str, openid: &str) -> String {
        self.wechat.code(code, openid);
        let (data, iv) = user_data(APP, openid, openid);
        let headers = [
            ("X-WX-Code", code),
            ("X-WX-Encrypted-Data", &data),
            ("X-WX-IV", &iv),
        ];
        let answer = self.get("/weapp/login", &headers).await;
        skey(&answer)
    }

    /// Logs a user in by a code alone; gives the skey.
    #[allow(dead_code, reason = "not every story logs in so")]
    pub(crate) async fn log_in_by_code(&self, code: &str, openid: &str) -> String {
        self.wechat.code(code, openid);
        skey(&self.get("/weapp/login", &[("X-WX-Code", code)]).await)
    }

    /// The Wafer 2 answer to who an skey is.
    pub(crate) async fn user(&self, skey: &str) -> Value {
        self.get("/weapp/user", &[("X-WX-Skey", skey)]).await.json
    }

    pub(crate) async fn native(&self, body: &Value) -> Answer {
        let body = Body::from(body.to_string());
        self.call("POST", "/weapp/session", &[], body).await
    }

    pub(crate) async fn rpc(&self, name: &str, para: Value) -> Value {
        let body = serde_json::json!({
            "version": 1, "componentName": "MA",
            "interface": {"interfaceName": name, "para": para},
        });
        let body = Body::from(body.to_string());
        let answer = self.call("POST", "/mina_auth/", &[], body).await;
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.json["version"], 1);
        assert_eq!(answer.json["componentName"], "MA");
        answer.json
    }
}

async fn open(
    dir: &Path,
    (config, mini_apps): (&Config, &[MiniApp]),
    client: &WechatClient,
    clock: &Clock,
    (tap, calls): (&TrafficTap, &Option<Arc<dyn WechatCalls>>),
) -> Result<SessionService, Error> {
    SessionService::open(SessionParts {
        config: config.clone(),
        data_dir: dir.to_owned(),
        mini_apps: mini_apps.to_vec(),
        wechat: client.clone(),
        clock: clock.clone(),
        tokens: RandomSource::system(),
        work: Work::current(),
        tap: tap.clone(),
        calls: calls.clone(),
    })
    .await
}

pub(crate) async fn send(
    router: Router,
    method: &str,
    path: &str,
    headers: Headers<'_>,
    body: Body,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).expect("a request");
    let response = router.oneshot(request).await.expect("an answer");
    let status = response.status();
    let body = response.into_body().collect().await.expect("a body");
    let body = body.to_bytes();
    Answer {
        status,
        json: if body.is_empty() {
            Value::Null
        } else {
            serde_json::from_slice(&body).expect("every answer is JSON")
        },
    }
}

/// The skey of a Wafer 2 login.
pub(crate) fn skey(answer: &Answer) -> String {
    let skey = answer.json["data"]["skey"].as_str();
    skey.unwrap_or_else(|| panic!("logged in: {answer:?}"))
        .to_owned()
}
