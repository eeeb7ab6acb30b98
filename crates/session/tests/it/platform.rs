//! The simulated WeChat, the phones of its users, and calls of its API with an `access_token`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Tasks;
use weappd_simulator::{SimulatedApp, Simulator, SimulatorParts};
use weappd_wechat::AppCredential;
use weappd_wechat::{CallError, WechatCall, WechatCalls};

use crate::world::{APP, Answer, OTHER_APP, World};

pub(crate) struct Platform {
    router: Router,
    url: String,
    calls: Arc<OverHttp>,
}

/// Calls over the simulator's HTTP side.
struct OverHttp {
    router: Router,
    made: AtomicUsize,
}

impl std::fmt::Debug for OverHttp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OverHttp")
    }
}

async fn ask(router: &Router, method: &str, uri: &str, body: &Value) -> Value {
    let request = Request::builder().method(method).uri(uri);
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    let request = request.body(body).expect("a request");
    let answer = router.clone().oneshot(request).await.expect("an answer");
    let text = answer.into_body().collect().await.expect("a body");
    serde_json::from_slice(&text.to_bytes()).expect("JSON")
}

impl WechatCalls for OverHttp {
    fn call<'a>(
        &'a self,
        appid: &'a str,
        call: WechatCall,
    ) -> BoxFuture<'a, Result<Value, CallError>> {
        async move {
            self.made.fetch_add(1, Ordering::SeqCst);
            let grant =
                format!("/cgi-bin/token?appid={appid}&secret=secret&grant_type=client_credential");
            let grant = ask(&self.router, "GET", &grant, &Value::Null).await;
            let token = grant["access_token"].as_str().expect("a token");
            let mut uri = format!("{}?access_token={token}", call.path);
            for (name, value) in call.query {
                uri = format!("{uri}&{name}={value}");
            }
            let body = call.body.unwrap_or_default();
            let answer = ask(&self.router, call.method.as_str(), &uri, &body).await;
            match answer["errcode"].as_i64().unwrap_or(0) {
                0 => Ok(answer),
                errcode => Err(CallError::Refused {
                    errcode,
                    errmsg: answer["errmsg"].to_string(),
                }),
            }
        }
        .boxed()
    }
}

impl Platform {
    pub(crate) fn start(tasks: &Tasks, clock: &Clock) -> Self {
        let simulator = Simulator::new(SimulatorParts {
            mini_apps: [APP, OTHER_APP].map(mini_app).into(),
            public_url: "http://127.0.0.1:1".to_owned(),
            clock: clock.clone(),
            random: RandomSource::system(),
            tap: TrafficTap::off(),
            tasks: tasks.clone(),
        });
        let router = weappd_simulator::http::router(simulator.expect("a simulator"));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("nonblocking");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        let served = router.clone();
        tasks.spawn(async move {
            axum::serve(listener, served).await.expect("it serves");
        });
        let calls = Arc::new(OverHttp {
            router: router.clone(),
            made: AtomicUsize::new(0),
        });
        Self { router, url, calls }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn calls(&self) -> Arc<dyn WechatCalls> {
        Arc::<OverHttp>::clone(&self.calls)
    }

    /// How many calls were made with an `access_token`.
    pub(crate) fn called(&self) -> usize {
        self.calls.made.load(Ordering::SeqCst)
    }

    /// What a `wx.*` call gives on a user's phone.
    pub(crate) async fn wx(&self, user: &str, verb: &str) -> Value {
        let path = format!("/phone/{user}/{verb}");
        ask(&self.router, "POST", &path, &json!({})).await
    }

    /// The same in the other mini program.
    pub(crate) async fn wx_elsewhere(&self, user: &str, verb: &str) -> Value {
        let path = format!("/phone/{user}/{verb}");
        ask(&self.router, "POST", &path, &json!({"appid": OTHER_APP})).await
    }

    /// Logs a user in with a code alone; gives the skey.
    pub(crate) async fn log_in(&self, world: &World, user: &str) -> String {
        let code = self.wx(user, "login").await["code"].clone();
        let answer = world.native(&json!({"code": code})).await;
        let skey = answer.json["skey"].as_str();
        skey.unwrap_or_else(|| panic!("logged in: {answer:?}"))
            .to_owned()
    }
}

fn mini_app(appid: &str) -> SimulatedApp {
    SimulatedApp {
        credential: AppCredential {
            appid: appid.to_owned(),
            secret: Secret::new("secret"),
        },
        has_unionid: false,
    }
}

/// Asks at a path under `/weapp/session`, with a session.
pub(crate) async fn asked(
    world: &World,
    (method, what): (&str, &str),
    skey: &str,
    body: &Value,
) -> Answer {
    let headers = [("X-WX-Skey", skey)];
    let path = format!("/weapp/session{what}");
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    world.call(method, &path, &headers, body).await
}

/// The code of an error, or `none`.
pub(crate) fn error(answer: &Answer) -> &str {
    answer.json["error"]["code"].as_str().unwrap_or("none")
}
