//! Tunnels end to end: phones in the chat room of `weappd dev`, over TLS.

mod abuse;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::{StatusCode, Uri};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::client::TlsStream;
use tokio_websockets::{ClientBuilder, Error, Message, WebSocketStream};
use weappd_base::tasks::{Stop, Tasks};

use crate::http;
use crate::process::PATIENCE;
use crate::upstream;
use crate::world::{TestPhone, TestWorld, WorldRecipe, text};

/// How often a phone shows that it is there: however long a busy machine makes a test, it is
/// never let go as silent.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

type TunnelStream = WebSocketStream<TlsStream<TcpStream>>;

/// A phone's end of a tunnel.
pub(crate) struct PhoneSocket {
    out: Arc<Mutex<SplitSink<TunnelStream, Message>>>,
    own: SplitStream<TunnelStream>,
    gone: Stop,
    /// The phone's port.
    port: u16,
}

impl Drop for PhoneSocket {
    fn drop(&mut self) {
        self.gone.ask();
    }
}

/// Sends pongs nobody asked for: no answer comes, so no test sees them.
async fn show_life(out: Arc<Mutex<SplitSink<TunnelStream, Message>>>, gone: Stop) {
    let signs = async {
        loop {
            tokio::time::sleep(SIGN_OF_LIFE).await;
            if out.lock().await.send(Message::pong("")).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = signs => {}
        () = gone.asked() => {}
    }
}

impl PhoneSocket {
    /// Asks the chat room for a tunnel and opens it.
    pub(crate) async fn join(world: &TestWorld, phone: &TestPhone) -> Self {
        let url = connect_url(phone).await;
        Self::open(world, &url)
            .await
            .expect("a genuine URL is accepted")
    }

    /// Opens a connect URL over TLS, whatever its scheme.
    pub(crate) async fn open(world: &TestWorld, url: &str) -> Result<Self, Error> {
        let url: Uri = url.parse().expect("a URL");
        let tcp = TcpStream::connect(world.https).await.expect("the site");
        let port = tcp.local_addr().expect("connected").port();
        let name = "localhost".try_into().expect("a name");
        let tls = http::connector(&world.ca(), &[]).connect(name, tcp).await;
        let here = format!("wss://localhost:{}{}", world.https.port(), url.path());
        let builder = ClientBuilder::from_uri(here.parse().expect("a URL"));
        let opening = builder.connect_on(tls.expect("a TLS handshake"));
        let (socket, _) = soon(opening).await?;
        let (out, own) = socket.split();
        let out = Arc::new(Mutex::new(out));
        let gone = Stop::new();
        Tasks::new().spawn(show_life(Arc::clone(&out), gone.clone()));
        Ok(Self {
            out,
            own,
            gone,
            port,
        })
    }

    pub(crate) async fn sends(&mut self, packet: &str) {
        let packet = Message::text(packet.to_owned());
        let sent = soon(async { self.out.lock().await.send(packet).await }).await;
        sent.expect("the tunnel is open");
    }

    /// A message of the chat: what, and what about it.
    async fn says(&mut self, kind: &str, content: &Value) {
        let message = json!({"type": kind, "content": content});
        self.sends(&format!("message:{message}")).await;
    }

    /// The next packet, or the number the tunnel was closed with, if one was said.
    async fn next(&mut self) -> Result<String, Option<u16>> {
        match soon(self.own.next()).await {
            Some(Ok(frame)) if frame.is_close() => {
                Err(frame.as_close().map(|(code, _)| code.into()))
            }
            Some(Ok(frame)) => match frame.as_text() {
                Some(text) => Ok(text.to_owned()),
                None => panic!("text, not {frame:?}"),
            },
            Some(Err(_)) | None => Err(None),
        }
    }

    /// The next packet of a tunnel that is open.
    pub(crate) async fn hears(&mut self) -> String {
        self.next().await.expect("the tunnel is open")
    }

    /// The next message of the chat, which must be of this kind: what it is about.
    async fn hears_of(&mut self, kind: &str) -> Value {
        let packet = self.hears().await;
        let message = packet.strip_prefix("message:").expect(&packet);
        let mut message: Value = serde_json::from_str(message).expect(message);
        assert_eq!(message["type"], kind, "{packet}");
        message["content"].take()
    }

    /// Reads up to the end; gives the number it was closed with, if one was said.
    pub(crate) async fn sees_close(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }
}

pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(PATIENCE, what).await;
    done.expect("what the tunnel does, it does soon")
}

