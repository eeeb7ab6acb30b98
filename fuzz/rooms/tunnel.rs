//! What must hold for any input to this room's parsers: the bodies of the fuzz targets,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::option_option,
    clippy::type_complexity,
    reason = "a target fails by panicking, and takes numbers as they come"
)]

#[path = "../feed.rs"]
mod feed;
#[path = "tunnel/frames.rs"]
mod frames;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use weappd_base::clock::Clock;
use weappd_base::random::RandomSource;
use weappd_base::secret::Secret;
use weappd_base::tap::TrafficTap;
use weappd_base::tasks::{Stop, Tasks, Work};

use crate::config::{BusinessConfig, Config};
use crate::http::internal_router;
use crate::id::{ConnectTokens, TunnelId, TunnelPlace};
use crate::packet::{self, FromPhone};
use crate::tunnels::{TunnelServer, TunnelServerParts};
use crate::{handshake, signature};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 2] = [
    ("tunnel_frame", frames::frames),
    ("tunnel_business", business),
];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

/// No tunnel lives whose token an old key signed.
const NOBODY: fn(TunnelId) -> bool = |_| false;
const KEY: &str = "9f338d1f0ecc37d25ac7b161c1d7bf72";
const HOST: &str = "www.example.com";

/// A room with one business server, made once a thread.
struct TunnelFixture {
    runtime: tokio::runtime::Runtime,
    tunnels: TunnelServer,
    router: Router,
}

impl TunnelFixture {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let tunnels = runtime.block_on(async {
            TunnelServer::build(TunnelServerParts {
                config: Config {
                    push_body_bytes: 4096,
                    max_queue_bytes: 1024,
                    businesses: vec![BusinessConfig {
                        host: HOST.to_owned(),
                        key: Secret::new(KEY),
                        ..BusinessConfig::default()
                    }],
                    ..Config::default()
                },
                clock: Clock::manual(1_700_000_000).0,
                random: RandomSource::seeded(7),
                work: Work::current(),
                tasks: Tasks::new(),
                tap: TrafficTap::on(Clock::system()),
                stop: Stop::new(),
            })
            .expect("good settings")
        });
        let router = internal_router(tunnels.clone());
        Self {
            runtime,
            tunnels,
            router,
        }
    }

    /// The answer to a body, which is JSON with a number whatever was sent.
    fn ask(&self, path: &str, body: Vec<u8>) -> (i64, Value) {
        let request = Request::post(path)
            .body(Body::from(body))
            .expect("a request");
        let router = TowerToHyperService::new(self.router.clone());
        let answer = self.runtime.block_on(async {
            let answer = router.call(request).await.expect("an answer");
            assert_eq!(answer.status(), 200);
            answer
                .into_body()
                .collect()
                .await
                .expect("a body")
                .to_bytes()
        });
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        (answer["code"].as_i64().expect("a number"), answer)
    }
}

thread_local! {
    static ROOM: TunnelFixture = TunnelFixture::new();
}

/// What business servers send, signed and not; and the smaller texts of the wire.
fn business(data: &[u8]) {
    let mut feed = Feed::new(data);
    let way = feed.below(8);
    match way {
        0..=4 => ROOM.with(|room| request(room, way, &mut feed)),
        5 => texts(&feed.text()),
        6 => names(&mut feed),
        _ => upgrade(&mut feed),
    }
}

