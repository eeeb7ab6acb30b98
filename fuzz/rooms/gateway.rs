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

use std::time::Duration;

use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};
use weappd_base::secret::Secret;
use weappd_base::unix_time::{UnixMillis, UnixSecs};
use weappd_wechat::CallError;
use weappd_wechat::envelope::BodyFormat;
use weappd_wechat::message::{self, MessageCodec, MessageKey};

use crate::calls;
use crate::proxy_error::ProxyError;
use crate::push::{
    PushError, PushQuery, PushReader, PushTimeRange, VerifiedPush, check_url, is_probe,
};
use crate::query::{CallQuery, encode};
use crate::{allow, token, xml};
use feed::Feed;

/// The targets of this room.
pub const TARGETS: [(&str, fn(&[u8])); 2] = [("gateway_push", push), ("gateway_call", call)];

/// Gives an input to the target of this name.
pub fn run(name: &str, data: &[u8]) {
    feed::run(&TARGETS, name, data);
}

const TOKEN: &str = "a message token";

fn reader_of(appid: &str, mailbox: Option<MessageCodec>) -> PushReader {
    PushReader {
        appid: appid.to_owned(),
        token: Secret::new(TOKEN),
        mailbox,
        path: None,
        is_stored_enough: false,
    }
}

fn safe_reader() -> PushReader {
    let mailbox = MessageCodec {
        appid: "wx2".to_owned(),
        token: Secret::new(TOKEN),
        key: MessageKey::parse(&Secret::new("K".repeat(43))).expect("a key"),
    };
    reader_of("wx2", Some(mailbox))
}

/// Reads a push of any time.
fn open<'a>(
    readers: impl Iterator<Item = &'a PushReader>,
    stamp: &PushQuery,
    body: &str,
) -> Result<VerifiedPush, PushError> {
    crate::push::open(readers, stamp, body, PushTimeRange::ANY)
}

fn signed(nonce: &str) -> PushQuery {
    let timestamp = "1714112445".to_owned();
    PushQuery {
        signature: message::signature(&Secret::new(TOKEN), &timestamp, nonce),
        timestamp,
        nonce: nonce.to_owned(),
        ..PushQuery::default()
    }
}

/// Message pushes in every mode, and XML both ways.
fn push(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(6) {
        0 => plain(&feed.text(), &feed.text()),
        1 => both_ways(&feed.text()),
        2 => sealed(BodyFormat::Json, &mut feed),
        3 => sealed(BodyFormat::Xml, &mut feed),
        4 => forged(&mut feed),
        _ => wild(&feed.text()),
    }
}

/// A genuine plain push: what goes to the app is a JSON object that says the same.
fn plain(nonce: &str, body: &str) {
    let reader = [reader_of("wx1", None)];
    let stamp = signed(nonce);
    assert!(check_url(reader.iter(), &stamp).is_some());
    assert!(
        !is_probe(body)
            || body.contains("CheckContainerPath")
            || body.contains("\\u")
            || body.contains('&')
    );
    let opened = open(reader.iter(), &stamp, body);
    let Ok(push) = opened else {
        let why = opened.expect_err("refused");
        assert!(
            matches!(why, PushError::NoMessage | PushError::NoKey),
            "{why}"
        );
        return;
    };
    assert_eq!(push.appid, "wx1");
    let told: Map<String, Value> = serde_json::from_str(&push.body).expect("an object");
    assert!(!told.contains_key("Encrypt") || push.format == BodyFormat::Json);
    let from = told.get("FromUserName").and_then(Value::as_str);
    if let Some(from) = from.filter(|_| push.rule.is_none()) {
        assert_eq!(push.openid.as_deref().unwrap_or_default(), from);
    }
    let again = open(reader.iter(), &signed("another"), body).expect("the same push");
    assert_eq!((again.key, again.body), (push.key, push.body));
}

