//! The chat room of `weappd dev`: a business server as anybody would write one.
//!
//! It runs as a child process under the supervisor and has only what every business
//! server has: a port, HTTP, the environment weappd gives to apps, and the tunnel
//! protocol. It keeps no session and opens no socket to a phone.
//!
//! - [`room`]: who is in the room and what everybody must hear. No I/O.
//! - [`wire`]: the tunnel protocol's envelopes and signatures. No I/O.
//! - [`weappd`]: the three questions it asks weappd.
//!
//! A phone asks `GET /weapp/tunnel` for a tunnel; what then happens in the tunnel comes as
//! signed `POST /weapp/tunnel`; what the room answers goes back in order through one queue.

mod room;
mod weappd;
mod wire;

use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{Html, IntoResponse, Json, Response};
use axum::routing::get;
use axum::serve::ListenerExt as _;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Mutex, mpsc};
use weappd_base::causes::chain;
use weappd_base::secret::Secret;
use weappd_base::tasks::Tasks;

use self::room::{ChatPerson, ChatRoom};
use self::weappd::WeappdClient;
use self::wire::ChatPush;
use crate::exit::ExitFailure;

/// What the supervisor tells every app through its environment.
#[derive(Clone, Debug)]
pub(crate) struct DemoEnv {
    /// Where to listen on 127.0.0.1 (`PORT`).
    pub(crate) port: u16,
    /// weappd's internal API (`WEAPPD_INTERNAL_URL`).
    pub(crate) internal_url: String,
    /// The public name this server is known by (`WEAPPD_SERVER_HOST`).
    pub(crate) server_host: String,
    /// The key that signs what goes between tunnel and business (`WEAPPD_TUNNEL_KEY`).
    pub(crate) tunnel_key: Secret,
}

