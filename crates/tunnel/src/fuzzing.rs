//! What must hold for any input to this room's parsers: the bodies of the fuzz targets,
//! replayed by a test over the committed corpus (docs/fuzzing.md).
#![allow(clippy::expect_used, reason = "a target fails by panicking")]

#[path = "../../../fuzz/feed.rs"]
mod feed;

use std::borrow::Cow;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};
use weappd_base::clock::Clock;
use weappd_base::secret::Secret;
use weappd_base::tasks::{Stop, Tasks, Work};
use weappd_base::token::Tokens;
use weappd_base::wiretap::Wiretap;

use crate::config::{Business, Config};
use crate::frame::{self, Decoder, Event, Violation};
use crate::http::internal_router;
use crate::id::{Gatekeeper, Place, TunnelId};
use crate::packet::{self, FromPhone};
use crate::tunnels::{Tunnels, TunnelsParts};
use crate::{handshake, signature};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 2] =
    [("tunnel_frame", frames), ("tunnel_business", business)];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

/// The longest message of these tests.
const MOST: usize = 300;

/// All events and the violation, read from bytes that are all there: RFC 6455 once more,
/// as plainly as possible.
fn plain_frames(mut bytes: &[u8]) -> (Vec<Event<'static>>, Option<Violation>) {
    let mut events = Vec::new();
    let mut open: Option<(u8, Vec<u8>)> = None;
    loop {
        match plain_frame(&mut bytes, &mut open) {
            Ok(Some(event)) => events.extend(event),
            Ok(None) => return (events, None),
            Err(violation) => return (events, Some(violation)),
        }
    }
}

/// One frame: its event, `Some(None)` if it completes nothing, `None` if bytes are missing.
fn plain_frame(
    bytes: &mut &[u8],
    open: &mut Option<(u8, Vec<u8>)>,
) -> Result<Option<Option<Event<'static>>>, Violation> {
    let protocol = Err(Violation::Protocol(""));
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (fin, opcode) = (first & 0x80 != 0, first & 15);
    if first & 0x70 != 0 || (3..8).contains(&opcode) || opcode > 10 {
        return protocol;
    }
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    let control = opcode >= 8;
    if second < 0x80 || control && (!fin || second > 0x80 + 125) {
        return protocol;
    }
    let (len, mask_at) = match second & 0x7f {
        126 => (bytes.get(2..4), 4),
        127 => (bytes.get(2..10), 10),
        _ => (bytes.get(1..2), 2),
    };
    let Some(len) = len else {
        return Ok(None);
    };
    let mut wide = len
        .iter()
        .fold(0u64, |sum, byte| (sum << 8) | u64::from(*byte));
    if mask_at == 2 {
        wide &= 0x7f;
    }
    if wide >= 1 << 63 {
        return protocol;
    }
    let Some(mask) = bytes.get(mask_at..mask_at + 4) else {
        return Ok(None);
    };
    if !control {
        if (opcode == 0) != open.is_some() {
            return protocol;
        }
        let so_far = open.as_ref().map_or(0, |(_, message)| message.len());
        if wide > (MOST - so_far) as u64 {
            return Err(Violation::TooBig);
        }
    }
    let start = mask_at + 4;
    let Some(payload) = bytes.get(start..start + wide as usize) else {
        return Ok(None);
    };
    let plain: Vec<u8> = (payload.iter().zip(mask.iter().cycle()))
        .map(|(byte, key)| byte ^ key)
        .collect();
    *bytes = &bytes[start + payload.len()..];
    if control {
        return plain_control(opcode, plain).map(|event| Some(Some(event)));
    }
    let (kind, mut message) = open.take().unwrap_or((opcode, Vec::new()));
    message.extend(plain);
    if !fin {
        *open = Some((kind, message));
        return Ok(Some(None));
    }
    if kind == 2 {
        return Ok(Some(Some(Event::Binary)));
    }
    let text = String::from_utf8(message).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(Some(Event::Text(Cow::Owned(text)))))
}

fn plain_control(opcode: u8, payload: Vec<u8>) -> Result<Event<'static>, Violation> {
    match (opcode, payload.as_slice()) {
        (9, _) => Ok(Event::Ping(Cow::Owned(payload))),
        (10, _) => Ok(Event::Pong),
        (_, []) => Ok(Event::Close(None)),
        (_, [_]) => Err(Violation::Protocol("")),
        (_, [high, low, reason @ ..]) => {
            let code = u16::from(*high) * 256 + u16::from(*low);
            let registered = [
                1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014,
            ];
            if !registered.contains(&code) && !(3000..5000).contains(&code) {
                return Err(Violation::Protocol(""));
            }
            if std::str::from_utf8(reason).is_err() {
                return Err(Violation::NotUtf8);
            }
            Ok(Event::Close(Some(code)))
        }
    }
}

