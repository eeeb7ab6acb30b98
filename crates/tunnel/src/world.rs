//! A whole small world for tests: this room behind a real loopback listener, a business
//! server that answers as told, and phones.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_base::unix_time::UnixSecs;

use crate::config::{self, Config};
use crate::http::{internal_router, public_router};
use crate::signature;
use crate::tunnels::{TunnelServer, TunnelServerParts};

pub(crate) const KEY: &str = "9f338d1f0ecc37d25ac7b161c1d7bf72";
pub(crate) const SOON: Duration = Duration::from_secs(90);

/// Waits for something that must come soon.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, what).await.expect("soon")
}

/// A callback a business server got.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedCallback {
    pub(crate) kind: String,
    pub(crate) tunnel: String,
    pub(crate) content: Option<String>,
    pub(crate) seq: u32,
    pub(crate) webhook_id: String,
}

type ReplyScript =
    Box<dyn Fn(&ReceivedCallback, usize) -> (Duration, u16, &'static str) + Send + Sync>;

/// A business server: checks and keeps every callback, answers by its script.
pub(crate) struct TestBusiness {
    heard: watch::Sender<Vec<ReceivedCallback>>,
    /// The key that it signs with and that it believes.
    key: Mutex<Secret>,
    script: Mutex<ReplyScript>,
}

impl TestBusiness {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            heard: watch::Sender::new(Vec::new()),
            key: Mutex::new(Secret::new(KEY)),
            script: Mutex::new(Box::new(|_, _| (Duration::ZERO, 200, OK))),
        })
    }

    /// Answers by `script`, which is told the callback and how many came before it.
    pub(crate) fn answers(
        &self,
        script: impl Fn(&ReceivedCallback, usize) -> (Duration, u16, &'static str)
        + Send
        + Sync
        + 'static,
    ) {
        *self.script.lock() = Box::new(script);
    }

    /// Has another key from now on.
    pub(crate) fn set_key(&self, key: &str) {
        *self.key.lock() = Secret::new(key);
    }

    fn key(&self) -> Secret {
        self.key.lock().clone()
    }

    pub(crate) fn all(&self) -> Vec<ReceivedCallback> {
        self.heard.borrow().clone()
    }

    /// Waits until the callbacks so far satisfy `enough`.
    pub(crate) async fn hears(
        &self,
        enough: impl Fn(&[ReceivedCallback]) -> bool,
    ) -> Vec<ReceivedCallback> {
        let mut heard = self.heard.subscribe();
        let all = tokio::time::timeout(SOON, heard.wait_for(|all| enough(all))).await;
        let Ok(all) = all else {
            panic!("never heard; only {:?}", self.all());
        };
        all.expect("held by self").clone()
    }

    /// Waits for this many callbacks; gives their kinds.
    pub(crate) async fn hears_kinds(&self, count: usize) -> Vec<String> {
        let all = self.hears(|all| all.len() >= count).await;
        all.into_iter().map(|got| got.kind).collect()
    }

    fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .fallback(post(hook))
            .with_state(Arc::clone(self))
    }
}

pub(crate) const OK: &str = r#"{"code":0,"message":"ok"}"#;

async fn hook(
    State(business): State<Arc<TestBusiness>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name: &str| headers[name].to_str().expect("ascii").to_owned();
    let envelope: Value = serde_json::from_slice(&body).expect("JSON");
    let data = envelope["data"].as_str().expect("text");
    let key = business.key();
    assert_eq!(envelope["signature"], signature::sign(data, &key));
    assert_eq!(envelope["dataEncode"], "json");
    let stamp = text("webhook-timestamp").parse().expect("seconds");
    let stamp = UnixSecs::new(stamp);
    let signed = signature::webhook(&text("webhook-id"), stamp, &body, &key);
    assert_eq!(text("webhook-signature"), signed);
    assert_eq!(text("x-request-id"), text("webhook-id"));
    let data: Value = serde_json::from_str(data).expect("JSON");
    let got = ReceivedCallback {
        kind: data["type"].as_str().expect("text").to_owned(),
        tunnel: data["tunnelId"].as_str().expect("text").to_owned(),
        content: data["content"].as_str().map(str::to_owned),
        seq: text("x-weappd-seq").parse().expect("a number"),
        webhook_id: text("webhook-id"),
    };
    let before = business.heard.borrow().len();
    let (pause, status, answer) = (business.script.lock())(&got, before);
    business.heard.send_modify(|all| all.push(got));
    tokio::time::sleep(pause).await;
    let status = StatusCode::from_u16(status).expect("a status");
    (status, answer).into_response()
}