fn request(room: &TunnelFixture, way: usize, feed: &mut Feed<'_>) {
    let path = ["/get/wsurl", "/ws/push", "//ws/push"][feed.below(3)];
    if way == 0 {
        let body = feed.rest();
        let (code, answer) = room.ask(path, body.to_vec());
        assert!(code != 0 && answer["message"].is_string(), "{answer}");
        // What the asker wrote may come back to the asker.
        let is_theirs = body.windows(KEY.len()).any(|part| part == KEY.as_bytes());
        assert!(is_theirs || !answer.to_string().contains(KEY));
        return;
    }
    let encode = feed.text();
    let text = feed.text();
    let key = Secret::new(KEY);
    let mut envelope = json!({
        "data": text, "dataEncode": "json", "tcId": signature::tc_id(HOST), "tcKey": KEY,
        "signature": signature::sign(&text, &key),
    });
    match way {
        1 => envelope["dataEncode"] = encode.clone().into(),
        2 => envelope["signature"] = encode.clone().into(),
        3 => envelope["tcId"] = encode.clone().into(),
        _ => {}
    }
    let (code, answer) = room.ask(path, envelope.to_string().into_bytes());
    if code == 8 {
        return;
    }
    let shown = format!("{} {}", answer["message"], answer["data"]);
    let words = answer["message"].as_str().unwrap_or_default();
    assert!(
        !words.contains(KEY) || text.contains(KEY) || encode.contains(KEY),
        "{shown}"
    );
    let genuine = signature::sign(&text, &key);
    assert!(
        way != 2 || code == 1 || encode.eq_ignore_ascii_case(&genuine),
        "{shown}"
    );
    assert!(
        way != 3 || code == 6 || encode == signature::tc_id(HOST),
        "{shown}"
    );
    if code != 0 {
        return;
    }
    let told = match &answer["data"] {
        Value::String(told) => {
            assert_eq!(answer["signature"], signature::sign(told, &key));
            serde_json::from_str(told).expect("JSON")
        }
        told => told.clone(),
    };
    if path == "/get/wsurl" {
        issued(room, &text, &told);
    } else {
        pushed(&text, &told);
    }
}