/// `GET /weapp/tunnel`, as both SDKs ask.
pub(crate) async fn connect_url(phone: &TestPhone) -> String {
    let answer = phone.get("/weapp/tunnel").await;
    assert_eq!(answer.status(), StatusCode::OK);
    let answer = http::json(&answer);
    assert_eq!(answer["code"], 0, "{answer}");
    assert!(answer["data"]["tunnelId"].is_string(), "{answer}");
    text(&answer["data"]["connectUrl"]).to_owned()
}

/// Two users who sit in the chat room, past all welcomes: with their sockets and openids.
async fn alice_and_bob(world: &TestWorld) -> [(TestPhone, PhoneSocket, Value); 2] {
    let mut alice = world.phone("alice");
    let me = alice.log_in().await["data"]["userinfo"].take();
    let mut a = PhoneSocket::join(world, &alice).await;
    assert_eq!(a.hears().await, "timeout:15", "the first word, in seconds");
    let people = a.hears_of("people").await;
    assert_eq!(
        (&people["total"], &people["enter"]["openId"]),
        (&json!(1), &me["openId"])
    );

    let mut bob = world.phone("bob");
    let other = bob.log_in().await["data"]["userinfo"].take();
    let mut b = PhoneSocket::join(world, &bob).await;
    assert_eq!(b.hears().await, "timeout:15");
    for socket in [&mut a, &mut b] {
        let people = socket.hears_of("people").await;
        assert_eq!(people["total"], 2);
        assert_eq!(people["enter"]["openId"], other["openId"]);
        assert_eq!(people["enter"]["nickName"], other["nickName"]);
    }
    [
        (alice, a, me["openId"].clone()),
        (bob, b, other["openId"].clone()),
    ]
}

#[tokio::test]
async fn two_people_chat_and_one_leaves() {
    let world = TestWorld::dev().await;
    let [(_, mut a, alice), (_, mut b, bob)] = alice_and_bob(&world).await;
    for (at, who) in [(0, &alice), (1, &bob)] {
        let words = format!("你好 from {at}: \"quoted\"\n\u{1F44B}");
        let speaker = if at == 0 { &mut a } else { &mut b };
        speaker.says("speak", &json!({"word": words})).await;
        for socket in [&mut a, &mut b] {
            let heard = socket.hears_of("speak").await;
            assert_eq!(
                (&heard["who"]["openId"], &heard["word"]),
                (who, &json!(words))
            );
        }
    }
    for socket in [&mut a, &mut b] {
        socket.sends("ping").await;
        // Nothing else is on the way: `timeout` came once.
        assert_eq!(socket.hears().await, "pong");
    }
    a.sends("close").await;
    assert_eq!(a.sees_close().await, Some(1000));
    let people = b.hears_of("people").await;
    assert_eq!(people["total"], 1);
    assert_eq!(
        (&people["leave"]["openId"], &people["enter"]),
        (&alice, &Value::Null)
    );
}

#[tokio::test]
async fn a_phone_that_vanishes_is_missed_at_once() {
    let world = TestWorld::dev().await;
    let [(_, a, alice), (_, mut b, _)] = alice_and_bob(&world).await;
    // No goodbye at all: the connection is gone.
    drop(a);
    let people = b.hears_of("people").await;
    assert_eq!(
        (&people["total"], &people["leave"]["openId"]),
        (&json!(1), &alice)
    );
}

#[tokio::test]
async fn words_stay_in_order() {
    const WORDS: usize = 200;
    let world = TestWorld::dev().await;
    let [(_, mut a, _), (_, mut b, _)] = alice_and_bob(&world).await;
    let speak = async {
        for at in 0..WORDS {
            a.says("speak", &json!({"word": at.to_string()})).await;
        }
        for at in 0..WORDS {
            assert_eq!(a.hears_of("speak").await["word"], at.to_string());
        }
    };
    let listen = async {
        for at in 0..WORDS {
            assert_eq!(b.hears_of("speak").await["word"], at.to_string());
        }
    };
    tokio::join!(speak, listen);
}

#[tokio::test]
async fn nobody_gets_a_tunnel_without_a_session() {
    let world = TestWorld::dev().await;
    let mut alice = world.phone("alice");
    for skey in [None, Some("0".repeat(64))] {
        alice.skey = skey;
        let refused = alice.get("/weapp/tunnel").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        assert_eq!(http::json(&refused)["code"], -1);
    }
}

