//! All of the simulator's paths on one port: WeChat's server, the phones, and the operator's page.
//!
//! WeChat's side answers like WeChat: HTTP 200 and `text/plain` whatever happened, no
//! CORS. The phone side answers pages on this machine only: other origins get 403.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde_json::json;

use crate::error::Error;
use crate::simulator::Simulator;

mod operator;
mod operator_page;
mod phone;
mod wechat;

#[cfg(test)]
pub(crate) mod simulator_world;

/// Bodies of phones and of the operator are a few fields.
const MAX_BODY_BYTES: usize = 16 * 1024;

/// Every path of the simulator.
pub fn router(simulator: Simulator) -> Router {
    let phone = Router::new()
        .route("/phone/{user}", get(phone::profile))
        .route("/phone/{user}/login", post(phone::login))
        .route("/phone/{user}/check_session", post(phone::check_session))
        .route("/phone/{user}/expire_session", post(phone::expire_session))
        .route("/phone/{user}/authorize", post(phone::authorize))
        .route("/phone/{user}/user_info", post(phone::user_info))
        .route("/phone/{user}/phone_number", post(phone::phone_number))
        .route("/phone/{user}/risky", post(phone::risky))
        .route("/phone/{user}/subscribe", post(phone::subscribe))
        .route("/phone/{user}/say", post(phone::say))
        .route("/phone/{user}/enter_session", post(phone::enter_session))
        .route("/phone/{user}/we_run_data", post(phone::we_run_data))
        .route("/phone/{user}/group_info", post(phone::group_info))
        .route("/phone/{user}/user_key", post(phone::user_key))
        .route("/phone/{user}/inbox", get(phone::inbox))
        .route("/avatar/{file}", get(phone::draw_avatar))
        .layer(from_fn(share_with_this_machine));
    let operator = Router::new()
        .route("/state", get(operator::show_state))
        .route(
            "/faults",
            get(operator::show_faults).post(operator::set_faults),
        )
        .route(
            "/settings",
            get(operator::show_settings).post(operator::set_settings),
        )
        .route(
            "/clock",
            get(operator::show_clock).post(operator::move_clock),
        )
        .route(
            "/calls",
            get(operator::show_calls).delete(operator::clear_calls),
        )
        .route(
            "/api_security",
            get(operator::show_api_security).post(operator::set_api_security),
        )
        .route("/push", get(operator::show_push).post(operator::set_push))
        .route("/push/verify", post(operator::verify_push))
        .route("/push/send", post(operator::send_push))
        .layer(from_fn(keep_from_other_sites));
    let desk = Router::new()
        .route("/", get(operator_page::index))
        .route("/desk/{*name}", get(operator_page::asset));
    Router::new()
        .merge(phone)
        .merge(operator)
        .merge(desk)
        .fallback(wechat::answer)
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(simulator)
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match &self {
            // A phone hears these as the `fail` of its call, not as a broken network.
            Self::Denied { .. } | Self::NotLoggedIn { .. } => StatusCode::OK,
            Self::UserName
            | Self::UnknownApp
            | Self::Body(_)
            | Self::AllowMissing
            | Self::Field(_)
            | Self::Setting(_)
            | Self::Advance
            | Self::Push(_)
            | Self::NotVerified(_) => StatusCode::BAD_REQUEST,
            Self::NoPush => StatusCode::CONFLICT,
            Self::TooManyUsers { .. } => StatusCode::INSUFFICIENT_STORAGE,
            Self::NoMiniApp | Self::Encrypt(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            tracing::error!(
                error = &self as &dyn std::error::Error,
                "a phone's call failed"
            );
        }
        (status, axum::Json(json!({ "errMsg": self.to_string() }))).into_response()
    }
}

// Who may ask.

/// Answers pages of this machine, from whatever port they came, and no others.
async fn share_with_this_machine(request: Request, next: Next) -> Response {
    let Some(origin) = request.headers().get(header::ORIGIN).cloned() else {
        return next.run(request).await;
    };
    if !is_loopback(&origin) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut response = if request.method() == Method::OPTIONS {
        (StatusCode::NO_CONTENT, preflight()).into_response()
    } else {
        next.run(request).await
    };
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    response
}