/// What becomes of a JSON value that goes through XML.
fn through_xml(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields_through_xml(fields);
            if kept.is_empty() {
                Value::from("")
            } else {
                kept.into()
            }
        }
        Value::String(text) => Value::from(text.replace("\r\n", "\n").replace('\r', "\n")),
        Value::Number(number) => number
            .as_i64()
            .map_or(Value::from(number.to_string()), Value::from),
        Value::Bool(yes) => Value::from(yes.to_string()),
        Value::Array(_) | Value::Null => Value::from(""),
    }
}

fn fields_through_xml(fields: &Map<String, Value>) -> Map<String, Value> {
    let is_name = |name: &str| {
        let first = name.chars().next();
        first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
    };
    let mut kept = Map::new();
    for (name, value) in fields.iter().filter(|(name, _)| is_name(name)) {
        match value {
            Value::Array(list) if list.is_empty() => {}
            Value::Array(list) if list.len() == 1 => {
                kept.insert(name.clone(), through_xml(&list[0]));
            }
            Value::Array(list) => {
                kept.insert(name.clone(), list.iter().map(through_xml).collect());
            }
            value => {
                kept.insert(name.clone(), through_xml(value));
            }
        }
    }
    kept
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        Value::Array(list) => list.iter().map(depth).max().unwrap_or_default(),
        _ => 1,
    }
}

/// An answer of the app's: written as XML and read again it says what XML can say.
fn both_ways(text: &str) {
    let Ok(Value::Object(fields)) = serde_json::from_str(text) else {
        return;
    };
    let written = xml::from_json(&fields);
    let deep = depth(&Value::Object(fields.clone()));
    if deep <= 15 {
        assert_eq!(
            xml::to_json(&written),
            Some(fields_through_xml(&fields)),
            "{written}"
        );
    } else {
        drop(xml::to_json(&written));
    }
}

/// Safe mode: a sealed message is read as if it had come plain, and only as sealed.
fn sealed(format: BodyFormat, feed: &mut Feed<'_>) {
    let (nonce, inner, given) = (feed.text(), feed.text(), feed.text());
    let reader = safe_reader();
    let mailbox = reader.mailbox.clone().expect("it has one");
    let time = 1_714_112_445;
    let body = mailbox.seal(format, &inner, (UnixSecs::new(time), &nonce), [3; 16]);
    let encrypt = weappd_wechat::envelope::read(&body)
        .expect("an envelope")
        .encrypt;
    let stamp = PushQuery {
        msg_signature: message::msg_signature(&mailbox.token, &time.to_string(), &nonce, &encrypt),
        encrypt_type: "aes".to_owned(),
        ..signed(&nonce)
    };
    let readers = [reader_of("wx1", None), reader];
    let opened = open(readers[1..].iter(), &stamp, &body);
    let plain = open(readers[..1].iter(), &signed("n"), &inner);
    match (&opened, &plain) {
        (Ok(opened), Ok(plain)) => {
            assert_eq!(
                (&opened.key, &opened.body, &opened.kind),
                (&plain.key, &plain.body, &plain.kind)
            );
            assert!(opened.format == format && opened.mailbox.is_some() && opened.appid == "wx2");
        }
        (Ok(_), Err(fake)) => assert_eq!(*fake, PushError::NoKey),
        (Err(fake), _) => assert!(plain.is_err() && *fake == PushError::NoMessage, "{fake}"),
    }
    // Neither a wrong signature nor the plain one does.
    for msg_signature in [given, stamp.signature.clone(), String::new()] {
        let is_right = msg_signature == stamp.msg_signature;
        let forged = open(
            readers[1..].iter(),
            &PushQuery {
                msg_signature,
                ..stamp.clone()
            },
            &body,
        );
        assert!(is_right || matches!(forged, Err(PushError::Signature)));
    }
    let unsealed = open(readers[1..].iter(), &signed("n"), &inner);
    assert!(matches!(
        unsealed,
        Err(PushError::NotEncrypted | PushError::Signature)
    ));
}