fn kept(event: Event<'_>) -> Event<'static> {
    match event {
        Event::Text(text) => Event::Text(Cow::Owned(text.into_owned())),
        Event::Ping(payload) => Event::Ping(Cow::Owned(payload.into_owned())),
        Event::Binary => Event::Binary,
        Event::Pong => Event::Pong,
        Event::Close(code) => Event::Close(code),
    }
}

/// The room's decoder, fed in pieces as long as `cuts` says.
fn in_pieces(bytes: &[u8], cuts: &[u8]) -> (Vec<Event<'static>>, Option<Violation>) {
    let mut decoder = Decoder::default();
    let mut events = Vec::new();
    let mut rest = bytes;
    let mut turn = 0;
    while !rest.is_empty() {
        let cut = cuts
            .get(turn % cuts.len().max(1))
            .map_or(rest.len(), |cut| usize::from(*cut) + 1);
        turn += 1;
        let (piece, after) = rest.split_at(cut.min(rest.len()));
        rest = after;
        let mut piece = piece.to_vec();
        let mut left = &mut piece[..];
        while !left.is_empty() {
            let most = left.len();
            match decoder.step(left, MOST) {
                Ok(step) => {
                    assert!(step.used > 0 && step.used <= most);
                    events.extend(step.event.map(kept));
                    let used = step.used;
                    left = &mut left[used..];
                }
                Err(violation) => return (events, Some(violation)),
            }
        }
    }
    (events, None)
}

/// Frames: however they are cut, they are read as the RFC says; and what the room writes
/// itself can be read.
fn frames(data: &[u8]) {
    let mut feed = Feed::new(data);
    let way = feed.below(3);
    let cuts = feed.field();
    let mut bytes = Vec::new();
    if way == 0 {
        bytes.extend_from_slice(feed.rest());
    } else {
        // Frames whose heads are in order, so that what is within them counts.
        while !feed.is_empty() && bytes.len() < 4096 {
            let first = [0x81, 0x01, 0x00, 0x80, 0x89, 0x8A, 0x88, 0x82, 0x02][feed.below(9)];
            let wide = feed.below(3);
            let payload = feed.field();
            let payload = if payload.starts_with(b"*") {
                [b'x'; 290].as_slice()
            } else {
                payload
            };
            bytes.push(first);
            match (wide, payload.len()) {
                (0, len @ 0..126) => bytes.push(0x80 | len as u8),
                (0 | 1, len) => {
                    bytes.push(0xFE);
                    bytes.extend((len as u16).to_be_bytes());
                }
                (_, len) => {
                    bytes.push(0xFF);
                    bytes.extend((len as u64).to_be_bytes());
                }
            }
            let mask = [1, 2, 3, payload.len() as u8];
            bytes.extend(mask);
            bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        }
        if way == 2 && bytes.len() > 1 {
            bytes.truncate(bytes.len() - 1);
        }
    }
    let (events, violation) = plain_frames(&bytes);
    for cuts in [&[][..], cuts, &[0]] {
        let (found, broken) = in_pieces(&bytes, cuts);
        assert_eq!(found, events, "{cuts:?}");
        assert_eq!(
            broken.map(Violation::code),
            violation.map(Violation::code),
            "{cuts:?}"
        );
    }
    for event in &events {
        written(event);
    }
}

/// What goes to phones: one unmasked frame each, no longer than a control frame may be.
fn written(event: &Event<'_>) {
    let (frame, payload) = match event {
        Event::Text(text) => (
            frame::text(b"message:", text.as_bytes()),
            format!("message:{text}").into_bytes(),
        ),
        Event::Ping(payload) => (frame::pong(payload), payload.to_vec()),
        Event::Close(Some(code)) => {
            let reason = "r".repeat(usize::from(*code % 200));
            let frame = frame::close(*code, &reason);
            assert!(frame.len() <= 127);
            let kept = reason.len().min(123);
            (
                frame,
                [&code.to_be_bytes(), &reason.as_bytes()[..kept]].concat(),
            )
        }
        _ => return,
    };
    let head = frame.len() - payload.len();
    assert_eq!(frame[head..], payload);
    let told = match frame[1] {
        126 => usize::from(u16::from_be_bytes([frame[2], frame[3]])),
        127 => usize::MAX,
        len => usize::from(len),
    };
    assert_eq!((told, frame[0] & 0xF0), (payload.len(), 0x80));
}

const KEY: &str = "9f338d1f0ecc37d25ac7b161c1d7bf72";
const HOST: &str = "www.example.com";

/// A house with one business server, made once a thread.
struct House {
    runtime: tokio::runtime::Runtime,
    tunnels: Tunnels,
    router: Router,
}

impl House {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let tunnels = runtime.block_on(async {
            Tunnels::build(TunnelsParts {
                config: Config {
                    push_body_bytes: 4096,
                    max_queue_bytes: 1024,
                    businesses: vec![Business {
                        host: HOST.to_owned(),
                        key: Secret::new(KEY),
                        ..Business::default()
                    }],
                    ..Config::default()
                },
                clock: Clock::manual(1_700_000_000).0,
                tokens: Tokens::seeded(7),
                work: Work::current(),
                tasks: Tasks::new(),
                wiretap: Wiretap::on(Clock::system()),
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
    static ROOM: House = House::new();
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

fn request(room: &House, way: usize, feed: &mut Feed<'_>) {
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
fn issued(room: &House, asked: &str, told: &Value) {
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
    assert_eq!(room.tunnels.gatekeeper().check(token), Some(id));
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
        named.extend(packet["tunnelIds"].as_array().into_iter().flatten());
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
    let place = Place {
        shard: feed.below(16),
        slot: usize::from(feed.byte()) << 24,
    };
    let node = u16::from(feed.byte()) << 4;
    let tokens = Tokens::seeded(u64::from(feed.byte()));
    let id = TunnelId::mint(node, place, &tokens);
    assert_eq!((id.node(), id.place()), (node & 0xFFF, place));
    assert_eq!(TunnelId::parse(&id.to_string()), Some(id));
    let gate = Gatekeeper::new(&Secret::new(feed.text()), &tokens);
    let token = gate.token(id);
    assert_eq!((token.len(), gate.check(&token)), (43, Some(id)));
    let given = feed.text();
    assert!(gate.check(&given).is_none() || given == token, "{given}");
    let mut bent = token.into_bytes();
    let at = feed.below(43);
    let letter = b"ABCDabcd01-_"[feed.below(12)];
    let same = bent[at] == letter;
    bent[at] = letter;
    let bent = String::from_utf8(bent).expect("ascii");
    assert_eq!(gate.check(&bent).is_some(), same, "{bent}");
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