fn preflight() -> [(HeaderName, &'static str); 3] {
    [
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
        (header::ACCESS_CONTROL_MAX_AGE, "600"),
    ]
}

/// A page elsewhere must not switch this machine's faults.
async fn keep_from_other_sites(headers: HeaderMap, request: Request, next: Next) -> Response {
    match headers.get(header::ORIGIN) {
        Some(origin) if !is_loopback(origin) => StatusCode::FORBIDDEN.into_response(),
        _ => next.run(request).await,
    }
}

/// Whether an `Origin` is a page of this machine.
fn is_loopback(origin: &HeaderValue) -> bool {
    let Some(uri) = origin.to_str().ok().and_then(|o| o.parse::<Uri>().ok()) else {
        return false;
    };
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    web && uri.host().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|address| address.is_loopback())
    })
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use serde_json::Value;
    use tower::ServiceExt as _;
    use weappd_base::clock::{Clock, ManualClock};
    use weappd_base::random::RandomSource;
    use weappd_base::secret::Secret;
    use weappd_base::tap::TrafficTap;
    use weappd_base::tasks::Tasks;
    use weappd_wechat::{AppCredential, Config, Error as WechatError, WechatClient, open_data};

    use super::*;
    use crate::faults::{FaultSettings, SimulatedFault};
    use crate::simulator::{SimulatedApp, SimulatorParts};

    const QUERY: &str = "appid=wx1&secret=s1&grant_type=authorization_code";

    fn credential(n: u8) -> AppCredential {
        AppCredential {
            appid: format!("wx{n}"),
            secret: Secret::new(format!("s{n}")),
        }
    }

    /// A simulator with its router, and the hand that moves its time.
    struct SimulatorWorld {
        simulator: Simulator,
        router: Router,
        hand: ManualClock,
    }

    fn world() -> SimulatorWorld {
        let (clock, hand) = Clock::manual(1_800_000_000);
        let mini_app = |n| SimulatedApp {
            credential: credential(n),
            has_unionid: n == 2,
        };
        let simulator = Simulator::new(SimulatorParts {
            mini_apps: vec![mini_app(1), mini_app(2)],
            public_url: "http://127.0.0.1:8082".to_owned(),
            clock,
            random: RandomSource::system(),
            tap: TrafficTap::off(),
            tasks: Tasks::new(),
        })
        .expect("a simulator");
        SimulatorWorld {
            router: router(simulator.clone()),
            simulator,
            hand,
        }
    }

    impl SimulatorWorld {
        async fn send(&self, request: http::request::Builder, body: &'static str) -> Response {
            let request = request.body(Body::from(body)).expect("a request");
            let answered = self.router.clone().oneshot(request).await;
            answered.expect("an answer")
        }

        async fn post(&self, path: &str, body: &'static str) -> (StatusCode, Value) {
            let answer = self.send(Request::post(path), body).await;
            (answer.status(), json_of(answer).await)
        }

        async fn get(&self, path: &str) -> Response {
            self.send(Request::get(path), "").await
        }

        /// WeChat's errcode and errmsg for a query.
        async fn refused(&self, query: &str) -> (i64, String) {
            let answer = self.get(&format!("/sns/jscode2session?{query}")).await;
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/plain");
            let body = json_of(answer).await;
            let errmsg = body["errmsg"].as_str().expect("an errmsg");
            (
                body["errcode"].as_i64().expect("a number"),
                errmsg.to_owned(),
            )
        }

        async fn code(&self) -> String {
            let (status, body) = self.post("/phone/alice/login", "").await;
            assert_eq!(status, StatusCode::OK);
            body["code"].as_str().expect("a code").to_owned()
        }

        /// A production client and, behind a real socket, this world.
        fn client(&self, timeout_ms: u64) -> WechatClient {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
            listener.set_nonblocking(true).expect("a listener");
            let address = listener.local_addr().expect("an address");
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let router = self.router.clone();
            Tasks::new().spawn(async move {
                axum::serve(listener, router).await.expect("it serves");
            });
            let config = Config {
                endpoint: format!("http://{address}"),
                timeout_ms,
            };
            WechatClient::new(&config, TrafficTap::off()).expect("a client")
        }
    }

    async fn json_of(answer: Response) -> Value {
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await;
        serde_json::from_slice(&body.expect("a body")).expect("JSON")
    }

    #[tokio::test]
    async fn wechat_refuses_in_its_own_numbers() {
        let world = world();
        let code = world.code().await;
        for (query, errcode, errmsg) in [
            ("", 41002, "appid missing, rid: "),
            ("appid=wx1", 41004, "appsecret missing, rid: "),
            ("appid=wx1&secret=s1", 41008, "missing code, rid: "),
            (
                "appid=wx1&secret=s1&js_code=c",
                40002,
                "invalid grant_type, rid: ",
            ),
            (
                &format!("{}&js_code=c", QUERY.replace("wx1", "wx9")),
                40013,
                "invalid appid, rid: ",
            ),
            (
                &format!("{}&js_code={code}", QUERY.replace("s1", "s2")),
                40125,
                "invalid appsecret, rid: ",
            ),
            (
                &format!("{QUERY}&js_code=unknown"),
                40029,
                "invalid code, rid: ",
            ),
            (
                &format!("appid=wx2&secret=s2&grant_type=authorization_code&js_code={code}"),
                40029,
                "invalid code, rid: ",
            ),
        ] {
            let (got, told) = world.refused(query).await;
            assert_eq!(got, errcode, "{query}");
            let rid = told.strip_prefix(errmsg).expect(&told);
            assert!(rid.starts_with("6b49d200-") && rid.len() == 26, "{rid}");
        }
        // None of these used the code up.
        let good = world
            .get(&format!("/sns/jscode2session?{QUERY}&js_code={code}"))
            .await;
        assert_eq!(good.headers()[header::CONTENT_TYPE], "text/plain");
        let good = json_of(good).await;
        assert_eq!(good.get("errcode"), None);
        assert_eq!(good["session_key"].as_str().map(str::len), Some(24));
        let (again, _) = world.refused(&format!("{QUERY}&js_code={code}")).await;
        assert_eq!(again, 40163);
    }

    #[tokio::test]
    async fn wechat_wants_get() {
        let (status, body) = world()
            .post(&format!("/sns/jscode2session?{QUERY}"), "")
            .await;
        assert_eq!(
            (status, body["errcode"].as_i64()),
            (StatusCode::OK, Some(43001))
        );
    }

    #[tokio::test]
    async fn a_code_is_over_after_five_minutes() {
        let world = world();
        let (young, old) = (world.code().await, world.code().await);
        world.hand.advance(299);
        let answer = world
            .get(&format!("/sns/jscode2session?{QUERY}&js_code={young}"))
            .await;
        assert!(json_of(answer).await["openid"].is_string());
        world.hand.advance(1);
        let (errcode, _) = world.refused(&format!("{QUERY}&js_code={old}")).await;
        assert_eq!(errcode, 40029);
    }

    #[tokio::test]
    async fn the_production_client_logs_in_and_reads_the_users_data() {
        let world = world();
        let client = world.client(5000);
        let (_, login) = world.post("/phone/bob/login", r#"{"appid":"wx2"}"#).await;
        let code = login["code"].as_str().expect("a code");
        let session = client
            .code_to_session(&credential(2), code)
            .await
            .expect("a session");
        let who = json_of(world.get("/phone/bob?appid=wx2").await).await;
        assert_eq!(who["openid"], session.openid.as_str());
        assert_eq!(who["unionid"].as_str(), session.unionid.as_deref());
        assert_eq!(who["nickName"], "Bob 小波");

        let (_, data) = world
            .post("/phone/bob/user_info", r#"{"appid":"wx2"}"#)
            .await;
        let text = |name: &str| data[name].as_str().expect(name);
        let open = open_data::open(
            "wx2",
            &session.session_key,
            text("encryptedData"),
            Some(text("iv")),
        );
        assert_eq!(open.expect("it opens")["openId"], session.openid.as_str());
        assert!(open_data::is_raw_data_signed(
            text("rawData"),
            &session.session_key,
            text("signature")
        ));

        let again = client.code_to_session(&credential(2), code).await;
        assert!(matches!(
            again,
            Err(WechatError::Refused { errcode: 40163, .. })
        ));
        let wrong = AppCredential {
            secret: Secret::new("x"),
            ..credential(2)
        };
        let refused = client.code_to_session(&wrong, code).await;
        assert!(matches!(
            refused,
            Err(WechatError::Refused { errcode: 40125, .. })
        ));
    }

    #[tokio::test]
    async fn the_phone_side_keeps_its_contract() {
        let world = world();
        let ok = |body: Value| (StatusCode::OK, body);
        let path = |verb: &str| format!("/phone/alice/{verb}");
        let valid = |valid: bool| ok(json!({ "valid": valid }));
        assert_eq!(world.post(&path("check_session"), "").await, valid(false));
        world.code().await;
        assert_eq!(world.post(&path("check_session"), "{}").await, valid(true));
        let (_, number) = world.post(&path("phone_number"), "").await;
        assert!(
            ["code", "encryptedData", "iv"]
                .iter()
                .all(|name| number[name].is_string())
        );
        assert_eq!(
            world.post(&path("authorize"), r#"{"allow":false}"#).await,
            ok(json!({}))
        );
        assert_eq!(
            world.post(&path("user_info"), "").await,
            ok(json!({"errMsg": "getUserInfo:fail auth deny"}))
        );
        assert_eq!(
            world.post(&path("authorize"), r#"{"allow":true}"#).await,
            ok(json!({}))
        );
        let (_, data) = world.post(&path("user_info"), "").await;
        assert_eq!(data["userInfo"]["nickName"], "Alice 爱丽丝");
        assert_eq!(world.post(&path("expire_session"), "").await, ok(json!({})));
        assert_eq!(world.post(&path("check_session"), "").await, valid(false));
    }

    #[tokio::test]
    async fn the_phone_side_says_what_is_wrong() {
        let world = world();
        for (path, body) in [
            ("/phone/Alice/login", ""),
            ("/phone/alice/login", "{"),
            ("/phone/alice/login", r#"{"appid":"wx9"}"#),
            ("/phone/alice/authorize", ""),
        ] {
            let (status, answer) = world.post(path, body).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{path} {body}");
            assert!(answer["errMsg"].is_string(), "{path} {body}");
        }
        let long = Box::leak(" ".repeat(MAX_BODY_BYTES + 1).into_boxed_str());
        let answer = world.send(Request::post("/phone/alice/login"), long).await;
        assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    }

    #[tokio::test]
    async fn avatars_are_drawn_here() {
        let world = world();
        let answer = world.get("/avatar/alice.svg").await;
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "image/svg+xml");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20)
            .await
            .expect("a body");
        let svg = String::from_utf8(body.to_vec()).expect("a text");
        assert!(svg.starts_with("<svg") && svg.contains(">A</text>"));
        // Its own name space is the one address in it.
        assert_eq!(svg.matches("http").count(), 1);
        for path in [
            "/avatar/alice.png",
            "/avatar/%3Cscript%3E.svg",
            "/avatar/.svg",
        ] {
            assert_eq!(
                world.get(path).await.status(),
                StatusCode::BAD_REQUEST,
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn phones_answer_pages_of_this_machine_and_no_others() {
        let world = world();
        let near = "http://127.0.0.1:8080";
        let from = |method, path, origin| {
            Request::builder()
                .method(method)
                .uri(path)
                .header(header::ORIGIN, origin)
        };
        let login = "/phone/alice/login";
        let allow = header::ACCESS_CONTROL_ALLOW_ORIGIN;

        let preflight = world.send(from("OPTIONS", login, near), "").await;
        assert_eq!(preflight.status(), StatusCode::NO_CONTENT);
        assert_eq!(preflight.headers()[&allow], near);
        let answer = world.send(from("POST", login, near), "").await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()[&allow], near);

        for far in ["https://example.com", "null"] {
            for (method, path) in [("OPTIONS", login), ("POST", login), ("POST", "/faults")] {
                let answer = world.send(from(method, path, far), "{}").await;
                assert_eq!(
                    answer.status(),
                    StatusCode::FORBIDDEN,
                    "{method} {path} {far}"
                );
                assert!(!answer.headers().contains_key(&allow));
            }
        }
        // WeChat answers no page at all.
        let wechat = world
            .send(from("GET", "/sns/jscode2session", near), "")
            .await;
        assert!(!wechat.headers().contains_key(&allow));
    }

    #[tokio::test]
    async fn faults_are_set_shown_and_healed_over_http() {
        let world = world();
        let (status, set) = world
            .post("/faults", r#"{"fault":{"errcode":45011},"next":2}"#)
            .await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            set,
            json!({"latency_ms": 0, "fault": {"errcode": 45011}, "next": 2})
        );
        assert_eq!(world.refused(QUERY).await.0, 45011);
        assert_eq!(json_of(world.get("/faults").await).await["next"], 1);
        assert_eq!(world.post("/faults", "{}").await.0, StatusCode::OK);
        assert_eq!(world.refused(QUERY).await.0, 41008);
        assert_eq!(
            world.post("/faults", r#"{"falt":1}"#).await.0,
            StatusCode::BAD_REQUEST
        );
        // The phones are well meanwhile.
        world
            .simulator
            .set_faults(FaultSettings::once(SimulatedFault::Errcode(-1)));
        world.code().await;
        assert_eq!(world.simulator.faults().next, 1);
    }

    #[tokio::test]
    async fn each_fault_is_what_the_client_calls_it() {
        let world = world();
        let client = world.client(5000);
        for (fault, used_up) in [
            (SimulatedFault::Errcode(45011), false),
            (SimulatedFault::Reset, true),
            (SimulatedFault::Half, true),
            (SimulatedFault::WrongJson, true),
        ] {
            let code = world.code().await;
            world.simulator.set_faults(FaultSettings::once(fault));
            let got = client.code_to_session(&credential(1), &code).await;
            let got = got.expect_err("a fault");
            let as_named = match fault {
                SimulatedFault::Errcode(_) => {
                    matches!(got, WechatError::Refused { errcode: 45011, .. })
                }
                SimulatedFault::Reset => matches!(got, WechatError::Unreachable(_)),
                SimulatedFault::Half => matches!(got, WechatError::CutShort(_)),
                SimulatedFault::WrongJson => {
                    matches!(got, WechatError::Malformed { status: 200, .. })
                }
            };
            assert!(as_named, "{fault:?}: {got:?}");
            let again = client.code_to_session(&credential(1), &code).await;
            assert_eq!(again.is_err(), used_up, "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_short_fit_of_business_is_not_noticed() {
        let world = world();
        let client = world.client(5000);
        let code = world.code().await;
        world
            .simulator
            .set_faults(FaultSettings::once(SimulatedFault::Errcode(-1)));
        assert!(client.code_to_session(&credential(1), &code).await.is_ok());
    }

    #[tokio::test]
    async fn a_slow_wechat_runs_into_the_clients_deadline() {
        let world = world();
        let client = world.client(100);
        world.simulator.set_faults(FaultSettings {
            latency_ms: 60_000,
            ..FaultSettings::default()
        });
        let late = client.code_to_session(&credential(1), "c").await;
        assert!(matches!(late, Err(WechatError::Timeout { after_ms: 100 })));
    }

    #[test]
    fn only_pages_of_this_machine_are_loopback() {
        for near in [
            "http://127.0.0.1:8080",
            "https://localhost:8443",
            "http://[::1]:8080",
            "http://127.0.0.2",
        ] {
            assert!(is_loopback(&HeaderValue::from_static(near)), "{near}");
        }
        for far in [
            "null",
            "http://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://10.0.0.1",
            "file://localhost",
        ] {
            assert!(!is_loopback(&HeaderValue::from_static(far)), "{far}");
        }
    }
}
