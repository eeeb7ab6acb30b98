//! What must hold for any input to this room's parsers: the bodies of the fuzz target,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "../feed.rs"]
pub(crate) mod feed;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tower::ServiceExt as _;
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::Tasks;
use weappd_wechat::AppCredential;

use crate::faults::FaultSettings;
use crate::http::router;
use crate::simulator::{SimulatedApp, Simulator, SimulatorParts};
use crate::{endpoints, push};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 1] = [("simulator_calls", calls)];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

const APPID: &str = "wxde00000000000001";
/// No input says it by chance.
const SECRET: &str = "9c6fa4b1d20f4f0e8e1b";
/// The calls that are simulated, for inputs that need not spell them.
const PATHS: [&str; 28] = [
    "/sns/jscode2session",
    "/cgi-bin/token",
    "/cgi-bin/stable_token",
    "/wxa/business/getuserphonenumber",
    "/wxa/business/getuserencryptkey",
    "/wxa/business/checkencryptedmsg",
    "/wxa/checksession",
    "/wxa/resetusersessionkey",
    "/wxa/getuserriskrank",
    "/wxa/msg_sec_check",
    "/wxa/media_check_async",
    "/cgi-bin/message/subscribe/send",
    "/cgi-bin/message/custom/send",
    "/cgi-bin/message/custom/typing",
    "/cgi-bin/openapi/quota/get",
    "/cgi-bin/openapi/quota/clear",
    "/cgi-bin/clear_quota",
    "/cgi-bin/clear_quota/v2",
    "/cgi-bin/callback/check",
    "/cgi-bin/media/upload",
    "/wxa/getwxacodeunlimit",
    "/wxa/getwxacode",
    "/phone/alice/subscribe",
    "/phone/alice/say",
    "/phone/alice/group_info",
    "/settings",
    "/clock",
    "/api_security",
];

thread_local! {
    static RUNTIME: tokio::runtime::Runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
}

fn calls(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(8) {
        0 => push::fuzzing::letters(&mut feed),
        1 => faults(feed.rest()),
        _ => RUNTIME.with(|runtime| runtime.block_on(SimulatorWorld::new().live(&mut feed))),
    }
}

/// Faults are counted down and never wait for long.
fn faults(body: &[u8]) {
    let Ok(mut faults) = serde_json::from_slice::<FaultSettings>(body) else {
        return;
    };
    let again: FaultSettings =
        serde_json::from_value(json!(faults)).expect("what is shown can be set");
    assert_eq!(again, faults);
    let (next, only) = (faults.next, faults.path.clone());
    let path = only.unwrap_or_else(|| "/a".to_owned());
    let (wait, fault) = faults.take(&path);
    assert!(wait <= crate::faults::MAX_LATENCY_MS);
    assert_eq!(fault.is_some(), next > 0 && faults.fault.is_some());
    assert!(faults.next <= next && faults.take(&format!("{path}x")).0 <= wait);
}

/// A fresh WeChat with a user who has everything a call may ask for.
struct SimulatorWorld {
    router: Router,
    /// What stands for itself in an input, and what it stands for.
    names: Vec<(&'static str, String)>,
    /// The input said the secret, and may be told what it said.
    says_secret: bool,
}

impl SimulatorWorld {
    fn new() -> Self {
        let simulator = Simulator::new(SimulatorParts {
            mini_apps: vec![SimulatedApp {
                credential: AppCredential {
                    appid: APPID.to_owned(),
                    secret: Secret::new(SECRET),
                },
                has_unionid: true,
            }],
            public_url: "http://127.0.0.1:8082".to_owned(),
            clock: Clock::manual(1_800_000_000).0,
            random: RandomSource::seeded(7),
            tap: TrafficTap::off(),
            tasks: Tasks::new(),
        })
        .expect("a simulator");
        Self {
            router: router(simulator),
            names: Vec::new(),
            says_secret: false,
        }
    }