pub(crate) struct TestWorld {
    pub(crate) tunnels: TunnelServer,
    pub(crate) business: Arc<TestBusiness>,
    pub(crate) tap: TrafficTap,
    pub(crate) stop: Stop,
    pub(crate) tasks: Tasks,
    pub(crate) address: SocketAddr,
    pub(crate) host: String,
    /// As it was last set.
    config: Mutex<Config>,
    servers: Tasks,
    client: legacy::Client<legacy::connect::HttpConnector, Full<Bytes>>,
}

/// A port of one's own where nobody listens until [`TestWorld::open_business`].
pub(crate) struct ClosedPort(TcpSocket);

impl ClosedPort {
    pub(crate) fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a port");
        Self(socket)
    }
}

impl TestWorld {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A world whose settings differ.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let at = listener.local_addr().expect("bound");
        let world = Self::build(at, change);
        world.serve(listener, world.business.router());
        world
    }

    /// A world whose business server is down.
    pub(crate) fn without_business(port: &ClosedPort) -> Self {
        Self::build(port.0.local_addr().expect("bound"), |_| {})
    }

    /// Starts the business server of a world that had none.
    pub(crate) fn open_business(&self, port: ClosedPort) {
        let listener = port.0.listen(64).expect("one's own port");
        self.serve_on(listener, self.business.router());
    }

    fn build(business_at: SocketAddr, change: impl FnOnce(&mut Config)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let host = business_at.to_string();
        let mut config = Config {
            allow_http_receive: true,
            public_url: format!("ws://{address}"),
            drain_secs: 0,
            // A busy machine answers late.
            callback_timeout_ms: 60_000,
            businesses: vec![config::BusinessConfig {
                host: host.clone(),
                key: Secret::new(KEY),
                ..config::BusinessConfig::default()
            }],
            ..Config::default()
        };
        change(&mut config);
        let (stop, tasks) = (Stop::new(), Tasks::new());
        let tap = TrafficTap::on(Clock::system());
        let tunnels = TunnelServer::build(TunnelServerParts {
            config: config.clone(),
            clock: Clock::system(),
            random: RandomSource::system(),
            work: Work::current(),
            tasks: tasks.clone(),
            tap: tap.clone(),
            stop: stop.clone(),
        })
        .expect("good settings");
        let router = public_router(tunnels.clone())
            .merge(internal_router(tunnels.clone()))
            .nest("/base", internal_router(tunnels.clone()));
        let world = Self {
            tunnels,
            business: TestBusiness::new(),
            tap,
            stop,
            tasks,
            address,
            host,
            config: Mutex::new(config),
            servers: Tasks::new(),
            client: legacy::Client::builder(TokioExecutor::new()).build_http(),
        };
        world.serve(listener, router);
        world
    }

    fn serve(&self, listener: TcpListener, router: Router) {
        listener.set_nonblocking(true).expect("a socket");
        let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
        self.serve_on(listener, router);
    }

    fn serve_on(&self, listener: tokio::net::TcpListener, router: Router) {
        let servers = self.servers.clone();
        self.servers.spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                servers.spawn(async move {
                    let _ended = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(socket), service)
                        .with_upgrades()
                        .await;
                });
            }
        });
    }

    /// What it is set to now.
    pub(crate) fn config(&self) -> Config {
        self.config.lock().clone()
    }

    /// Reloads it with settings that differ from now.
    pub(crate) fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config();
        change(&mut config);
        let staged = self.tunnels.prepare(config.clone()).expect("good settings");
        self.tunnels.commit(staged);
        *self.config.lock() = config;
    }

    /// Posts a body; gives the JSON answer, which always comes with 200.
    pub(crate) async fn post(&self, path: &str, body: String) -> Value {
        let request = Request::post(format!("http://{}{path}", self.address))
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        let answer = soon(self.client.request(request)).await.expect("an answer");
        assert_eq!(answer.status(), 200);
        let body = soon(answer.into_body().collect()).await.expect("a body");
        serde_json::from_slice(&body.to_bytes()).expect("JSON")
    }

    /// A request as the SDKs sign it.
    pub(crate) fn envelope(&self, data: &str) -> Value {
        json!({
            "data": data,
            "tcId": signature::tc_id(&self.host),
            "signature": signature::sign(data, &self.business.key()),
        })
    }

    pub(crate) fn receive_url(&self) -> String {
        format!("http://{}/tunnel", self.host)
    }

    /// A new tunnel, as a business server asks for it: its id and URL.
    pub(crate) async fn get_wsurl(&self) -> (String, String) {
        let data = json!({ "receiveUrl": self.receive_url(), "protocolType": "wss" });
        let answer = self
            .post("/get/wsurl", self.envelope(&data.to_string()).to_string())
            .await;
        assert_eq!(answer["code"], 0, "{answer}");
        let data = answer["data"].as_str().expect("text");
        assert_eq!(
            answer["signature"],
            signature::sign(data, &self.business.key())
        );
        let data: Value = serde_json::from_str(data).expect("JSON");
        let text = |name: &str| data[name].as_str().expect("text").to_owned();
        (text("tunnelId"), text("connectUrl"))
    }

    /// Pushes packets; gives the answer's `data`.
    pub(crate) async fn push(&self, packets: Value) -> Value {
        let body = self.envelope(&packets.to_string()).to_string();
        let mut answer = self.post("/ws/push", body).await;
        assert_eq!(answer["code"], 0, "{answer}");
        answer["data"].take()
    }

    /// Pushes one message to some tunnels.
    pub(crate) async fn say(&self, ids: &[&str], word: &str) -> Value {
        let content = json!({ "type": "speak", "content": word }).to_string();
        self.push(json!([{ "tunnelIds": ids, "type": "message", "content": content }]))
            .await
    }

    /// A new tunnel with its phone, past `timeout` and the connect callback.
    pub(crate) async fn phone(&self) -> (String, TestPhone) {
        let (id, url) = self.get_wsurl().await;
        let mut phone = TestPhone::open(&url).await;
        assert_eq!(phone.hears().await, "timeout:15");
        let wanted = id.clone();
        self.business
            .hears(move |all| all.iter().any(|got| got.tunnel == wanted))
            .await;
        (id, phone)
    }

    /// Ends the world softly and checks that no task of the room is left.
    pub(crate) async fn end(self) {
        self.stop.ask();
        assert!(self.tasks.finish(SOON).await, "tasks are left");
    }
}