/// Nobody without the token is believed.
fn forged(feed: &mut Feed<'_>) {
    let stamp = PushQuery {
        signature: feed.text(),
        timestamp: feed.text(),
        nonce: feed.text(),
        msg_signature: feed.text(),
        encrypt_type: feed.text(),
        echostr: String::new(),
    };
    let body = feed.text();
    let token = Secret::new(TOKEN);
    let good = message::signature(&token, &stamp.timestamp, &stamp.nonce);
    let readers = [reader_of("wx1", None), safe_reader()];
    let believed = check_url(readers.iter(), &stamp).is_some();
    assert_eq!(believed, stamp.signature == good);
    if open(readers.iter(), &stamp, &body).is_ok() {
        let envelope = weappd_wechat::envelope::read(&body);
        let safe = envelope.is_ok_and(|envelope| {
            let (time, nonce) = (&stamp.timestamp, &stamp.nonce);
            message::msg_signature(&token, time, nonce, &envelope.encrypt) == stamp.msg_signature
        });
        assert!(believed || safe);
    }
}

/// Any text as XML: what is read is not much longer than what was there, and holds.
fn wild(text: &str) {
    if let Some(fields) = xml::to_json(text) {
        let shown = Value::Object(fields.clone());
        assert!(depth(&shown) <= 17);
        assert!(shown.to_string().len() <= 6 * text.len() + 16, "{shown}");
        if deep_enough(&shown) {
            let again = xml::to_json(&xml::from_json(&fields));
            assert_eq!(again, Some(fields_through_xml(&fields)));
        }
    }
}

fn deep_enough(value: &Value) -> bool {
    depth(value) <= 15
}

/// Calls on their way out: query, path, and the answers about tokens.
fn call(data: &[u8]) {
    let mut feed = Feed::new(data);
    match feed.below(5) {
        0 => query(&feed.text(), &feed.text()),
        1 => path(&feed.text(), &feed.text()),
        2 => token_answer(UnixMillis::new(feed.number()), feed.rest()),
        4 => answer(&mut feed),
        _ => token_made(&mut feed),
    }
}

/// A query as another server reads it.
fn pairs(text: &str) -> Vec<(String, String)> {
    let plain = |text: &str| {
        let text = text.replace('+', " ");
        percent_decode_str(&text).decode_utf8_lossy().into_owned()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (plain(name), plain(value)))
        .collect()
}

fn query(text: &str, token: &str) {
    let query = CallQuery::read(text);
    let given = pairs(text);
    // A value of which nothing is left after decoding is still one.
    let has_token = text.split('&').any(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        !value.is_empty()
            && pairs(name)
                .first()
                .is_some_and(|pair| pair.0 == "access_token")
    });
    assert_eq!(query.has_token, has_token, "{text}");
    let named = given.iter().rfind(|pair| pair.0 == "from_appid");
    assert_eq!(
        query.from_appid.as_deref().unwrap_or_default(),
        named.map_or("", |pair| &pair.1)
    );
    // As it goes on: the rest in its order, byte for byte, and one token.
    let token = Some(token).filter(|token| !token.is_empty() && !has_token);
    let target = query.on("/wxa/x", token);
    let (path, sent) = target.split_once('?').unwrap_or((&target, ""));
    assert_eq!(path, "/wxa/x");
    let mut expected: Vec<_> = given.clone();
    expected.retain(|pair| pair.0 != "from_appid" && (pair.0 != "access_token" || has_token));
    let mut found = pairs(sent);
    if let Some(token) = token {
        assert_eq!(
            found.remove(0),
            ("access_token".to_owned(), token.to_owned())
        );
    }
    found.retain(|pair| pair.0 != "access_token" || has_token);
    if !has_token {
        assert_eq!(found, expected, "{text}");
    }
    assert!(
        sent.split('&')
            .skip(usize::from(token.is_some()))
            .all(|pair| pair.is_empty() || text.contains(pair))
    );
    assert_eq!(
        pairs(&format!("x={}", encode(text)))[..1],
        [("x".to_owned(), text.to_owned())]
    );
    // What people are shown holds no secret.
    let shown = query.shown().to_string();
    for (name, value) in given
        .iter()
        .filter(|pair| pair.1.len() > 24 && pair.1.bytes().all(|b| b.is_ascii_alphanumeric()))
    {
        let elsewhere = given
            .iter()
            .filter(|pair| pair.0 != *name || pair.1 != *value);
        let elsewhere = elsewhere
            .map(|pair| format!("{} {}", pair.0, pair.1))
            .any(|text| text.contains(value));
        if ["access_token", "secret", "js_code", "code"].contains(&name.as_str()) && !elsewhere {
            assert!(!shown.contains(value), "{shown}");
        }
    }
}