    /// Asks and is answered; then what must hold for every answer.
    async fn ask(&self, method: &str, target: &str, body: String) -> Option<(StatusCode, Value)> {
        let request = Request::builder().method(method).uri(target);
        // Not every text is an address.
        let request = request.body(Body::from(body)).ok()?;
        let path = request.uri().path().to_owned();
        let answer = self.router.clone().oneshot(request).await;
        let answer = answer.expect("an answer");
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = axum::body::to_bytes(answer.into_body(), usize::MAX).await;
        let body = body.expect("a body");
        assert!(!status.is_server_error(), "{method} {target}: {status}");
        let kind = headers.get(header::CONTENT_TYPE);
        let kind = kind.map_or("", |kind| kind.to_str().expect("text"));
        let text = String::from_utf8_lossy(&body);
        assert!(
            self.says_secret || !text.contains(SECRET),
            "{method} {target}: {text}"
        );
        if kind == "image/png" {
            assert!(
                body.starts_with(b"\x89PNG\r\n\x1a\n") && endpoints::method_of(&path).is_some()
            );
            return None;
        }
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        if kind == "text/plain" && status != StatusCode::BAD_REQUEST {
            // WeChat's side.
            let json = json.unwrap_or_else(|| panic!("{method} {target}: {text}"));
            let code = json.get("errcode").and_then(Value::as_i64);
            assert_eq!(status == StatusCode::NOT_FOUND, code == Some(40066));
            if code.is_some_and(|code| code != 0) {
                let errmsg = json["errmsg"].as_str().expect("an errmsg");
                assert!(errmsg.contains(", rid: "), "{json}");
            }
            return Some((status, json));
        }
        if status == StatusCode::BAD_REQUEST {
            let told = json.as_ref().map(|json| json["errMsg"].is_string());
            assert!(told.unwrap_or(!text.is_empty()), "{text}");
        }
        Some((status, json.unwrap_or_default()))
    }

    async fn given(&self, method: &str, target: &str, body: Value, field: &str) -> String {
        let (_, given) = self
            .ask(method, target, body.to_string())
            .await
            .expect("JSON");
        let text = given[field].as_str();
        text.unwrap_or_else(|| panic!("{given}")).to_owned()
    }

    /// A user logs in, a server gets a token, and then the input has its way.
    async fn live(mut self, feed: &mut Feed<'_>) {
        let asked = json!({"grant_type": "client_credential", "appid": APPID, "secret": SECRET});
        let nothing = json!({});
        let token = self.given("POST", "/cgi-bin/stable_token", asked, "access_token");
        let token = token.await;
        let code = self.given("POST", "/phone/alice/login", nothing.clone(), "code");
        let code = code.await;
        let phone = self.given("POST", "/phone/alice/phone_number", nothing.clone(), "code");
        let phone = phone.await;
        let openid = self.given("GET", "/phone/alice", nothing, "openid").await;
        self.names = vec![
            ("@token", token),
            ("@code", code),
            ("@phone", phone),
            ("@openid", openid),
            ("@secret", SECRET.to_owned()),
        ];
        // One code of each kind was given out; each is good once.
        let (mut codes, mut logins, mut phones, mut numbers) = (1, 0, 1, 0);
        let mut calls = 0;
        while !feed.is_empty() && calls < 4 {
            calls += 1;
            let (method, path) = (feed.below(4), feed.below(2 * PATHS.len()));
            let (given, query) = (feed.text(), self.named(feed.text()));
            let body = self.named(feed.text());
            let path = PATHS.get(path).map_or(given, |path| (*path).to_owned());
            // Pushes call out, and faults wait.
            if path.contains("push") || path.contains("faults") || path.contains('%') {
                continue;
            }
            let target = match method {
                0 | 2 => format!("{path}?{query}"),
                _ => format!("{path}?access_token={}&{query}", self.names[0].1),
            };
            self.says_secret |= target.contains(SECRET) || body.contains(SECRET);
            let method = ["GET", "GET", "POST", "POST"][method];
            let Some((_, told)) = self.ask(method, &target, body).await else {
                continue;
            };
            logins += u32::from(path == "/sns/jscode2session" && told["session_key"].is_string());
            numbers += u32::from(told["phone_info"].is_object());
            codes += u32::from(path.ends_with("/login") && told["code"].is_string());
            phones += u32::from(path.ends_with("/phone_number") && told["code"].is_string());
        }
        assert!(logins <= codes && numbers <= phones);
        for path in ["/state", "/calls", "/settings"] {
            let (status, told) = self.ask("GET", path, String::new()).await.expect("JSON");
            assert!(status.is_success() && told.is_object());
        }
    }

    /// The text with the names in it replaced.
    fn named(&self, mut text: String) -> String {
        for (name, value) in &self.names {
            text = text.replace(name, value);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