/// Why the chat room could not open, or had to close.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    /// Nobody said where to listen, or whom to ask.
    #[error("{0} is not set, or not to be understood")]
    ReadEnvironment(&'static str),
    /// The port the supervisor chose is not to be had.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Listen {
        /// That port.
        port: u16,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The signal that ends an app cannot be heard.
    #[error("cannot hear SIGTERM")]
    HearSignal(#[source] std::io::Error),
    /// The listening socket failed.
    #[error("the chat room's listener failed")]
    Serve(#[source] std::io::Error),
}

/// The largest callback: a packet of 32 KiB, escaped twice.
const MAX_CALLBACK: usize = 256 * 1024;

/// What to do where there is nothing.
const NO_PATH_HINT: &str =
    "the phone page is at /; your own server gets all paths with `weappd dev -- COMMAND`";

/// The same for people.
const NO_PATH_PAGE: &str = include_str!("demo_chat/no_path.html");

/// How many pushes may wait for weappd to take them.
const MAX_QUEUE: usize = 1024;

struct ChatServer {
    weappd: WeappdClient,
    key: Secret,
    // Held while a push is queued, so that the queue keeps the order of what happened.
    room: Mutex<ChatRoom>,
    pushes: mpsc::Sender<ChatPush>,
}

/// `weappd demo-chat`: reads what the supervisor said, and serves.
pub(crate) async fn main() -> Result<(), ExitFailure> {
    let hint = "`weappd dev` starts this server and sets its environment";
    let env = DemoEnv::read().map_err(|error| ExitFailure::new(&error, hint))?;
    run(env).await.map_err(|error| ExitFailure::new(&error, ""))
}

impl DemoEnv {
    fn read() -> Result<Self, DemoError> {
        let port = variable("PORT")?;
        Ok(Self {
            port: port
                .parse()
                .map_err(|_| DemoError::ReadEnvironment("PORT"))?,
            internal_url: variable("WEAPPD_INTERNAL_URL")?,
            server_host: variable("WEAPPD_SERVER_HOST")?,
            tunnel_key: Secret::new(variable("WEAPPD_TUNNEL_KEY")?),
        })
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "an app's settings come through its environment"
)]
fn variable(name: &'static str) -> Result<String, DemoError> {
    std::env::var(name).map_err(|_| DemoError::ReadEnvironment(name))
}

/// Serves the chat room until SIGTERM.
pub(crate) async fn run(env: DemoEnv) -> Result<(), DemoError> {
    let port = env.port;
    let listener = listen(port).map_err(|source| DemoError::Listen { port, source })?;
    let mut terminate = signal(SignalKind::terminate()).map_err(DemoError::HearSignal)?;
    let (pushes, queue) = mpsc::channel(MAX_QUEUE);
    let chat = Arc::new(ChatServer {
        key: env.tunnel_key.clone(),
        weappd: WeappdClient::new(env),
        room: Mutex::new(ChatRoom::default()),
        pushes,
    });
    let tasks = Tasks::new();
    tasks.spawn(deliver(Arc::clone(&chat), queue));
    log(&format!("the chat room is open on 127.0.0.1:{port}"));
    // Without this an answer may wait 40 ms for the other side's acknowledgement.
    let listener = listener.tap_io(|tcp| drop(tcp.set_nodelay(true)));
    axum::serve(listener, router(chat))
        .with_graceful_shutdown(async move {
            terminate.recv().await;
        })
        .await
        .map_err(DemoError::Serve)
}

fn listen(port: u16) -> std::io::Result<tokio::net::TcpListener> {
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

fn router(chat: Arc<ChatServer>) -> Router {
    Router::new()
        .route("/weapp/tunnel", get(open).post(callback))
        .fallback(nothing_here)
        .layer(DefaultBodyLimit::max(MAX_CALLBACK))
        .with_state(chat)
}

/// Every other path: the chat room has no page of its own.
async fn nothing_here(uri: Uri, headers: HeaderMap) -> Response {
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|kind| kind.to_str().ok());
    if !accepts.is_some_and(|kind| kind.contains("text/html")) {
        let told = format!("the chat room of weappd dev has no path {}", uri.path());
        let answer = json!({"error": {"code": "not_found", "message": told, "hint": NO_PATH_HINT}});
        return (StatusCode::NOT_FOUND, Json(answer)).into_response();
    }
    (StatusCode::NOT_FOUND, Html(NO_PATH_PAGE)).into_response()
}

/// `GET /weapp/tunnel`: who calls is in the headers, put there by the edge.
async fn open(State(chat): State<Arc<ChatServer>>, headers: HeaderMap) -> Response {
    let Some(openid) = headers.get("x-wx-openid").and_then(|id| id.to_str().ok()) else {
        return refuse(StatusCode::UNAUTHORIZED, -1, "ERR_SKEY_INVALID");
    };
    let user = match chat.weappd.user(&headers).await {
        Ok(Some(user)) => user,
        Ok(None) => return refuse(StatusCode::UNAUTHORIZED, -1, "ERR_SKEY_INVALID"),
        Err(error) => return unreachable(&error),
    };
    match chat.weappd.open_tunnel().await {
        Ok(tunnel) => {
            let person = ChatPerson::new(openid, &user);
            chat.room
                .lock()
                .await
                .expect_person(&tunnel.tunnel_id, person);
            Json(json!({"code": 0, "data": {
                "tunnelId": tunnel.tunnel_id,
                "connectUrl": tunnel.connect_url,
            }}))
            .into_response()
        }
        Err(error) => unreachable(&error),
    }
}

/// `POST /weapp/tunnel`: what happened in a tunnel. Acknowledged as soon as it is in the
/// room; what the others hear of it follows through the queue.
async fn callback(State(chat): State<Arc<ChatServer>>, body: Bytes) -> Response {
    let news = match wire::read_callback(&body, &chat.key) {
        Ok(news) => news,
        Err(refusal) => {
            let (code, message) = refusal.words();
            let answer = Json(json!({"code": code, "message": message}));
            return (StatusCode::BAD_REQUEST, answer).into_response();
        }
    };
    let mut room = chat.room.lock().await;
    let heard = room.hear(news);
    chat.tell(heard);
    Json(json!({"code": 0, "message": "ok"})).into_response()
}

impl ChatServer {
    /// Queues what must be pushed, and logs it. A full queue means that weappd takes
    /// nothing: the demo forgets rather than fills the memory.
    fn tell(&self, heard: room::ChatHeard) {
        if let Some(line) = heard.line {
            log(&line);
        }
        for push in heard.pushes {
            if self.pushes.try_send(push).is_err() {
                log("weappd takes no pushes: one was dropped");
            }
        }
    }
}

/// Sends pushes one after the other: concurrent ones could overtake each other.
async fn deliver(chat: Arc<ChatServer>, mut queue: mpsc::Receiver<ChatPush>) {
    while let Some(push) = queue.recv().await {
        match chat.weappd.push(&push).await {
            Ok(gone) => {
                for tunnel_id in gone {
                    let mut room = chat.room.lock().await;
                    let heard = room.forget(&tunnel_id);
                    chat.tell(heard);
                }
            }
            Err(error) => log(&format!("a push was lost: {}", chain(&error))),
        }
    }
}

/// A refusal in Wafer 2 words. `-1` makes the client SDK log in again.
fn refuse(status: StatusCode, code: i32, error: &str) -> Response {
    (status, Json::<Value>(json!({"code": code, "error": error}))).into_response()
}

/// weappd itself did not answer well: no reason for the client to drop its session.
fn unreachable(error: &weappd::AskError) -> Response {
    log(&format!("no tunnel: {}", chain(error)));
    refuse(StatusCode::BAD_GATEWAY, 1, "ERR_UNKNOWN_TUNNEL_ERROR")
}

#[expect(
    clippy::print_stdout,
    reason = "a business server logs to stdout; the supervisor keeps it"
)]
fn log(line: &str) {
    println!("{line}");
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use axum::routing::post;
    use http_body_util::BodyExt as _;
    use sha1::{Digest as _, Sha1};
    use tower::ServiceExt as _;

    use super::*;

    const KEY: &str = "signature-key";

    /// A chat whose weappd is at `internal_url`, and what it wants pushed.
    fn chat(internal_url: String) -> (Arc<ChatServer>, mpsc::Receiver<ChatPush>) {
        let (pushes, queue) = mpsc::channel(16);
        let env = DemoEnv {
            port: 0,
            internal_url,
            server_host: "127.0.0.1:8080".to_owned(),
            tunnel_key: Secret::new(KEY),
        };
        let chat = ChatServer {
            key: env.tunnel_key.clone(),
            weappd: WeappdClient::new(env),
            room: Mutex::new(ChatRoom::default()),
            pushes,
        };
        (Arc::new(chat), queue)
    }

    async fn ask(chat: &Arc<ChatServer>, request: Request) -> (StatusCode, Value) {
        let answer = router(Arc::clone(chat))
            .oneshot(request)
            .await
            .expect("an answer");
        let status = answer.status();
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    fn signed(data: &Value) -> Value {
        let data = data.to_string();
        let signature = hex::encode(Sha1::digest(format!("{data}{KEY}")));
        json!({"code": 0, "data": data, "signature": signature})
    }

    fn callback(packet: &Value) -> Request {
        let body = Body::from(signed(packet).to_string());
        Request::post("/weapp/tunnel")
            .body(body)
            .expect("a request")
    }

    fn phone(openid: Option<&str>, skey: &str) -> Request {
        let mut request = Request::get("/weapp/tunnel").header("x-wx-skey", skey);
        if let Some(openid) = openid {
            request = request.header("x-wx-openid", openid);
        }
        request.body(Body::empty()).expect("a request")
    }

    /// A weappd that knows one session and hands out one tunnel.
    fn fake_weappd(tasks: &Tasks) -> String {
        let user = |headers: HeaderMap| async move {
            Json(
                if headers.get("x-wx-skey").is_some_and(|skey| skey == "good") {
                    json!({"code": 0, "data": {"nickName": "张三", "avatarUrl": "http://a/"}})
                } else {
                    json!({"code": -1, "error": "ERR_SKEY_INVALID"})
                },
            )
        };
        let tunnel = || async { Json(signed(&json!({"tunnelId": "t1", "connectUrl": "ws://w/"}))) };
        let push = || async { Json(json!({"code": 0, "data": {"invalidTunnelIds": ["t1"]}})) };
        let router = Router::new()
            .route("/weapp/user", get(user))
            .route("/get/wsurl", post(tunnel))
            .route("/ws/push", post(push));
        let listener = listen(0).expect("a loopback port");
        let address = listener.local_addr().expect("an address");
        tasks.spawn(async move {
            drop(axum::serve(listener, router).await);
        });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_phone_without_a_session_gets_no_tunnel() {
        let tasks = Tasks::new();
        let (chat, _queue) = chat(fake_weappd(&tasks));
        for request in [phone(None, "good"), phone(Some("o-1"), "stale")] {
            let (status, body) = ask(&chat, request).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            assert_eq!(body, json!({"code": -1, "error": "ERR_SKEY_INVALID"}));
        }
    }

    #[tokio::test]
    async fn a_phone_gets_a_tunnel_and_is_announced_when_it_opens_it() {
        let tasks = Tasks::new();
        let (chat, mut queue) = chat(fake_weappd(&tasks));
        let (status, body) = ask(&chat, phone(Some("o-1"), "good")).await;
        assert_eq!(status, StatusCode::OK);
        let data = json!({"tunnelId": "t1", "connectUrl": "ws://w/"});
        assert_eq!(body, json!({"code": 0, "data": data}));

        let connect = json!({"tunnelId": "t1", "type": "connect"});
        let (status, body) = ask(&chat, callback(&connect)).await;
        assert_eq!((status, &body["code"]), (StatusCode::OK, &json!(0)));
        let push = queue.recv().await.expect("a push");
        assert!(
            push.content
                .as_deref()
                .is_some_and(|text| text.contains("张三"))
        );

        // The fake weappd calls every tunnel dead: the room believes it.
        let gone = chat.weappd.push(&push).await.expect("an answer");
        assert_eq!(gone, ["t1"]);
        assert!(chat.room.lock().await.forget("t1").line.is_some());
    }

    #[tokio::test]
    async fn without_weappd_the_client_keeps_its_session() {
        let free = listen(0).and_then(|l| l.local_addr()).expect("a port");
        let (chat, _queue) = chat(format!("http://{free}"));
        let (status, body) = ask(&chat, phone(Some("o-1"), "good")).await;
        assert_eq!(status, StatusCode::BAD_GATEWAY);
        assert_ne!(body["code"], -1, "-1 would make the SDK log in again");
    }

    #[tokio::test]
    async fn a_forged_callback_changes_nothing() {
        let (chat, mut queue) = chat("http://127.0.0.1:9".to_owned());
        let forged = json!({"data": "{\"tunnelId\":\"t\",\"type\":\"connect\"}", "signature": "0"});
        let request = Request::post("/weapp/tunnel").body(Body::from(forged.to_string()));
        let (status, body) = ask(&chat, request.expect("a request")).await;
        assert_eq!(
            (status, &body["code"]),
            (StatusCode::BAD_REQUEST, &json!(9003))
        );
        assert!(queue.try_recv().is_err());
    }
}