/// A phone's WebSocket.
pub(crate) struct TestPhone(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl TestPhone {
    pub(crate) async fn open(url: &str) -> Self {
        let uri = url.parse().expect("a URL");
        let (socket, _) = soon(ClientBuilder::from_uri(uri).connect())
            .await
            .expect("every genuine URL is accepted");
        Self(socket)
    }

    pub(crate) async fn sends(&mut self, text: &str) {
        soon(self.0.send(Message::text(text.to_owned())))
            .await
            .expect("open");
    }

    pub(crate) async fn says(&mut self, word: &str) {
        let content = json!({ "type": "speak", "content": { "word": word } });
        self.sends(&format!("message:{content}")).await;
    }

    pub(crate) async fn sends_raw(&mut self, message: Message) {
        soon(self.0.send(message)).await.expect("open");
    }

    /// The next text.
    pub(crate) async fn hears(&mut self) -> String {
        let message = self.next().await.expect("open");
        message.as_text().expect("text").to_owned()
    }

    /// The next frame of any kind.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        soon(self.0.next())
            .await
            .map(|message| message.expect("a good frame"))
    }

    /// Waits for the close frame; gives its code and the texts before it.
    pub(crate) async fn sees_close(mut self) -> (u16, Vec<String>) {
        let mut texts = Vec::new();
        while let Some(message) = self.next().await {
            if let Some((code, _)) = message.as_close() {
                return (code.into(), texts);
            }
            texts.extend(message.as_text().map(str::to_owned));
        }
        panic!("the connection ended without a close frame, after {texts:?}")
    }
}
