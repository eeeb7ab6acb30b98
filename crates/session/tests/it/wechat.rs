//! A fake WeChat: hands out codes, exchanges each once, and can be made to keep silent.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use weappd_base::secret::Secret;
use weappd_base::tasks::Tasks;
use weappd_wechat::open_data;

#[derive(Clone)]
pub(crate) struct FakeWechat(Arc<Inner>);

struct Inner {
    answers: Mutex<HashMap<String, Value>>,
    asked: AtomicUsize,
    secrets: Mutex<Vec<String>>,
    speaks: watch::Sender<bool>,
    pub_url: String,
}

impl FakeWechat {
    pub(crate) fn start(tasks: &Tasks) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        listener.set_nonblocking(true).expect("nonblocking");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let fake = Self(Arc::new(Inner {
            answers: Mutex::default(),
            asked: AtomicUsize::new(0),
            secrets: Mutex::default(),
            speaks: watch::Sender::new(true),
            pub_url: url,
        }));
        let router = Router::new()
            .route("/sns/jscode2session", get(exchange))
            .with_state(fake.clone());
        let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
        tasks.spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("the fake serves");
        });
        fake
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.pub_url
    }

    /// What the code will be answered with, once; an object's `$status` is the answer's.
    pub(crate) fn answer(&self, code: &str, answer: Value) {
        self.0.answers.lock().insert(code.to_owned(), answer);
    }

    /// A code for a user whose session key is made from its name.
    pub(crate) fn code(&self, code: &str, openid: &str) {
        let key = session_key(openid);
        self.answer(code, json!({"openid": openid, "session_key": key.expose()}));
    }

    /// How often a code was exchanged or tried.
    pub(crate) fn asked(&self) -> usize {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// The secrets that came with the codes, in their order.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.0.secrets.lock().clone()
    }

    /// Keeps every answer back, or lets them go.
    pub(crate) fn silent(&self, silent: bool) {
        self.0.speaks.send_replace(!silent);
    }
}

async fn exchange(
    State(fake): State<FakeWechat>,
    Query(query): Query<HashMap<String, String>>,
) -> (StatusCode, Json<Value>) {
    fake.0.asked.fetch_add(1, Ordering::SeqCst);
    let secret = query.get("secret").cloned().unwrap_or_default();
    fake.0.secrets.lock().push(secret);
    let mut speaks = fake.0.speaks.subscribe();
    speaks.wait_for(|speaks| *speaks).await.expect("a fake");
    let code = query.get("js_code").cloned().unwrap_or_default();
    let used = json!({"errcode": 40163, "errmsg": "code been used"});
    let unknown = json!({"errcode": 40029, "errmsg": "invalid code"});
    let mut answers = fake.0.answers.lock();
    let answer = match answers.get(&code).cloned() {
        Some(answer) if answer["errcode"].is_null() => {
            answers.insert(code, used);
            answer
        }
        Some(refusal) => refusal,
        None => unknown,
    };
    let status = answer["$status"].as_u64().unwrap_or(200);
    let status = u16::try_from(status).map(StatusCode::from_u16);
    let status = status.expect("a status").expect("a status");
    (status, Json(answer))
}

/// The session key of a user of the fake.
pub(crate) fn session_key(openid: &str) -> Secret {
    let mut bytes = [7; 16];
    for (byte, letter) in bytes.iter_mut().zip(openid.bytes()) {
        *byte = letter;
    }
    open_data::session_key_text(bytes)
}

/// What `wx.getUserInfo` gives: `encryptedData` and `iv`.
pub(crate) fn user_data(appid: &str, openid: &str, nick: &str) -> (String, String) {
    let plain = json!({
        "openId": openid, "nickName": nick,
        "watermark": {"timestamp": 1_477_314_187, "appid": appid},
    });
    let iv = [9; 16];
    let data = open_data::encrypt(&session_key(openid), &plain.to_string(), iv);
    (data.expect("encrypts"), open_data::iv_text(iv))
}