/// A URL was given out: callbacks go to the right host, and the token opens this tunnel.
fn issued(room: &TunnelFixture, asked: &str, told: &Value) {
    let asked: Value = serde_json::from_str(asked).expect("it was read");
    let named = asked["receiveUrl"].as_str().expect("it was read");
    let meant = named.replacen("://[", "://", 1).to_ascii_lowercase();
    let rest = meant
        .strip_prefix("https://")
        .and_then(|url| url.strip_prefix(HOST));
    let rest = rest.expect(named);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_port = |text: &str| {
        text.bytes()
            .all(|byte| byte.is_ascii_digit() || byte == b']')
    };
    let fits = authority.is_empty()
        || authority == "]"
        || authority.strip_prefix(':').is_some_and(is_port);
    assert!(fits, "{named}");
    let id = told["tunnelId"]
        .as_str()
        .and_then(TunnelId::parse)
        .expect("an id");
    let url = told["connectUrl"].as_str().expect("a URL");
    let token = url.rsplit('/').next().expect("a token");
    assert_eq!(room.tunnels.table().tokens.check(token, NOBODY), Some(id));
    // No tunnel may stay behind, or the room is full one day.
    let text = json!([{"tunnelIds": [id.to_string()], "type": "close"}]).to_string();
    let sign = signature::sign(&text, &Secret::new(KEY));
    let close = json!({"data": text, "dataEncode": "json", "tcId": signature::tc_id(HOST), "signature": sign});
    let (code, answer) = room.ask("/ws/push", close.to_string().into_bytes());
    assert_eq!(
        (code, &answer["data"]),
        (0, &json!(r#"{"invalidTunnelIds":[]}"#)),
        "{answer}"
    );
}

/// A push was taken: nobody is named in the answer who was not in the question.
fn pushed(asked: &str, told: &Value) {
    let mut named = Vec::new();
    let asked: Value = serde_json::from_str(asked).unwrap_or_default();
    for packet in asked.as_array().into_iter().flatten() {
        // A packet may be written as a list of its fields.
        let given = packet.get("tunnelIds").or_else(|| packet.get(0));
        named.extend(given.and_then(Value::as_array).into_iter().flatten());
        if packet["type"] == "message" {
            let content = packet["content"].as_str().expect("checked");
            assert!(content.len() <= 1024 && content.trim_start().starts_with('{'));
        }
    }
    for list in ["invalidTunnelIds", "undeliveredTunnelIds"] {
        for id in told[list].as_array().into_iter().flatten() {
            assert!(asked.is_null() || named.contains(&id), "{told}");
        }
    }
    assert!(told["invalidTunnelIds"].is_array());
}

fn texts(text: &str) {
    let read = FromPhone::parse(text);
    let (kind, content) = match text.find(':') {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    let meant = match kind {
        "ping" => FromPhone::Ping,
        "close" => FromPhone::Close,
        "message" => FromPhone::Message(content),
        _ => FromPhone::Unknown,
    };
    assert_eq!(read, meant);
    let good = packet::is_message_content(text);
    let object = serde_json::from_str::<Value>(text).is_ok_and(|value| value.is_object());
    // A number too large for us is none too large for a phone.
    assert!(good || !object, "{text}");
    assert!(
        !good || text.trim().starts_with('{') && text.trim().ends_with('}'),
        "{text}"
    );
    if let Some(id) = TunnelId::parse(text) {
        assert_eq!(id.to_string(), text);
        assert!(uuid::Uuid::parse_str(text).is_ok());
    } else if let Ok(id) = uuid::Uuid::parse_str(text) {
        let ours = id.get_version_num() == 8 && id.get_variant() == uuid::Variant::RFC4122;
        assert!(!ours || id.hyphenated().to_string() != text, "{text}");
    }
}

fn names(feed: &mut Feed<'_>) {
    let place = TunnelPlace {
        shard: feed.below(16),
        slot: usize::from(feed.byte()) << 24,
    };
    let node = u16::from(feed.byte()) << 4;
    let random = RandomSource::seeded(u64::from(feed.byte()));
    let id = TunnelId::mint(node, place, &random);
    assert_eq!((id.node(), id.place()), (node & 0xFFF, place));
    assert_eq!(TunnelId::parse(&id.to_string()), Some(id));
    let gate = ConnectTokens::new(&Secret::new(feed.text()), &random);
    let token = gate.token(id);
    assert_eq!((token.len(), gate.check(&token, NOBODY)), (43, Some(id)));
    let given = feed.text();
    assert!(
        gate.check(&given, NOBODY).is_none() || given == token,
        "{given}"
    );
    let mut bent = token.into_bytes();
    let at = feed.below(43);
    let letter = b"ABCDabcd01-_"[feed.below(12)];
    let same = bent[at] == letter;
    bent[at] = letter;
    let bent = String::from_utf8(bent).expect("ascii");
    assert_eq!(gate.check(&bent, NOBODY).is_some(), same, "{bent}");
    let (data, sign, key) = (feed.text(), feed.text(), Secret::new(KEY));
    let good = signature::sign(&data, &key);
    assert!(signature::check(&data, &key, &good));
    assert_eq!(
        signature::check(&data, &key, &sign),
        sign.eq_ignore_ascii_case(&good)
    );
}

fn upgrade(feed: &mut Feed<'_>) {
    let mut headers = HeaderMap::new();
    for (name, usual) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", ""),
    ] {
        let value = feed.field();
        let value = if value == b"~" {
            usual.as_bytes()
        } else {
            value
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HeaderName::from_static(name), value);
        }
    }
    let Ok(answer) = handshake::accept(&headers) else {
        return;
    };
    let says = |name: &str, word: &str| {
        let value = String::from_utf8_lossy(headers[name].as_bytes()).to_ascii_lowercase();
        value.contains(word)
    };
    assert!(says("upgrade", "websocket") && says("connection", "upgrade"));
    assert!(says("sec-websocket-version", "13") && answer.contains_key("sec-websocket-accept"));
    if let Some(chosen) = answer.get("sec-websocket-protocol") {
        let chosen = chosen.to_str().expect("text").to_ascii_lowercase();
        assert!(says("sec-websocket-protocol", &chosen));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