#[tokio::test]
async fn a_connect_url_is_good_once_and_cannot_be_made_up() {
    let world = TestWorld::dev().await;
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let url = connect_url(&alice).await;
    let (base, token) = url.rsplit_once('/').expect("a token");

    // Forged, cut and empty tokens are no tunnels, and are told so before any upgrade.
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let forged = format!("{}{last}", &token[..token.len() - 1]);
    let first = if token.starts_with('A') { 'B' } else { 'A' };
    let renamed = format!("{first}{}", &token[1..]);
    for token in [&forged, &renamed, &token[..20], "x", &"A".repeat(5000)] {
        let refused = PhoneSocket::open(&world, &format!("{base}/{token}")).await;
        let refused = refused
            .err()
            .unwrap_or_else(|| panic!("{token} was accepted"));
        assert!(refused.to_string().contains("101"), "{token}: {refused}");
        let path = format!("/weapp/ws/{token}");
        let site = world.site();
        let asked = site.get(&path).header("connection", "upgrade");
        let asked = asked
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13");
        let answer = asked
            .header("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA==")
            .send()
            .await;
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{token}");
    }
    // The genuine one, untouched by all that.
    let mut socket = PhoneSocket::open(&world, &url).await.expect("accepted");
    assert_eq!(socket.hears().await, "timeout:15");
    assert_eq!(socket.hears_of("people").await["total"], 1);
    socket.sends("close").await;
    assert_eq!(socket.sees_close().await, Some(1000));
    // Used up: accepted, so that no client is stuck, and closed at once.
    let mut late = PhoneSocket::open(&world, &url).await.expect("accepted");
    assert_eq!(late.sees_close().await, Some(1008));
    // Without an upgrade it is a sentence for people.
    let page = world.site().get(&format!("/weapp/ws/{token}")).send().await;
    assert_eq!(page.status(), StatusCode::UPGRADE_REQUIRED);
}

#[tokio::test]
async fn a_connect_url_nobody_used_in_time_is_accepted_and_closed() {
    let app = upstream::serve(upstream::echo());
    let tunnel = format!(
        "[tunnel]\nkey = \"{}\"\nreceive = \"http://{app}/tunnel\"\n\
         allow_http_receive = true\nconnect_ttl_secs = 1\nissuer = \"weappd\"",
        "k".repeat(32)
    );
    let site = format!("proxy = \"{app}\"");
    let world = WorldRecipe::new().site(&site).sections(&tunnel).serve();
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let begun = Instant::now();
    loop {
        let url = connect_url(&alice).await;
        let mut at_once = PhoneSocket::open(&world, &url).await.expect("accepted");
        match at_once.next().await {
            Ok(packet) => break assert_eq!(packet, "timeout:15"),
            // A busy machine opened it too late.
            Err(code) => assert_eq!(code, Some(1008)),
        }
        assert!(begun.elapsed() < PATIENCE, "each URL comes too late");
    }
    let mut urls = Vec::new();
    for _ in 0..30 {
        urls.push(connect_url(&alice).await);
    }
    // One after the other is opened for the first time, until one comes too late.
    for url in urls {
        let mut socket = PhoneSocket::open(&world, &url).await.expect("accepted");
        match socket.next().await {
            Err(code) => return assert_eq!(code, Some(1008)),
            Ok(packet) => assert_eq!(packet, "timeout:15"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("no URL ever comes too late");
}

#[tokio::test]
async fn a_tunnel_opened_twice_belongs_to_the_latest_socket() {
    let world = TestWorld::dev().await;
    let mut alice = world.phone("alice");
    alice.log_in().await;
    let url = connect_url(&alice).await;
    let mut first = PhoneSocket::open(&world, &url).await.expect("accepted");
    assert_eq!(first.hears().await, "timeout:15");
    let mut second = PhoneSocket::open(&world, &url).await.expect("accepted");
    let ends = [first.sees_close().await, None];
    assert_eq!(ends[0], Some(1008));
    assert_eq!(second.hears().await, "timeout:15");
}

#[tokio::test]
async fn many_people_all_hear_each_other() {
    const PEOPLE: usize = 25;
    let world = TestWorld::dev().await;
    let mut sockets = Vec::new();
    for at in 0..PEOPLE {
        let mut phone = world.phone(&format!("user{at}"));
        phone.log_in().await;
        let mut socket = PhoneSocket::join(&world, &phone).await;
        assert_eq!(socket.hears().await, "timeout:15");
        assert_eq!(socket.hears_of("people").await["total"], at + 1);
        sockets.push(socket);
    }
    for (at, socket) in sockets.iter_mut().enumerate() {
        for total in at + 2..=PEOPLE {
            assert_eq!(socket.hears_of("people").await["total"], total);
        }
        socket.says("speak", &json!({"word": at.to_string()})).await;
    }
    let all: BTreeSet<String> = (0..PEOPLE).map(|at| at.to_string()).collect();
    for socket in &mut sockets {
        let mut heard = BTreeSet::new();
        for _ in 0..PEOPLE {
            heard.insert(text(&socket.hears_of("speak").await["word"]).to_owned());
        }
        assert_eq!(heard, all);
    }
}