/// No path gets past the list, however another server may spell it.
fn path(text: &str, prefix: &str) {
    let list = [prefix.to_owned()];
    let checked = allow::check(text, &list);
    if allow::check(text, &[]).is_err() {
        assert_eq!(checked, Err(ProxyError::BadPath));
        return;
    }
    let decoded: String = percent_decode_str(text)
        .decode_utf8_lossy()
        .replace('\\', "/");
    assert_eq!(decoded, text);
    let mut parts = text.split('/');
    assert_eq!(parts.next(), Some(""));
    assert!(parts.all(|part| !matches!(part, "" | "." | "..") && !part.contains(';')));
    let folder = format!("{}/", prefix.trim_end_matches('/'));
    let meant = format!("{text}/").starts_with(&folder);
    assert_eq!(checked.is_ok(), meant, "{text} {prefix}");
    if allow::is_wechats(text) {
        assert!(text.starts_with('/'));
    }
}

fn token_answer(now: UnixMillis, body: &[u8]) {
    let code = token::errcode(body);
    match token::read(body, now) {
        Ok(token) => {
            assert!(code.is_none_or(|code| code == 0));
            assert!(!token.text.is_empty());
            assert!(token.left_secs(now) <= 86_400 * 30);
            for later in [0, 1, 5_000, 300_000, 7_200_000, 86_400_000 * 31] {
                let at = now + Duration::from_millis(later);
                assert!(
                    token.is_good(at) || token.is_due(at),
                    "nobody fetches the next one"
                );
                assert!(token.left_secs(at) <= token.left_secs(now));
            }
        }
        Err(ProxyError::TokenRefused { errcode, .. }) => assert_eq!(Some(errcode), code),
        Err(refusal) => assert_eq!(refusal, ProxyError::TokenUnreadable),
    }
}

/// What weappd's own calls are answered: a success says nothing else, a refusal its number.
fn answer(feed: &mut Feed<'_>) {
    let status = http::StatusCode::from_u16(200 + u16::from(feed.byte())).expect("a status");
    let body = feed.rest();
    let value: Option<Value> = serde_json::from_slice(body).ok();
    let code = token::errcode(body);
    match calls::read(status, body) {
        Ok(told) => {
            assert_eq!(Some(&told), value.as_ref());
            assert!(told.is_object() && code.is_none_or(|code| code == 0));
        }
        Err(CallError::Refused { errcode, .. }) => {
            assert!(errcode != 0 && code.is_none_or(|code| code == errcode));
        }
        Err(error) => assert_eq!(error, CallError::Malformed),
    }
}

/// A good answer is read; half of one is refused without showing the token.
fn token_made(feed: &mut Feed<'_>) {
    const TEXT: &str = "69_kLmNoPqRsTuVwXyZ0123456789abcdefghij";
    let (expires_in, extra, cut) = (feed.number(), feed.text(), feed.byte());
    let written = if cut % 2 == 0 {
        json!(expires_in)
    } else {
        json!(expires_in.to_string())
    };
    let body = json!({"access_token": TEXT, "expires_in": written, "errmsg": extra}).to_string();
    let now = UnixMillis::default();
    let token = token::read(body.as_bytes(), now).expect("a token");
    assert!(token.text.is(TEXT) && !format!("{token:?}").contains(TEXT));
    assert_eq!(
        token.left_secs(now),
        u64::try_from(expires_in).unwrap_or(0).min(86_400 * 30)
    );
    let half = &body.as_bytes()[..usize::from(cut).min(body.len() - 1)];
    let refused = token::read(half, now).expect_err("half an answer");
    assert!(!refused.errmsg().contains(TEXT));
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_corpus_holds() {
        super::feed::replay(&super::TARGETS);
    }
}
