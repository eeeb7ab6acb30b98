//! A simulator with its router and the hand that moves its clock, for this room's tests.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use weappd_base::clock::{Clock, ManualClock};
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Tasks;
use weappd_wechat::AppCredential;

use crate::simulator::{SimulatedApp, Simulator, SimulatorParts};

pub(crate) const NOW: i64 = 1_800_000_000;

pub(crate) struct SimulatorWorld {
    pub(crate) router: Router,
    pub(crate) hand: ManualClock,
    pub(crate) tasks: Tasks,
}

impl SimulatorWorld {
    /// Two mini programs, `wx1` (secret `s1`) and `wx2` (`s2`).
    pub(crate) fn new() -> Self {
        let (clock, hand) = Clock::manual(NOW);
        let mini_app = |n: u8| SimulatedApp {
            credential: AppCredential {
                appid: format!("wx{n}"),
                secret: Secret::new(format!("s{n}")),
            },
            has_unionid: false,
        };
        let tasks = Tasks::new();
        let simulator = Simulator::new(SimulatorParts {
            mini_apps: vec![mini_app(1), mini_app(2)],
            public_url: "http://127.0.0.1:8082".to_owned(),
            clock,
            random: RandomSource::system(),
            tap: TrafficTap::off(),
            tasks: tasks.clone(),
        })
        .expect("a simulator");
        Self {
            router: super::router(simulator),
            hand,
            tasks,
        }
    }

    pub(crate) async fn send(&self, method: &str, path: &str, body: String) -> Response {
        let request = Request::builder().method(method).uri(path);
        let request = request.body(Body::from(body)).expect("a request");
        let answered = self.router.clone().oneshot(request).await;
        answered.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        json_of(self.send("GET", path, String::new()).await).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Value {
        json_of(self.send("POST", path, body.to_string()).await).await
    }

    /// An `access_token` of `wx1`.
    pub(crate) async fn token(&self) -> String {
        self.stable("wx1", "s1", false).await.0
    }

    pub(crate) async fn stable(&self, appid: &str, secret: &str, force: bool) -> (String, i64) {
        let asked = json!({
            "grant_type": "client_credential",
            "appid": appid,
            "secret": secret,
            "force_refresh": force,
        });
        let given = self.post("/cgi-bin/stable_token", asked).await;
        let token = given["access_token"].as_str().expect("a token");
        (
            token.to_owned(),
            given["expires_in"].as_i64().expect("a time"),
        )
    }

    /// Calls a POST endpoint of WeChat with a fresh enough token of `wx1`.
    pub(crate) async fn call(&self, path: &str, body: Value) -> Value {
        let token = self.token().await;
        self.post(&format!("{path}?access_token={token}"), body)
            .await
    }

    /// The user's openid in `wx1`, who has just logged in there.
    pub(crate) async fn log_in(&self, user: &str) -> String {
        self.post(&format!("/phone/{user}/login"), json!({})).await;
        let profile = self.get(&format!("/phone/{user}")).await;
        profile["openid"].as_str().expect("an openid").to_owned()
    }
}

pub(crate) async fn bytes_of(answer: Response) -> Vec<u8> {
    let body = axum::body::to_bytes(answer.into_body(), 1 << 22).await;
    body.expect("a body").to_vec()
}

pub(crate) async fn json_of(answer: Response) -> Value {
    assert_ne!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    let body = bytes_of(answer).await;
    serde_json::from_slice(&body).expect("JSON")
}
