//! The real session server's own answers, replayed: `wafer-session-server.json` holds what
//! the PHP server of tencentyun/wafer-session-server said to each request, word for word,
//! with its clock moved by hand. weappd must say the same bytes, or what the recording says
//! of weappd, with a reason.

use axum::body::Body;
use axum::http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use weappd_base::secret::Secret;
use weappd_session::http::rpc_router;
use weappd_session::{Config, MiniApp};

use crate::world::World;

const RECORDING: &str = include_str!("../wafer-session-server.json");

pub(crate) fn recording() -> Value {
    serde_json::from_str(RECORDING).expect("a recording")
}

/// What the names in angle brackets stand for, learnt as the scene goes on.
#[derive(Default)]
struct Names(Vec<(String, String)>);

impl Names {
    fn fill(&self, text: &str) -> String {
        let pairs = self.0.iter();
        pairs.fold(text.to_owned(), |text, (name, value)| {
            text.replace(name, value)
        })
    }

    fn hide(&self, text: &str) -> String {
        let pairs = self.0.iter().filter(|(name, _)| !name.starts_with("<ID"));
        pairs.fold(text.to_owned(), |text, (name, value)| {
            text.replace(value, name)
        })
    }

    fn learn(&mut self, who: &str, answer: &str) {
        let answer: Value = serde_json::from_str(answer).expect("JSON");
        let data = &answer["returnData"];
        let (Some(id), Some(skey)) = (data["id"].as_str(), data["skey"].as_str()) else {
            return;
        };
        self.0.push((format!("<id {who}>"), id.to_owned()));
        self.0.push((format!("<ID {who}>"), id.to_uppercase()));
        self.0.push((format!("<skey {who}>"), skey.to_owned()));
    }
}

/// Plays a scene in a world that stands as the scene begins; what weappd said otherwise
/// than it should. `store` is `own` or `cAuth`.
pub(crate) async fn differences(world: &World, scene: &Value, store: &str) -> Vec<String> {
    let mut names = Names::default();
    let mut found = Vec::new();
    for step in scene["steps"].as_array().expect("steps") {
        world.hand.advance(step["advance"].as_i64().unwrap_or(0));
        for (code, answer) in step["wechat"].as_object().into_iter().flatten() {
            world.wechat.answer(code, answer.clone());
        }
        let said = ask(world, step, &names).await;
        if let Some(who) = step["keep"].as_str() {
            names.learn(who, &said);
        }
        let said = names.hide(&said);
        let ours = step["weappd"].as_array().into_iter().flatten();
        let ours = ours
            .filter(|ours| ours["store"].is_null() || ours["store"] == store)
            .map(|ours| &ours["body"])
            .next();
        let wanted = ours.unwrap_or(&step["answer"]["body"]);
        let wanted = wanted.as_str().expect("a body");
        if said != wanted {
            found.push(format!(
                "{} | {}\n  theirs {wanted}\n  weappd {said}",
                scene["name"], step["name"]
            ));
        }
        assert!(
            ours.is_none_or(|ours| *ours != step["answer"]["body"]),
            "{}: no difference to give a reason for",
            step["name"]
        );
    }
    found
}

async fn ask(world: &World, step: &Value, names: &Names) -> String {
    let body = match &step["body"]["hex"] {
        Value::String(text) => hex::decode(text).expect("hex"),
        _ => names.fill(step["body"].as_str().expect("a body")).into(),
    };
    let request = Request::builder()
        .method(step["method"].as_str().unwrap_or("POST"))
        .uri("/mina_auth/")
        .header(
            header::CONTENT_TYPE,
            step["content_type"].as_str().unwrap_or("application/json"),
        )
        .body(Body::from(body))
        .expect("a request");
    let router = rpc_router(world.sessions.clone());
    let response = router.oneshot(request).await.expect("an answer");
    assert_eq!(response.status(), StatusCode::OK, "{}", step["name"]);
    // The original left PHP's own, text/html; charset=UTF-8.
    assert_eq!(
        response.headers()[header::CONTENT_TYPE],
        "application/json; charset=utf-8"
    );
    let body = response.into_body().collect().await.expect("a body");
    String::from_utf8(body.to_bytes().into()).expect("text")
}

/// The mini programs a scene begins with.
fn mini_apps(recording: &Value, scene: &Value) -> Vec<MiniApp> {
    let app = &scene["app"];
    let (Some(days), Some(secs)) = (
        app["login_duration"].as_u64(),
        app["session_duration"].as_u64(),
    ) else {
        return Vec::new();
    };
    let appid = recording["appid"].as_str().expect("an appid");
    vec![MiniApp {
        login_duration_days: u32::try_from(days).expect("days"),
        session_duration_secs: secs,
        ..MiniApp::new(appid.to_owned(), Secret::new("secret"))
    }]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_servers_answers_are_ours() {
    let recording = recording();
    let mut found = Vec::new();
    for scene in recording["scenes"].as_array().expect("scenes") {
        let config = Config {
            rpc_initdata: scene["rpc_initdata"] == true,
            // The old server held one session for each user.
            max_sessions_per_user: 1,
            ..Config::default()
        };
        let mut world = World::with(config).await;
        world.restart_with(mini_apps(&recording, scene)).await;
        found.extend(differences(&world, scene, "own").await);
    }
    assert!(found.is_empty(), "{}:\n{}", found.len(), found.join("\n"));
}

#[test]
fn every_difference_has_its_reason() {
    let recording = recording();
    let scenes = recording["scenes"].as_array().expect("scenes");
    let steps = scenes
        .iter()
        .flat_map(|scene| scene["steps"].as_array().expect("steps"));
    for step in steps {
        for ours in step["weappd"].as_array().into_iter().flatten() {
            let reason = ours["because"].as_str().unwrap_or_default();
            assert!(reason.len() > 10, "{}", step["name"]);
        }
    }
}
